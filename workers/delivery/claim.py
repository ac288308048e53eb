"""Claiming messages of a lane, and what must be asked again before they leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Literal
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from parcours.db.scope import Scope
from parcours.db.tables import campaigns, emails, outbox, policies
from parcours.db.tables.emails import Email
from parcours.db.tables.outbox import Lane, Recipient, StepName, StoredTemplate
from parcours.db.tables.refusals import of_numbers as refusals_of_numbers
from parcours.db.tables.variant_tests import TriedPlace, VariantTest
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.campaign import Campaign
from parcours.domain.messages.circuit import Circuit
from parcours.domain.messages.content import MAIN
from parcours.domain.messages.policy import NO_POLICY, NO_RULE, Limits
from parcours.domain.messages.results import Cancelled, Claimed, Result, Untried
from parcours.domain.messages.settle import settle
from parcours.domain.steps.channels import present_address
from parcours.domain.steps.email import category_channel
from parcours.domain.time.zones import zone_of
from parcours.workers.delivery import winners
from parcours.workers.delivery.channels import Delivery

log = structlog.get_logger()

# Messages of one claim: what waits for a lease when a worker dies.
MESSAGES_AT_ONCE = 200

# Lanes of one claim, once it has found something, and messages of a deleted campaign cancelled at once.
LANES_AT_ONCE = 20

CANCELLED_AT_ONCE = 1000

# Channels of databases whose messages this process keeps back.
_kept_back: set[tuple[str, str]] = set()
_keeping = Lock()


@dataclass(slots=True)
class Delivered:
    """What a batch came to. `wait` is how many seconds until a rate lets the next message go."""

    claimed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    more: bool = False
    wait: float | None = None


@dataclass(slots=True)
class ClaimedBatch(Delivered):
    """Claimed messages with all that their rendering needs. Some of those `claimed` may be cancelled by now."""

    messages: list[Claimed] = field(default_factory=list)
    circuits: dict[str, Circuit] = field(default_factory=dict)
    campaigns: dict[int, Campaign] = field(default_factory=dict)
    recipients: dict[int, Recipient] = field(default_factory=dict)
    steps: dict[int, StepName] = field(default_factory=dict)
    emails: dict[str, Email] = field(default_factory=dict)
    templates: dict[str, StoredTemplate] = field(default_factory=dict)
    # Of emails that have a winner: the tests that began, and those whose winner was chosen with this batch.
    tests: dict[TriedPlace, VariantTest] = field(default_factory=dict)
    chosen: list[VariantTest] = field(default_factory=list)

    def settled_version(self, message: Claimed) -> str | None:
        """Return which version of an email a message is, '' for the main one; None where the weights say it.

        What was tried once stays what it was, whoever has won by now.
        """
        place = winners.place_of(message, self.emails)
        if place is None:
            return None
        if message.attempts:
            return message.variant or MAIN
        test = self.tests.get(place)
        return None if test is None else test.winner


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
) -> ClaimedBatch:
    """Take a batch of due messages of running campaigns into the caller's hands, with what they are to say.

    A marketing message whose contact must not be contacted on the channel is cancelled here: every refusal
    that was committed before this transaction read them counts, whenever the message was written. One that
    is committed later no longer stops what is claimed already. One whose contact has quiet hours or a pause
    by now goes back until they end. No contact is locked for it; whoever erases one takes the message out of
    our hands, and nothing is recorded of it.
    """
    campaigns.read_by_index(conn)
    batch = ClaimedBatch(circuits=outbox.circuits(conn))
    limit = MESSAGES_AT_ONCE
    circuit = batch.circuits.get(channel)
    admits = "all" if circuit is None else circuit.admits(clock)
    if admits != "all":
        limit = 1 if admits == "one" else 0
    _tell_kept_back(conn, channel, admits)
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
    batch.tests, batch.chosen = winners.decided(conn, batch.messages, batch.emails, now=now)
    return batch


def _tell_kept_back(conn: Connection, channel: str, admits: Literal["all", "one", "none"]) -> None:
    """Write a line when this process begins to keep messages back whose provider is away, and not at every look."""
    if admits == "all" and not _kept_back:
        return
    place = (str(conn.engine.url), channel)
    with _keeping:
        begins = admits == "none" and place not in _kept_back
        if admits == "none":
            _kept_back.add(place)
        elif admits == "all":
            _kept_back.discard(place)
    if begins:
        log.info("messages_kept_back", channel=channel)


def _of_lane(
    conn: Connection,
    batch: ClaimedBatch,
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


def _hold_back(conn: Connection, batch: ClaimedBatch, channel: str, *, now: datetime, zone: ZoneInfo) -> None:
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
            country = None if recipient is None else recipient.fields.get(bound.holidays or "")
            hold = Limits(bound, rule, zone=own, country=country).late_hold(now)
            if hold is not None and hold.until is not None:
                hold = hold._replace(until=hold.until + bound.later(message.contact_id, hold.rule))
            if hold is not None:
                never = Cancelled(f"sending is paused without an end ({channel})")
                held.append((message, never if hold.until is None else Untried(hold.until, hold.rule)))
    if held:
        batch.counts += ends(outbox.record(conn, settle(held, paused={}, now=now).rows, now=now))
        gone = {message.key for message, _ in held}
        batch.messages = [message for message in batch.messages if message.key not in gone]


def _readdressed(batch: ClaimedBatch, message: Claimed) -> Claimed:
    """Return a message with the present address of its contact; the former one stays where there is none now."""
    contact = batch.recipients.get(message.contact_id)
    if contact is None or not message.to_contact:
        return message
    present = present_address(
        message.channel, message.payload, message.address, email=contact.email, fields=contact.fields
    )
    return message if present is None else message._replace(address=present)


def _withdrawn(conn: Connection, batch: ClaimedBatch) -> dict[str, str]:
    """Return which messages must not go on any channel, and why.

    A marketing message belongs to its campaign: it does not go to who left that or was taken out of it, unless
    by the campaign's own tree, nor for a step that was removed. A transactional one says what happened and goes
    all the same.
    """
    reasons: dict[str, str] = {}
    marketing = [message for message in batch.messages if message.marketing and message.to_contact]
    departed = outbox.departed(conn, map(_place, marketing))
    emails_ = [message.key for message in marketing if message.channel == "email"]
    told = outbox.told_already(conn, emails_)
    for message in batch.messages:
        if not (message.to_contact and message.marketing):
            continue
        if _place(message) in departed:
            reasons[message.key] = "the contact left the campaign before the message was sent"
        elif message.step_id not in batch.campaigns[message.campaign_id].steps:
            reasons[message.key] = "the step was removed from the campaign"
        elif message.key in told:
            reasons[message.key] = f"another message already sends the email {message.template!r} to the contact"
    return reasons


def _place(message: Claimed) -> tuple[int, int, int | None]:
    """Return the contact, the campaign and the run that a message is of."""
    return message.contact_id, message.campaign_id, (message.payload.get("run") or {}).get("number")


def _numbers(batch: ClaimedBatch) -> dict[str, tuple[str, str | None]]:
    """Return the numbers to which messages go, whatever field they are of, each with its contact's country."""
    found: dict[str, tuple[str, str | None]] = {}
    for message in batch.messages:
        contact = batch.recipients.get(message.contact_id)
        country = None if contact is None else contact.fields.get("country")
        if message.to_contact and message.address:
            found[message.key] = (message.address, country if isinstance(country, str) else None)
    return found


