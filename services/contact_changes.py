"""What a person or a program changes of one contact: at once, with all that follows for segments and campaigns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.db.installation_settings import settings_of
from parcours.db.reads import batch
from parcours.db.reads import exports as reads
from parcours.db.tables import contacts
from parcours.domain.contacts.identity import taken
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.events.parsing import parse
from parcours.domain.segments.rule import Condition
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import Kind
from parcours.domain.time.text import iso
from parcours.ops.settings import Settings
from parcours.workers import events, intake, rules

# Channels that pages offer for "do not contact"; others can be typed.
CHANNELS = ("email", "sms", "push")


class ContactRefusedError(CampaignError):
    """The change conflicts with another contact, or with an erasure at the same moment."""


@dataclass(frozen=True)
class ContactChange:
    """What to change. `data` is that of the event `contact.changed`; the others are channels."""

    data: Mapping[str, Any] = field(default_factory=dict)
    refuse: Collection[str] = ()
    allow: Collection[str] = ()
    comment: str | None = None


@dataclass(frozen=True)
class ErasureReceipt:
    """What was erased: numbers of rows by kind, and nothing else of the contact than its key."""

    contact: str
    erased_at: datetime
    rows: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return {"contact": self.contact, "erased_at": iso(self.erased_at), "rows": dict(self.rows)}


def check_address(conn: Connection, own: int | None, email: str | None) -> None:
    """Raise ContactRefusedError when an address is that of another contact than `own`."""
    if not email or settings_of(conn).shared_addresses:
        return
    address = email.strip()
    others = contacts.holders(conn, [address]).get(address, [])
    if others and own not in {holder.id for holder in others}:
        raise ContactRefusedError(taken(address, owner=others[0].key))


def apply(engine: Engine, settings: Settings, key: str, change: ContactChange, *, source: str) -> None:
    """Change a contact, made when it is new. Raises CampaignError for what cannot be, ContactRefusedError included."""
    with engine.connect() as conn:
        check_address(conn, contacts.find(conn, key), change.data.get("email"))
    if change.data or not (change.refuse or change.allow):
        happened(engine, settings, "contact.changed", key, change.data, source=source)
    if change.refuse or change.allow:
        _set_refusals(engine, settings, key, change)


def erase(engine: Engine, settings: Settings, key: str, *, source: str) -> ErasureReceipt:
    """Erase a contact for good. Raises NotFoundError."""
    with engine.connect() as conn:
        found = contacts.show(conn, key)
        if found is None:
            raise NotFoundError("contact", key)
        counted = reads.rows_of(conn, found.id)
        at = database_now(conn)
    happened(engine, settings, "contact.deleted", key, {}, source=source)
    return ErasureReceipt(key, at, counted)


def happened(engine: Engine, settings: Settings, type_: str, key: str, data: Mapping[str, Any], *, source: str) -> None:
    """Take in an event of a contact and act on it. Raises EventError, and ContactRefusedError when it is rejected."""
    with engine.connect() as conn:
        now = database_now(conn)
    about = {"specversion": "1.0", "id": str(uuid4()), "source": source, "type": type_, "subject": key}
    event = parse({**about, "data": dict(data)}, now=now)
    taken = intake.take_in(engine, [event], unknown_contacts="create")
    if taken.rejected:
        raise ContactRefusedError(taken.rejected[0][1])
    events.act_on_all(engine, [event.contact], zone=settings.zone, stop=settings.stop_rule)


def _set_refusals(engine: Engine, settings: Settings, key: str, change: ContactChange) -> None:
    """Set and take back "do not contact", as the steps of campaigns do."""
    now = partitions.begin(engine)
    with engine.begin() as conn:
        id_ = contacts.find(conn, key)
        if id_ is None or not batch.lock(conn, [id_]):
            raise NotFoundError("contact", key)
        facts = batch.load_rules(conn, [_asks_refusals()], [id_], now=now)
        contact = facts.contacts[id_]
        gone = frozenset(change.allow)
        kept = {channel: why for channel, why in contact.do_not_contact.items() if channel not in gone}
        new = [channel for channel in change.refuse if kept.get(channel) != "unsubscribed"]
        contact.do_not_contact = kept | dict.fromkeys(new, "manual")
        contact.refused_by_hand = frozenset(change.refuse)
        if change.comment:
            contact.refusal_comments = dict.fromkeys(change.refuse, change.comment)
        batch.save(conn, facts, now=now)
        rules.follow(conn, now=now, zone=settings.zone)


@cache
def _asks_refusals() -> Condition:
    """Return a rule that has what is refused loaded."""
    type_ = step_type(Kind.CONDITION, "contact.dnc")
    return Condition(type_, type_.properties.model_validate({"channels": ["email"]}))
