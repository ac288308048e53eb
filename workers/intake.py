"""Contact events from their queue or HTTP into the inbox: each stored once, rejected ones told why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import structlog
from sqlalchemy import Connection, Engine

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.db.faults import Fault, blames_the_data, fault_of
from parcours.db.tables import campaigns, events, merging, refusals, traces
from parcours.db.tables.refusals import Reason
from parcours.db.tables.traces import Traces
from parcours.domain.events.parsing import ContactEvent, EventError, channel_of
from parcours.domain.events.table import SEGMENT_TYPES
from parcours.domain.messages.text_commands import command_of

log = structlog.get_logger()

# Why an event of an erased contact is rejected. It is kept nowhere, not with the dead letters either.
ERASED = "the contact was erased after this happened"

UNKNOWN = (
    "the contact is unknown, and PARCOURS_UNKNOWN_CONTACTS is reject; import the contact, or set it to create, and "
    "send the event again"
)
# Characters of an address that are told again.
MAX_SHOWN = 320

# What events say of an address that they name: why it refuses a channel, or that somebody is back there.
_ABOUT_ADDRESSES: dict[str, Reason | Literal["back"]] = {
    "email.unsubscribed": "unsubscribed",
    "email.bounced": "bounced",
    "email.resubscribed": "back",
}
_COMMANDS: dict[str, Reason | Literal["back"]] = {"stop": "unsubscribed", "start": "back"}


@dataclass(slots=True)
class Accepted:
    """What became of events that were offered: positions count from 0."""

    accepted: int = 0
    duplicates: int = 0
    # Which were known already.
    known: list[int] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)


def understood(read: Callable[[], ContactEvent]) -> ContactEvent:
    """Return the event that a function reads. Raises EventError when it cannot, and nothing else."""
    try:
        return read()
    except EventError:
        raise
    except Exception as error:
        # A defect of ours, and no reason to stop what comes behind it.
        log.exception("event_not_understood")
        raise EventError(_unexpected(error)) from error


def _unexpected(error: BaseException) -> str:
    return (
        f"unexpected error ({type(error).__name__}); see the log; after fixing the cause, send it again or "
        "replay its dead letter with `parcours dead-letters replay`"
    )


def accept(
    conn: Connection,
    offered: Sequence[ContactEvent],
    *,
    now: datetime,
    unknown_contacts: Literal["create", "reject"],
) -> Accepted:
    """Put events into the inbox, each once; return what became of them. Accepted means stored.

    An event of somebody unknown makes the contact, unless the setting says otherwise. One that names a
    segment or form that does not exist is rejected, and may be offered again later. One that cannot be stored is
    rejected as well, and holds back none of the others.
    """
    try:
        with conn.begin_nested():
            return _accept(conn, offered, now=now, unknown_contacts=unknown_contacts)
    except Exception as error:
        if not blames_the_data(error):
            raise
        if len(offered) == 1:
            return Accepted(rejected=[(0, _refusal(error))])
    # Halved until the guilty are alone. The first half is stored before the second is looked at, as in one batch.
    done = Accepted()
    half = len(offered) // 2
    for first, part in ((0, offered[:half]), (half, offered[half:])):
        of_part = accept(conn, part, now=now, unknown_contacts=unknown_contacts)
        done.accepted += of_part.accepted
        done.duplicates += of_part.duplicates
        done.known += [first + index for index in of_part.known]
        done.rejected += [(first + index, reason) for index, reason in of_part.rejected]
    return done


def _refusal(error: BaseException) -> str:
    if fault_of(error) is Fault.ROW:
        why = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
        log.warning("event_refused", error=type(getattr(error, "orig", error)).__name__)
        return f"the database cannot store it ({why[0][:200]}); correct the event and send it again"
    log.error("event_not_stored", exc_info=error)
    return _unexpected(error)


def _accept(
    conn: Connection,
    offered: Sequence[ContactEvent],
    *,
    now: datetime,
    unknown_contacts: Literal["create", "reject"],
) -> Accepted:
    done = Accepted()
    good = _acceptable(conn, offered, done, unknown_contacts)
    new = events.remember(conn, [event for _, event in good], now=now)
    fresh = []
    for index, event in good:
        if (event.source, event.id) in new:
            # A repetition inside the batch finds its key gone.
            new.discard((event.source, event.id))
            fresh.append(event)
        else:
            done.duplicates += 1
            done.known.append(index)
    done.accepted = len(fresh)
    keys = {event.contact for event in fresh}
    ids = events.contact_ids(conn, keys)
    missing = {event.contact for event in fresh if event.contact not in ids and event.type != "contact.deleted"}
    if missing:
        events.make_contacts(conn, missing)
        ids |= events.contact_ids(conn, missing)
    # Upstream deletes who was merged into another: that is the end of the key, and not of the survivor.
    forgotten = merging.forget(conn, {event.contact: event.at for event in fresh if event.type == "contact.deleted"})
    fresh = [event for event in fresh if event.type != "contact.deleted" or event.contact not in forgotten]
    events.store(conn, [(ids[event.contact], event) for event in fresh if event.contact in ids], now=now)
    # Somebody we never heard of is erased by remembering not to make them.
    unheard = {event.contact: event.at for event in fresh if event.contact not in ids}
    events.tombstone(conn, unheard)
    if unheard or forgotten:
        # Nobody's by now, and yet dead letters may tell of them.
        traces.wipe(conn, Traces(keys=frozenset(unheard.keys() | forgotten)))
    return done


def _acceptable(
    conn: Connection, offered: Sequence[ContactEvent], done: Accepted, unknown_contacts: str
) -> list[tuple[int, ContactEvent]]:
    about_segments = [event.data["segment"] for event in offered if event.type in SEGMENT_TYPES]
    about_forms = [event.data["form"] for event in offered if event.type == "form.submitted"]
    segments = campaigns.named(conn, "segments", set(about_segments))
    known_forms = campaigns.named(conn, "forms", set(about_forms))
    keys = {event.contact for event in offered}
    known = events.contact_ids(conn, keys)
    gone = events.erased(conn, keys - set(known))
    good = []
    for index, event in enumerate(offered):
        reason = None
        if event.contact in gone and event.at <= gone[event.contact] and event.type != "contact.deleted":
            reason = ERASED
        elif event.type in SEGMENT_TYPES and event.data["segment"] not in segments:
            reason = f"there is no segment {event.data['segment']!r}; create it with `parcours segments create`"
        elif event.type == "form.submitted" and event.data["form"] not in known_forms:
            reason = f"there is no form {event.data['form']!r}; create it with `parcours forms create`"
        elif event.contact not in known and unknown_contacts == "reject" and event.type != "contact.deleted":
            reason = UNKNOWN
            # What it says of an address is not about the contact alone.
            address = heed_address(conn, event)
            if address is not None:
                reason += f"; its report about {address[:MAX_SHOWN]} is stored"
        if reason is None:
            good.append((index, event))
        else:
            done.rejected.append((index, reason))
    return good


def heed_address(conn: Connection, event: ContactEvent) -> str | None:
    """Keep what an event that is no contact's says of an address; return the address, None when it says nothing.

    It binds whoever has the address, now or later.
    """
    channel, name, reason = "email", "address", _ABOUT_ADDRESSES.get(event.type)
    if event.type == "sms.replied":
        channel, name, reason = "sms", "from", _COMMANDS.get(command_of(event.data.get("text")) or "")
    elif event.type in ("email.unsubscribed", "email.resubscribed"):
        channel = channel_of(event.data)
    elif event.data.get("kind") == "soft":
        return None
    address = event.data.get(name)
    if reason is None or not isinstance(address, str):
        return None
    heard = refusals.heard(conn, channel, address, None if reason == "back" else reason, event.at)
    return address.strip() if heard else None


def take_in(
    engine: Engine,
    offered: Sequence[ContactEvent],
    *,
    unknown_contacts: Literal["create", "reject"],
    now: datetime | None = None,
) -> Accepted:
    """Accept events in a transaction of their own: when this returns, they are stored. `now`: as of then, if given."""
    partitions.begin(engine, now)
    with engine.begin() as conn:
        return accept(conn, offered, now=now or database_now(conn), unknown_contacts=unknown_contacts)
