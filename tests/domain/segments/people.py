"""People, and conditions about them, drawn where it hurts: around changes of clocks, leap days and ends of months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from parcours.domain.contacts import touched
from parcours.domain.contacts.contact import Contact
from parcours.domain.segments.parsing import parse
from parcours.domain.segments.rule import Condition, Rule
from parcours.domain.steps.batch import Company, Fact, Knowledge, Mailing, Submission, Visit

ZONE = ZoneInfo("Europe/Paris")
ZONES = [None, "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia", "Nonsense"]
# Clocks change in Paris and elsewhere, a leap day comes, months end.
HURTS = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2028, 2, 29, 12, tzinfo=UTC),
    datetime(2027, 3, 1, tzinfo=UTC),
    datetime(2026, 1, 31, 12, tzinfo=UTC),
    datetime(2026, 9, 6, 4, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),
]
NEAR = st.timedeltas(timedelta(hours=-30), timedelta(hours=30))
NOWS = st.builds(lambda at, by: at + by, st.sampled_from(HURTS), NEAR)


# Intervals, about how many days they have, and what is so far from today.
SPANS = {
    "90 minutes": (0, ["anniversary", "+P0D"]),
    "1 day": (1, ["-P1D", "+P1D"]),
    "7 days": (7, ["+P7D", "-P7D"]),
    "30 days": (30, ["+P1M", "-P30D"]),
    "1 month": (30, ["-P1M", "+P1M"]),
    "P1M1DT1H": (31, ["-P1M1D", "+P1M1D"]),
    "1 year": (365, ["anniversary", "-P1Y", "+P1Y"]),
}
# What is drawn for one test is about one of them: what happened did so about as long ago as is asked.
INTERVALS = st.sampled_from(list(SPANS))


# To make a strategy takes as long as to draw ten values from it. An example has one now and one interval.
_kept = lru_cache(maxsize=64)


@_kept
def _away(span: str) -> st.SearchStrategy[int]:
    """Return how many days away from now things are: about an interval, or about none."""
    days, _ = SPANS[span]
    return st.builds(lambda days, by: days + by, st.sampled_from([days, days, days, 0]), st.integers(-1, 1))


@_kept
def instants(now: datetime, span: str) -> st.SearchStrategy[datetime]:
    """Return times of what happened: so long ago that it may soon be longer than an interval."""
    return st.builds(lambda days, about: min(now - timedelta(days=days) + about, now), _away(span), NEAR)


@_kept
def dates(now: datetime, span: str) -> st.SearchStrategy[str]:
    """Return values of fields that are days or times, on both sides of now, and birthdays."""
    sign = st.sampled_from([-1, 1])
    days = st.builds(lambda days, sign: (now + sign * timedelta(days=days)).date(), _away(span), sign)
    years = st.builds(lambda day, years: _in_year(day, day.year - years), days, st.integers(0, 40))
    moments = st.builds(lambda days, sign, by: now + sign * timedelta(days=days) + by, _away(span), sign, NEAR)
    return (
        days.map(str)
        | years.map(str)
        | moments.map(lambda at: at.isoformat())
        | moments.map(lambda at: at.replace(tzinfo=None).isoformat())
    )


@_kept
def values(now: datetime, span: str) -> st.SearchStrategy[Any]:
    """Return values of fields of all kinds."""
    texts = st.sampled_from(["", "fr", "FR", "7", "7.5", "true", "2024-02-29", "9999-12-31", "0001-01-01", "x" * 300])
    plain: st.SearchStrategy[Any] = texts | st.none() | st.integers(-3, 9) | dates(now, span)
    return plain | st.lists(plain, max_size=3)


def _in_year(day: date, year: int) -> date:
    return day.replace(year=year, day=min(day.day, 28)) if (day.month, day.day) == (2, 29) else day.replace(year=year)


FIELDS, TAGS, SEGMENTS, FORMS, EMAILS, TYPES, CAMPAIGNS = (
    ["country", "birthday"],
    ["vip", "customer"],
    ["news", "buyers"],
    ["signup", "poll"],
    ["welcome", "offer"],
    ["order.paid", "page.hit", "email.opened"],
    ["spring", "autumn"],
)


@dataclass(frozen=True)
class Person:
    """A contact, and what the world knows of it."""

    contact: Contact
    campaigns: dict[str, datetime] = field(default_factory=dict)
    devices: list[dict[str, str | None]] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    events: list[Fact] = field(default_factory=list)
    mailings: list[Mailing] = field(default_factory=list)
    companies: dict[str, Company] = field(default_factory=dict)


def world_of(people: Sequence[Person]) -> Knowledge:
    """Return all that is known of people; they have no company in common."""
    return Knowledge(
        campaigns={each.contact.id: each.campaigns for each in people},
        devices={each.contact.id: each.devices for each in people},
        submissions={each.contact.id: each.submissions for each in people},
        visits={each.contact.id: each.visits for each in people},
        events={each.contact.id: each.events for each in people},
        mailings={each.contact.id: each.mailings for each in people},
        companies={key: company for each in people for key, company in each.companies.items()},
    )


class _Drawn(NamedTuple):
    """What a person is drawn from, of one now and one interval."""

    fields: st.SearchStrategy[dict[str, Any]]
    maybe: st.SearchStrategy[datetime | None]
    campaigns: st.SearchStrategy[dict[str, datetime]]
    submissions: st.SearchStrategy[list[Submission]]
    visits: st.SearchStrategy[list[Visit]]
    events: st.SearchStrategy[list[Fact]]
    mailings: st.SearchStrategy[list[Mailing]]


@_kept
def _drawn(now: datetime, span: str) -> _Drawn:
    at, value = instants(now, span), values(now, span)
    fields = st.fixed_dictionaries({}, optional={"country": value, "birthday": dates(now, span) | value})
    types = st.sampled_from([*TYPES, "order.paid", "order.paid"])
    facts = st.builds(Fact, types, st.fixed_dictionaries({"total": st.integers(0, 9)}), at)
    activities = st.sampled_from(["sent", "opened", "clicked", "bounced"])
    return _Drawn(
        fields,
        st.none() | at,
        st.dictionaries(st.sampled_from(CAMPAIGNS), at),
        st.lists(st.builds(Submission, st.sampled_from(FORMS), fields, at), max_size=3),
        st.lists(st.builds(Visit, st.sampled_from(["a.com/x", "a.com/y"]), st.none(), at), max_size=4),
        st.lists(facts, max_size=6),
        st.lists(st.builds(Mailing, activities, st.sampled_from([*EMAILS, None]), at), max_size=4),
    )


_ADDRESSES = st.sampled_from([None, "ann@example.com", "ann"])
_ZONES = st.sampled_from(ZONES)
_FEW = st.integers(0, 5)
_COMPANIES = st.integers(0, 2)
_STAGES = st.sampled_from([None, "lead", "customer"])
_OWNERS = st.sampled_from([None, "bo"])
_TAGS = st.frozensets(st.sampled_from(TAGS))
_SEGMENTS = st.frozensets(st.sampled_from(SEGMENTS))
_REFUSALS = st.dictionaries(st.just("email"), st.sampled_from(["manual", "bounced"]))
_SCORES = st.dictionaries(st.just("sport"), _FEW)
_UTM = st.dictionaries(st.just("utm_source"), st.sampled_from(["fr", "news"]))
_DEVICES: st.SearchStrategy[list[dict[str, str | None]]] = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["mobile", "desktop"])}), max_size=2
)


@st.composite
def people(draw: st.DrawFn, now: datetime, span: str, contact_id: int = 1) -> Person:
    of = _drawn(now, span)
    named = [f"company-{contact_id}-{n}" for n in range(draw(_COMPANIES))]
    contact = Contact(
        contact_id,
        f"contact-{contact_id}",
        email=draw(_ADDRESSES),
        timezone=draw(_ZONES),
        points=draw(_FEW),
        stage=draw(_STAGES),
        owner=draw(_OWNERS),
        fields=draw(of.fields),
        last_active_at=draw(of.maybe),
        created_at=draw(of.maybe),
        tags=draw(_TAGS),
        segments=draw(_SEGMENTS),
        do_not_contact=draw(_REFUSALS),
        scores=draw(_SCORES),
        utm=draw(_UTM),
        companies=frozenset(named),
        company=named[0] if named else None,
    )
    return Person(
        contact,
        campaigns=draw(of.campaigns),
        devices=draw(_DEVICES),
        submissions=draw(of.submissions),
        visits=draw(of.visits),
        events=draw(of.events),
        mailings=draw(of.mailings),
        companies={key: Company(key, key, draw(_FEW), draw(of.fields)) for key in named},
    )


def lately(draw: st.DrawFn, span: str) -> dict[str, Any]:
    shorter = {} if span == "90 minutes" else {"within": span, "older_than": "20 hours"}
    return dict(draw(st.sampled_from([{}, {"within": span}, {"within": span}, {"older_than": span}, shorter])))


def tests(draw: st.DrawFn, now: datetime, span: str) -> dict[str, Any]:
    """Return an operator and its value, of those that look at time more often than of others."""
    kind = draw(st.sampled_from(["period", "period", "period", "day", "day", "compare", "in", "text", "empty"]))
    if kind == "period":
        return {"operator": draw(st.sampled_from(["within", "older_than", "in_next"])), "value": span}
    if kind == "day":
        return {"operator": "date", "value": draw(st.sampled_from([*SPANS[span][1], *SPANS[span][1], "2026-03-29"]))}
    if kind == "compare":
        some = values(now, span).filter(lambda value: value not in (None, "") and not isinstance(value, list))
        return {"operator": draw(st.sampled_from(["=", "!=", "gt", "lte"])), "value": draw(dates(now, span) | some)}
    if kind == "in":
        several = st.lists(st.sampled_from(["fr", "7", "2026-03-29"]), min_size=1)
        return {"operator": draw(st.sampled_from(["in", "!in"])), "value": draw(several)}
    if kind == "text":
        return {"operator": draw(st.sampled_from(["like", "!like", "contains", "regexp"])), "value": "f"}
    return {"operator": draw(st.sampled_from(["empty", "!empty"]))}


def some(draw: st.DrawFn, names: list[str]) -> list[str]:
    return draw(st.lists(st.sampled_from(names), max_size=2, unique=True))


FIELD_NAMES = [
    *FIELDS, "last_active_at", "points", "email", "tags", "utm_source", "stage", "timezone", "company.birthday",
]  # fmt: skip

NAMES = [
    "company.field", "contact.campaigns", "contact.created", "contact.device", "contact.dnc", "contact.email_valid",
    "contact.field", "contact.owner", "contact.points", "contact.segments", "contact.stage", "contact.tags",
    "email.activity", "event.count", "form.field", "form.submitted", "page.visited",
]  # fmt: skip


@st.composite
def conditions(draw: st.DrawFn, now: datetime, span: str, name: str | None = None) -> dict[str, Any]:
    """Return a condition as a file has it."""
    name = name or draw(st.sampled_from(NAMES))
    given: dict[str, Any] = {}
    day = (now - timedelta(days=draw(st.integers(0, 30)))).date().isoformat()
    match name:
        case "contact.field":
            # Dates matter more than others.
            often = ["birthday"] * 9 + ["last_active_at"] * 3
            given = {"field": draw(st.sampled_from([*FIELD_NAMES, *often])), **tests(draw, now, span)}
            if given["operator"] in ("=", "!=", "gt", "lte") and draw(st.booleans()):
                given["value"] = {"field": draw(st.sampled_from(FIELD_NAMES))}
        case "company.field":
            given = {"field": "birthday", "which": draw(st.sampled_from(["primary", "any"])), **tests(draw, now, span)}
        case "form.field":
            which = draw(st.sampled_from(["latest", "any"]))
            given = {"form": "poll", "field": "birthday", "which": which, **tests(draw, now, span)}
        case "contact.created":
            period = lately(draw, span)
            given = {**period, **(tests(draw, now, span) if not period or draw(st.booleans()) else {})}
        case "contact.campaigns":
            period = lately(draw, span)
            by_day = {"operator": draw(st.sampled_from(["before", "after"])), "date": day}
            added = {"added": {**period, **(by_day if not period or draw(st.booleans()) else {})}}
            given = {"campaigns": some(draw, CAMPAIGNS), **(added if draw(st.booleans()) else {})}
        case "contact.device":
            given = {"device_type": ["mobile"]}
        case "contact.dnc":
            given = {"channels": draw(st.sampled_from([["email"], ["email", "sms"]]))}
        case "contact.owner":
            given = {"owners": ["bo"]}
        case "contact.points":
            group = draw(st.sampled_from([None, "sport"]))
            given = {
                "operator": draw(st.sampled_from(["=", "gte", "<"])),
                "points": draw(st.integers(0, 5)),
                "group": group,
            }
        case "contact.segments":
            given = {"segments": some(draw, SEGMENTS)}
        case "contact.stage":
            given = {"stages": some(draw, ["lead", "customer"])}
        case "contact.tags":
            given = {"tags": some(draw, TAGS)}
        case "email.activity":
            activity = draw(st.sampled_from(["sent", "opened", "clicked", "bounced"]))
            given = {"activity": activity, "emails": some(draw, EMAILS), **lately(draw, span)}
        case "event.count":
            count = draw(
                st.sampled_from(
                    [{}, {"at_least": 2}, {"at_most": 1}, {"exactly": 2}, {"exactly": 0}, {"at_least": 1, "at_most": 2}]
                )
            )
            where = [{"field": "total", "operator": "gte", "value": 4}] if draw(st.booleans()) else []
            type_ = draw(st.sampled_from([*TYPES, "*", "order.*", "order.paid", "order.paid"]))
            given = {"type": type_, "where": where, **count, **lately(draw, span)}
        case "form.submitted":
            given = {"forms": some(draw, FORMS), **lately(draw, span)}
        case "page.visited":
            bounds = draw(st.sampled_from([{}, {"since": day}, {"until": day}]))
            given = {"url": draw(st.sampled_from([[], ["*/x"]])), **bounds, **lately(draw, span)}
    return {"condition": name, "with": given}


def as_rule(data: Any) -> Rule:
    found, problems = parse(data, stored=True)
    assert found is not None, (data, problems)
    return found


def as_condition(data: Any) -> Condition:
    found = as_rule(data)
    assert isinstance(found, Condition)
    return found


def trees(now: datetime, span: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return rules as files have them."""
    return st.recursive(
        conditions(now, span),
        lambda below: (
            st.fixed_dictionaries({"all": st.lists(below, min_size=1, max_size=3)})
            | st.fixed_dictionaries({"any": st.lists(below, min_size=1, max_size=3)})
            | st.fixed_dictionaries({"not": below})
        ),
        max_leaves=6,
    )


