"""Contact events: accepted into the inbox, then acted on, contact by contact in order, many contacts at once.

Accepting is quick and never waits for a campaign; acting is one transaction from the inbox to the last
effect: the contact, segments and forms, campaigns joined and left, decisions taken, history."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, Engine

from parcours.db import partitions, touched
from parcours.db.clock import now as database_now
from parcours.db.faults import Fault, blames_the_data, fault_of
from parcours.db.installation_settings import settings_of
from parcours.db.reads import batch as facts
from parcours.db.reads import email_figures
from parcours.db.scope import Scope
from parcours.db.tables import (
    campaigns,
    companies,
    contacts,
    erasure,
    events,
    forms,
    merging,
    outcomes,
    policies,
    refusals,
    scores,
    traces,
    waits,
)
from parcours.db.tables.events import DeadEvent, Pending
from parcours.db.tables.refusals import RefusalChange
from parcours.domain.campaign import StopRule
from parcours.domain.contacts.changes import change
from parcours.domain.contacts.identity import in_use, same_address
from parcours.domain.events.facts import as_facts
from parcours.domain.events.parsing import CLAIMED, ContactEvent, channel_of
from parcours.domain.events.table import EVENT_TYPES, SEGMENT_TYPES, event_type
from parcours.domain.events.utm import utm_of
from parcours.domain.events.visitors import is_automatic
from parcours.domain.messages.policy import Rule
from parcours.domain.messages.text_commands import command_of
from parcours.domain.steps.batch import Fact
from parcours.domain.steps.properties import MAX_KEY
from parcours.ops import metrics
from parcours.ops.logs import described
from parcours.producers import form_fields
from parcours.workers import decisions, entries, local_time, membership, rules
from parcours.workers.decisions import Reacted, Unjudged
from parcours.workers.executor import BY_DEFAULT, execute_due, reason_of
from parcours.workers.forms import submit
from parcours.workers.intake import Accepted, heed_address

log = structlog.get_logger()

# Contacts of one batch, and events of each in it: a contact with a flood of events takes turns.
CONTACTS_AT_ONCE = 500

EVENTS_EACH = 20

# So often in a row a batch may lose a deadlock.
DEADLOCKS = 5

# Where events waited so long, acting on the next ones comes first; ticks find the steps and workers do them.
BEHIND_SECONDS = 1.0


def heed(conn: Connection, offered: Sequence[ContactEvent], *, now: datetime) -> Accepted:
    """Keep what numbers that no contact has asked for in text messages, each once; return what became of them.

    There is nobody whose event it could be; whoever has the number later is bound by it.
    """
    done = Accepted()
    new = events.remember(conn, offered, now=now)
    for index, event in enumerate(offered):
        if (event.source, event.id) not in new:
            done.duplicates += 1
            continue
        new.discard((event.source, event.id))
        if heed_address(conn, event) is not None:
            done.accepted += 1
        else:
            done.rejected.append(
                (index, "`from` is not a phone number; write it with the country code, like +33612345678")
            )
    return done


@dataclass(slots=True)
class Acted:
    """What a batch came to: events, what followed from them, and the oldest one's age in seconds."""

    events: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    lag_seconds: float = 0.0
    # Contacts who entered a campaign and have a step that is due already.
    due: set[int] = field(default_factory=set)


def act_once(
    engine: Engine,
    *,
    zone: ZoneInfo,
    stop: StopRule = BY_DEFAULT,
    of: Collection[str] | None = None,
    now: datetime | None = None,
) -> Acted:
    """Act on one batch of the inbox, or of what is there of the contacts named, in a transaction of its own.

    A batch that raises is done in halves, each in its own transaction, until the guilty contacts are alone, and
    then event by event: one that cannot be acted on leaves the inbox for the dead letters, with the reason.
    What is due at once for whom the events let into campaigns is then done as well, and waits for no tick; not where
    contacts are named, whose caller decides.
    Raises only what says nothing about the events: the database is away. `now`: as of then, if given.
    """
    partitions.begin(engine, now)
    began = time.monotonic()
    acted = _Acting(engine, zone, stop, now).batch(of)
    if of is None and now is None and acted.lag_seconds < BEHIND_SECONDS:
        _begin_steps(engine, acted.due, zone=zone, stop=stop)
    # Also of those who were unknown and needed no act.
    traces.wipe_noted(engine)
    if acted.events:
        # The lag ends where the transaction began; what followed from the event is there at its end.
        metrics.DECISION_SECONDS.observe(acted.lag_seconds + time.monotonic() - began)
    return acted


