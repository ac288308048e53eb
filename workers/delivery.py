"""Delivery: messages of the outbox leave, in three strokes. A batch is claimed and committed; providers are
called with no transaction open; what they answered is recorded, with all that follows from it.

Our own data says once that a message was sent. Outside it arrives at least once, with its key: whoever dies
between a provider's answer and the record of it sends that message again, one a connection.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, Engine, text

from db import campaigns, emails, facts, outbox, outcomes, policies, refusals
from db.clock import now as database_now
from db.emails import Email
from db.faults import Fault, fault_of
from db.outbox import Lane, Recipient, StepName, StoredTemplate
from db.refusals import Said
from db.refusals import of_numbers as refusals_of_numbers
from db.scope import Scope
from db.waits import EVERYTHING
from domain.campaign import Campaign, StopRule
from domain.decide import zone_of
from domain.delivery import (
    Cancelled,
    Circuit,
    Claimed,
    GaveUp,
    Result,
    Retry,
    Sent,
    Untried,
    circuit_after,
    settle,
)
from domain.identity import is_address
from domain.policy import NO_POLICY, NO_RULE, Limits
from domain.steps.channels import present_address
from domain.steps.email import category_channel
from domain.templates import RenderError, one_line, render, render_all
from producers import rendering
from workers.couriers import Note
from workers.executor import stop_if_failing
from workers.outlets import CHANNELS, Delivery, Ready, unforeseen
from workers.webhooks import TIMEOUT_SECONDS, Call

log = structlog.get_logger()

# Messages of one claim: what waits for a lease when a worker dies.
MESSAGES_AT_ONCE = 200
# Lanes of one claim, once it has found something, and messages of a deleted campaign cancelled at once.
LANES_AT_ONCE = 20
CANCELLED_AT_ONCE = 1000
# So many batches of a channel are under way at most, over all workers.
HANDS = 16
# Between looks whether a campaign of the batch was paused.
LOOK_SECONDS = 1.0
# Between tries to write down what has been sent, when the database is away.
RECORD_PAUSE_SECONDS = 0.5
# How long others wait whose provider is just being tried with one message.
PROBE_PAUSE = timedelta(seconds=2)


@dataclass(slots=True)
class Delivered:
    """What a batch came to. `wait` is how many seconds until a rate lets the next message go."""

    claimed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    more: bool = False
    wait: float | None = None


@dataclass(slots=True)
class Batch(Delivered):
    """Claimed messages with all that their rendering needs. Some of those `claimed` may be cancelled by now."""

    messages: list[Claimed] = field(default_factory=list)
    circuits: dict[str, Circuit] = field(default_factory=dict)
    campaigns: dict[int, Campaign] = field(default_factory=dict)
    recipients: dict[int, Recipient] = field(default_factory=dict)
    steps: dict[int, StepName] = field(default_factory=dict)
    emails: dict[str, Email] = field(default_factory=dict)
    templates: dict[str, StoredTemplate] = field(default_factory=dict)


def deliver_inline(engine: Engine, delivery: Delivery, scope: Scope, *, now: datetime, zone: ZoneInfo) -> Counter[str]:
    """Send all that is due as of `now` within a scope, in this process; return how many came to which end.

    What a provider or a rate does not let go for longer than a second stays in the outbox.
    """
    counts: Counter[str] = Counter()
    while True:
        with engine.connect() as conn:
            campaigns.read_by_index(conn)
            channels = {lane.channel for lane in outbox.lanes(conn, now=now, scope=scope)}
        worked = False
        for channel in sorted(channels):
            while True:
                done = deliver_once(engine, delivery, channel, zone=zone, as_of=now, scope=scope)
                counts += done.counts
                if done.claimed or done.counts:
                    worked = True
                elif done.wait is not None and done.wait <= 1:
                    time.sleep(done.wait)
                else:
                    break
        # A channel that gave up may have passed a message on to another.
        if not worked:
            return counts


def deliver_once(
    engine: Engine,
    delivery: Delivery,
    channel: str,
    *,
    zone: ZoneInfo,
    as_of: datetime | None = None,
    scope: Scope = EVERYTHING,
) -> Delivered:
    """Send one batch of a channel: what is due now, or as of an instant.

    Circuits, rates and leases follow the clock of the database in any case, since providers do.
    """
    outlet = delivery.outlets[channel]
    with outlet.reserved() as connections:
        if not connections:
            return Delivered()
        began = time.monotonic()
        with engine.begin() as conn:
            clock = database_now(conn)
            batch = claim(conn, delivery, channel, now=as_of or clock, clock=clock, zone=zone, scope=scope)
        counts = batch.counts
        if batch.messages:
            # One connection for all records of the batch; between them, no transaction is open on it.
            with engine.connect() as conn:
                sending = _Sending(conn, batch, as_of, delivery.stop, lasts_until=began + delivery.lease_seconds)
                # What was begun before half of the lease is over is recorded before it ends.
                until = began + delivery.lease_seconds / 2
                rendered = _rendered(sending, delivery, until=until)
                ready = sending.admitted(rendered, lease_seconds=delivery.lease_seconds)
                groups = outlet.send(ready, connections=connections, until=until, closed=sending.is_closed)
                for group in groups:
                    sending.record(group)
            counts += sending.counts
        return Delivered(batch.claimed, counts, batch.more, batch.wait)


# Claiming.


def claim(
    conn: Connection,
    delivery: Delivery,
    channel: str,
    *,
    now: datetime,
    clock: datetime,
    zone: ZoneInfo,
    scope: Scope = EVERYTHING,
) -> Batch:
    """Take a batch of due messages of running campaigns into the caller's hands, with what they are to say.

    A marketing message whose contact must not be contacted on the channel is cancelled here: every refusal
    that was committed before this transaction read them counts, whenever the message was written. One that
    is committed later no longer stops what is claimed already. One whose contact has quiet hours or a pause
    by now goes back until they end. No contact is locked for it; whoever erases one takes the message out of
    our hands, and nothing is recorded of it.
    """
    campaigns.read_by_index(conn)
    batch = Batch(circuits=outbox.circuits(conn))
    limit = MESSAGES_AT_ONCE
    circuit = batch.circuits.get(channel)
    if circuit is not None and circuit.admits(clock) != "all":
        limit = 1 if circuit.admits(clock) == "one" else 0
    rate = delivery.per_second.get(channel)
    if rate is not None and limit:
        limit, batch.wait = _granted(conn, channel, rate, limit, clock)
    # The lanes are ordered; of those, as many as fill the batch.
    lanes = [lane for lane in outbox.lanes(conn, now=now, scope=scope) if lane.channel == channel]
    leased_until = max(now, clock) + timedelta(seconds=delivery.lease_seconds)
    for nth, lane in enumerate(lanes):
        if nth >= LANES_AT_ONCE and batch.messages:
            batch.more = True
            break
        if lane.deleted:
            cancelled = outbox.cancel_deleted(conn, lane, now=now, limit=CANCELLED_AT_ONCE)
            batch.counts["cancelled"] += cancelled
            batch.more |= cancelled == CANCELLED_AT_ONCE
            continue
        room = limit - len(batch.messages)
        if room > 0:
            batch.messages += _of_lane(conn, batch, lane, room, now, clock, leased_until, zone, scope)
    batch.more |= len(batch.messages) >= limit > 0
    batch.counts = +batch.counts
    if not batch.messages:
        return batch
    batch.claimed, batch.wait = len(batch.messages), None
    if rate is not None:
        outbox.spend(conn, channel, batch.claimed)
    _load(conn, batch, channel)
    _hold_back(conn, batch, channel, now=now, zone=zone)
    return batch


def _of_lane(
    conn: Connection,
    batch: Batch,
    lane: Lane,
    room: int,
    now: datetime,
    clock: datetime,
    leased_until: datetime,
    zone: ZoneInfo,
    scope: Scope,
) -> list[Claimed]:
    """Claim from a lane, if its campaign runs: whoever pauses it waits until this has committed.

    What a campaign that this process cannot read has to send stays; it keeps back nobody else's.
    """
    campaign, status = campaigns.enter(conn, lane.campaign_id, zone)
    if status.unreadable is not None:
        log.error("campaign_unreadable", campaign_id=lane.campaign_id, text=status.unreadable)
    if status.why_not(now) is not None:
        return []
    name = f"campaign:{campaign.id}"
    if campaign.per_second is not None:
        room, wait = _granted(conn, name, campaign.per_second, room, clock)
        if room == 0:
            batch.wait = wait if batch.wait is None else min(wait or batch.wait, batch.wait)
            return []
    claimed = outbox.claim(conn, lane, now=now, leased_until=leased_until, limit=room, scope=scope)
    if campaign.per_second is not None and claimed:
        outbox.spend(conn, name, len(claimed))
    batch.campaigns[campaign.id] = campaign
    return claimed


def _granted(conn: Connection, name: str, per_second: float, wanted: int, clock: datetime) -> tuple[int, float | None]:
    """Return how many messages a rate lets go now, and, when it is none, in how many seconds the next may."""
    tokens = outbox.refill(conn, name, per_second=per_second, now=clock)
    return min(wanted, int(tokens)), None if tokens >= 1 else (1 - tokens) / per_second


def _hold_back(conn: Connection, batch: Batch, channel: str, *, now: datetime, zone: ZoneInfo) -> None:
    """Take out of the batch what must not go, or not now, whatever was true when it was written.

    The outbox is a promise about a contact: what the step meant stays, but who the contact is, where it is
    reached and what it wants is as of now.
    """
    asked = {message.contact_id for message in batch.messages if message.to_contact}
    if not asked:
        return
    batch.messages = [_readdressed(batch, message) for message in batch.messages]
    withdrawn = _withdrawn(conn, batch)
    categories = {email.category for email in batch.emails.values() if email.category is not None}
    refusals = outbox.refusals(conn, asked, [channel, *map(category_channel, categories)])
    numbers = refusals_of_numbers(conn, channel, _numbers(batch)) if channel == "sms" else {}
    bound = policies.by_channel(conn).get(channel, NO_POLICY)
    rules = policies.rules(conn, asked)
    held: list[tuple[Claimed, Result]] = []
    for message in batch.messages:
        if not message.to_contact:
            continue
        reason = _refusal(batch, message, refusals, numbers)
        if message.key in withdrawn:
            held.append((message, Cancelled(withdrawn[message.key], altogether=True)))
        elif reason is not None:
            held.append((message, Cancelled(reason)))
        elif message.marketing:
            recipient = batch.recipients.get(message.contact_id)
            rule = rules.get(message.contact_id, {}).get(channel, NO_RULE)
            own = zone_of(recipient.timezone if recipient is not None else None, zone)
            hold = Limits(bound, rule, zone=own).late_hold(now)
            if hold is not None:
                never = Cancelled(f"it has paused {channel} without an end")
                held.append((message, never if hold.until is None else Untried(hold.until)))
    if held:
        batch.counts += _ends(outbox.record(conn, settle(held, paused={}, now=now).rows, now=now))
        gone = {message.key for message, _ in held}
        batch.messages = [message for message in batch.messages if message.key not in gone]


def _readdressed(batch: Batch, message: Claimed) -> Claimed:
    """Return a message with the present address of its contact; the former one stays where there is none now."""
    contact = batch.recipients.get(message.contact_id)
    if contact is None or not message.to_contact:
        return message
    present = present_address(
        message.channel, message.payload, message.address, email=contact.email, fields=contact.fields
    )
    return message if present is None else message._replace(address=present)


def _withdrawn(conn: Connection, batch: Batch) -> dict[str, str]:
    """Return which messages must not go on any channel, and why.

    A marketing message belongs to its campaign: it does not go to who left that or was taken out of it, unless
    by the campaign's own tree, nor for a step that was removed. A transactional one says what happened and goes
    all the same.
    """
    reasons: dict[str, str] = {}
    marketing = [message for message in batch.messages if message.marketing and message.to_contact]
    departed = outbox.departed(conn, {(message.contact_id, message.campaign_id) for message in marketing})
    emails_ = [message.key for message in marketing if message.channel == "email"]
    told = outbox.told_already(conn, emails_)
    for message in batch.messages:
        if not (message.to_contact and message.marketing):
            continue
        if (message.contact_id, message.campaign_id) in departed:
            reasons[message.key] = "the contact left the campaign before the message went"
        elif message.step_id not in batch.campaigns[message.campaign_id].steps:
            reasons[message.key] = "the step was removed from the campaign"
        elif message.key in told:
            reasons[message.key] = f"the contact gets the email {message.template!r} already, from another message"
    return reasons


def _numbers(batch: Batch) -> dict[str, tuple[str, str | None]]:
    """Return the numbers to which messages go, whatever field they are of, each with its contact's country."""
    found: dict[str, tuple[str, str | None]] = {}
    for message in batch.messages:
        contact = batch.recipients.get(message.contact_id)
        country = None if contact is None else contact.fields.get("country")
        if message.to_contact and message.address:
            found[message.key] = (message.address, country if isinstance(country, str) else None)
    return found


