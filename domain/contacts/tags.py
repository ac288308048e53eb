"""Tags: names of groups of contacts, without the characters that separate the names of a list."""

from __future__ import annotations

import re

# Between the tags of one text in the files of other programs. In a list, a comma may belong to a name.
_BETWEEN = re.compile(r":::|[|,;\n]")
_IN_NO_TAG = re.compile(r":::|[|;\n]")


def split(text: str) -> list[str]:
    """Return the tags of a text that may contain several; blank ones are left out."""
    return [tag for each in _BETWEEN.split(text) if (tag := each.strip())]


def why_not_one(text: str) -> str | None:
    """Return why a text is not a valid tag, with what to write; None for a valid tag and for blanks."""
    if not _IN_NO_TAG.search(text):
        return None
    written = ", ".join(f'"{tag}"' for tag in split(text)[:5]) or "a name"
    return f"{text[:60]!r} is not a valid tag: a tag must not contain a semicolon, | or :::; write {written}"