def _begin_steps(engine: Engine, contact_ids: Collection[int], *, zone: ZoneInfo, stop: StopRule) -> None:
    """Do what is due of contacts who entered a moment ago."""
    if not contact_ids:
        return
    scope = Scope(contact_ids=tuple(contact_ids))
    with engine.connect() as conn:
        now = database_now(conn)
        campaigns.read_by_index(conn)
        steps = [
            step
            for step in waits.due_steps(conn, now=now, scope=scope)
            if campaigns.is_readable(conn, step.campaign_id)
        ]
    for step in steps:
        more = True
        while more:  # of each contact several runs may have begun
            with engine.begin() as conn:
                done = execute_due(
                    conn, step.step_id, now=now, limit=len(contact_ids), zone=zone, scope=scope, stop=stop
                )
            more = done.more


@dataclass
class _Acting:
    """Acting on a batch, whose bad events stop nobody."""

    engine: Engine
    zone: ZoneInfo
    stop: StopRule
    now: datetime | None = None
    done: Acted = field(default_factory=Acted)

    def batch(self, of: Collection[str] | None) -> Acted:
        # What was taken by the try that failed.
        taken: list[Pending] = []

        def some(conn: Connection) -> Acted:
            taken.clear()
            return _act_on(
                conn, _pending(conn, of), taken, now=self.now or database_now(conn), zone=self.zone, stop=self.stop
            )

        error = self._try(some)
        if error is not None:
            if not taken:
                raise error
            self._apart(list(dict.fromkeys(event.contact_id for event in taken)), error)
        return self.done

    def _apart(self, contacts: Sequence[int], error: Exception) -> None:
        """Act on contacts of whom somebody made a batch fail."""
        if len(contacts) == 1:
            self._one_by_one(contacts[0])
            return
        middle = len(contacts) // 2
        for half in (contacts[:middle], contacts[middle:]):
            failed = self._try(partial(self._act_on, half, EVENTS_EACH, []))
            if failed is not None:
                self._apart(half, failed)

    def _one_by_one(self, contact_id: int) -> None:
        """Act on a contact's events, each by itself; those that cannot be acted on become dead letters."""
        for _ in range(EVENTS_EACH):
            before = self.done.events
            taken: list[Pending] = []
            error = self._try(partial(self._act_on, [contact_id], 1, taken))
            if error is not None and taken:
                self._give_up(taken[0], error)
            elif error is not None:
                raise error
            elif self.done.events == before:
                return

    def _act_on(self, contact_ids: Sequence[int], each: int, taken: list[Pending], conn: Connection) -> Acted:
        taken.clear()
        free = events.lock_pending(conn, contact_ids)
        return _act_on(conn, free, taken, each=each, now=self.now or database_now(conn), zone=self.zone, stop=self.stop)

    def _give_up(self, event: Pending, error: Exception) -> None:
        log.error("event_buried", event_type=event.type, contact_id=event.contact_id, **described(error))
        reason = (
            f"it could not be processed: {reason_of(error)}; fix the cause, then run `parcours dead-letters replay`"
        )
        with self.engine.begin() as conn:
            moved = events.move_to_dead_letters(conn, event, reason, now=self.now or database_now(conn))
        self.done.events += moved
        self.done.counts["dead letters"] += moved

    def _try(self, work: Callable[[Connection], Acted]) -> Exception | None:
        """Do work in a transaction of its own; return the error when that is for what is in its hands.

        Batches of different contacts may meet at a company of both, in one order here and in another there. Who
        loses such a deadlock has done nothing, and begins again.
        """
        for left in reversed(range(DEADLOCKS)):
            try:
                with self.engine.begin() as conn:
                    acted = work(conn)
            except Exception as error:
                if fault_of(error) is Fault.AGAIN and left:
                    continue
                if not blames_the_data(error):
                    raise
                return error
            self.done.events += acted.events
            self.done.counts += acted.counts
            self.done.due |= acted.due
            self.done.lag_seconds = max(self.done.lag_seconds, acted.lag_seconds)
            break
        return None