def _refusal(
    batch: Batch, message: Claimed, refusals: Mapping[tuple[int, str], str], numbers: Mapping[str, str]
) -> str | None:
    """Return why a contact must not be written to; a category of emails refused stops transactional ones too."""
    email = batch.emails.get(message.template or "") if message.channel == "email" else None
    contact = batch.recipients.get(message.contact_id)
    if message.channel == "email" and contact is not None and not (contact.email or "").strip():
        return "it has no email address any more"
    if email is not None and email.category is not None:
        reason = refusals.get((message.contact_id, category_channel(email.category)))
        if reason is not None:
            return f"it does not want emails of the category {email.category!r}: {reason}"
    if not message.marketing:
        return None
    reason = refusals.get((message.contact_id, message.channel)) or numbers.get(message.key)
    return None if reason is None else f"it must not be contacted by {message.channel}: {reason}"


def _load(conn: Connection, batch: Batch, channel: str) -> None:
    batch.recipients = outbox.recipients(conn, {message.contact_id for message in batch.messages})
    batch.steps = outbox.step_names(conn, {message.step_id for message in batch.messages})
    keys = {message.template for message in batch.messages if message.template is not None}
    if channel == "email":
        batch.emails = {email.key: email for email in emails.listed(conn, keys)}
    elif keys:
        batch.templates = outbox.templates(conn, channel, keys)


