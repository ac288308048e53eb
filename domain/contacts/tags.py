"""Tags: names of contacts' groups, each without what stands between the names of a list."""

from __future__ import annotations

import re

# Between the tags of one text in the files of other programs. In a list, a comma may belong to a name.
_BETWEEN = re.compile(r":::|[|,;\n]")
_IN_NO_TAG = re.compile(r":::|[|;\n]")


def split(text: str) -> list[str]:
    """Return the tags of a text in which several may stand; blank ones are left out."""
    return [tag for each in _BETWEEN.split(text) if (tag := each.strip())]


def why_not_one(text: str) -> str | None:
    """Return why a text is no tag, with what to write; None for a tag, and for nothing but blanks."""
    if not _IN_NO_TAG.search(text):
        return None
    written = ", ".join(f'"{tag}"' for tag in split(text)[:5])
    return (
        f"{text[:60]!r} is not a valid tag: a tag must not contain a semicolon, | or :::; write {written or 'a name'}"
    )