def act_on_all(
    engine: Engine,
    contact_keys: Iterable[str],
    *,
    zone: ZoneInfo,
    stop: StopRule = BY_DEFAULT,
    now: datetime | None = None,
) -> Counter[str]:
    """Act until nothing of these contacts is left in the inbox, in other hands or not; return what followed."""
    counts: Counter[str] = Counter()
    keys = list(contact_keys)
    while True:
        batch = act_once(engine, zone=zone, stop=stop, of=keys, now=now)
        counts += batch.counts
        if batch.events:
            continue
        with engine.connect() as conn:
            if not events.has_pending_of(conn, keys):
                return counts
        time.sleep(0.02)


def act(
    conn: Connection,
    *,
    now: datetime,
    zone: ZoneInfo,
    stop: StopRule = BY_DEFAULT,
    of: Collection[str] | None = None,
) -> Acted:
    """Act on the oldest events of the inbox, as many contacts as make a batch; 0 events when there are none free.

    `of`: only on those of the contacts with these keys.

    A contact's events are done in their order, by one worker, under the contact's lock.
    """
    return _act_on(conn, _pending(conn, of), [], now=now, zone=zone, stop=stop)


def _pending(conn: Connection, of: Collection[str] | None) -> list[int]:
    if of is None:
        return events.pending_contacts(conn, CONTACTS_AT_ONCE)
    return events.pending_of(conn, of, CONTACTS_AT_ONCE)


def _act_on(
    conn: Connection,
    pending: Sequence[int],
    taken: list[Pending],
    *,
    each: int = EVENTS_EACH,
    now: datetime,
    zone: ZoneInfo,
    stop: StopRule,
) -> Acted:
    """Act on the oldest events of contacts, whose locks the caller holds; adds what it takes to `taken`."""
    free = erasure.without_those_in_other_hands(conn, merging.without_those_in_merges(conn, pending))
    taken += events.take(conn, free, each=each)
    if not taken:
        return Acted()
    by_contact: dict[int, list[Pending]] = {}
    # Who is new, or was changed by somebody who did not hold them, is asked about with the first event.
    rules.take_up(conn, [event.contact_id for event in taken])
    for event in taken:
        by_contact.setdefault(event.contact_id, []).append(event)
    counts: Counter[str] = Counter()
    # Contact id to key and time.
    erased: dict[int, tuple[str, datetime]] = {}
    # Who was deleted by a step of a campaign: what else they did happened before, and goes as well.
    deleted: set[int] = set()
    late: list[Pending] = []
    # What a decision could not judge, and why; it is acted on otherwise.
    letters: list[DeadEvent] = []
    for nth in range(max(map(len, by_contact.values()))):
        once = [found[nth] for found in by_contact.values() if nth < len(found)]
        late += [event for event in once if event.contact_id in erased]
        present = [event for event in once if event.contact_id not in erased and event.contact_id not in deleted]
        followed = _act_once(conn, present, erased, late, letters, now=now, zone=zone, stop=stop)
        counts += followed
        if followed["erased"]:
            seen = {event.contact_id for event in present} - erased.keys()
            deleted |= seen - set(facts.lock(conn, seen))
        _keep(conn, [event for event in present if event.contact_id not in erased and event.contact_id not in deleted])
        # With its history, which rules may read.
        rules.follow(conn, now=now, zone=zone, since={event.contact_id: event.at for event in present})
    if any(event_type(event.type).changes_attributes for event in taken):
        local_time.follow(conn, now=now, zone=zone, of=by_contact)
    _begin_again(conn, erased, late, now)
    gone = erased.keys() | deleted
    past = [event for event in [*taken, *late] if event.contact_id in gone and event.type != "contact.deleted"]
    events.forget_ids(
        conn,
        [
            (event.source, event.id)
            for event in past
            if event.at <= (erased[event.contact_id][1] if event.contact_id in erased else now)
        ],
    )
    letters = [letter for letter in letters if letter.event.contact_id not in gone]
    events.add_dead_events(conn, letters, now=now)
    counts["dead letters"] += len(letters)
    lag = (now - min(event.received_at for event in taken)).total_seconds()
    return Acted(len(taken), counts, lag, touched.take_due(conn))


