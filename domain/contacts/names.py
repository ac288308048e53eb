"""What a contact is called where people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIRST, LAST = "first_name", "last_name"


def full_name(fields: Mapping[str, Any]) -> str | None:
    """Return the name that a contact's fields give, or None."""
    parts = (fields.get(name) for name in (FIRST, LAST))
    return " ".join(part.strip() for part in parts if isinstance(part, str) and part.strip()) or None
