"""Making, changing, erasing and exporting one contact."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db.tables import contacts, stages
from parcours.db.tables.contacts import Shown
from parcours.domain.contacts import identity, tags
from parcours.domain.contacts.contact import ATTRIBUTES
from parcours.domain.contacts.names import FIRST, LAST, full_name
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.keys import KEY_LENGTH, checked_key
from parcours.services import contact_changes, contact_export
from parcours.services.contact_changes import CHANNELS, ContactChange
from parcours.web.context import Site
from parcours.web.i18n import labels
from parcours.web.i18n.language import _, as_typed, typed_number
from parcours.web.pages import FOR_EDITORS, FormOf, SiteOf, pages_router
from parcours.web.pages.rendering import ask_for_good, redirect, render
from parcours.web.paging import address
from parcours.web.security.access import FormBody

router = pages_router()

SOURCE = "parcours/pages"
BLANK_ROWS = 2


@dataclass
class ContactDraft:
    """What stands in the form, right or wrong."""

    title: str = ""
    key: str = ""
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    timezone: str = ""
    stage: str = ""
    owner: str = ""
    tags: str = ""
    fields: list[tuple[str, str]] = field(default_factory=lambda: [("", "")] * BLANK_ROWS)
    refuse: tuple[str, ...] = ()
    comment: str = ""
    # Channel to why it is refused now.
    why: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_contact(cls, contact: Shown) -> ContactDraft:
        own = {name: value or "" for name, value in vars_of(contact).items()}
        rest = [(name, as_text(value)) for name, value in sorted(contact.fields.items()) if name not in (FIRST, LAST)]
        refused = {each.channel: labels.word(labels.REFUSALS, each.reason) for each in contact.refusals}
        return cls(
            **own,
            title=full_name(contact.fields) or contact.key,
            key=contact.key,
            first_name=as_text(contact.fields.get(FIRST)),
            last_name=as_text(contact.fields.get(LAST)),
            tags=", ".join(contact.tags),
            fields=[*rest, *[("", "")] * BLANK_ROWS],
            refuse=tuple(refused),
            why=refused,
        )

    @classmethod
    def of_form(cls, form: FormBody, contact: Shown | None) -> ContactDraft:
        texts = {
            name: form.text(name).strip()
            for name in ("key", "first_name", "last_name", "email", "timezone", "stage", "owner", "tags", "comment")
        }
        pairs = [
            (name.strip(), value.strip()) for name, value in zip(form.all("field"), form.all("value"), strict=False)
        ]
        before = cls() if contact is None else cls.of_contact(contact)
        return cls(
            **texts,
            title=before.title,
            fields=[pair for pair in pairs if any(pair)] + [("", "")] * BLANK_ROWS,
            refuse=tuple(dict.fromkeys(form.all("refuse"))),
            why=before.why,
        )


def vars_of(contact: Shown) -> dict[str, str | None]:
    """Return the attributes that are texts."""
    return {name: getattr(contact, name) for name in ("email", "timezone", "stage", "owner")}


def as_text(value: Any) -> str:
    """Return the value of a field as the form shows it."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return as_typed(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@router.get("/contacts/+new", dependencies=FOR_EDITORS)
def ask_new(request: Request, site: SiteOf) -> Response:
    """The form of a new contact."""
    return _page(request, site, ContactDraft(), None)


@router.post("/contacts/+new")
def create(request: Request, site: SiteOf, form: FormOf) -> Response:
    """Make a contact."""
    draft = ContactDraft.of_form(form, None)
    if "more" in form:
        return _page(request, site, draft, None)
    change, errors = read(draft, None)
    key = draft.key or draft.email or "-".join(filter(None, (draft.first_name, draft.last_name))).lower()
    with site.engine.connect() as conn:
        if not draft.key and not draft.email and key and contacts.find(conn, key) is not None:
            # Two people may have one name.
            key = f"{key}-{uuid4().hex[:6]}"
        if not key:
            errors["email"] = [_("Enter a name, an email address or a key.")]
        elif "\0" in key or len(key) > KEY_LENGTH:
            errors["key"] = [_("Enter a key of at most {n} characters.", n=KEY_LENGTH)]
        elif contacts.find(conn, key) is not None:
            errors["key" if draft.key else "email"] = [_("A contact with this key or email already exists.")]
    if errors:
        return _page(request, site, draft, None, errors)
    return _save(request, site, draft, None, checked_key("contact", key), change)