def _keep(conn: Connection, kept: Sequence[Pending]) -> None:
    """Write events to the history of their contacts."""
    events.keep(conn, kept)
    events.seen_active(conn, [(event.contact_id, event.at) for event in kept if _is_activity(event)])


def _is_activity(event: Pending) -> bool:
    return not event_type(event.type).about_the_contact and not is_automatic(event.type, event.data)


def _act_once(
    conn: Connection,
    once: Sequence[Pending],
    erased: dict[int, tuple[str, datetime]],
    late: list[Pending],
    letters: list[DeadEvent],
    *,
    now: datetime,
    zone: ZoneInfo,
    stop: StopRule,
) -> Counter[str]:
    """Act on at most one event of each contact: what it changes, then who joins and leaves, then decisions.

    Adds who was erased to `erased`, what was still in their inbox to `late`, and what a decision could not
    judge to `letters`, with the reason.
    """
    by_type: dict[str, list[Pending]] = {}
    for event in once:
        by_type.setdefault(event.type, []).append(event)
    counts: Counter[str] = Counter()
    _merge_contacts(conn, by_type.get("contact.merged", []), now)
    submitted = by_type.get("form.submitted", [])
    _change_contacts(conn, [*by_type.get("contact.changed", []), *_said_in_forms(conn, submitted)], now)
    for type_, active in SEGMENT_TYPES.items():
        counts += _change_segments(conn, by_type.get(type_, []), active=active, now=now, zone=zone)
    _note_channels(conn, by_type)
    _note_pages(conn, by_type.get("page.hit", []), now)
    found = [(event, utm_of(event.type, event.data)) for event in once]
    scores.came_from(conn, {event.contact_id: (event.at, utm) for event, utm in found if utm})
    others = [event for event in once if event.type != "form.submitted" and _is_activity(event)]
    # First who is out by it, last who is in: what begins a run answers none of its decisions.
    heeded = [event for event in once if event.heeded and _is_activity(event)]
    acts = {event.contact_id: Fact(event.type, event.data, event.at) for event in heeded}
    entries.reach(conn, acts, zone=zone)
    counts += entries.leave(conn, acts, now=now, zone=zone)
    filled_in = _submit_forms(conn, submitted, now=now, zone=zone, stop=stop)
    reacted = decisions.react(conn, _facts(conn, others), now=now, zone=zone, stop=stop)
    counts += filled_in.counts + reacted.counts
    counts += entries.enter(conn, acts, now=now, zone=zone)
    raised = filled_in.raised | reacted.raised
    letters += [_letter(event, raised[event.contact_id]) for event in once if event.contact_id in raised]
    deleted = by_type.get("contact.deleted", [])
    at = {event.contact_id: event.at for event in deleted}
    if at:
        late += events.take_all(conn, at)
        erased.update({id_: (key, at[id_]) for id_, key in erasure.erase(conn, at).items()})
    return counts


def _letter(event: Pending, unjudged: Sequence[Unjudged]) -> DeadEvent:
    reason = "; ".join(map(str, unjudged))
    mend = "fix the cause, then run `parcours dead-letters replay`"
    return DeadEvent(event, f"{reason}; {mend}", [each.place for each in unjudged])


@dataclass(slots=True)
class JudgedAgain:
    """What became of events that decisions could not judge before: contacts that moved on, and who is still dead."""

    counts: Counter[str] = field(default_factory=Counter)
    letters: list[DeadEvent] = field(default_factory=list)