# Rendering.


def _rendered(sending: _Sending, delivery: Delivery, *, until: float) -> Iterator[Ready]:
    """Yield messages as their couriers take them; of those that cannot be rendered, the end is recorded.

    Whatever rendering raises is that message's failure. What was not rendered at `until`, on the monotonic
    clock, goes back, so that messages that take long do not outlast the lease of the others.
    """
    settled: list[tuple[Claimed, Result]] = []
    for message in sending.batch.messages:
        if time.monotonic() > until:
            settled.append((message, Untried()))
            continue
        try:
            made = _ready(sending.batch, message, delivery)
        except RenderError as error:
            made = GaveUp(str(error))
        except Exception as error:
            made = unforeseen(message, "rendering", error)
        if isinstance(made, Ready):
            yield made
        else:
            settled.append((message, made))
    if settled:
        sending.record(settled)


def _ready(batch: Batch, message: Claimed, delivery: Delivery) -> Ready | Result:
    contact = batch.recipients.get(message.contact_id)
    if contact is None:
        return Cancelled("the contact is gone")
    campaign = batch.campaigns[message.campaign_id]
    step = campaign.steps.get(message.step_id)
    values = rendering.values_of(
        contact, batch.steps.get(message.step_id), message.key, step_name=step.name if step is not None else None
    )
    if message.channel == "email":
        return _email(batch, message, contact, values, delivery)
    if message.channel == "webhook":
        call = _call(message, values)
        return Ready(message, f"webhook:{call.host}", call)
    return _note(batch, message, contact, values)


