"""Contacts and campaigns in a database of their own, driven by the real engine in simulated time."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from parcours.db import embedded, schema, scratch
from parcours.db.engine import connect
from parcours.db.partitions import ensure_partitions
from parcours.db.reads import sandbox as reads
from parcours.db.reads import simulation
from parcours.db.reads.sandbox import Outcome
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, contacts, emails, forms, segments, templates
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.contacts.identity import timezone
from parcours.domain.errors import CampaignError
from parcours.domain.events.parsing import parse
from parcours.domain.messages.results import Result as SendResult
from parcours.domain.messages.results import Sent
from parcours.domain.segments.file import SegmentFile
from parcours.ops.tokens import Tokens
from parcours.producers.files import campaigns as campaign_files
from parcours.producers.files import emails as email_files
from parcours.producers.files import segments as segment_files
from parcours.services import apply_campaign, campaign_changes, campaign_plan, segment_plan, segment_rules
from parcours.services.overview_json import overview_json
from parcours.workers import events, intake, rebuilding
from parcours.workers.delivery.channels import Delivery, Outgoing
from parcours.workers.delivery.deliver import deliver_inline
from parcours.workers.delivery.provider import Provider
from parcours.workers.delivery.registry import CHANNELS
from parcours.workers.delivery.render import Links
from parcours.workers.delivery.transport import Channel
from parcours.workers.membership import grace_over_all
from parcours.workers.sweeps import trigger_inline, update_inline

# A Monday, far from any change of clocks.
START = datetime(2026, 6, 1, 9, tzinfo=UTC)
_UTC = ZoneInfo("UTC")
_MOST_MOMENTS = 10_000

# Makes a sandbox that starts at a time, for contacts who live in a timezone unless they have one.
NewWorld = Callable[[datetime, ZoneInfo], "AbstractContextManager[Sandbox]"]
# What a template holds that nobody made.
_TEMPLATES: dict[str, templates.Kind] = {"sms": "sms", "push": "push"}
_CONTENT: dict[templates.Kind, dict[str, str]] = {"sms": {"text": "Hello"}, "push": {"title": "Hello", "text": "Hello"}}


class SentMessage(NamedTuple):
    """A message that was sent. `content` is a `Mail`, `Note` or `Call` of `parcours.providers`."""

    channel: str
    contact: str
    content: Any
    at: datetime
    # Of the campaign and the step that sent it, and of the template if it has one.
    campaign: str = ""
    step: str = ""
    template: str | None = None


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
    # The processor's and the server's time after which `advance` gives up, in seconds of `time.monotonic`.
    until: float | None = None
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
        self.event("contact.changed", key, **{"email": f"{key}@example.com", "fields": fields, **(known or {})})
        if segment is not None:
            self.enter(segment, key)

    def enter(self, segment: str, *keys: str) -> None:
        """Add contacts to a segment. A missing segment is created."""
        self._make("segments", segment)
        self.happen([("segment.contact_added", key, {"segment": segment}) for key in keys])

    def leave(self, segment: str, *keys: str) -> None:
        """Remove contacts from a segment."""
        self.happen([("segment.contact_removed", key, {"segment": segment}) for key in keys])

    def email(self, key: str, *, subject: str = "Hello", html: str | None = None, text: str | None = "Hello") -> None:
        """Create an email template. `campaign` creates those that a campaign names, with the text "Hello"."""
        with self.engine.begin() as conn:
            emails.save(conn, emails.Email(key, subject, html, text, None, True), now=self.now)

    def campaign(self, file: Path | str) -> None:
        """Apply and publish a campaign from a file or its text. Missing segments, forms and emails are created.

        Raises CampaignError, which lists all problems.
        """
        name = _name(file, "campaign.yaml")
        self.apply(campaign_files.read_text(_content(file), name=name, default_zone=self.zone))

    def apply(self, read: CampaignFile, *, published: bool | None = True) -> None:
        """Apply a campaign that was read, and publish it; otherwise as `campaign`.

        With `published` None it stays published or paused as it is, unless its file says which.
        """
        # A rate goes by the clock of the provider, which nobody can move.
        unset = dict.fromkeys(("publish_from", "publish_until", "rate"))
        read = read.model_copy(update={"published": read.published if published is None else published, **unset})
        for what, key in sorted({(each.what, each.key) for each in campaign_plan.references(read)}):
            self._make(what, key)
        with self.engine.begin() as conn:
            if problems := campaign_plan.check_references(conn, read):
                raise CampaignError(problems[0].sentence)
            plan = campaign_plan.plan(conn, read, zone=self.zone)
            apply_campaign.apply(conn, plan, backfill=False, reschedule=False, who="test", now=self.now, zone=self.zone)
        self._settle()

    def switch(self, campaign: str, *, published: bool) -> None:
        """Publish or pause a campaign. Raises CampaignError if there is none of that key."""
        with self.engine.begin() as conn:
            found = campaigns.find(conn, campaign)
            campaign_changes.switch(conn, found, published, who="test", now=self.now)
        self._settle()

    def emails(self, file: Path | str) -> None:
        """Apply email templates from a file or its text, with their variants. Raises CampaignError."""
        read, problems = email_files.read_text(_content(file), _name(file, "emails.yaml"))
        if problems:
            raise CampaignError(str(problems[0]))
        with self.engine.begin() as conn:
            for each in read:
                emails.save(conn, each, now=self.now)

    def segments(self, given: Sequence[SegmentFile] | Path | str) -> None:
        """Apply segments from a file, its text, or as they were read, and let their rules decide about every contact.

        Raises CampaignError.
        """
        if isinstance(given, Path | str):
            files = segment_files.read_text(_content(given), name=_name(given, "segments.yaml")).segments
        else:
            files = given
        with self.engine.begin() as conn:
            if problems := segment_plan.problems(conn, files):
                raise CampaignError(problems[0][1].sentence)
            asked = segment_rules.apply(conn, files, forget=False, now=self.now)
        rebuilding.work_all(self.engine, asked, now=self.now, zone=self.zone)
        self._settle()

    def event(self, type: str, contact: str, **data: Any) -> None:  # noqa: A002
        """Process an event of a contact now, with everything that follows immediately. Raises CampaignError.

        For an open or a click, `data` may give `email`, the key of the template, instead of the message.
        """
        self.happen([(type, contact, data)])

    def happen(self, happened: Sequence[tuple[str, str, Mapping[str, Any]]]) -> None:
        """Process events, given as type, contact and data, that happen together; otherwise as `event`."""
        given = [
            {"type": type_, "subject": contact, "data": data, "id": str(uuid4()), "time": self.now.isoformat()}
            for type_, contact, data in happened
        ]
        parsed = [parse({"specversion": "1.0", "source": "sandbox", **each}, now=self.now) for each in given]
        with self.engine.begin() as conn:
            accepted = intake.accept(conn, parsed, now=self.now, unknown_contacts="create")
        if accepted.rejected:
            raise CampaignError(accepted.rejected[0][1])
        self._settle()

    def advance(self, *, to: datetime | None = None, **lengths: float) -> None:
        """Move the clock and run everything that becomes due: `advance(days=2, hours=3)`, or `advance(to=…)`."""
        end = to if to is not None else self.now + timedelta(**lengths)
        assert end >= self.now, "time cannot move backwards"
        for _ in range(_MOST_MOMENTS):
            if self.until is not None and time.monotonic() > self.until:
                raise CampaignError("it takes too long; simulate a shorter time, or fewer contacts")
            with self.engine.connect() as conn:
                waits = simulation.next_due(conn)
                message = reads.next_message(conn)
            due = min((at for at in (waits, message) if at is not None), default=None)
            if due is None or due > end:
                break
            # What is still due after its moment, such as a retry of a provider that is away, comes a minute later.
            self.now = max(due, self.now + timedelta(minutes=1)) if due <= self.now else due
            if self.now > end:
                break
            self._settle()
        else:
            raise CampaignError(f"more than {_MOST_MOMENTS:,} moments have something due; simulate a shorter time")
        self.now = end
        self._settle()

    def overview(self, campaign: str) -> dict[str, Any]:
        """Return the statistics of a campaign, as `parcours overview --json` prints them."""
        with self.engine.connect() as conn:
            return overview_json(conn, campaign, self.zone)

    def outcomes(self, contact: str | None = None) -> list[Outcome]:
        """Return the outcomes of one contact or all, oldest first."""
        with self.engine.connect() as conn:
            return reads.outcomes(conn, contact)

    def results(self, contact: str) -> list[tuple[str, str]]:
        """Return the step and result of each outcome of a contact, oldest first."""
        return [(each.step, each.result) for each in self.outcomes(contact)]

    def sent(self, contact: str | None = None) -> list[SentMessage]:
        """Return the messages sent to one contact or all, oldest first."""
        with self.engine.connect() as conn:
            rows = reads.messages(conn, [key for _, key, _, _ in self._gone])
        about = {row.key: row for row in rows}
        found = [
            SentMessage(channel, row.contact, content, at, row.campaign, row.step, row.template)
            if (row := about.get(key)) is not None
            else SentMessage(channel, "", content, at)
            for channel, key, content, at in self._gone
        ]
        return [each for each in found if contact in (None, each.contact)]

    def fields(self, contact: str) -> dict[str, Any]:
        """Return the custom fields of a contact. Raises CampaignError if there is no such contact."""
        with self.engine.connect() as conn:
            found = contacts.show(conn, contact)
        if found is None:
            raise CampaignError(f"there is no contact {contact!r}")
        return dict(found.fields)

    def _make(self, what: str, key: str) -> None:
        with self.engine.begin() as conn:
            kind = _TEMPLATES.get(what)
            if kind is not None:
                if key not in templates.known(conn, kind, [key]):
                    templates.save(conn, templates.Template(kind, key, key, True, _CONTENT[kind]), now=self.now)
                return
            if what not in ("segments", "forms", "emails") or key in campaigns.named(conn, what, [key]):
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
            while True:
                with self.engine.begin() as conn:
                    acted = events.act(conn, now=self.now, zone=self.zone)
                if not acted.events:
                    break
            grace_over_all(self.engine, now=self.now, zone=self.zone)
            update_inline(self.engine, Scope(), now=self.now, zone=self.zone)
            counts: Counter[str] = Counter()
            done = trigger_inline(self.engine, Scope(), now=self.now, zone=self.zone, batch_size=1000)
            counts += sum(done.values(), Counter())
            counts += deliver_inline(self.engine, self._delivery, Scope(), now=self.now, zone=self.zone)
            # Only steps and messages bring about what comes before them in this order.
            if not +counts:
                return


def _content(file: Path | str) -> str:
    return file.read_text(encoding="utf-8") if isinstance(file, Path) else file


def _name(file: Path | str, otherwise: str) -> Path:
    return file if isinstance(file, Path) else Path(otherwise)


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a database on a temporary PostgreSQL server, which several sandboxes can share."""
    with _server() as engine:
        schema.upgrade(engine)
        yield engine.url.render_as_string(hide_password=False)