def judge_again(
    conn: Connection,
    happened: Sequence[tuple[ContactEvent, Sequence[str]]],
    *,
    now: datetime,
    zone: ZoneInfo,
    stop: StopRule = BY_DEFAULT,
) -> JudgedAgain:
    """Ask the decisions that could not judge events, by their places, once more; all else of the events is done.

    Whoever stands at the decision no longer is left alone. An event of which it still raises, or whose campaign does
    not run now, is returned as a letter, and holds back none of the others.
    """
    done = JudgedAgain()
    ids = events.contact_ids(conn, {event.contact for event, _ in happened})
    locked = set(facts.lock(conn, set(ids.values())))
    for event, places in happened:
        contact_id = ids.get(event.contact)
        if contact_id not in locked or contact_id is None:
            continue
        pending = Pending(contact_id, 0, now, event.source, event.id, event.type, event.at, event.data)
        idle = _not_running(conn, places, now=now, zone=zone)
        if idle:
            done.letters.append(DeadEvent(pending, f"{idle}; replay it when the campaign is running", places))
            continue
        try:
            with conn.begin_nested():
                seen = _facts(conn, [pending])
                if event.type == "form.submitted":
                    fact = Fact(event.type, {"fields": {}, **event.data}, event.at)
                    seen = {contact_id: [fact]}
                reacted = decisions.react(conn, seen, now=now, zone=zone, stop=stop, only=places)
        except Exception as error:
            if not blames_the_data(error):
                raise
            log.error("event_not_judged", event_type=event.type, contact_id=contact_id, **described(error))
            done.letters.append(DeadEvent(pending, f"it could not be evaluated: {reason_of(error)}", places))
            continue
        done.counts += reacted.counts
        if contact_id in reacted.raised:
            done.letters.append(_letter(pending, reacted.raised[contact_id]))
    return done


def _not_running(conn: Connection, places: Iterable[str], *, now: datetime, zone: ZoneInfo) -> str | None:
    for key in sorted({place.partition("/")[0] for place in places}):
        found = campaigns.stored(conn, key)
        if found is not None and not found.deleted:
            why = campaigns.enter(conn, found.id, zone)[1].why_not(now)
            if why is not None:
                return f"campaign {key!r} is not running: {why}"
    return None


def _begin_again(
    conn: Connection, erased: Mapping[int, tuple[str, datetime]], late: Sequence[Pending], now: datetime
) -> None:
    """Give what happened after an erasure, and was accepted before it, to a new contact of that key."""
    # What was still in the inbox came later than what was taken with the erasure.
    late = sorted(late, key=lambda event: event.seq)
    newer = [(erased[event.contact_id][0], event) for event in late if event.at > erased[event.contact_id][1]]
    if newer:
        keys = {key for key, _ in newer}
        events.make_contacts(conn, keys)
        ids = events.contact_ids(conn, keys)
        again = [(ids[key], ContactEvent(e.source, e.id, e.type, key, e.at, e.data)) for key, e in newer]
        events.store(conn, again, now=now)


def _merge_contacts(conn: Connection, merged: Sequence[Pending], now: datetime) -> None:
    """Merge contacts into those of the events. A key that is no contact's leads there from now on, unless erased."""
    if not merged:
        return
    said = [(str(event.data["from"]).strip(), event) for event in merged]
    ids = merging.lock(conn, {key for key, _ in said})
    pairs: dict[int, int] = {}
    leading: dict[str, Pending] = {}
    for key, event in said:
        gone = ids.get(key)
        if gone is None or gone in pairs:
            leading[key] = event
        elif gone != event.contact_id:
            pairs[gone] = event.contact_id
    merging.merge(conn, pairs, now=now)
    erased = events.erased(conn, leading)
    never = datetime.min.replace(tzinfo=UTC)
    into = {key: event.contact_id for key, event in leading.items() if event.at > erased.get(key, never)}
    merging.lead_to(conn, into, now=now)


