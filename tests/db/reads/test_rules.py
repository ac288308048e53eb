"""Rules on a real database: what is loaded for them, and that SQL and Python answer alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from parcours.db.reads import batch
from parcours.db.reads import rules as rules_in_sql
from parcours.domain.contacts.contact import Contact
from parcours.domain.segments import judging
from parcours.domain.steps.batch import Fact, Mailing, Submission
from tests.domain.segments.people import (
    CAMPAIGNS,
    FORMS,
    INTERVALS,
    NAMES,
    NEAR,
    NOWS,
    SEGMENTS,
    SPANS,
    ZONE,
    ZONES,
    Person,
    as_rule,
    conditions,
    people,
    trees,
)
from tests.workers.worlds import START, World, at, event, statements_counted


def _insert(conn: Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        columns = ", ".join(rows[0])
        # All values come as JSON, and become what the columns are.
        conn.execute(
            text(
                f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} "
                f"FROM jsonb_populate_recordset(CAST(NULL AS {table}), CAST(:rows AS jsonb))"
            ),
            {"rows": json.dumps(rows, default=lambda value: value.isoformat())},
        )


def furnish(conn: Connection, crowd: Sequence[Person]) -> None:
    """Write people into an empty database, as the engine would have."""
    now = START
    segments, forms, campaigns = ({key: n for n, key in enumerate(keys, 1)} for keys in (SEGMENTS, FORMS, CAMPAIGNS))
    named = ({"id": n, "key": key, "name": key, "public": True, "published": True} for key, n in segments.items())
    _insert(conn, "segment", list(named))
    standalone = {"standalone": False, "published": True, "mapping": {}}
    _insert(conn, "form", [{"id": n, "key": key, "name": key} | standalone for key, n in forms.items()])
    times = {"created_at": now, "changed_at": now}
    _insert(
        conn,
        "campaign",
        [
            {"id": n, "key": key, "name": key, "description": "", "published": False, "version": 0} | times
            for key, n in campaigns.items()
        ],
    )
    companies = {key: n for n, key in enumerate((key for each in crowd for key in each.companies), 1)}
    contacts = [each.contact for each in crowd]
    own = ("id", "key", "email", "timezone", "points", "stage", "owner", "fields", "last_active_at")
    _insert(
        conn,
        "contact",
        [
            {name: getattr(each, name) for name in own}
            | times
            # A contact has always been created at some time.
            | {"created_at": each.created_at or now, "said_at": {}}
            for each in contacts
        ],
    )
    _insert(conn, "contact_tag", [{"contact_id": each.id, "tag": tag} for each in contacts for tag in each.tags])
    _insert(
        conn,
        "segment_member",
        [
            {"contact_id": each.id, "segment_id": n, "active": key in each.segments, "entry": 1, "changed_at": now}
            | {"manually_added": False, "manually_removed": False}
            for each in contacts
            for key, n in segments.items()
        ],
    )
    _insert(
        conn,
        "contact_score",
        [{"contact_id": each.id, "group_key": key, "points": n} for each in contacts for key, n in each.scores.items()],
    )
    _insert(
        conn,
        "do_not_contact",
        [
            {"contact_id": each.id, "channel": channel, "reason": reason, "at": now, "beneath": {}}
            for each in contacts
            for channel, reason in each.do_not_contact.items()
        ],
    )
    _insert(
        conn,
        "membership",
        [
            {"contact_id": each.contact.id, "campaign_id": campaigns[key], "added_at": when, "rotation": 1}
            | {"arrival": "segment", "manual": False}
            for each in crowd
            for key, when in each.campaigns.items()
        ],
    )
    _insert(
        conn,
        "company",
        [
            {"id": companies[key], "key": key, "name": key, "points": company.points, "fields": company.fields}
            | {"created_at": now}
            for each in crowd
            for key, company in each.companies.items()
        ],
    )
    _insert(
        conn,
        "company_member",
        [
            {"contact_id": each.id, "company_id": companies[key], "is_primary": key == each.company}
            for each in contacts
            for key in each.companies
        ],
    )
    numbered = list(enumerate(((each.contact.id, found) for each in crowd for found in each.devices), 1))
    _insert(
        conn,
        "device",
        [{"contact_id": id_, "id": n, "type": found["type"], "last_seen_at": now} for n, (id_, found) in numbered],
    )
    _insert(
        conn,
        "form_submission",
        [
            {"contact_id": id_, "id": n, "form_id": forms[sent.form], "fields": sent.fields, "at": sent.at}
            for n, (id_, sent) in enumerate(((each.contact.id, sent) for each in crowd for sent in each.submissions), 1)
        ],
    )
    happened = [
        (each.contact.id, type_, when, data)
        for each in crowd
        for type_, when, data in (
            *((fact.type, fact.at, dict(fact.data)) for fact in each.events),
            *(("page.hit", visit.at, {"url": visit.url}) for visit in each.visits),
            # Half of the emails are somebody else's.
            *(
                (f"email.{it.activity}", it.at, {"email": it.email})
                for it in each.mailings[1:]
                if it.activity != "sent"
            ),
        )
    ]
    _insert(
        conn,
        "event",
        [
            {
                "contact_id": id_,
                "received_at": when,
                "source": "test",
                "id": str(n),
                "type": type_,
                "at": when,
                "data": data,
            }
            for n, (id_, type_, when, data) in enumerate(happened, 1)
        ],
    )
    _insert(
        conn,
        "message",
        [
            {
                "contact_id": id_,
                "id": n,
                "key": str(n),
                "campaign_id": 1,
                "step_id": 1,
                "rotation": 1,
                "channel": "email",
            }
            | {"template": it.email, "address": "a@example.com", "payload": {}, "state": "sent", "attempts": 1}
            | {"due_at": it.at, "created_at": it.at, "marketing": True, "priority": 0}
            | dict.fromkeys(["sent_at", "opened_at", "clicked_at", "bounced_at"])
            | {f"{it.activity}_at": it.at}
            for n, (id_, it) in enumerate(((each.contact.id, it) for each in crowd for it in each.mailings[:1]), 1)
        ],
    )


def _agree(conn: Connection, data: Any, crowd: Sequence[Person], now: datetime) -> None:
    rule, ids = as_rule(data), [each.contact.id for each in crowd]
    facts = batch.load_rules(conn, [rule], ids, now=now)
    asked = [facts.contacts[id_] for id_ in ids]
    told = dict(zip(ids, judging.judged(rule, asked, facts.world, now, ZONE), strict=True))
    for timeless in (False, True):
        found = rules_in_sql.answers(conn, rule, min(ids), max(ids), now=now, timeless=timeless)
        for id_, (answer, changes_at) in told.items():
            if id_ in found.unsure:
                continue
            assert answer is (id_ in found.yes), (data, id_, timeless)
            assert not timeless or changes_at is None, (data, id_)
    both = rules_in_sql.judged(conn, rule, min(ids), max(ids), now=now, zone=ZONE, at_once=2)
    assert both == {id_: each for id_, each in told.items() if each != judging.Judged(False, None)}


# Looking for a simpler example takes the database minutes.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(
    phases=_PHASES, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_a_condition_says_the_same_in_sql_and_in_python(name: str, world: World, data: st.DataObject) -> None:
    now, span = data.draw(NOWS), data.draw(INTERVALS)
    crowd = [data.draw(people(now, span, number)) for number in range(1, 7)]
    with world.engine.connect() as conn:
        furnish(conn, crowd)
        for _ in range(12):
            _agree(conn, data.draw(conditions(now, span, name)), crowd, now)


@given(data=st.data())
@settings(
    phases=_PHASES, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_a_rule_says_the_same_in_sql_and_in_python(world: World, data: st.DataObject) -> None:
    now, span = data.draw(NOWS), data.draw(INTERVALS)
    crowd = [data.draw(people(now, span, number)) for number in range(1, 7)]
    with world.engine.connect() as conn:
        furnish(conn, crowd)
        for _ in range(6):
            _agree(conn, data.draw(trees(now, span)), crowd, now)


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        (
            {"condition": "contact.field", "with": {"field": "country", "operator": "in", "value": ["FR", "BE"]}},
            "fr",
            "us",
        ),
        ({"condition": "contact.field", "with": {"field": "country", "operator": "!=", "value": "us"}}, "fr", "us"),
        ({"condition": "contact.field", "with": {"field": "age", "operator": ">=", "value": 18}}, "fr", "us"),
        (
            {"condition": "contact.field", "with": {"field": "since", "operator": "within", "value": "90 days"}},
            "fr",
            "us",
        ),
        ({"condition": "contact.field", "with": {"field": "vip", "operator": "!empty"}}, "fr", "us"),
        (
            {"condition": "contact.field", "with": {"field": "email", "operator": "=", "value": "fr@example.com"}},
            "fr",
            "us",
        ),
        ({"condition": "contact.points", "with": {"operator": "gte", "points": 50}}, "fr", "us"),
        ({"condition": "contact.tags", "with": {"tags": ["customer"]}}, "fr", "us"),
        ({"condition": "contact.segments", "with": {"segments": ["news"]}}, "fr", "us"),
        ({"condition": "contact.dnc", "with": {"channels": ["email"]}}, "us", "fr"),
        ({"condition": "contact.created", "with": {"older_than": "3 days"}}, None, "fr"),
        ({"condition": "event.count", "with": {"type": "order.paid", "at_least": 2, "within": "90 days"}}, "fr", "us"),
        ({"condition": "form.submitted", "with": {"forms": ["signup"], "within": "90 days"}}, "fr", "us"),
    ],
)
def test_common_conditions_are_told_in_sql_alone(world: World, condition: Any, yes: str | None, no: str) -> None:
    now = at(20)
    world.contacts("fr", country="FR", age=18, since="2026-06-01", vip="x", points=60, segment="news")
    world.contacts("us", country="us", age="17", since="2020-01-01", points=5)
    world.form("signup")
    world.do_not_contact("us")
    world.write("INSERT INTO contact_tag SELECT id, 'customer' FROM contact WHERE key = 'fr'")
    world.write("UPDATE contact SET created_at = :now", now=now)
    world.tell(event("order.paid", "fr", at(2)), event("order.paid", "fr", at(3)), event("order.paid", "us", at(3)))
    world.submit("signup", "fr", at(4))
    with world.engine.connect() as conn:
        ids = {row.key: row.id for row in conn.execute(text("SELECT key, id FROM contact"))}
        found = rules_in_sql.answers(conn, as_rule(condition), 0, max(ids.values()), now=now)
    assert found.unsure == []
    assert ids[no] not in found.yes
    assert (ids[yes] in found.yes) if yes else not found.yes


def test_what_a_rule_says_is_bound_and_never_part_of_the_statement() -> None:
    evil = "x'); DROP TABLE contact; --"
    rule = as_rule(
        {
            "all": [
                {"condition": "contact.tags", "with": {"tags": [evil]}},
                {"condition": "contact.field", "with": {"field": evil, "operator": "=", "value": evil}},
            ]
        }
    )
    form = rules_in_sql.form_of(rule, now=START)
    assert "DROP" not in form.sql
    assert evil in form.parameters.values()


def test_what_rules_need_is_loaded_in_as_many_statements_for_many_contacts_as_for_few(world: World) -> None:
    world.crowd(30)
    asked = [
        as_rule({"condition": "event.count", "with": {"type": "order.paid", "within": "7 days"}}),
        as_rule({"condition": "event.count", "with": {"type": "order.paid", "at_least": 3}}),
        as_rule({"condition": "email.activity", "with": {"activity": "opened"}}),
        as_rule({"condition": "form.submitted"}),
        as_rule({"condition": "contact.tags", "with": {"tags": ["a"]}}),
    ]
    counts = []
    with world.engine.connect() as conn:
        ids = list(conn.execute(text("SELECT id FROM contact ORDER BY id")).scalars())
        for some in (ids[:2], ids):
            with statements_counted(world.engine) as counted:
                batch.load_rules(conn, asked, some, now=START)
            counts.append(len(counted))
    # The contacts, tags, submissions, mailings, and events of one type.
    assert counts == [5, 5]


def test_only_as_many_events_are_loaded_as_are_asked_for(world: World) -> None:
    world.contacts("ann")
    world.tell(*(event("order.paid", "ann", START + timedelta(minutes=n), total=n) for n in range(20)))
    world.tell(event("page.hit", "ann", START, url="a.com"), event("page.hit", "ann", START, url="a.com", bot=True))
    twice = as_rule(
        {"condition": "event.count", "with": {"type": "order.paid", "at_least": 2, "older_than": "1 minute"}}
    )
    once = as_rule({"condition": "event.count", "with": {"type": "order.paid", "at_least": 2}})
    hits = as_rule({"condition": "event.count", "with": {"type": "page.hit", "exactly": 1}})
    with world.engine.connect() as conn:
        (ann,) = conn.execute(text("SELECT id FROM contact")).scalars()
        loaded = [len(batch.load_rules(conn, [rule], [ann], now=at(2)).world.events[ann]) for rule in (once, twice)]
        facts = batch.load_rules(conn, [hits], [ann], now=at(2))
        assert judging.judge(hits, [facts.contacts[ann]], facts.world, at(2), ZONE) == [True]
    assert loaded == [3, 20]


def test_emails_of_ours_and_of_others_are_loaded(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.email("welcome")
    world.campaign("- {step: hello, action: email.send, with: {email: welcome}}")
    world.run()
    world.write("UPDATE message SET state = 'sent', sent_at = :now, opened_at = :now", now=at(1, "10:00"))
    world.tell(event("email.clicked", "bob", at(2), email="offer", url="a.com"))
    asked = {
        name: as_rule({"condition": "email.activity", "with": given_})
        for name, given_ in (
            ("sent", {"activity": "sent", "emails": ["welcome"]}),
            ("opened offer", {"activity": "opened", "emails": ["offer"]}),
            ("clicked lately", {"activity": "clicked", "within": "1 day"}),
            ("opened long ago", {"activity": "opened", "older_than": "1 day"}),
        )
    }
    with world.engine.connect() as conn:
        ids = world.ids(conn, "ann", "bob")
        facts = batch.load_rules(conn, asked.values(), ids, now=at(2, "12:00"))
        answers = {
            name: judging.judge(rule, [facts.contacts[each] for each in ids], facts.world, at(2, "12:00"), ZONE)
            for name, rule in asked.items()
        }
    assert answers == {
        "sent": [True, True],
        "opened offer": [False, True],
        "clicked lately": [False, True],
        "opened long ago": [True, True],
    }


def test_an_event_that_is_being_acted_on_can_be_added(world: World) -> None:
    world.contacts("ann")
    rule = as_rule(
        {
            "condition": "event.count",
            "with": {"type": "order.paid", "where": [{"field": "total", "operator": ">", "value": 5}]},
        }
    )
    with world.engine.connect() as conn:
        (ann,) = world.ids(conn, "ann")
        facts = batch.load_rules(conn, [rule], [ann], now=START)
    for total, answer in ((3, False), (9, True)):
        known = batch.with_event(facts, ann, "order.paid", {"total": total}, START)
        assert judging.judge(rule, [known.contacts[ann]], known.world, START, ZONE) == [answer]


def test_a_campaigns_condition_on_a_form_that_was_stored_before_means_any_submission(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.form("poll")
    world.submit("poll", "ann", colour="red")
    world.submit("poll", "ann", colour="blue")
    asked = "{form: poll, field: colour, operator: '=', value: red}"
    world.campaign(f"- {{step: red, condition: form.field, with: {asked}}}", key="now")
    world.run()
    assert world.log(campaign="now") == ["red no"]
    world.campaign(f"- {{step: red, condition: form.field, with: {asked}}}", key="before")
    # As a release before this one stored it.
    world.write(
        "UPDATE campaign_version SET definition = "
        "CAST(replace(CAST(definition AS text), '\"which\": \"latest\", ', '') AS json)"
    )
    world.run()
    assert world.log(campaign="before") == ["red yes"]


def _about_a_period(span: str) -> list[dict[str, Any]]:
    """Return conditions about what is within an interval, or older than it."""
    periods: list[dict[str, Any]] = [{"within": span}, {"older_than": span}, {"within": span, "older_than": "20 hours"}]
    return [
        {"condition": name, "with": {**more, **period}}
        for period in periods
        for name, more in (
            ("contact.created", {}),
            ("event.count", {"type": "order.paid"}),
            ("event.count", {"type": "order.paid", "at_least": 2}),
            ("event.count", {"type": "order.paid", "at_most": 1}),
            ("event.count", {"type": "order.paid", "exactly": 2}),
            ("form.submitted", {"forms": ["poll"]}),
            ("email.activity", {"activity": "opened"}),
        )
    ] + [
        {"condition": "contact.field", "with": {"field": field, "operator": operator, "value": value}}
        for field in ("last_active_at", "birthday")
        for operator, value in (
            *(("within", span), ("older_than", span), ("in_next", span), ("date", "anniversary")),
            *(("date", day) for day in SPANS[span][1]),
        )
    ]


@pytest.mark.parametrize("span", [each for each in SPANS if each != "90 minutes"])
@given(data=st.data())
@settings(
    phases=_PHASES, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_sql_and_python_tell_alike_what_is_just_within_an_interval(
    world: World, span: str, data: st.DataObject
) -> None:
    now, (days, _) = data.draw(NOWS), SPANS[span]
    soon = st.builds(lambda by: min(now - timedelta(days=days) + by, now), NEAR)
    crowd = []
    for number in range(1, 13):
        sign = data.draw(st.sampled_from([-1, 1]))
        birthday = now + sign * timedelta(days=days + data.draw(st.integers(-2, 2)))
        if "anniversary" in SPANS[span][1]:
            birthday = birthday.replace(year=2024)
        contact = Contact(
            number,
            f"contact-{number}",
            timezone=data.draw(st.sampled_from(ZONES)),
            created_at=data.draw(soon),
            last_active_at=data.draw(soon),
            fields={"birthday": birthday.date().isoformat()},
        )
        crowd.append(
            Person(
                contact,
                events=[Fact("order.paid", {}, at) for at in data.draw(st.lists(soon, max_size=3))],
                submissions=[Submission("poll", {}, data.draw(soon))],
                mailings=[Mailing("opened", "welcome", data.draw(soon))],
            )
        )
    with world.engine.connect() as conn:
        furnish(conn, crowd)
        for condition in _about_a_period(span):
            _agree(conn, condition, crowd, now)