def _email(
    batch: Batch, message: Claimed, contact: Recipient, values: dict[str, Any], delivery: Delivery
) -> Ready | Result:
    email = batch.emails.get(message.template or "")
    if email is None:
        return GaveUp(f"the email {message.template!r} does not exist")
    if not email.published:
        return Cancelled(f"the email {message.template!r} is not published")
    chosen = email.content_for(contact.id, rendering.language_of(contact))
    message = message._replace(variant=chosen.variant, locale=chosen.locale)
    if message.address is not None:
        mail = rendering.mail_to_contact(
            email,
            chosen,
            values,
            delivery.links,
            key=message.key,
            at=message.created_at,
            address=one_line(message.address),
            marketing=message.marketing,
        )
        return Ready(message, "email", mail)
    to, cc, bcc = (_addresses(message.payload.get(name), values) for name in ("to", "cc", "bcc"))
    if message.payload.get("to_owner") and contact.owner and is_address(contact.owner):
        to = tuple(dict.fromkeys((*to, contact.owner)))
    if not (to or cc or bcc):
        return GaveUp("it names no valid address, so there is nobody to send it to")
    mail = rendering.mail_to_users(email, chosen, values, key=message.key, at=message.created_at, to=to, cc=cc, bcc=bcc)
    return Ready(message, "email", mail)