def _change_contacts(conn: Connection, changed: Sequence[Pending], now: datetime) -> None:
    if not changed:
        return
    changed = _without_taken_addresses(conn, changed, now)
    known = events.said(conn, [event.contact_id for event in changed])
    tags_added: list[tuple[int, str]] = []
    tags_removed: list[tuple[int, str]] = []
    rules: dict[tuple[int, str], Rule | None] = {}
    primary: dict[int, str | None] = {}
    stages: dict[int, tuple[str | None, str | None]] = {}
    said = []
    for event in changed:
        before = known[event.contact_id]
        changed_to = change(before.fields, before.said_at, event.data, event.at)
        attributes: dict[str, Any] = {**changed_to.attributes}
        after = before._replace(**attributes, fields=changed_to.fields, said_at=changed_to.said_at)
        if after != before:
            said.append(after)
            _note(conn, before, after)
        if after.stage != before.stage:
            stages[event.contact_id] = (before.stage, after.stage)
        for tag, given in changed_to.tags.items():
            (tags_added if given else tags_removed).append((event.contact_id, tag))
        if changed_to.company:
            (primary[event.contact_id],) = changed_to.company
        rules |= {(event.contact_id, channel): rule for channel, rule in changed_to.rules.items()}
    events.say(conn, said, now=now)
    scores.log_said(conn, stages, now=now)
    facts.change_tags(conn, added=tags_added, removed=tags_removed)
    policies.save_rules(conn, rules)
    companies.set_primary(conn, primary)


def _note(conn: Connection, before: events.Said, after: events.Said) -> None:
    for name in ("email", "timezone", "owner", "stage"):
        if getattr(before, name) != getattr(after, name):
            touched.note(conn, name, [after.id])
    if before.fields != after.fields:
        touched.note_fields(conn, [(after.id, before.fields, after.fields)])


def _said_in_forms(conn: Connection, submitted: Sequence[Pending]) -> list[Pending]:
    """Return what submissions say of the contacts themselves, as changes of them."""
    if not submitted:
        return []
    known = {key: forms.find(conn, key) for key in {str(event.data["form"]) for event in submitted}}
    ids = [event.contact_id for event in submitted]
    said, joined = events.said(conn, ids), companies.of_contacts(conn, ids)
    found = []
    for event in submitted:
        form = known[str(event.data["form"])]
        if form is None or event.contact_id not in said:
            continue
        before = said[event.contact_id]
        country = form_fields.country_of(before.fields.get("country"), settings_of(conn).country)
        read = form_fields.readings(event.data.get("fields") or {}, form.mapping, country)
        for each in read:
            if each.problem is not None:
                # What somebody typed stays out of the log.
                log.info("form_field_not_understood", form=form.key, field=each.field, attribute=each.attribute)
        company = joined.get(event.contact_id, companies.NOWHERE).primary
        data = form_fields.change(read, before, company)
        if data:
            found.append(event._replace(type="contact.changed", data=data))
    return found


def _without_taken_addresses(conn: Connection, changed: Sequence[Pending], now: datetime) -> list[Pending]:
    """Return the changes without addresses that are those of other contacts; each is told as a dead letter."""
    given = {event.seq: str(event.data["email"]).strip() for event in changed if event.data.get("email")}
    if not given or settings_of(conn).shared_addresses:
        return list(changed)
    events.lock_addresses(conn, given.values())
    holders = contacts.holders(conn, given.values())
    # Who is just given another one no longer has theirs.
    moving = {event.contact_id: same_address(given[event.seq]) for event in changed if event.seq in given}
    kept: list[Pending] = []
    letters: list[tuple[str, str]] = []
    # Of two at once, the first has it.
    taken: dict[str, int] = {}
    for event in changed:
        address = given.get(event.seq, "")
        found = holders.get(address, [])
        others = [each for each in found if moving.get(each.id, same_address(address)) == same_address(address)]
        mine = not others or any(holder.id == event.contact_id for holder in others)
        first = taken.setdefault(same_address(address), event.contact_id) if address and mine else event.contact_id
        if mine and first == event.contact_id:
            kept.append(event)
            continue
        (key,) = events.keys(conn, [event.contact_id])
        owner = others[0].key if others else events.keys(conn, [first])[0]
        letters.append((in_use(address, owner=owner, key=key), events.as_cloud_event(event, key)))
        kept.append(event._replace(data={name: value for name, value in event.data.items() if name != "email"}))
    events.add_dead_letters(conn, letters, origin="event", now=now)
    return kept


