"""What stands in the data of an event: by a dotted path, as a key, and within bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from parcours.domain.keys import KEY_LENGTH

# Bytes of an event's data, as JSON, that a run keeps.
MOST_ENTRY = 16_384


class Happening(Protocol):
    """What a contact did, as far as sources and exits look at it; decisions call it a fact."""

    @property
    def type(self) -> str: ...

    @property
    def data(self) -> Mapping[str, Any]: ...

    @property
    def at(self) -> datetime: ...


class Entry(NamedTuple):
    """What begins a run: its key ('': it has none), and the data of the event."""

    key: str
    data: Mapping[str, Any]


def property_of(value: Any, path: str) -> Any:
    """Return what a dotted path leads to, or None; of a list, what it leads to in each item."""
    if isinstance(value, Mapping):
        if path in value:
            return value[path]
        name, _, rest = path.partition(".")
        return property_of(value.get(name), rest) if rest else None
    if isinstance(value, list):
        found = [property_of(item, path) for item in value]
        return [item for each in found for item in (each if isinstance(each, list) else [each]) if item is not None]
    return None


def key_of(data: Mapping[str, Any], path: str) -> str | None:
    """Return the key of a run that data names under a path, or None when there is none that can be a key.

    A whole number and the text of it are the same key.
    """
    found = property_of(data, path)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return None
    text = str(found).strip()
    return text if 0 < len(text) <= KEY_LENGTH else None


def bounded(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data as a run keeps it: what is too much for it is left out, the largest properties first."""
    kept = dict(data)
    sizes = {name: len(json.dumps({name: value}, default=str)) for name, value in kept.items()}
    total = sum(sizes.values())
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if total <= MOST_ENTRY:
            break
        total -= sizes[name]
        del kept[name]
    return kept