def _addresses(given: Any, values: dict[str, Any]) -> tuple[str, ...]:
    """Return the valid ones of addresses, each of which may be Liquid and come to several with commas."""
    found = [part.strip() for each in given or () for part in one_line(render(each, values)).split(",")]
    return tuple(dict.fromkeys(each for each in found if is_address(each)))


def _note(batch: Batch, message: Claimed, contact: Recipient, values: dict[str, Any]) -> Ready | Result:
    content = {name: message.payload[name] for name in ("title", "text", "url") if message.payload.get(name)}
    if message.template is not None:
        template = batch.templates.get(message.template)
        if template is None:
            return GaveUp(f"the {message.channel} template {message.template!r} does not exist")
        if not template.published:
            return Cancelled(f"the {message.channel} template {message.template!r} is not published")
        content = {**{name: value for name, value in template.content.items() if value}, **content}
    if message.channel == "sms" and not message.address:
        return GaveUp("it has no phone number")
    if not content:
        return GaveUp("there is nothing to say: it has neither a template nor a text")
    said = {name: str(value) for name, value in render_all(content, values).items()}
    return Ready(message, message.channel, Note(message.key, message.created_at, contact.key, message.address, said))


def _call(message: Claimed, values: dict[str, Any]) -> Call:
    payload = message.payload
    return Call(
        message.key,
        str(payload.get("method") or "POST"),
        one_line(render(str(payload.get("url") or ""), values)),
        {name: str(value) for name, value in render_all(payload.get("headers") or {}, values).items()},
        render_all(payload.get("body"), values),
        as_json=bool(payload.get("json", True)),
        timeout=float(payload.get("timeout_seconds") or TIMEOUT_SECONDS),
    )


# Sending and recording.