def mixed(one: Person, other: Person, reads: touched.Reads) -> Person:
    """Return a person that is like another in all but what is read, which is as of the first."""

    def read(kind: str) -> bool:
        return kind in reads or touched.EVERYTHING in reads

    def names(kind: str, mine: Any, theirs: Any) -> dict[str, Any]:
        if read(kind):
            return dict(mine)
        kept = {name: value for name, value in theirs.items() if f"{kind}.{name}" not in reads}
        return kept | {name: value for name, value in mine.items() if f"{kind}.{name}" in reads}

    def several(kind: str, mine: list[Any], theirs: list[Any], name: Any) -> list[Any]:
        if read(kind):
            return mine
        # In the order of the first, what is not read after it.
        return [each for each in mine if f"{kind}.{name(each)}" in reads] + [
            each for each in theirs if f"{kind}.{name(each)}" not in reads
        ]

    a, b = one.contact, other.contact
    own = ("key", "email", "timezone", "points", "stage", "owner", "last_active_at", "created_at")
    contact = replace(
        b,
        id=a.id,
        **{name: getattr(a if read(name) else b, name) for name in own},
        fields=names(touched.FIELDS, a.fields, b.fields),
        tags=frozenset(names(touched.TAGS, dict.fromkeys(a.tags), dict.fromkeys(b.tags))),
        segments=frozenset(names(touched.SEGMENTS, dict.fromkeys(a.segments), dict.fromkeys(b.segments))),
        do_not_contact=names(touched.DO_NOT_CONTACT, a.do_not_contact, b.do_not_contact),
        scores=names(touched.SCORES, a.scores, b.scores),
        utm=(a if read(touched.UTM) else b).utm,
        companies=(a if read(touched.COMPANIES) else b).companies,
        company=(a if read(touched.COMPANIES) else b).company,
    )
    return Person(
        contact,
        campaigns=names(touched.CAMPAIGNS, one.campaigns, other.campaigns),
        devices=(one if read(touched.DEVICES) else other).devices,
        visits=(one if read(touched.VISITS) else other).visits,
        mailings=(one if read(touched.EMAILS) else other).mailings,
        submissions=several(touched.SUBMISSIONS, one.submissions, other.submissions, lambda each: each.form),
        events=several(touched.EVENTS, one.events, other.events, lambda each: each.type),
        companies={**other.companies, **one.companies},
    )
