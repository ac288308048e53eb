"""Everything that tests of step types, providers and campaigns need.

`run_action`, `run_condition` and `run_decision` call one step type without a database. `sandbox` runs whole campaigns
with the real engine on a real PostgreSQL, in simulated time.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, text

from parcours.db import embedded, schema, scratch
from parcours.db.engine import connect
from parcours.db.partitions import ensure_partitions
from parcours.db.reads import simulation
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, emails, forms, segments
from parcours.domain.campaign import Campaign, Step
from parcours.domain.campaign_file.sentences import a
from parcours.domain.contacts.contact import Contact
from parcours.domain.contacts.identity import timezone
from parcours.domain.errors import CampaignError
from parcours.domain.events.parsing import parse
from parcours.domain.messages.results import Result as SendResult
from parcours.domain.messages.results import Sent
from parcours.domain.steps.batch import Batch, Fact, Knowledge, Standing
from parcours.domain.steps.types import Failed, Kind, Result, StepType
from parcours.ops.tokens import Tokens
from parcours.producers.files import campaigns as campaign_files
from parcours.services import apply_campaign, campaign_plan
from parcours.services.overview_json import overview_json
from parcours.workers import events, intake
from parcours.workers.delivery.channels import Delivery, Outgoing
from parcours.workers.delivery.deliver import deliver_inline
from parcours.workers.delivery.provider import Provider, Setup
from parcours.workers.delivery.registry import CHANNELS
from parcours.workers.delivery.render import Links
from parcours.workers.delivery.transport import Channel
from parcours.workers.sweeps import trigger_inline, update_inline

__all__ = [
    "START",
    "Contact",
    "Knowledge",
    "Outcome",
    "Sandbox",
    "SentMessage",
    "run_action",
    "run_condition",
    "run_decision",
    "sandbox",
    "server",
    "setup",
]

# A Monday, far from any change of clocks.
START = datetime(2026, 6, 1, 9, tzinfo=UTC)
_UTC = ZoneInfo("UTC")
_MOST_MOMENTS = 10_000


# One step type.


def run_action(
    step_type: StepType,
    contacts: Sequence[Contact],
    properties: Mapping[str, Any] | None = None,
    *,
    world: Knowledge | None = None,
    now: datetime = START,
) -> list[Result]:
    """Return the results of an action, which changes the contacts in place. `world` holds the other data it needs.

    Raises AssertionError if the type is not an action or does not return one result per contact.
    """
    return _run(Kind.ACTION, step_type, contacts, properties, world, now)


def run_condition(
    step_type: StepType,
    contacts: Sequence[Contact],
    properties: Mapping[str, Any] | None = None,
    *,
    world: Knowledge | None = None,
    now: datetime = START,
) -> list[bool | Failed]:
    """Return the answers of a condition for contacts; see `run_action`."""
    return _run(Kind.CONDITION, step_type, contacts, properties, world, now)


def run_decision(
    step_type: StepType,
    event_type: str,
    data: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    *,
    email: str | None = None,
    now: datetime = START,
) -> bool:
    """Return whether an event answers a decision with yes. `email` is the key of the email sent before it."""
    assert step_type.kind is Kind.DECISION, f"{step_type.name} is not a decision"
    campaign, step = _placed(step_type, properties)
    if not step.looks_at(event_type):
        return False
    answer = step_type.run(step.properties, Fact(event_type, data or {}, now), Standing(campaign, step, email))
    assert isinstance(answer, bool), f"{step_type.name} returned {type(answer).__name__}; a decision must return a bool"
    return answer


def _run(
    kind: Kind,
    step_type: StepType,
    contacts: Sequence[Contact],
    properties: Mapping[str, Any] | None,
    world: Knowledge | None,
    now: datetime,
) -> list[Any]:
    assert step_type.kind is kind, f"{step_type.name} is {a(step_type.kind)}, not {a(kind)}"
    campaign, step = _placed(step_type, properties)
    batch = Batch(step.properties, list(contacts), now, campaign, step, world or Knowledge(), _UTC)
    results = list(step_type.run(batch))
    assert len(results) == len(contacts), f"{step_type.name} returned {len(results)} results for {len(contacts)}"
    allowed: Any = Result if kind is Kind.ACTION else bool | Failed
    for each in results:
        assert isinstance(each, allowed), f"{step_type.name} returned {type(each).__name__}"
    return results


def _placed(step_type: StepType, properties: Mapping[str, Any] | None) -> tuple[Campaign, Step]:
    step = Step(1, "step", "Step", step_type, step_type.properties.model_validate(dict(properties or {})))
    return Campaign(1, "campaign", 1, {1: step}), step


# A provider.


def setup(provider: type[Provider[Any]], channel: str, home: Path | None = None, **options: Any) -> Setup:
    """Return a setup to create a provider with these options. Raises ValueError if an option is invalid."""
    return Setup(
        channel=channel,
        options=provider.options(**options),
        home=home or Path(tempfile.gettempdir()),
        host="parcours.example",
        mail_from="parcours@parcours.example",
        inbound_url="https://parcours.example/inbound/providers/test",
    )


# Whole campaigns.


class Outcome(NamedTuple):
    """The result of a step for a contact. `result` is done, skipped, failed, yes, no or cancelled."""

    contact: str
    step: str
    result: str
    at: datetime


class SentMessage(NamedTuple):
    """A message that was sent. `content` is a `Mail`, `Note` or `Call` of `parcours.providers`."""

    channel: str
    contact: str
    content: Any
    at: datetime


@dataclass
class _Recorder:
    """Notes what leaves, and hands it on to a provider of the test, if there is one."""

    channel: str
    sandbox: Sandbox
    behind: Provider[Any] | None = None

    def send(self, batch: Sequence[Any]) -> list[SendResult]:
        results: list[SendResult] = [Sent()] * len(batch) if self.behind is None else self.behind.send(batch)
        self.sandbox._gone += [
            (self.channel, each.key, each, self.sandbox.now)
            for each, result in zip(batch, results, strict=True)
            if isinstance(result, Sent)
        ]
        return results

    def close(self) -> None:
        if self.behind is not None:
            self.behind.close()


@dataclass
class Sandbox:
    """Contacts and campaigns in a database of their own, with a clock that the test moves."""

    engine: Engine
    providers: Mapping[str, Provider[Any]] = field(default_factory=dict)
    now: datetime = START
    zone: ZoneInfo = _UTC
    _gone: list[tuple[str, str, Any, datetime]] = field(default_factory=list)

    def __post_init__(self) -> None:
        ensure_partitions(self.engine, self.now)
        outlets = {name: Outgoing(Channel(name, self._courier(name), "the sandbox", 1000, 1)) for name in CHANNELS}
        self._delivery = Delivery(outlets, Links(Tokens("sandbox"), "https://parcours.example"), {}, 600)

    def close(self) -> None:
        """Close the connections of the providers."""
        self._delivery.close()

    def _courier(self, channel: str) -> Any:
        return lambda: _Recorder(channel, self, self.providers.get(channel))

    def contact(
        self, key: str, *, segment: str | None = None, known: Mapping[str, Any] | None = None, **fields: Any
    ) -> None:
        """Create or change a contact with these custom fields, and add it to a segment.

        Its address is KEY@example.com. `known` sets other attributes, such as `email` or `timezone`, like the data of
        the event `contact.changed`.
        """
        self.contacts(key, segment=segment, known=known, **fields)

    def contacts(
        self, *keys: str, segment: str | None = None, known: Mapping[str, Any] | None = None, **fields: Any
    ) -> None:
        """Create or change several contacts together; see `contact`."""
        data = {key: {"email": f"{key}@example.com", "fields": fields, **(known or {})} for key in keys}
        self._process("contact.changed", data)
        if segment is not None:
            self.enter(segment, *keys)

    def enter(self, segment: str, *keys: str) -> None:
        """Add contacts to a segment. A missing segment is created."""
        self._make("segments", segment)
        self.events("segment.contact_added", *keys, segment=segment)

    def leave(self, segment: str, *keys: str) -> None:
        """Remove contacts from a segment."""
        for key in keys:
            self.event("segment.contact_removed", key, segment=segment)

    def email(self, key: str, *, subject: str = "Hello", html: str | None = None, text: str | None = "Hello") -> None:
        """Create an email template. `campaign` creates those that a campaign names, with the text "Hello"."""
        with self.engine.begin() as conn:
            emails.save(conn, emails.Email(key, subject, html, text, None, True), now=self.now)

    def campaign(self, file: Path | str) -> None:
        """Apply and publish a campaign from a file or its text. Missing segments, forms and emails are created.

        Raises CampaignError, which lists all problems.
        """
        name = file if isinstance(file, Path) else Path("campaign.yaml")
        content = file.read_text(encoding="utf-8") if isinstance(file, Path) else file
        read = campaign_files.read_text(content, name=name, default_zone=self.zone)
        read = read.model_copy(update={"published": True, "publish_from": None, "publish_until": None})
        for what, key in sorted({(each.what, each.key) for each in campaign_plan.references(read)}):
            self._make(what, key)
        with self.engine.begin() as conn:
            if problems := campaign_plan.check_references(conn, read):
                raise CampaignError(problems[0].sentence)
            plan = campaign_plan.plan(conn, read, zone=self.zone)
            apply_campaign.apply(conn, plan, backfill=False, reschedule=False, who="test", now=self.now, zone=self.zone)
        self._settle()

    def event(self, type: str, contact: str, **data: Any) -> None:  # noqa: A002
        """Process an event of a contact now, with everything that follows immediately. Raises CampaignError.

        For an open or a click, `data` may give `email`, the key of the template, instead of the message.
        """
        self.events(type, contact, **data)

    def events(self, type: str, *contacts: str, **data: Any) -> None:  # noqa: A002
        """Process the same event of several contacts together; see `event`."""
        self._process(type, dict.fromkeys(contacts, data))

    def _process(self, type_: str, data: Mapping[str, Mapping[str, Any]]) -> None:
        said = {"specversion": "1.0", "source": "sandbox", "type": type_, "time": self.now.isoformat()}
        happened = [
            parse({**said, "id": str(uuid4()), "subject": key, "data": dict(each)}, now=self.now)
            for key, each in data.items()
        ]
        with self.engine.begin() as conn:
            accepted = intake.accept(conn, happened, now=self.now, unknown_contacts="create")
        if accepted.rejected:
            raise CampaignError(accepted.rejected[0][1])
        self._settle()

    def advance(self, *, to: datetime | None = None, **lengths: float) -> None:
        """Move the clock and run everything that becomes due: `advance(days=2, hours=3)`, or `advance(to=…)`."""
        end = to if to is not None else self.now + timedelta(**lengths)
        assert end >= self.now, "time cannot move backwards"
        for _ in range(_MOST_MOMENTS):
            with self.engine.connect() as conn:
                waits = simulation.next_due(conn)
                message = conn.execute(text("SELECT min(due_at) FROM message WHERE state = 'queued'")).scalar_one()
            due = min((at for at in (waits, message) if at is not None), default=None)
            if due is None or due > end:
                break
            # What is still due after its moment, such as a retry of a provider that is away, comes a minute later.
            self.now = max(due, self.now + timedelta(minutes=1)) if due <= self.now else due
            if self.now > end:
                break
            self._settle()
        self.now = end
        self._settle()

    def overview(self, campaign: str) -> dict[str, Any]:
        """Return the statistics of a campaign, as `parcours overview --json` prints them."""
        with self.engine.connect() as conn:
            return overview_json(conn, campaign, self.zone)

    def outcomes(self, contact: str | None = None) -> list[Outcome]:
        """Return the outcomes of one contact or all, oldest first."""
        with self.engine.connect() as conn:
            rows = conn.execute(
                text(
                    "SELECT contact.key, step.key AS step, outcome.result::text AS result, outcome.at FROM outcome "
                    "JOIN contact ON contact.id = outcome.contact_id JOIN step ON step.id = outcome.step_id "
                    "WHERE CAST(:contact AS text) IS NULL OR contact.key = :contact "
                    "ORDER BY outcome.at, contact.key, step.id"
                ),
                {"contact": contact},
            ).all()
        return [Outcome(*row) for row in rows]

    def results(self, contact: str) -> list[tuple[str, str]]:
        """Return the step and result of each outcome of a contact, oldest first."""
        return [(each.step, each.result) for each in self.outcomes(contact)]

    def sent(self, contact: str | None = None) -> list[SentMessage]:
        """Return the messages sent to one contact or all, oldest first."""
        with self.engine.connect() as conn:
            rows = conn.execute(
                text(
                    "SELECT message.key, contact.key AS contact FROM message "
                    "JOIN contact ON contact.id = message.contact_id WHERE message.key = ANY (CAST(:keys AS text[]))"
                ),
                {"keys": [key for _, key, _, _ in self._gone]},
            ).all()
        whose = {row.key: row.contact for row in rows}
        found = [SentMessage(channel, whose.get(key, ""), content, at) for channel, key, content, at in self._gone]
        return [each for each in found if contact in (None, each.contact)]

    def fields(self, contact: str) -> dict[str, Any]:
        """Return the custom fields of a contact. Raises CampaignError if there is no such contact."""
        with self.engine.connect() as conn:
            found = conn.execute(
                text("SELECT fields FROM contact WHERE key = :key"), {"key": contact}
            ).scalar_one_or_none()
        if found is None:
            raise CampaignError(f"there is no contact {contact!r}")
        return dict(found)

    def _make(self, what: str, key: str) -> None:
        with self.engine.begin() as conn:
            if key in campaigns.named(conn, what, [key]):
                return
            match what:
                case "segments":
                    segments.save(conn, key, name=None, public=None, published=None)
                case "forms":
                    forms.create(conn, key, key, standalone=False)
                case "emails":
                    emails.save(conn, emails.Email(key, key, None, "Hello", None, True), now=self.now)

    def _settle(self) -> None:
        """Do all that is due now: events, members, steps, messages, until nothing is left of them."""
        ensure_partitions(self.engine, self.now)
        for _ in range(_MOST_MOMENTS):
            counts: Counter[str] = Counter()
            while True:
                with self.engine.begin() as conn:
                    acted = events.act(conn, now=self.now, zone=self.zone)
                if not acted.events:
                    break
                counts += acted.counts
            for each in update_inline(self.engine, Scope(), now=self.now, zone=self.zone).values():
                counts += each
            done = trigger_inline(self.engine, Scope(), now=self.now, zone=self.zone, batch_size=1000)
            counts += sum(done.values(), Counter())
            counts += deliver_inline(self.engine, self._delivery, Scope(), now=self.now, zone=self.zone)
            if not +counts:
                return


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a database on a temporary PostgreSQL server, which several sandboxes can share."""
    home = Path(tempfile.mkdtemp(prefix="parcours-sandbox-"))
    try:
        # As root, the server runs as another user, who must get in.
        home.chmod(0o755)
        engine = connect(embedded.start(home))
        try:
            schema.upgrade(engine)
        finally:
            engine.dispose()
        yield engine.url.render_as_string(hide_password=False)
    finally:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def sandbox(
    database_url: str | None = None,
    *,
    providers: Mapping[str, Provider[Any]] | None = None,
    start: datetime = START,
    default_timezone: str = "UTC",
) -> Iterator[Sandbox]:
    """Yield a sandbox, in a temporary schema of the given database, or on a temporary server.

    `providers`, by channel, receive the messages; messages of other channels are only recorded. Raises CampaignError if
    the schema of the database does not fit this version.
    """
    with ExitStack() as stack:
        real = connect(database_url or stack.enter_context(server()))
        stack.callback(real.dispose)
        if (unfit := schema.unfit(real)) is not None:
            raise CampaignError(unfit)
        engine = real if database_url is None else stack.enter_context(scratch.scratch(real))
        made = Sandbox(engine, providers or {}, start, ZoneInfo(timezone(default_timezone)))
        stack.callback(made.close)
        yield made
