"""What fields of contacts are called, and what they hold, for people who never saw a key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from parcours.web.i18n.language import _, day, exact, instant, marked, reader

# What a contact has by itself, and what files of other programs bring most often.
NAMES = {
    "key": marked("Key"),
    "email": marked("Email"),
    "timezone": marked("Timezone"),
    "points": marked("Points"),
    "stage": marked("Stage"),
    "owner": marked("Owner"),
    "tags": marked("Tags"),
    "company": marked("Company"),
    "last_active_at": marked("Last active"),
    "first_name": marked("First name"),
    "last_name": marked("Last name"),
    "full_name": marked("Full name"),
    "title": marked("Title"),
    "gender": marked("Gender"),
    "phone": marked("Phone"),
    "mobile": marked("Mobile phone"),
    "address": marked("Address"),
    "zip": marked("Postal code"),
    "zipcode": marked("Postal code"),
    "postal_code": marked("Postal code"),
    "city": marked("City"),
    "state": marked("State or region"),
    "country": marked("Country"),
    "language": marked("Language"),
    "locale": marked("Language and region"),
    "birthday": marked("Birthday"),
    "birth_date": marked("Date of birth"),
    "website": marked("Website"),
    "webinar_at": marked("Date of the webinar"),
    "cart_id": marked("Cart number"),
    "order_id": marked("Order number"),
    "total": marked("Total"),
    "currency": marked("Currency"),
    "url": marked("Address of the page"),
    "name": marked("Name"),
    # Of events.
    "fields": marked("Fields"),
    "segment": marked("Segment"),
    "form": marked("Form"),
    "channel": marked("Channel"),
    "reason": marked("Reason"),
    "message": marked("Message"),
    "campaign": marked("Campaign"),
    # Of a row of a file.
    "do not contact": marked("Do not contact"),
}
COMPANY = "company."
_KEY = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")
# A day, or a day and time, in a sentence.
_MOMENT = re.compile(
    r"(?<![\w./:-])\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?(?![\w./:-])"
)
# Digits of these are no quantity: nobody writes 75,001 Paris or the year 1,990.
_NO_QUANTITY = re.compile(
    r"(?:^|[\W_])(?:id|no|nr|number|numéro|num|year|année|zip|zipcode|code|codes|cp|phone|tel|mobile|siret|siren)(?:$|[\W_])",
    re.IGNORECASE,
)


def field_name(name: str) -> str:
    """Return what a field is called: its name as people write it, or one in the reader's language if it is known."""
    if name.startswith(COMPANY):
        return _("{field} of the company", field=field_name(name.removeprefix(COMPANY)))
    if name in NAMES:
        return _(NAMES[name])
    if not _KEY.fullmatch(name):
        return name
    said = re.sub(r"[_-]+", " ", name)
    return said[:1].upper() + said[1:]


def value_text(value: Any, name: str = "") -> str:
    """Return what a field holds, as the reader's language writes numbers, dates, yes and no."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, int | float):
        return str(value) if _NO_QUANTITY.search(name) else exact(value)
    if isinstance(value, Mapping):
        return ", ".join(_pair(str(key), each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(value_text(each, name) for each in value)
    text = str(value)
    try:
        if _DAY.fullmatch(text):
            return day(date.fromisoformat(text))
        if _INSTANT.fullmatch(text):
            return instant(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        pass
    return text


def with_dates(text: str) -> str:
    """Return a sentence whose dates are written as the reader's language writes them.

    A time without a timezone is that of each contact's clock.
    """
    return _MOMENT.sub(_as_date, text)


def _as_date(found: re.Match[str]) -> str:
    try:
        if len(found[0]) == 10:
            return day(date.fromisoformat(found[0]))
        at = datetime.fromisoformat(found[0])
        return instant(at.replace(tzinfo=reader().zone) if at.tzinfo is None else at)
    except (ValueError, OverflowError):
        return found[0]


def _pair(name: str, value: Any) -> str:
    return _("{field}: {value}", field=field_name(name), value=value_text(value, name))