@contextmanager
def _server() -> Iterator[Engine]:
    """Yield an engine on a database without tables, on a server of its own that is gone at the end."""
    home = Path(tempfile.mkdtemp(prefix="parcours-sandbox-"))
    try:
        # As root, the server runs as another user, who must get in.
        home.chmod(0o755)
        engine = connect(embedded.start(home))
        try:
            yield engine
        finally:
            engine.dispose()
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


@contextmanager
def worlds(
    database_url: str | None = None,
) -> Iterator[Callable[[datetime, ZoneInfo], AbstractContextManager[Sandbox]]]:
    """Yield a maker of sandboxes, each in a database of its own that takes some hundredths of a second to make.

    The databases are on the server of the URL, where the user must be allowed to create some, or on a temporary one.
    """
    with ExitStack() as stack:
        engine = connect(database_url) if database_url is not None else stack.enter_context(_server())
        stack.callback(engine.dispose)
        if database_url is None:
            scratch.forget_the_disk(engine)
        name = stack.enter_context(scratch.template(engine))
        yield lambda start, zone: _world(engine, name, start, zone)


@contextmanager
def _world(server: Engine, template: str, start: datetime, zone: ZoneInfo) -> Iterator[Sandbox]:
    with scratch.clone(server, template) as engine:
        made = Sandbox(engine, {}, start, zone)
        try:
            yield made
        finally:
            made.close()
