"""What the fields of a form become of the contact who submits it.

Fields with usual names fill what is empty in the contact. A form's own mapping says of any field what it becomes, and
that replaces what the contact had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db.installation_settings import settings_of
from parcours.db.tables import events
from parcours.db.tables.events import Said
from parcours.db.tables.forms import Form
from parcours.domain.contacts.contact import ATTRIBUTES
from parcours.domain.contacts.identity import IdentityError, address, phone, timezone
from parcours.domain.errors import CampaignError
from parcours.domain.gate import GateError, check_text
from parcours.domain.steps.properties import MAX_KEY
from parcours.producers.files.headers import FIELD_NAMES, OWN_NAMES, folded, names_of

# Of what every contact has, what a form may say; everything else is a custom field.
OWN = ("email", "timezone", "company", "owner", "stage")
# In a form, a box to tick rather than a number.
_NOT_USUAL = frozenset({"sms"})
_USUAL = {
    **{own: OWN_NAMES[own] for own in ("email", "timezone", "company")},
    **FIELD_NAMES,
    "city": names_of("city, town, ville, stadt, ort, ciudad, città"),
    "country": names_of("country, country code, pays, land, país, paese"),
    "zip": names_of("zip, zip code, postal code, postcode, code postal, plz, postleitzahl"),
    "language": names_of("language, langue, sprache, preferred language"),
}
MAX_MAPPED = 200


class Reading(NamedTuple):
    """A field of a submission that is to become something of the contact."""

    field: str
    attribute: str
    # As it is kept; None when it cannot be, for which there is a problem then.
    value: Any
    # Whether the form's mapping says so, and it replaces what was there.
    is_mapped: bool
    problem: str | None = None

    @property
    def note(self) -> str:
        """What to tell of a field that did not reach the contact."""
        return f"the field {self.field!r} did not change the contact's {self.attribute!r}: {self.problem}"


def mapped_pair(text: str) -> tuple[str, str | None]:
    """Return field and attribute of `FIELD=ATTRIBUTE`; `FIELD=` leaves the field out. Raises CampaignError."""
    field, sign, attribute = text.rpartition("=")
    if not sign or not field.strip():
        raise CampaignError(f"{text[:80]!r} is not of the form FIELD=ATTRIBUTE, such as plan=plan or tel=phone")
    return field.strip(), attribute.strip() or None


def checked_mapping(pairs: Iterable[tuple[str, str | None]]) -> dict[str, str | None]:
    """Return the mapping of a form: by field, the attribute or custom field; None: nothing. Raises CampaignError."""
    found: dict[str, str | None] = {}
    for field, attribute in pairs:
        name = (attribute or "").strip()
        for what, text in (("field", field), ("attribute", name)):
            try:
                check_text(text, f"the {what} {text[:40]!r} of a mapping", most=MAX_KEY)
            except GateError as error:
                raise CampaignError(str(error)) from None
        if not field.strip():
            raise CampaignError("a mapping needs a field name; write it like plan=plan")
        if name in ATTRIBUTES and name not in OWN:
            known = ", ".join(OWN)
            raise CampaignError(f"a form cannot set {name!r} of a contact; it can set {known}, and custom fields")
        if found.setdefault(field.strip(), name or None) != (name or None):
            raise CampaignError(f"the field {field.strip()!r} is mapped twice; map it once")
    if len(found) > MAX_MAPPED:
        raise CampaignError(f"a form can map at most {MAX_MAPPED} fields")
    return found


def readings(fields: Mapping[str, Any], mapping: Mapping[str, str | None], country: str | None = None) -> list[Reading]:
    """Return what the fields of a submission say of the contact: for each attribute, one.

    `country`: by whose rules phone numbers without a country code are read, if the submission names no country.
    """
    wanted = [*_mapped(fields, mapping), *_usual(fields, mapping)]
    said = country_of(*(value for _, name, value, _ in wanted if name == "country"), country)
    found: dict[str, Reading] = {}
    for field, attribute, value, is_mapped in wanted:
        if attribute not in found:
            found[attribute] = _read(field, attribute, value, is_mapped, said)
    return list(found.values())


def change(read: Iterable[Reading], said: Said, company: str | None) -> dict[str, Any]:
    """Return readings as the data of a `contact.changed`: what the mapping says, and what the contact has not yet."""
    data: dict[str, Any] = {}
    for each in read:
        if each.problem is not None:
            continue
        if each.attribute in OWN:
            before = company if each.attribute == "company" else getattr(said, each.attribute)
            place = data
        else:
            before, place = said.fields.get(each.attribute), data.setdefault("fields", {})
        if each.is_mapped or _is_empty(before):
            place[each.attribute] = each.value
    return {name: value for name, value in data.items() if value != {}}


def lost(conn: Connection, form: Form, submitted: Sequence[tuple[str, Mapping[str, Any]]]) -> list[list[Reading]]:
    """Return, for each submission (the contact's key, fields), what of it cannot be understood."""
    ids = events.contact_ids(conn, {key for key, _ in submitted})
    said = events.said(conn, set(ids.values()))
    found = []
    for key, fields in submitted:
        own = said[ids[key]].fields.get("country") if ids.get(key) in said else None
        read = readings(fields, form.mapping, country_of(own, settings_of(conn).country))
        found.append([each for each in read if each.problem is not None])
    return found


def _mapped(fields: Mapping[str, Any], mapping: Mapping[str, str | None]) -> Iterator[tuple[str, str, Any, bool]]:
    for field, value in fields.items():
        attribute = mapping.get(field)
        if attribute is not None and not _is_empty(value):
            yield field, attribute, value, True


def _usual(fields: Mapping[str, Any], mapping: Mapping[str, str | None]) -> Iterator[tuple[str, str, Any, bool]]:
    for attribute, names in _USUAL.items():
        meant = [field for field in fields if folded(field) in names and folded(field) not in _NOT_USUAL]
        for field in sorted(meant, key=lambda field: (field != attribute, names[folded(field)])):
            if field not in mapping and not _is_empty(fields[field]):
                yield field, attribute, fields[field], False


def _read(field: str, attribute: str, value: Any, is_mapped: bool, country: str | None) -> Reading:
    readers: dict[str, Callable[[str], str]] = {
        "email": address,
        "timezone": timezone,
        "phone": partial(phone, country=country),
    }
    # A script may send a number.
    if attribute == "phone" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        value = value.strip()
    try:
        if attribute in readers or attribute in OWN or not is_mapped:
            value = _text(value)
        kept = readers[attribute](value) if attribute in readers else value
    except IdentityError as error:
        return Reading(field, attribute, None, is_mapped, str(error))
    return Reading(field, attribute, kept, is_mapped)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise IdentityError("it is not text")
    if len(value) > MAX_KEY:
        raise IdentityError(f"it is longer than {MAX_KEY} characters")
    return value


def _is_empty(value: Any) -> bool:
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())


def country_of(*said: Any) -> str | None:
    """Return the first that can be a country's code, of two letters."""
    return next((each for each in said if isinstance(each, str) and len(each.strip()) == 2), None)
