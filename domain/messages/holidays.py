"""Public holidays of countries."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Any


def is_holiday(country: Any, day: date) -> bool:
    """Return whether a day is a public holiday in a country, or in a part of it.

    The country is an ISO 3166 code, such as `FR` or `FRA`, or `US-CA` for a part of it, in capitals or not. Of any
    other value no day is a holiday.
    """
    if not isinstance(country, str) or not 2 <= len(country.strip()) <= 10:
        return False
    return day in _holidays(country.strip().upper(), day.year)


@lru_cache(maxsize=2_000)
def _holidays(country: str, year: int) -> frozenset[date]:
    # Here, since hardly any policy asks for them.
    import holidays

    code, _, part = country.partition("-")
    try:
        return frozenset(holidays.country_holidays(code, subdiv=part or None, years=year))
    except (NotImplementedError, KeyError, ValueError):
        return frozenset() if not part else _holidays(code, year)