def _change_segments(
    conn: Connection, changed: Sequence[Pending], *, active: bool, now: datetime, zone: ZoneInfo
) -> Counter[str]:
    by_key: dict[str, list[tuple[int, datetime]]] = {}
    for event in changed:
        by_key.setdefault(str(event.data["segment"]), []).append((event.contact_id, event.at))
    known = campaigns.named(conn, "segments", by_key) if by_key else {}
    counts: Counter[str] = Counter()
    for key, said_at in sorted(by_key.items()):
        # One deleted since it was accepted changes nothing.
        if key in known:
            events.segments_by_time(conn, known[key].id, said_at, active=active)
            since = dict(said_at)
            counts += membership.segment_changed(conn, known[key].id, list(since), now=now, zone=zone, since=since)
    return counts


def _submit_forms(
    conn: Connection, submitted: Sequence[Pending], *, now: datetime, zone: ZoneInfo, stop: StopRule
) -> Reacted:
    by_key: dict[str, dict[int, forms.StoredSubmission]] = {}
    for event in submitted:
        more = {CLAIMED: event.data[CLAIMED]} if CLAIMED in event.data else {}
        submission = forms.StoredSubmission(event.at, event.data.get("fields") or {}, more)
        by_key.setdefault(str(event.data["form"]), {})[event.contact_id] = submission
    done = Reacted()
    for key, submissions in sorted(by_key.items()):
        form = forms.find(conn, key)
        if form is not None:
            followed = submit(conn, form, submissions, now=now, zone=zone, stop=stop)
            done.counts += followed.counts
            done.raised |= followed.raised
    return done


def _names(event: Pending, *names: str) -> bool:
    """Return whether an event has these properties, each a text."""
    return all(isinstance(event.data.get(name), str) for name in names)


def _note_channels(conn: Connection, by_type: dict[str, list[Pending]]) -> None:
    """What became of messages, and who does not want more: before anything else decides to send."""
    seen = [
        (event, known.marks_message)
        for type_, known in EVENT_TYPES.items()
        if known.marks_message is not None
        for event in by_type.get(type_, [])
        if not is_automatic(type_, event.data)
    ]
    keys = _messages_named(conn, [event for event, _ in seen])
    events.mark_messages(conn, [(keys[event.seq], what, event.at) for event, what in seen if event.seq in keys])
    clicks = [event for event, _ in seen if event.type == "email.clicked"]
    email_figures.note_events(
        conn,
        [(keys[each.seq], str(each.data["url"])) for each in clicks if each.seq in keys and _names(each, "url")],
        [str(each.data["message"]) for each in by_type.get("email.unsubscribed", []) if _names(each, "message")],
    )
    touched.note(
        conn,
        "emails",
        (
            event.contact_id
            for type_, known in EVENT_TYPES.items()
            if known.marks_message is not None
            for event in by_type.get(type_, [])
        ),
    )
    # A full mailbox is no reason never to write again.
    bounced = [
        (event, channel)
        for channel in ("email", "sms")
        for event in by_type.get(f"{channel}.bounced", [])
        if event.data.get("kind") != "soft"
    ]
    left, back = by_type.get("email.unsubscribed", []), by_type.get("email.resubscribed", [])
    texted = [(event, command_of(event.data.get("text"))) for event in by_type.get("sms.replied", [])]
    for command, note in (("stop", partial(refusals.refuse, reason="unsubscribed")), ("start", refusals.resubscribe)):
        meant = [
            RefusalChange(event.contact_id, "sms", event.at, _sender(event.data))
            for event, asked in texted
            if asked == command
        ]
        if meant:
            note(conn, refusals.texted(conn, meant))
    if not (bounced or left or back):
        return
    about = [*(event for event, _ in bounced), *left, *back]
    named = [str(event.data["message"]) for event in about if event.data.get("message")]
    written = events.addresses_of_messages(conn, named)
    # What bounced is the address that was written to, which the contact may not have any more.
    refusals.refuse(conn, [_where(event, channel, written) for event, channel in bounced], reason="bounced")
    # Who leaves means the address that they have now as well.
    for said, note in ((left, partial(refusals.refuse, reason="unsubscribed")), (back, refusals.resubscribe)):
        own = [RefusalChange(event.contact_id, channel_of(event.data), event.at) for event in said]
        there = [_where(event, channel_of(event.data), written) for event in said]
        note(conn, [*own, *(each for each in there if each.address is not None)])


