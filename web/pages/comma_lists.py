"""Lists in one field of a form: entries with commas between them, and quotation marks where an entry has a comma."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

# By what opens it, what closes an entry in quotation marks; keyboards of phones and of French write their own.
_CLOSED_BY = {'"': '"', "“": "”", "«": "»"}
_BETWEEN = ",\n\r"


def written(entries: Iterable[str]) -> str:
    """Return entries as one text, from which `read` has the same ones again."""
    return ", ".join(map(_written, entries))


def read(text: str) -> list[str]:
    """Return the entries of a text; what is empty and not in quotation marks is none."""
    return list(_entries(text))


def _written(entry: str) -> str:
    plain = entry and entry == entry.strip() and not any(each in entry for each in _BETWEEN)
    # Some fields take a text that begins with a bracket as YAML.
    if plain and entry[0] not in _CLOSED_BY and entry[0] != "[":
        return entry
    return f'"{entry.replace(chr(34), chr(34) * 2)}"'


def _entries(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        if text[at].isspace() or text[at] in _BETWEEN:
            at += 1
            continue
        quoted = _quoted(text, at)
        if quoted is not None:
            entry, at = quoted
            yield entry
            continue
        end = min((found for found in (text.find(each, at) for each in _BETWEEN) if found >= 0), default=len(text))
        yield text[at:end].strip()
        at = end


def _quoted(text: str, at: int) -> tuple[str, int] | None:
    """Return an entry in quotation marks and where it ends; None where they do not stand around a whole entry."""
    closing = _CLOSED_BY.get(text[at])
    if closing is None:
        return None
    opening, made, here = text[at], [], at + 1
    while (end := text.find(closing, here)) >= 0:
        made.append(text[here:end])
        if text.startswith(closing, end + 1):
            # Twice, it is one of the entry itself.
            made.append(closing)
            here = end + 2
            continue
        rest = text[end + 1 :].lstrip(" \t\u00a0\u202f")
        if rest and rest[0] not in _BETWEEN:
            return None
        # French puts spaces inside its own.
        entry = "".join(made)
        return (entry.strip(" \u00a0\u202f") if opening == "«" else entry), end + 1
    return None
