"""Delivery: messages of the outbox leave, in three strokes. A batch is claimed and committed; providers are
called with no transaction open; what they answered is recorded, with all that follows from it.

Our own data says once that a message was sent. Outside it arrives at least once, with its key: whoever dies
between a provider's answer and the record of it sends that message again, one a connection."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, Engine

from parcours.db.clock import now as database_now
from parcours.db.faults import Fault, fault_of
from parcours.db.reads import batch as facts
from parcours.db.scope import Scope
from parcours.db.statements import statements
from parcours.db.tables import campaigns, outbox, outcomes, refusals, trials, variant_tests
from parcours.db.tables.refusals import RefusalChange
from parcours.db.tables.variant_tests import TriedPlace
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.campaign import StopRule
from parcours.domain.messages.circuit import Circuit, circuit_after
from parcours.domain.messages.results import Claimed, GaveUp, Result, Retry, Sent, Untried
from parcours.domain.messages.settle import settle
from parcours.domain.messages.templates import RenderError
from parcours.workers.delivery import winners
from parcours.workers.delivery.channels import Delivery, Ready, unforeseen
from parcours.workers.delivery.claim import ClaimedBatch, Delivered, claim, ends
from parcours.workers.delivery.compose import ready
from parcours.workers.delivery.registry import CHANNELS
from parcours.workers.executor import stop_if_failing

# Messages that went together, and what became of each.
Group = list[tuple[Claimed, Result]]

log = structlog.get_logger()

sql = statements(__file__)

# So many batches of a channel are under way at most, over all workers.
HANDS = 16

# Between looks whether a campaign of the batch was paused.
LOOK_SECONDS = 1.0

# Between tries to write down what has been sent, when the database is away.
RECORD_PAUSE_SECONDS = 0.5

# How long others wait whose provider is just being tried with one message.
PROBE_PAUSE = timedelta(seconds=2)


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
    outlet = delivery.outlets.get(channel)
    if outlet is None:
        # Its provider cannot be used, which the log said when the process began; what is due waits.
        return Delivered()
    with outlet.reserved() as connections:
        if not connections:
            return Delivered()
        began = time.monotonic()
        with engine.begin() as conn:
            clock = database_now(conn)
            batch = claim(conn, delivery, channel, now=as_of or clock, clock=clock, zone=zone, scope=scope)
        for test in batch.chosen:
            template, campaign_id, step_id, _round = test.place
            log.info(
                "variant_won", email=template, campaign_id=campaign_id, step_id=step_id, variant=test.winner or "main"
            )
        counts = batch.counts
        if batch.messages:
            # One connection for all records of the batch; between them, no transaction is open on it.
            with engine.connect() as conn:
                sending = _Sending(conn, batch, as_of, delivery.stop, lasts_until=began + delivery.lease_seconds)
                # What was begun before half of the lease is over is recorded before it ends.
                until = began + delivery.lease_seconds / 2
                rendered = _rendered(sending, delivery, until=until)
                ready = sending.admitted(rendered, lease_seconds=delivery.lease_seconds)
                send = partial(outlet.send, connections=connections, until=until, closed=sending.is_closed)
                for group in sending.written(ready, send) if outlet.channel.to_files else send(ready):
                    sending.record(group)
            counts += sending.counts
        return Delivered(batch.claimed, counts, batch.more, batch.wait)


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
            made = ready(sending.batch, message, delivery)
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


# Sending and recording.


class _Sending:
    """A batch on its way, and what is found out meanwhile: providers that are away, campaigns that stopped."""

    def __init__(
        self, conn: Connection, batch: ClaimedBatch, as_of: datetime | None, stop: StopRule, *, lasts_until: float
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
        # Tests of variants that began with what this sent.
        self._begun: set[TriedPlace] = set()

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

    def written(self, ready: Sequence[Ready], send: Callable[[Sequence[Ready]], Iterator[Group]]) -> list[Group]:
        """Send messages that are written to files, with their contacts locked, and return what became of them.

        So whoever erases a contact is done before, and nothing is written, or comes afterwards and finds the file.
        """
        with self.conn.begin():
            present = set(facts.lock(self.conn, {each.message.contact_id for each in ready}))
            groups = list(send([each for each in ready if each.message.contact_id in present]))
        # Of whom was merged into another, the message is that one's.
        gone: Group = [(each.message, Untried()) for each in ready if each.message.contact_id not in present]
        return [*groups, gone]

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
                self._begun |= self._tests(results)
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
            return ends(outbox.record(self.conn, rows, now=now))

    def _watched(self, results: Sequence[tuple[Claimed, Result]]) -> set[int]:
        """Return to whom emails of campaigns with a goal went."""
        return {
            message.contact_id
            for message, result in results
            if isinstance(result, Sent) and self._has_goal(message.campaign_id)
        }

    def _tests(self, results: Sequence[tuple[Claimed, Result]]) -> set[TriedPlace]:
        """Return the tests of variants of which emails went out, and that had not begun when they were claimed."""
        found = {
            place
            for message, result in results
            if isinstance(result, Sent) and (place := winners.place_of(message, self.batch.emails)) is not None
        }
        return found - self.batch.tests.keys() - self._begun

    def _has_goal(self, campaign_id: int) -> bool:
        campaign = self.batch.campaigns.get(campaign_id)
        return campaign is not None and campaign.goal is not None

    def _note_variants(self, conn: Connection, recorded: Sequence[outbox.Recorded], *, now: datetime) -> None:
        """Count which variants of emails went out on the way to a goal; the contacts are locked."""
        keys = [
            each.key
            for each in recorded
            if each.state == "sent" and each.channel == "email" and each.to_contact and self._has_goal(each.campaign_id)
        ]
        if keys:
            trials.note_sent(conn, keys, now=now)

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
        locked = blamed | bounced | self._watched(results)
        present = set(facts.lock(conn, locked)) if locked else set()
        variant_tests.begin(conn, self._tests(results), now=now)
        recorded = outbox.record(conn, done.rows, now=now)
        _count_emails(conn, recorded, now=now)
        self._note_variants(conn, recorded, now=now)
        for channel, ids in done.bounced.items():
            gone = [RefusalChange(contact_id, channel, now) for contact_id in sorted(present & set(ids))]
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
        return ends(recorded)

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
            _tell(provider, before, after, now=clock)
            if after is None:
                self.batch.circuits.pop(provider, None)
                continue
            self.batch.circuits[provider] = after
            if after.opened_until is not None:
                self._away.add(provider)
                paused |= {message.key: now + max(after.opened_until - clock, timedelta(0)) for message, _ in away}
        return paused


def _tell(provider: str, before: Circuit | None, after: Circuit | None, *, now: datetime) -> None:
    """Write a line when sending by a provider is paused, and when it goes on; none for each try in between."""
    was = before is not None and before.opened_until is not None
    if after is not None and after.opened_until is not None and not was:
        log.warning("sending_paused", provider=provider, failures=after.failures, seconds=_seconds(after, now))
    elif after is None and was:
        log.info("sending_resumed", provider=provider)


def _seconds(circuit: Circuit, now: datetime) -> float:
    assert circuit.opened_until is not None
    return round((circuit.opened_until - now).total_seconds(), 1)


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


@contextmanager
def hand(engine: Engine, channel: str) -> Iterator[bool]:
    """Hold one of the hands of a channel, of which all workers together have a bounded number; False without one.

    Hints that find no hand free are dropped, so that a long backlog does not fill the queue with them.
    """
    # Steps have the positive numbers.
    number = -1 - CHANNELS.index(channel)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        found = conn.execute(sql["take_hand"], {"channel": number, "hands": HANDS}).scalar()
        try:
            yield found is not None
        finally:
            if found is not None:
                conn.execute(sql["give_hand"], {"channel": number, "hand": found})