def _refusal(
    batch: ClaimedBatch, message: Claimed, refusals: Mapping[tuple[int, str], str], numbers: Mapping[str, str]
) -> str | None:
    """Return why a contact must not be written to; a category of emails refused stops transactional ones too."""
    email = batch.emails.get(message.template or "") if message.channel == "email" else None
    contact = batch.recipients.get(message.contact_id)
    if message.channel == "email" and contact is not None and not (contact.email or "").strip():
        return "the contact no longer has an email address"
    if email is not None and email.category is not None:
        reason = refusals.get((message.contact_id, category_channel(email.category)))
        if reason is not None:
            return f"the contact refused emails of the category {email.category!r}: {reason}"
    if not message.marketing:
        return None
    reason = refusals.get((message.contact_id, message.channel)) or numbers.get(message.key)
    return None if reason is None else f"do not contact ({message.channel}): {reason}"


def _load(conn: Connection, batch: ClaimedBatch, channel: str) -> None:
    batch.recipients = outbox.recipients(conn, {message.contact_id for message in batch.messages})
    batch.steps = outbox.step_names(conn, {message.step_id for message in batch.messages})
    keys = {message.template for message in batch.messages if message.template is not None}
    if channel == "email":
        batch.emails = {email.key: email for email in emails.listed(conn, keys)}
    elif keys:
        batch.templates = outbox.templates(conn, channel, keys)


def ends(recorded: Sequence[outbox.Recorded]) -> Counter[str]:
    """Return how many messages came to which end; what goes back into the outbox came to none."""
    return Counter(each.state for each in recorded if each.state != "queued")
