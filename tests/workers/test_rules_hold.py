"""Whatever happens, in whatever order: who is in a segment by rule is who asking everybody again would let in."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from parcours.db.partitions import ensure_partitions
from parcours.db.reads import batch
from parcours.db.tables import campaigns, companies, contacts, rebuilds
from parcours.db.tables import rules as rule_table
from parcours.db.tables.contacts import Incoming
from parcours.db.tables.membership import Chunk
from parcours.domain.events.parsing import ContactEvent
from parcours.domain.segments.judging import Judged, judged
from parcours.domain.segments.rule import Rule
from parcours.services import manual_changes
from parcours.workers import rebuilding
from tests.workers.worlds import World, at

PEOPLE = ("ann", "ben", "eve", "kim")


def field(name: str, operator: str, value: Any) -> dict[str, Any]:
    return {"condition": "contact.field", "with": {"field": name, "operator": operator, "value": value}}


TAGGED = {"condition": "contact.tags", "with": {"tags": ["vip"]}}
BOUGHT = {"condition": "event.count", "with": {"type": "order.paid", "at_least": 1, "within": "3 days"}}
QUIET = field("last_active_at", "older_than", "2 days")
RULES: dict[str, Any] = {
    "french": field("country", "=", "FR"),
    "tagged": {"any": [TAGGED, field("tags", "like", "v%")]},
    "rich": {"condition": "contact.points", "with": {"operator": "gte", "points": 3}},
    "buyers": BOUGHT,
    "quiet": {"all": [QUIET, {"not": TAGGED}]},
    "silent": {"condition": "contact.dnc", "with": {"channels": ["email"]}},
    "berlin": field("company.city", "=", "Berlin"),
    "asked": {"condition": "form.submitted", "with": {"forms": ["signup"], "within": "2 days"}},
    "new": {"condition": "contact.created", "with": {"within": "4 days"}},
    "both": {"all": [{"condition": "contact.segments", "with": {"segments": ["french"]}}, {"not": BOUGHT}]},
    "members": {"condition": "contact.campaigns", "with": {"campaigns": ["c"]}},
    "opened": {"condition": "email.activity", "with": {"activity": "opened", "emails": ["hello"], "within": "2 days"}},
}
STEPS = """
- step: point
  action: contact.points
  with: {points: 2}