class _Sending:
    """A batch on its way, and what is found out meanwhile: providers that are away, campaigns that stopped."""

    def __init__(
        self, conn: Connection, batch: Batch, as_of: datetime | None, stop: StopRule, *, lasts_until: float
    ) -> None:
        self.conn = conn
        self.batch = batch
        # When the lease is over, on the monotonic clock.
        self._lasts_until = lasts_until
        self.counts: Counter[str] = Counter()
        self._as_of = as_of
        self._stop = stop
        self._provider: dict[str, str] = {}
        self._away: set[str] = set()
        self._stopped: set[int] = set()
        self._looked = time.monotonic()

    def is_closed(self, ready: Ready) -> bool:
        """Return whether a message should not be sent any more now."""
        return ready.provider in self._away or ready.message.campaign_id in self._stopped

    def admitted(self, made: Iterator[Ready], *, lease_seconds: float) -> list[Ready]:
        """Return the messages whose providers take any: all, one as a probe, or none while a circuit is open."""
        ready = list(made)
        self._provider = {each.message.key: each.provider for each in ready}
        suspected = sorted({each.provider for each in ready} & self.batch.circuits.keys())
        for provider in suspected:
            mine = [each for each in ready if each.provider == provider]
            with self.conn.begin():
                clock = database_now(self.conn)
                now = self._as_of or clock
                circuit = outbox.lock_circuit(self.conn, provider)
                admits = "all" if circuit is None else circuit.admits(clock)
                if admits == "one" and circuit is not None:
                    probe = circuit.probed(clock + timedelta(seconds=lease_seconds))
                    outbox.save_circuit(self.conn, provider, probe, now=clock)
            if admits == "all":
                continue
            until = now + PROBE_PAUSE
            if admits == "none" and circuit is not None and circuit.opened_until is not None:
                until = now + (circuit.opened_until - clock)
            kept = mine[:1] if admits == "one" else []
            back: list[tuple[Claimed, Result]] = [(each.message, Untried(until)) for each in mine[len(kept) :]]
            self.record(back)
            ready = [each for each in ready if each.provider != provider or each in kept]
        return ready

    def record(self, results: Sequence[tuple[Claimed, Result]]) -> None:
        """Write down what became of messages; what cannot be written of one does not keep back the others.

        What has left is worth some patience: it would leave again. So while the database is away, it is tried
        until the lease ends.
        """
        if not results:
            return
        while True:
            try:
                with self.conn.begin():
                    counted = self._record(self.conn, results)
                break
            except Exception as error:
                fault = fault_of(error)
                if fault in (Fault.ROW, Fault.OTHER):
                    counted = self._record_apart(results, error)
                    break
                if time.monotonic() > self._lasts_until:
                    raise
                time.sleep(RECORD_PAUSE_SECONDS)
        self.counts += counted

    def _record_apart(self, results: Sequence[tuple[Claimed, Result]], error: Exception) -> Counter[str]:
        """Write down results one by one; of one that cannot be written even so, no more than the message's state."""
        if len(results) > 1:
            for each in results:
                self.record([each])
            return Counter()
        ((message, result),) = results
        again = unforeseen(message, "recording", error)
        with self.conn.begin():
            campaigns.read_by_index(self.conn)
            now = self._as_of or database_now(self.conn)
            # Without what follows from it: counters, failures, refusals.
            rows = settle([(message, result if isinstance(result, Sent) else again)], paused={}, now=now).rows
            return _ends(outbox.record(self.conn, rows, now=now))

    def _record(self, conn: Connection, results: Sequence[tuple[Claimed, Result]]) -> Counter[str]:
        campaigns.read_by_index(conn)
        only_sent = all(isinstance(result, Sent) for _, result in results)
        clock = outbox.hurry(conn) if only_sent else database_now(conn)
        now = self._as_of or clock
        paused = self._circuits(conn, results, now=now, clock=clock)
        done = settle(results, paused=paused, now=now)
        blamed = {failure.contact_id for failure in done.failures.values()}
        bounced = {contact_id for ids in done.bounced.values() for contact_id in ids}
        # Before the messages, as whoever erases a contact does.
        present = set(facts.lock(conn, blamed | bounced)) if blamed or bounced else set()
        recorded = outbox.record(conn, done.rows, now=now)
        _count_emails(conn, recorded, now=now)
        for channel, ids in done.bounced.items():
            gone = [Said(contact_id, channel, now) for contact_id in sorted(present & set(ids))]
            refusals.refuse(conn, gone, reason="bounced")
        written = {each.key: each.campaign_id for each in recorded}
        failures = {
            key: failure for key, failure in done.failures.items() if key in written and failure.contact_id in present
        }
        if failures:
            # One row a contact and step.
            outcomes.fail(conn, list({(f.contact_id, f.step_id): f for f in failures.values()}.values()), now=now)
            for campaign_id in sorted({written[key] for key in failures}):
                steps = [failure.step_id for key, failure in failures.items() if written[key] == campaign_id]
                stop_if_failing(conn, self.batch.campaigns[campaign_id], steps, self._stop, now=now)
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._stopped |= outbox.stopped(conn, self.batch.campaigns, now=now)
        return _ends(recorded)

    def _circuits(
        self, conn: Connection, results: Sequence[tuple[Claimed, Result]], *, now: datetime, clock: datetime
    ) -> dict[str, datetime]:
        """Note what the results say of providers; return until when messages wait whose provider is away.

        Touches the database only when a provider failed, or had failed before.
        """
        by_provider: dict[str, list[tuple[Claimed, Result]]] = {}
        for message, result in results:
            provider = self._provider.get(message.key)
            if provider is not None and not isinstance(result, Untried):
                by_provider.setdefault(provider, []).append((message, result))
        paused: dict[str, datetime] = {}
        for provider, answers in sorted(by_provider.items()):
            away = [(message, r) for message, r in answers if isinstance(r, Retry) and r.away]
            if not away and provider not in self.batch.circuits:
                continue
            before = outbox.lock_circuit(conn, provider)
            after = circuit_after(
                before,
                answered=len(answers) - len(away),
                away=len(away),
                error=away[-1][1].error if away else None,
                now=clock,
            )
            if after != before:
                outbox.save_circuit(conn, provider, after, now=clock)
            if after is None:
                self.batch.circuits.pop(provider, None)
                continue
            self.batch.circuits[provider] = after
            if after.opened_until is not None:
                self._away.add(provider)
                paused |= {message.key: now + max(after.opened_until - clock, timedelta(0)) for message, _ in away}
        return paused


