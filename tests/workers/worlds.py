"""Small worlds on a real database: contacts, segments and campaigns, and a clock that tests move by hand.

Everybody has a key, and everything is said and read by keys. Times are arguments: `at(2, "09:30")` is
half past nine on the second day, a Tuesday, in UTC.
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy import event as listening

from parcours.db.partitions import ensure_partitions
from parcours.db.reads import batch as facts
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, emails, outcomes, policies, templates, traces
from parcours.db.tables import forms as form_table
from parcours.db.tables import rules as rule_table
from parcours.db.tables import segments as segment_table
from parcours.db.tables.campaigns import Found
from parcours.domain.campaign import StopRule
from parcours.domain.contacts.contact import Contact
from parcours.domain.contacts.membership import Arrival, Departure
from parcours.domain.events.parsing import ContactEvent
from parcours.domain.messages.policy import parse_rule
from parcours.domain.steps import registry, types
from parcours.domain.steps.batch import Batch, Fact
from parcours.domain.steps.registry import action
from parcours.domain.steps.types import NoProperties, Result, StepType
from parcours.producers.files import campaigns as campaign_files
from parcours.services import apply_campaign, campaign_plan, segment_rules
from parcours.workers import decisions, events, intake, membership, rebuilding
from parcours.workers import rules as following
from parcours.workers.executor import BY_DEFAULT
from parcours.workers.intake import Accepted
from parcours.workers.sweeps import trigger_inline, update_inline

UTC_ZONE = ZoneInfo("UTC")
# The first day is a Monday, far from any change of clocks.
_FIRST_DAY = datetime(2026, 6, 1, tzinfo=UTC)


def at(day: int, clock: str = "09:00", *, zone: str | None = None) -> datetime:
    """Return a time of a day; day 1 is Monday, the first of June, and day 0 the Sunday before."""
    moment = _FIRST_DAY + timedelta(days=day - 1)
    own = UTC if zone is None else ZoneInfo(zone)
    return datetime.combine(moment, time.fromisoformat(clock), tzinfo=own).astimezone(UTC)


START = at(1)


def event(type_: str, key: str, when: datetime = START, *, id_: str | None = None, **data: Any) -> ContactEvent:
    """Return an event of a contact, of the source `test`; each has an id of its own unless one is given."""
    return ContactEvent("test", id_ or str(uuid4()), type_, key, when, data)


class Wait(NamedTuple):
    contact: str
    step: str
    reason: str
    # None: for ever.
    due_at: datetime | None
    rotation: int


class Passed(NamedTuple):
    contact: str
    step: str
    result: str
    rotation: int
    at: datetime
    detail: dict[str, Any] | None


class World:
    """One database, and the verbs with which tests tell their story."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.zone = UTC_ZONE
        self._file = folder / "campaign.yaml"

    # Making.

    def contacts(self, *keys: str, segment: str | None = None, when: datetime = START, **columns: Any) -> None:
        """Make contacts with these attributes; other names are custom fields. Each has an email address."""
        own = {name: columns.pop(name) for name in ("timezone", "points", "email") if name in columns}
        with self.engine.begin() as conn:
            conn.execute(
                text(
                    "INSERT INTO contact (key, email, timezone, points, fields) "
                    "SELECT key, coalesce(CAST(:email AS text), key || '@example.com'), :timezone, :points, "
                    "CAST(:fields AS jsonb) FROM unnest(CAST(:keys AS text[])) AS key"
                ),
                {"email": None, "timezone": None, "points": 0}
                | own
                | {"keys": list(keys), "fields": json.dumps(columns)},
            )
        if segment is not None:
            self.enter(segment, *keys, when=when)

    def crowd(self, size: int, *, segment: str | None = None, prefix: str = "c", **columns: Any) -> list[str]:
        """Make many contacts, `c1` and so on; return their keys."""
        keys = [f"{prefix}{number}" for number in range(1, size + 1)]
        self.contacts(*keys, segment=segment, **columns)
        return keys

    def segment(self, key: str, *, public: bool = True, published: bool = True) -> None:
        """Make a segment, or change one."""
        with self.engine.begin() as conn:
            segment_table.save(conn, key, name=None, public=public, published=published)

    def enter(self, segment: str, *keys: str, when: datetime = START, manual: bool = False) -> None:
        """Put contacts into a segment, made when it is new."""
        with self.engine.begin() as conn:
            if segment_table.find(conn, segment) is None:
                segment_table.save(conn, segment, name=None, public=None, published=None)
            found = segment_table.find(conn, segment)
            assert found is not None
            segment_table.add_members(conn, found.id, self.ids(conn, *keys), manual=manual, now=when)

    def leave(self, segment: str, *keys: str, when: datetime = START) -> None:
        """Take contacts out of a segment."""
        with self.engine.begin() as conn:
            found = segment_table.find(conn, segment)
            assert found is not None
            segment_table.remove_members(conn, found.id, self.ids(conn, *keys), manual=False, now=when)

    def by_rule(self, key: str, rule: object, when: datetime = START) -> None:
        """Give a segment a rule, made when it is new, and ask it of everybody."""
        with self.engine.begin() as conn:
            segment_rules.put(conn, key, rule, now=when)
        assert rebuilding.work_all(self.engine, self.rules_there(), now=when, zone=self.zone)

    def rules_there(self) -> list[int]:
        with self.engine.connect() as conn:
            return list(rule_table.book(conn).rules)

    def inside(self, segment: str) -> set[str]:
        """Return who is in a segment."""
        rows = self.read(
            "SELECT contact.key FROM segment_member JOIN contact ON contact.id = contact_id "
            "JOIN segment ON segment.id = segment_id WHERE segment.key = :segment AND active",
            segment=segment,
        )
        return {row.key for row in rows}

    def time_passes(self, now: datetime) -> None:
        """Do what tick has done for rules."""
        following.follow_all(self.engine, now=now, zone=self.zone)

    def form(self, key: str, *, standalone: bool = False) -> None:
        with self.engine.begin() as conn:
            form_table.create(conn, key, key, standalone)

    def email(self, key: str, *, published: bool = True, category: str | None = None) -> None:
        with self.engine.begin() as conn:
            emails.save(conn, emails.Email(key, key, None, "Hello", None, published, category), now=START)

    def template(self, kind: templates.Kind, key: str, *, published: bool = True, **content: str) -> None:
        """Make a template of another channel; without content, one that says hello."""
        said = content or {"title": "Hello", "text": "Hello"}
        with self.engine.begin() as conn:
            templates.save(conn, templates.Template(kind, key, key, published, said), now=START)

    def policy(self, channel: str, **rules: Any) -> None:
        """Bind the marketing messages of a channel, in place of what bound them before."""
        with self.engine.begin() as conn:
            policies.save(conn, channel, rules, now=START)

    def rule(self, key: str, channel: str, **given: Any) -> None:
        """A contact says what it wants of a channel."""
        with self.engine.begin() as conn:
            (contact_id,) = self.ids(conn, key)
            policies.set_rule(conn, contact_id, channel, parse_rule(given), now=START)

    def do_not_contact(self, *keys: str) -> None:
        """Nobody may send these contacts an email."""
        self.write(
            "INSERT INTO do_not_contact (contact_id, channel, reason, at) "
            "SELECT id, 'email', 'unsubscribed', :at FROM contact WHERE key = ANY (:keys)",
            keys=list(keys),
            at=START,
        )

    def campaign(
        self,
        steps: str,
        *,
        key: str = "c",
        segments: Sequence[str] = ("everyone",),
        forms: Sequence[str] = (),
        events: Sequence[dict[str, Any]] = (),
        existing: bool = True,
        dates: Sequence[dict[str, Any]] = (),
        when: datetime = START,
        backfill: bool = False,
        reschedule: bool = False,
        **settings: Any,
    ) -> campaign_plan.CampaignPlan:
        """Apply a campaign, published unless said otherwise, of the YAML of its steps; sources are made."""
        with self.engine.begin() as conn:
            for segment in segments:
                found = segment_table.find(conn, segment)
                if found is None:
                    segment_table.save(conn, segment, name=None, public=None, published=None)
            for form in forms:
                form_table.create(conn, form, form, False)
        head = {
            "campaign": key,
            "published": True,
            **settings,
            "sources": {
                "segments": list(segments),
                "forms": list(forms),
                "events": list(events),
                "dates": list(dates),
                "existing": existing,
            },
        }
        lines = [f"{name}: {json.dumps(value)}" for name, value in head.items()]
        body = textwrap.indent(textwrap.dedent(steps).strip("\n"), "  ")
        self._file.write_text("\n".join([*lines, "steps:", body, ""]), encoding="utf-8")
        file = campaign_files.read(self._file, default_zone=self.zone)
        with self.engine.begin() as conn:
            assert campaign_plan.check_references(conn, file) == []
            plan = campaign_plan.plan(conn, file, zone=self.zone, now=when)
            apply_campaign.apply(
                conn, plan, backfill=backfill, reschedule=reschedule, who="test", now=when, zone=self.zone
            )
        return plan

    # What happens.

    def update(self, now: datetime = START, **scope: Any) -> Counter[str]:
        """Align members with segments; return the counts of all campaigns together."""
        done = update_inline(self.engine, self._scope(scope), now=now, zone=self.zone)
        return +sum(done.values(), Counter())

    def trigger(
        self, now: datetime = START, *, batch: int = 1000, stop: StopRule = BY_DEFAULT, **scope: Any
    ) -> Counter[str]:
        """Do what is due; return the counts of all campaigns together."""
        done = trigger_inline(self.engine, self._scope(scope), now=now, zone=self.zone, batch_size=batch, stop=stop)
        return +sum(done.values(), Counter())

    def run(self, now: datetime = START) -> None:
        """Do what a cron would: update, then trigger."""
        self.update(now)
        self.trigger(now)

    def submit(self, form: str, key: str, now: datetime = START, **fields: Any) -> Counter[str]:
        """A contact submits a form."""
        ensure_partitions(self.engine, now)
        with self.engine.begin() as conn:
            submitted = event("form.submitted", key, now, form=form, fields=fields)
            accepted = intake.accept(conn, [submitted], now=now, unknown_contacts="reject")
            assert accepted.accepted == 1, accepted.rejected
            return +events.act(conn, now=now, zone=self.zone).counts

    def accept(
        self, *offered: ContactEvent, now: datetime = START, unknown: Literal["create", "reject"] = "create"
    ) -> Accepted:
        """Events come in, one batch; nobody acts on them yet."""
        with self.engine.begin() as conn:
            return intake.accept(conn, offered, now=now, unknown_contacts=unknown)

    def act(self, now: datetime = START) -> Counter[str]:
        """Act on the inbox until it is empty; return what followed."""
        ensure_partitions(self.engine, now)
        counts: Counter[str] = Counter()
        while True:
            with self.engine.begin() as conn:
                batch = events.act(conn, now=now, zone=self.zone)
            counts += batch.counts
            if not batch.events:
                traces.wipe_noted(self.engine)
                return +counts

    def tell(self, *offered: ContactEvent, now: datetime | None = None) -> Counter[str]:
        """Events come in, each of which must be accepted, and are acted on; now is the time of the last one."""
        now = offered[-1].at if now is None else now
        accepted = self.accept(*offered, now=now)
        assert accepted == Accepted(len(offered)), accepted
        return self.act(now)

    def happens(self, key: str, type_: str, now: datetime, times: int = 1, **data: Any) -> Counter[str]:
        """A contact does something that decisions may wait for, past the inbox."""
        ensure_partitions(self.engine, now)
        with self.engine.begin() as conn:
            ids = facts.lock(conn, self.ids(conn, key))
            happened = dict.fromkeys(ids, [Fact(type_, data, now)] * times)
            return +decisions.react(conn, happened, now=now, zone=self.zone).counts

    def add(self, key: str, now: datetime = START, *, campaign: str = "c") -> Counter[str]:
        """A person adds a contact to a campaign."""
        ensure_partitions(self.engine, now)
        with self.engine.begin() as conn:
            tree, _ = campaigns.enter(conn, self.found(conn, campaign).id, self.zone)
            return membership.arrive(conn, tree, self.ids(conn, key), Arrival.MANUAL, now=now, zone=self.zone)

    def remove(self, key: str, now: datetime = START, *, campaign: str = "c") -> None:
        """A person removes a contact from a campaign."""
        ensure_partitions(self.engine, now)
        with self.engine.begin() as conn:
            ids = self.ids(conn, key)
            membership.depart(conn, self.found(conn, campaign).id, ids, Departure.MANUAL, now=now)

    def publish(self, published: bool = True, now: datetime = START, *, campaign: str = "c") -> None:
        """Resume a campaign, or pause it."""
        with self.engine.begin() as conn:
            found = self.found(conn, campaign)
            campaigns.close(conn, found.id)
            campaigns.set_published(conn, found.id, published, now=now)

    def pause(self, now: datetime = START, *, campaign: str = "c") -> None:
        self.publish(False, now, campaign=campaign)

    # What there is.

    def log(self, *keys: str, campaign: str = "c") -> list[str]:
        """Return the outcomes as `step result`, oldest first; of several contacts, `contact: step result`."""
        rows = [row for row in self.passed(campaign=campaign) if not keys or row.contact in keys]
        several = len({row.contact for row in rows}) > 1
        return [f"{row.contact}: " * several + f"{row.step} {row.result}" for row in rows]

    def passed(self, *, campaign: str = "c") -> list[Passed]:
        """Return the outcomes of a campaign, oldest first."""
        with self.engine.connect() as conn:
            rows = outcomes.log(conn, self.found(conn, campaign).id, contact_id=None, step_id=None)
            return [Passed(r.contact, r.step, r.result, r.rotation, r.at, r.detail) for r in rows]

    def tally(self, *, campaign: str = "c") -> dict[str, int]:
        """Return how many outcomes there are of each `step result`."""
        return dict(Counter(f"{row.step} {row.result}" for row in self.passed(campaign=campaign)))

    def waits(self, *keys: str, campaign: str = "c") -> list[Wait]:
        """Return the open waits of a campaign, next due first."""
        with self.engine.connect() as conn:
            rows = outcomes.waiting(conn, self.found(conn, campaign).id, contact_id=None, step_id=None)
            found = [Wait(row.contact, row.step, row.reason, row.due_at, row.rotation) for row in rows]
        return [wait for wait in found if not keys or wait.contact in keys]

    def due(self, key: str, step: str, *, campaign: str = "c") -> datetime | None:
        """Return when a contact is due at a step; fails when it does not wait there."""
        (found,) = [wait for wait in self.waits(key, campaign=campaign) if wait.step == step]
        return found.due_at

    def standing(self, key: str, *, campaign: str = "c") -> list[str]:
        """Return the steps at which a contact waits, next due first."""
        return [wait.step for wait in self.waits(key, campaign=campaign)]

    def members(self, *, campaign: str = "c") -> dict[str, str]:
        """Return memberships: `in 1` is in, in the first rotation; `segment 1` left through the segments."""
        rows = self.read(
            "SELECT contact.key, coalesce(membership.departure::text, 'in') || ' ' || rotation AS state "
            "FROM membership JOIN contact ON contact.id = contact_id "
            "JOIN campaign ON campaign.id = campaign_id WHERE campaign.key = :campaign ORDER BY contact.id",
            campaign=campaign,
        )
        return {row.key: row.state for row in rows}

    def points(self, *keys: str) -> list[int]:
        """Return contacts' points, in the order of the keys; of everybody, by id, when none is named."""
        rows = self.read("SELECT key, points FROM contact ORDER BY id")
        found = {row.key: row.points for row in rows}
        return [found[key] for key in keys or found]

    def tags(self, key: str) -> set[str]:
        rows = self.read(
            "SELECT tag FROM contact_tag JOIN contact ON contact.id = contact_id WHERE key = :key", key=key
        )
        return {row.tag for row in rows}

    def outbox(self) -> list[str]:
        """Return the messages as `contact template`, in the order they were written."""
        rows = self.read(
            "SELECT contact.key, template FROM message JOIN contact ON contact.id = contact_id ORDER BY message.id"
        )
        return [f"{row.key} {row.template}" for row in rows]

    def audit(self, *, campaign: str = "c") -> list[str]:
        """Return who changed what, oldest first."""
        with self.engine.connect() as conn:
            rows = campaigns.activity(conn, self.found(conn, campaign).id, limit=1000)
        return [f"{row.who}: {row.what}" for row in reversed(rows)]

    # Below.

    def read(self, sql: str, **parameters: Any) -> Sequence[Any]:
        with self.engine.connect() as conn:
            return conn.execute(text(sql), parameters).all()

    def write(self, sql: str, **parameters: Any) -> None:
        with self.engine.begin() as conn:
            conn.execute(text(sql), parameters)

    def ids(self, conn: Connection, *keys: str) -> list[int]:
        rows = conn.execute(text("SELECT key, id FROM contact WHERE key = ANY (:keys)"), {"keys": list(keys)})
        found = {row.key: row.id for row in rows}
        return [found[key] for key in keys]

    def contact_id(self, key: str) -> int:
        with self.engine.connect() as conn:
            return self.ids(conn, key)[0]

    def found(self, conn: Connection, campaign: str = "c") -> Found:
        return campaigns.find(conn, campaign)

    def step_id(self, step: str, *, campaign: str = "c") -> int:
        with self.engine.connect() as conn:
            steps = campaigns.steps(conn, self.found(conn, campaign).id)
        return next(each.id for each in steps if each.key == step)

    def _scope(self, named: dict[str, Any]) -> Scope:
        """Return a scope; `campaigns`, `excluded`, `contacts` and the ends of the range are given by key."""
        given = dict(named)
        with self.engine.connect() as conn:
            for name, option in (("campaigns", "campaign_ids"), ("excluded", "excluded")):
                if name in given:
                    given[option] = tuple(self.found(conn, key).id for key in given.pop(name))
            if "contacts" in given:
                given["contact_ids"] = tuple(sorted(self.ids(conn, *given.pop("contacts"))))
            for end in ("min_id", "max_id"):
                if end in given:
                    (given[end],) = self.ids(conn, given[end])
        return Scope(**given)

    # What is always true.

    def check(self) -> None:
        """Fail if the database contradicts itself, whatever the story was."""
        counted = self.read(
            "SELECT step_id, (at AT TIME ZONE 'UTC')::date AS day, result, count(*) AS n "
            "FROM outcome GROUP BY 1, 2, 3 "
            "EXCEPT SELECT step_id, day, result, sum(n)::bigint FROM step_count GROUP BY 1, 2, 3 HAVING sum(n) <> 0"
        )
        kept = self.read(
            "SELECT step_id, day, result, sum(n)::bigint AS n FROM step_count GROUP BY 1, 2, 3 HAVING sum(n) <> 0 "
            "EXCEPT SELECT step_id, (at AT TIME ZONE 'UTC')::date, result, count(*) "
            "FROM outcome GROUP BY 1, 2, 3"
        )
        assert (counted, kept) == ([], []), "the counters of the steps are not the number of outcomes"
        twice = self.read(
            "SELECT contact_id, step_id, rotation, passage, array_agg(result::text) FROM outcome "
            "GROUP BY 1, 2, 3, 4 HAVING count(*) > 1"
        )
        assert twice == [], "a passage has more than one outcome"
        members = self.read(
            "SELECT campaign.key, coalesce(sum(n) FILTER (WHERE what = 'added'), 0) "
            "- coalesce(sum(n) FILTER (WHERE what = 'left'), 0) AS counted, "
            "(SELECT count(*) FROM membership WHERE campaign_id = campaign.id AND left_at IS NULL) AS active "
            "FROM campaign LEFT JOIN campaign_count ON campaign_id = campaign.id GROUP BY campaign.id"
        )
        assert [row for row in members if row.counted != row.active] == [], "who is in is not added less left"
        known = self.read(
            "SELECT campaign.key, coalesce(sum(n) FILTER (WHERE what = 'added'), 0) "
            "- coalesce(sum(n) FILTER (WHERE what = 'erased'), 0) AS counted, "
            "(SELECT coalesce(sum(entries), 0) FROM membership WHERE campaign_id = campaign.id) AS members "
            "FROM campaign LEFT JOIN campaign_count ON campaign_id = campaign.id GROUP BY campaign.id"
        )
        assert [row for row in known if row.counted < row.members] == [], "more are known than added less erased"
        hours = self.read(
            "SELECT campaign_id, (hour AT TIME ZONE 'UTC')::date AS day, what, sum(n) FROM campaign_hour_count "
            "GROUP BY 1, 2, 3 EXCEPT SELECT campaign_id, day, what, sum(n) FROM campaign_count GROUP BY 1, 2, 3"
        )
        assert hours == [], "the hours of a day are not the day"
        lost = self.read(
            "SELECT wait.* FROM wait LEFT JOIN membership USING (contact_id, campaign_id) "
            "LEFT JOIN run ON run.contact_id = wait.contact_id AND run.campaign_id = wait.campaign_id "
            "AND run.rotation = wait.rotation AND run.left_at IS NULL "
            "WHERE membership.left_at IS NOT NULL OR CASE WHEN membership.runs THEN run.number IS NULL "
            "ELSE membership.rotation IS DISTINCT FROM wait.rotation END"
        )
        assert lost == [], "somebody waits who is out, or in another rotation"

        runs = self.read(
            "SELECT membership.* FROM membership LEFT JOIN LATERAL (SELECT count(*) AS n, "
            "count(*) FILTER (WHERE run.left_at IS NULL) AS open, max(run.rotation) AS highest FROM run "
            "WHERE run.contact_id = membership.contact_id AND run.campaign_id = membership.campaign_id) AS runs "
            "ON true "
            "WHERE (runs.n > 0) <> membership.runs OR membership.runs AND ((membership.left_at IS NULL) <> (open > 0) "
            "OR membership.rotation < highest)"
        )
        assert runs == [], "a membership is not what its runs are"

    def clear(self) -> None:
        """Forget everything."""
        tables = [
            *("campaign", "category", "stage", "contact", "contact_tag", "do_not_contact", "refusal", "segment"),
            *(
                "segment_member",
                "form",
                "form_submission",
                "email",
                "trial",
                "membership",
                "wait",
                "outcome",
                "failure",
            ),
            *("message", "delivery_count", "step_count", "campaign_count", "campaign_hour_count", "sweep", "audit"),
            *("inbox", "event", "event_key", "erased", "leaving", "device", "dead_letter", "frequency_rule"),
            *("contact_alias", "point_group", "contact_score", "point_log", "stage_log", "contact_utm"),
            *("run", "entrant", "template", "policy", "company_member", "company", "circuit", "rate", "rezoned"),
            *("leftover", "redated", "date_entry", "variant_test"),
            *("segment_due", "unjudged", "unjudged_company"),
        ]
        with self.engine.begin() as conn:
            for table in tables:
                conn.execute(text(f"DELETE FROM {table}"))
            conn.execute(text("UPDATE rule_set SET version = version + 1"))