@router.get("/contacts/{key:path}/edit", dependencies=FOR_EDITORS)
def ask_edit(request: Request, site: SiteOf, key: str) -> Response:
    """The form of a contact as it is."""
    with site.engine.connect() as conn:
        contact = found_contact(conn, key)
    return _page(request, site, ContactDraft.of_contact(contact), contact)


@router.post("/contacts/{key:path}/edit")
def edit(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """Change a contact: what the form changed, and nothing that somebody else changed meanwhile."""
    with site.engine.connect() as conn:
        contact = found_contact(conn, key)
    draft = ContactDraft.of_form(form, contact)
    if "more" in form:
        return _page(request, site, draft, contact)
    change, errors = read(draft, contact)
    if errors:
        return _page(request, site, draft, contact, errors)
    return _save(request, site, draft, contact, contact.key, change)


@router.get("/contacts/{key:path}/erase", dependencies=FOR_EDITORS)
def ask_erase(request: Request, site: SiteOf, key: str) -> Response:
    """Say what erasing a contact means."""
    with site.engine.connect() as conn:
        contact = found_contact(conn, key)
    own = address("contacts", contact.key)
    return ask_for_good(
        request,
        own,
        "erase",
        question=_("Erase {contact}?", contact=full_name(contact.fields) or contact.key),
        consequences=[
            _("All data about the contact is deleted: attributes, history, messages and memberships."),
            _("This cannot be undone. To stop messages only, edit the contact and set “do not contact”."),
        ],
        label=_("Erase"),
    )


@router.post("/contacts/{key:path}/erase")
def erase(request: Request, site: SiteOf, key: str) -> Response:
    """Erase a contact, and show the receipt, which is kept nowhere."""
    with site.engine.connect() as conn:
        contact = found_contact(conn, key)
    receipt = contact_changes.erase(site.engine, site.settings, contact.key, source=SOURCE)
    return render(request, "contacts/erased.html", receipt=receipt, words=labels)


@router.get("/contacts/{key:path}/export")
def export(site: SiteOf, key: str) -> Response:
    """Everything about a contact, as a file."""
    with site.engine.connect() as conn:
        whole = contact_export.whole_contact(conn, key, site.zone)
    body = json.dumps(whole, ensure_ascii=False, indent=2, default=str)
    headers = {"Content-Disposition": 'attachment; filename="contact.json"'}
    return Response(body, media_type="application/json", headers=headers)


def found_contact(conn: Connection, key: str) -> Shown:
    """Return a contact. Raises NotFoundError."""
    contact = contacts.show(conn, key)
    if contact is None:
        raise NotFoundError("contact", key)
    return contact


def read(draft: ContactDraft, contact: Shown | None) -> tuple[ContactChange, dict[str, list[str]]]:
    """Return what a form changes of a contact, and what is wrong in it by field."""
    errors: dict[str, list[str]] = {}
    data: dict[str, Any] = {}
    before = ContactDraft() if contact is None else ContactDraft.of_contact(contact)
    for name in ("email", "timezone", "stage", "owner"):
        text = getattr(draft, name)
        if text == getattr(before, name):
            continue
        data[name] = text or None
        try:
            if text and name in ("email", "timezone"):
                data[name] = identity.address(text) if name == "email" else identity.timezone(text)
        except identity.IdentityError as error:
            errors[name] = [str(error)]
        if len(text) > KEY_LENGTH:
            errors[name] = [_("Enter at most {n} characters.", n=KEY_LENGTH)]
    fields = dict(_changed_fields(draft, before, {} if contact is None else contact.fields, errors))
    if fields:
        data["fields"] = fields
    wanted = [tag.strip() for tag in tags.split(draft.tags.replace("\n", ",")) if tag.strip()]
    why = next((why for tag in wanted if (why := tags.why_not_one(tag))), None)
    if why or any(len(tag) > KEY_LENGTH for tag in wanted):
        errors["tags"] = [why or _("Enter at most {n} characters.", n=KEY_LENGTH)]
    had = [] if contact is None else contact.tags
    added, removed = [tag for tag in wanted if tag not in had], [tag for tag in had if tag not in wanted]
    if added or removed:
        data["tags"] = {"add": added, "remove": removed}
    refuse = [each for each in draft.refuse if each in CHANNELS and each not in before.refuse]
    allow = [each for each in before.refuse if each in CHANNELS and each not in draft.refuse]
    return ContactChange(data, refuse, allow, draft.comment or None), errors


def _changed_fields(
    draft: ContactDraft, before: ContactDraft, values: Mapping[str, Any], errors: dict[str, list[str]]
) -> Iterator[tuple[str, Any]]:
    """Yield the fields that a form sets or removes, each in the type that it had."""
    had = {name: text for name, text in before.fields if name} | {FIRST: before.first_name, LAST: before.last_name}
    if any(text for name, text in draft.fields if not name):
        errors["fields"] = [_("A value has no name. Enter the name of its field.")]
    named = {name: text for name, text in draft.fields if name}
    given = named | {FIRST: draft.first_name, LAST: draft.last_name}
    for name, text in ((FIRST, draft.first_name), (LAST, draft.last_name)):
        if len(text) > KEY_LENGTH and text != had.get(name, ""):
            errors[name] = [_("Enter at most {n} characters.", n=KEY_LENGTH)]
    for name, text in given.items():
        if name in ATTRIBUTES or len(name) > KEY_LENGTH:
            errors["fields"] = [_("“{name}” cannot be the name of a custom field.", name=name[:60])]
            continue
        if text != had.get(name, ""):
            yield name, _typed(text, values.get(name))
    for name in had.keys() - given.keys():
        yield name, None


def _typed(text: str, before: Any) -> Any:
    """Return a typed value: what was no text stays none, if what was typed allows."""
    if not text:
        return None
    if before is not None and not isinstance(before, str):
        if isinstance(before, int | float) and (typed := typed_number(text)) is not None:
            return typed
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return found if isinstance(found, int | float | bool | list | dict) else text
    return text


def _save(
    request: Request, site: Site, draft: ContactDraft, contact: Shown | None, key: str, change: ContactChange
) -> Response:
    if contact is not None and not (change.data or change.refuse or change.allow):
        # Nothing happened to the contact, and its history says so.
        return redirect(request, address("contacts", key), flash=_("Nothing was changed."))
    try:
        contact_changes.apply(site.engine, site.settings, key, change, source=SOURCE)
    except CampaignError as error:
        return _page(request, site, draft, contact, {"email" if change.data.get("email") else "fields": [str(error)]})
    said = _("The contact was created.") if contact is None else _("The contact was saved.")
    return redirect(request, address("contacts", key), flash=said)


def _page(
    request: Request,
    site: Site,
    draft: ContactDraft,
    contact: Shown | None,
    errors: Mapping[str, Sequence[str]] | None = None,
) -> Response:
    with site.engine.connect() as conn:
        known = [each.key for each in stages.listed(conn)]
    own = None if contact is None else address("contacts", contact.key)
    return render(
        request,
        "contacts/form.html",
        400 if errors else 200,
        draft=draft,
        key=None if contact is None else contact.key,
        action=f"{own}/edit" if own else "/contacts/+new",
        back=own or "/contacts",
        errors=dict(errors or {}),
        stages=known,
        zones=identity.timezones(),
        zone=site.zone.key,
        channels=list(dict.fromkeys([*CHANNELS, *(each for each in draft.refuse if each in CHANNELS)])),
        words=labels,
    )