def _ends(recorded: Sequence[outbox.Recorded]) -> Counter[str]:
    """Return how many messages came to which end; what goes back into the outbox came to none."""
    return Counter(each.state for each in recorded if each.state != "queued")


def _count_emails(conn: Connection, recorded: Sequence[outbox.Recorded], *, now: datetime) -> None:
    """Count emails to contacts by campaign and day, in the transaction that says that they were sent."""
    outcomes.count_campaign(
        conn,
        Counter(
            (each.campaign_id, now, "emails_sent")
            for each in recorded
            if each.state == "sent" and each.channel == "email" and each.to_contact
        ),
    )


# Hands.

_TAKE = text(
    "SELECT hand FROM generate_series(1, :hands) AS hand "
    "WHERE pg_try_advisory_lock(CAST(:channel AS int), hand) LIMIT 1"
)
_GIVE = text("SELECT pg_advisory_unlock(CAST(:channel AS int), :hand)")


@contextmanager
def hand(engine: Engine, channel: str) -> Iterator[bool]:
    """Hold one of the hands of a channel, of which all workers together have a bounded number; False without one.

    Hints that find no hand free are dropped, so that a long backlog does not fill the queue with them.
    """
    # Steps have the positive numbers.
    number = -1 - CHANNELS.index(channel)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        found = conn.execute(_TAKE, {"channel": number, "hands": HANDS}).scalar()
        try:
            yield found is not None
        finally:
            if found is not None:
                conn.execute(_GIVE, {"channel": number, "hand": found})