@contextmanager
def statements_counted(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements that an engine sends."""
    sent: list[str] = []

    def listen(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    listening.listen(engine, "before_cursor_execute", listen)
    try:
        yield sent
    finally:
        listening.remove(engine, "before_cursor_execute", listen)


class Moody:
    """An action type that does, for each contact, what a test says; and remembers whom it met."""

    def __init__(self) -> None:
        self.met: list[str] = []
        self.moods: dict[str, Result | Exception] = {}
        self.otherwise: Result | Exception = types.DONE

    def run(self, batch: Batch[NoProperties]) -> list[Result]:
        """Does what the test says."""
        return [self.meet(contact) for contact in batch.contacts]

    def meet(self, contact: Contact) -> Result:
        self.met.append(contact.key)
        mood = self.moods.get(contact.key, self.otherwise)
        contact.points += 1
        if isinstance(mood, Exception):
            raise mood
        return mood

    def install(self, patch: pytest.MonkeyPatch, name: str = "test.moody") -> None:
        """Make the type known, as another package's would be."""
        made = action(name, properties=NoProperties)(self.run)
        points = {**registry._entry_points(), f"action.{name}": _Point(made)}
        patch.setattr(registry, "_entry_points", lambda: points)
        registry.step_type.cache_clear()


class _Point(NamedTuple):
    """An entry point that is not installed."""

    made: StepType
    value: str = "tests"

    def load(self) -> StepType:
        return self.made