def _messages_named(conn: Connection, about: Sequence[Pending]) -> dict[int, str]:
    """Return the keys of the messages that events are about, by `seq`: named, or found by the template named."""
    keys = {event.seq: str(event.data["message"]) for event in about if event.data.get("message")}
    by_template = [
        event for event in about if event.seq not in keys and event.type.startswith("email.") and _names(event, "email")
    ]
    meant = events.messages_meant(conn, [(each.contact_id, each.data["email"], each.at) for each in by_template])
    return keys | {by_template[nth].seq: key for nth, key in meant.items()}


def _sender(data: Mapping[str, Any]) -> str | None:
    """Return the number that sent a text message, if the event says it."""
    number = data.get("from")
    return number if isinstance(number, str) else None


def _where(event: Pending, channel: str, written: Mapping[str, events.Written]) -> RefusalChange:
    """Return what an event says of a channel, with the address that it names or that its message went to."""
    named = event.data.get("address")
    message = written.get(str(event.data.get("message")))
    address = named if isinstance(named, str) and named.strip() else None
    if address is None and message is not None and message.channel == channel.partition(":")[0]:
        address = message.address
    return RefusalChange(event.contact_id, channel, event.at, address)


def _note_pages(conn: Connection, hits: Sequence[Pending], now: datetime) -> None:
    """Count the views that a campaign brought: the one named, else the one that wrote the message named."""
    seen = [event.data for event in hits if not is_automatic(event.type, event.data)]
    by_key = Counter(str(data["campaign"]) for data in seen if data.get("campaign"))
    by_message = Counter(str(data["message"]) for data in seen if data.get("message") and not data.get("campaign"))
    views: Counter[int] = Counter()
    if by_key:
        ids = {row.key: row.id for row in campaigns.listing(conn)}
        views += Counter({ids[key]: n for key, n in by_key.items() if key in ids})
    for message, campaign_id in events.campaigns_of_messages(conn, by_message).items():
        views[campaign_id] += by_message[message]
    outcomes.count_campaign(conn, Counter({(id_, now, "page_views"): n for id_, n in views.items()}))


def _facts(conn: Connection, happened: Sequence[Pending]) -> dict[int, list[Fact]]:
    """Return what contacts did, as decisions look at it: messages named, a click counted as an opening too."""
    templates = events.templates_named(conn, [event.data for event in happened])
    texted = events.texted(conn, [event.contact_id for event in happened if event.type == "sms.replied"])
    devices = []
    found: dict[int, list[Fact]] = {}
    for event in happened:
        data = event.data
        device = data if event.type == "device.seen" else data.get("device")
        if isinstance(device, dict) and event.type in ("device.seen", "page.hit"):
            type_, brand, os = (_name(device.get(part)) for part in ("type", "brand", "os"))
            devices.append((event.contact_id, type_, brand, os, event.at))
        found[event.contact_id] = as_facts(event.type, data, event.at, templates, texted.get(event.contact_id))
    events.see_devices(conn, devices)
    return found


def _name(value: Any) -> str | None:
    """Return a name that came from outside, no longer than an index holds; what is no text is none."""
    return value.strip()[:MAX_KEY] or None if isinstance(value, str) else None
