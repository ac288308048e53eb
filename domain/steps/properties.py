"""Kinds of property that several step types take."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, JsonValue, StringConstraints, ValidationInfo

from parcours.domain import operators
from parcours.domain.contacts.identity import is_address
from parcours.domain.contacts.touched import TIME, TIMEZONE, Reads
from parcours.domain.invalid_values import called
from parcours.domain.messages.templates import Liquid, is_fixed
from parcours.domain.time.text import iso
from parcours.domain.urls import comparable

# The largest whole number that a column of points holds.
POINTS_LIMIT = 2**31 - 1
# Characters of a key; what is longer would not fit into an index.
MAX_KEY = 255


# The validation context of the properties in a file that somebody applies. What was stored was judged then, and
# is not judged anew by what a later release knows better.
APPLYING = {"applying": True}
# That of the conditions in a rule that somebody applies.
APPLYING_RULE = {**APPLYING, "rule": True}
NO_CHOICE = "give at least one; with an empty list the answer is always no"


def is_applied(info: ValidationInfo) -> bool:
    """Return whether properties are those of a file that somebody applies."""
    return bool((info.context or {}).get("applying"))


def reads_of_test(operator: str, value: Any) -> Reads:
    """Return what a test reads besides the value that is tested: the contact's timezone, and the time."""
    zone = frozenset([TIMEZONE]) if operators.goes_by_zone(operator, value) else frozenset()
    return zone | (frozenset([TIME]) if operators.goes_by_time(operator, value) else frozenset())


def check_test(operator: str, value: Any, info: ValidationInfo) -> None:
    """Raise ValueError, with one sentence, if a value cannot be tested with an operator."""
    operators.check(operator, value)
    if is_applied(info):
        operators.refuse_expression(operator, value)


def _one_at_least(names: list[str], info: ValidationInfo) -> list[str]:
    # As a step of a campaign it is noted instead: campaigns that come from elsewhere may hold one.
    if (info.context or {}).get("rule") and not names:
        raise ValueError(NO_CHOICE)
    return names


def empty_choices(properties: type[BaseModel], given: Mapping[str, Any]) -> list[str]:
    """Return the names of properties that are lists of which one is enough, and hold nothing."""
    return [
        name
        for name, field in properties.model_fields.items()
        if given.get(name) == [] and any(getattr(each, "func", None) is _one_at_least for each in field.metadata)
    ]


def no_template(text: str, info: ValidationInfo) -> str:
    """Return a text in which nothing waits to be filled in. Raises ValueError with a sentence."""
    if is_applied(info) and operators.TEMPLATE.search(text):
        raise ValueError(f"{text!r} is a template, but templates are not supported here; write the value itself")
    return text


def _not_a_bool(value: Any) -> Any:
    # YAML 1.1 reads `yes` and `on` as true, which Python would count as 1.
    if isinstance(value, bool):
        raise ValueError("a whole number is needed, not true or false")
    return value


def _not_zero(points: int) -> int:
    if points == 0:
        raise ValueError("adding 0 points has no effect; give another number")
    return points


def _not_true(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


def _moment(value: Any) -> Any:
    text = value.isoformat() if isinstance(value, date) else value
    if not isinstance(text, str) or not operators.is_moment(text):
        interval = operators.ago(text) if isinstance(text, str) else None
        if interval:
            raise ValueError(
                f"{value!r} is not a date; write it like 2026-12-24 or 2026-12-24T09:00+01:00; for a time counted from "
                f"now, write within: {interval}"
            )
        raise ValueError(f"{value!r} is not a date; write it like 2026-12-24 or 2026-12-24T09:00+01:00")
    return text.strip()


def _as_json(value: Any) -> Any:
    """Return a value as JSON holds it; YAML reads 2026-12-24 as a date, which JSON has only as text."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _as_json(item) for name, item in value.items()}
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        raise ValueError(f"{value} is not a number that can be stored")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"a text, a number, true, false or a list is needed, not {called(value)}")


def as_shown(value: Any) -> Any:
    """Return a value as JSON, its instants as text."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Mapping):
        return {name: as_shown(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_shown(each) for each in value]
    return value


def _split(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


def _without_blanks(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return [item for item in value if item is not None and not (isinstance(item, str) and not item.strip())]


def _address(value: str) -> str:
    if is_fixed(value) and not is_address(value):
        raise ValueError(f"{value!r} is not an email address")
    return value


_SCHEME = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//")


def is_blank(value: Any) -> bool:
    """Return whether a value says nothing, so that it leaves a field as it is."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def without_scheme(address: str) -> str:
    """Return an address to compare by: in its comparable form, without scheme and without a slash at the end."""
    full = comparable(address.strip())
    return _SCHEME.sub("", full, count=1).removesuffix("/") if _SCHEME.match(full) else full.removesuffix("/")


# Text that is taken as it is written.
Plain = Annotated[str, AfterValidator(no_template)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(no_template)]
# Of which one is enough, so that of none nothing is ever true.
Names = Annotated[list[Name], AfterValidator(_one_at_least)]
WholeNumber = Annotated[int, BeforeValidator(_not_a_bool)]
# By how much points change; some change there must be.
PointsAdded = Annotated[WholeNumber, Field(ge=-POINTS_LIMIT, le=POINTS_LIMIT), AfterValidator(_not_zero)]
Percent = Annotated[float, BeforeValidator(_not_true), Field(ge=0, le=100, allow_inf_nan=False)]
PointGroup = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), AfterValidator(no_template)
]
# Channels are written in small letters where messages and refusals are kept.
Channel = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, to_lower=True), AfterValidator(no_template)
]
# A date, or a date and time, as ISO 8601 writes it.
Moment = Annotated[str, BeforeValidator(_moment)]
Json = Annotated[Any, BeforeValidator(_as_json)]
# A list; one text with commas between the patterns will do as well.
Patterns = Annotated[list[Name], BeforeValidator(_without_blanks), BeforeValidator(_split)]
# An email address, or Liquid that makes one for each contact.
Address = Annotated[Liquid, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_address)]
# What few need to change; forms show it behind the rest, unless it is set.
ADVANCED: dict[str, JsonValue] = {"advanced": True}
Attempts = Annotated[
    WholeNumber, Field(ge=1, description="Maximum number of delivery attempts.", json_schema_extra=ADVANCED)
]