- {step: later, action: contact.tags, with: {add: [vip]}, after: 1 day}
- {step: update, action: contact.update, with: {fields: {country: FR}}, after: 2 days}
"""

# Of these, contacts wait until they are true, and others are out when they are.
WAITED_FOR = ("french", "tagged", "rich", "buyers", "quiet", "silent", "berlin", "both", "members", "opened")
OUT = ("tagged", "quiet", "berlin", "both")

person = st.sampled_from(PEOPLE)
told = st.one_of(
    st.tuples(
        st.just("contact.changed"),
        person,
        st.fixed_dictionaries(
            {},
            optional={
                "fields": st.fixed_dictionaries({"country": st.sampled_from(["FR", "US"])}),
                "tags": st.sampled_from([["vip"], ["vet"], {"remove": ["vip"]}]),
                "company": st.sampled_from(["acme", "init"]),
                "email": st.sampled_from(["one@example.com", "two@example.com"]),
                "timezone": st.sampled_from(["Asia/Tokyo", "America/New_York"]),
            },
        ),
    ),
    st.tuples(
        st.sampled_from(["order.paid", "page.hit", "email.unsubscribed", "email.resubscribed"]), person, st.just({})
    ),
    st.tuples(st.just("email.opened"), person, st.just({"email": "hello"})),
    st.tuples(st.just("form.submitted"), person, st.just({"form": "signup", "fields": {"a": "1"}})),
    st.tuples(
        st.sampled_from(["segment.contact_added", "segment.contact_removed"]),
        person,
        st.fixed_dictionaries({"segment": st.sampled_from(["everyone", "french", "rich"])}),
    ),
    st.tuples(st.just("contact.deleted"), person, st.just({})),
    st.tuples(st.just("contact.merged"), person, st.fixed_dictionaries({"from": person})),
)
happening = st.one_of(
    st.tuples(st.just("told"), st.lists(told, min_size=1, max_size=4)),
    st.tuples(st.just("waits"), st.integers(1, 120)),
    st.tuples(st.just("runs"), st.none()),
    st.tuples(st.just("imports"), st.tuples(person, st.sampled_from(["FR", "US"]), st.sampled_from([None, 5]))),
    st.tuples(st.just("hand"), st.tuples(person, st.sampled_from(["french", "both"]), st.booleans())),
    st.tuples(st.just("leaves"), person),
    st.tuples(st.just("company"), st.sampled_from(["Berlin", "Bonn"])),
    st.tuples(st.just("repairs"), st.none()),
)


class Story:
    """A world, its clock, and what may happen in it."""

    def __init__(self, world: World) -> None:
        self.world, self.now, self.nth = world, at(1), 0
        world.form("signup")
        world.email("hello")
        # Somebody else may come, of whom all is new; of these, what changes is what counts.
        world.contacts(*PEOPLE[:3])
        world.segment("everyone")
        world.campaign(STEPS, reentry="after_exit")
        for key, rule in RULES.items():
            world.by_rule(key, rule, self.now)
        steps = "\n".join(
            f"- {{step: {key}, decision: contact.matches, with: {{rule: {json.dumps(RULES[key])}}}, within: 6 days}}"
            for key in WAITED_FOR
        )
        world.campaign(steps, key="waiting", segments=["all"], reentry="after_exit")
        later = "- {step: later, action: contact.points, with: {points: 1}, after: 60 days}"
        exits = [{"rule": RULES[key]} for key in OUT]
        world.campaign(later, key="out", segments=["all"], reentry="after_exit", exit=exits)
        world.enter("all", *PEOPLE[:3])
        world.update(self.now)

    def happens(self, what: str, given: Any) -> None:
        getattr(self, f"_{what}")(given)
        self.now += timedelta(seconds=1)
        ensure_partitions(self.world.engine, self.now)

    def _told(self, given: Any) -> None:
        offered = []
        for type_, who, data in given:
            self.nth += 1
            offered.append(ContactEvent("test", str(self.nth), type_, who, self.now, data))
        done = self.world.accept(*offered, now=self.now)
        assert all("erased" in reason for _, reason in done.rejected), done.rejected
        self.world.act(self.now)

    def _waits(self, hours: int) -> None:
        self.now += timedelta(hours=hours)
        self.world.time_passes(self.now)

    def _runs(self, _: None) -> None:
        self.world.trigger(self.now)

    def _imports(self, given: Any) -> None:
        who, country, points = given
        row = Incoming(1, False, who, None, None, points, None, None, f'{{"country": "{country}"}}', None)
        with self.world.engine.begin() as conn:
            contacts.stage(conn, [row])
            contacts.merge(conn, now=self.now)
            rule_table.leave_imported(conn, now=self.now)
        self.world.time_passes(self.now)

    def _hand(self, given: Any) -> None:
        who, segment, inside = given
        with self.world.engine.begin() as conn:
            ids = list(contacts.named(conn, [who]).values())
            found = self._segment(segment)
            manual_changes.change_segment(conn, found, ids, inside=inside, now=self.now, zone=self.world.zone)

    def _leaves(self, who: str) -> None:
        with self.world.engine.begin() as conn:
            ids = list(contacts.named(conn, [who]).values())
            campaign = self.world.found(conn).id
            manual_changes.remove(conn, campaign, ids, who="test", now=self.now, zone=self.world.zone)

    def _company(self, city: str) -> None:
        with self.world.engine.begin() as conn:
            companies.save(conn, "acme", name=None, fields={"city": city})

    def _repairs(self, _: None) -> None:
        self.world.update(self.now)

    def _segment(self, key: str) -> int:
        return int(self.world.read("SELECT id FROM segment WHERE key = :key", key=key)[0].id)

    def missed(self) -> list[str]:
        """Return who waits for what is true already, or would be before anybody looks, and who is in and should be out.

        Once tick and workers had their turn.
        """
        world, found = self.world, list[str]()
        world.time_passes(self.now)
        world.trigger(self.now)
        with world.engine.connect() as conn:
            waiting, out = (
                campaigns.load(conn, each.id, each.version, world.zone)
                for each in (world.found(conn, "waiting"), world.found(conn, "out"))
            )
            for step in waiting.steps.values():
                told = self._asked(conn, step.rule)
                for each in world.read("SELECT contact_id, due_at FROM wait WHERE step_id = :id", id=step.id):
                    answer, changes_at = told[each.contact_id]
                    late = changes_at is not None and (each.due_at is None or each.due_at > changes_at)
                    found += [f"{each.contact_id} at {step.key}"] if answer is not False or late else []
            members = world.read(
                "SELECT contact_id, exit_due_at FROM membership WHERE campaign_id = :id AND left_at IS NULL", id=out.id
            )
            for nth, rule in enumerate(out.rule_exits):
                told = self._asked(conn, rule)
                for each in members:
                    answer, changes_at = told[each.contact_id]
                    late = changes_at is not None and (each.exit_due_at is None or each.exit_due_at > changes_at)
                    found += [f"{each.contact_id} in by {nth}"] if answer is not False or late else []
        return found

    def _asked(self, conn: Connection, rule: Rule) -> dict[int, Judged]:
        facts = batch.load_rules(conn, [rule], rebuilds.ids(conn, Chunk(0, 2**60)), now=self.now)
        contacts = list(facts.contacts.values())
        answers = judged(rule, contacts, facts.world, self.now, self.world.zone)
        return {contact.id: each for contact, each in zip(contacts, answers, strict=True)}

    def wrong(self) -> dict[str, list[int]]:
        """Return who is in a segment and should not be, or the other way round, once tick had its turn."""
        self.world.time_passes(self.now)
        found = {}
        with self.world.engine.connect() as conn:
            everybody = Chunk(0, 2**60)
            ids = rebuilds.ids(conn, everybody)
            for known in rule_table.book(conn).rules.values():
                standing = rebuilds.members(conn, known.segment_id, everybody)
                bad = rebuilding.wrong(conn, known, ids, standing, now=self.now, zone=self.world.zone)
                if bad:
                    found[known.key] = bad
        return found


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)
@given(st.lists(happening, min_size=5, max_size=14))
def test_members_are_those_whom_asking_everybody_would_let_in(world: World, story: list[tuple[str, Any]]) -> None:
    told = Story(world)
    try:
        for what, given_ in story:
            told.happens(what, given_)
        assert told.wrong() == {}
        assert told.missed() == []
        assert told.wrong() == {}
        assert world.read("SELECT * FROM segment_due WHERE due_at <= :now", now=told.now) == []
        assert world.read("SELECT * FROM unjudged") == []
        world.check()
    finally:
        world.clear()
