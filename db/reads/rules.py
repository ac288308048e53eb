"""Rules asked in SQL, of many contacts at once.

SQL answers with yes, no, or NULL where it cannot tell: a type of condition that it does not know, letters whose cases
only Python compares, days that are different ones in the contact's timezone. Those contacts are asked in Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, cast
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.reads import batch
from parcours.db.statements import composed, statements
from parcours.domain import operators
from parcours.domain.contacts.contact import ATTRIBUTES
from parcours.domain.events.table import EVENT_TYPES
from parcours.domain.events.utm import NAMES as UTM_NAMES
from parcours.domain.operators import EVER, NEVER
from parcours.domain.segments import judging
from parcours.domain.segments import rule as rules
from parcours.domain.segments.judging import Judged
from parcours.domain.segments.rule import Condition, Rule
from parcours.domain.steps.behaviour import EmailActivity, EventCount, FormSent
from parcours.domain.steps.conditions import (
    CompanyFieldTest,
    CreatedWhen,
    DoNotContact,
    FieldTest,
    HasOwner,
    HasTags,
    InCampaigns,
    InSegments,
    InStage,
    PointsTest,
)
from parcours.domain.steps.decisions import PageDevice
from parcours.domain.steps.history import FormFieldTest, PageVisited
from parcours.domain.steps.period import Lately
from parcours.domain.steps.types import MOST_LOOKED_AT, Properties
from parcours.domain.time.intervals import Interval, parse_interval

sql = statements(__file__)

# How far from UTC an instant's local time can be moved by, when an interval of days is added in some timezone.
_ZONES_DIFFER = timedelta(hours=26)
_MONTHS_DIFFER = timedelta(days=4)
_INSTANT = timedelta.resolution


class SqlForm(NamedTuple):
    """The SQL form of a rule: an expression on a row of `contact`, its parameters, and joins that it needs.

    Joins are of a range of contacts, from `first_id` to `last_id`.
    """

    sql: str
    parameters: dict[str, Any]
    joins: str = ""


class Answers(NamedTuple):
    """Ids of contacts who satisfy a rule, and of those of whom SQL cannot tell, in their order."""

    yes: list[int]
    unsure: list[int]


def form_of(rule: Rule, *, now: datetime, timeless: bool = False) -> SqlForm:
    """Return a rule as an expression on `contact`: true, false, or NULL where the contact has to be asked in Python.

    `timeless`: NULL also where the answer may change by time alone. Where it is not NULL then, it never does. The
    parameters are named `r0_…` and so on; whatever the rule says is bound and never part of the text.
    """
    writing = _Writing(now, timeless)
    return SqlForm(writing.rule(rule), writing.parameters, "\n".join(writing.joins))


def answers(
    conn: Connection, rule: Rule, first_id: int, last_id: int, *, now: datetime, timeless: bool = False
) -> Answers:
    """Return who of a range of contacts, both ends included, satisfies a rule, as far as SQL can tell."""
    form = form_of(rule, now=now, timeless=timeless)
    statement = composed(sql["answers"], rule=form.sql, joins=form.joins)
    rows = conn.execute(statement, {**form.parameters, "first_id": first_id, "last_id": last_id}).all()
    return Answers([row.id for row in rows if row.answer], [row.id for row in rows if row.answer is None])


def judged(
    conn: Connection, rule: Rule, first_id: int, last_id: int, *, now: datetime, zone: ZoneInfo, at_once: int = 1000
) -> dict[int, Judged]:
    """Return what a rule says of a range of contacts, without those who neither belong nor may by time alone.

    In SQL as far as that can tell, of the others in Python, so many at once. The same as `judging.judged` says.
    """
    found = answers(conn, rule, first_id, last_id, now=now, timeless=rules.reads_time(rule))
    told = dict.fromkeys(found.yes, Judged(True, None))
    for place in range(0, len(found.unsure), at_once):
        facts = batch.load_rules(conn, [rule], found.unsure[place : place + at_once], now=now)
        several = list(facts.contacts.values())
        for contact, each in zip(several, judging.judged(rule, several, facts.world, now, zone), strict=True):
            if each.answer is not False or each.changes_at is not None:
                told[contact.id] = each
    return told


# The range is the same in all of a statement.
_PARAMETER = re.compile(r"(?<![:\w\\]):(?!first_id\b|last_id\b)(\w+)")


@dataclass
class _Writing:
    now: datetime
    timeless: bool
    parameters: dict[str, Any] = field(default_factory=dict)
    conditions: int = 0
    joins: list[str] = field(default_factory=list)

    def rule(self, rule: Rule) -> str:
        match rule:
            case rules.All(several):
                return f"({' AND '.join(map(self.rule, several))})"
            case rules.Any(several):
                return f"({' OR '.join(map(self.rule, several))})"
            case rules.Not(one):
                return f"(NOT {self.rule(one)})"
        return self.condition(rule)

    def condition(self, asked: Condition) -> str:
        written = _FORMS.get((asked.type.name, type(asked.properties)))
        timed = self.timeless and asked.type.goes_by_time(asked.properties)
        lasting = _lasting(asked.properties) if timed else None
        if written is None or (timed and lasting is None):
            return sql["unknown"].text
        found = written(asked.properties, self.now)
        alias = f"r{self.conditions}"
        self.conditions += 1
        self.parameters.update({f"{alias}_{name}": value for name, value in found.parameters.items()})

        def own(text_: str) -> str:
            return _PARAMETER.sub(rf":{alias}_\1", text_).replace("{alias}", alias)

        if found.joins:
            self.joins.append(own(found.joins))
        if lasting is None:
            return f"({own(found.sql)})"
        return f"(CASE WHEN {'' if lasting else 'NOT '}({own(found.sql)}) THEN {str(lasting).lower()} END)"


def _lasting(asked: Properties) -> bool | None:
    """Return which answer of a condition that looks at time stays so for ever, unless something changes; None: neither.

    What is within an interval gets less by time, and what is older gets more.
    """
    match asked:
        case FormFieldTest() | InCampaigns():
            # The only answer there is in SQL: there is nothing to be tested.
            return False
        case FieldTest():
            return True if operators.known(asked.operator) == "older_than" else None
        case CreatedWhen() if asked.operator is not None:
            return None
        case PageVisited():
            return False
        case Lately():
            if asked.within is not None and asked.older_than is not None:
                return None
            gets_more = asked.within is None
            if not isinstance(asked, EventCount) or asked.bounds[1] is None:
                return gets_more
            return None if asked.bounds[0] else not gets_more
    return None


def _form(name: str, **parameters: Any) -> SqlForm:
    join = sql.get(f"{name}_join")
    return SqlForm(sql[name].text, parameters, "" if join is None else join.text)


_UNKNOWN = SqlForm(sql["unknown"].text, {})


# Periods: in which an instant, or a day, surely is, and in which it may be.


class _Bounds(NamedTuple):
    """From the first on, and before the second, surely; outside of the others surely not. Instants, or days as text."""

    inside_from: Any
    inside_until: Any
    maybe_from: Any
    maybe_until: Any


def _period(asked: Lately, now: datetime) -> _Bounds:
    bounds = _Bounds(EVER, NEVER, EVER, NEVER)
    if asked.within is not None:
        edge, band = _edge(now, asked.within)
        bounds = bounds._replace(inside_from=_by(edge, band), maybe_from=_by(edge, -band))
    if asked.older_than is not None:
        edge, band = _edge(now, asked.older_than)
        bounds = bounds._replace(inside_until=_by(edge, -band), maybe_until=_by(edge, band))
    return bounds


def _edge(now: datetime, written: str, *, ahead: bool = False) -> tuple[datetime, timedelta]:
    """Return the instant an interval before or after now in UTC, and how far from it that is in other timezones."""
    interval = parse_interval(written)
    edge = operators.after(now, interval, _UTC) if ahead else operators.before(now, interval, _UTC)
    # Instants differ by the smallest difference there is between before and after.
    return (edge - _INSTANT if ahead and edge < NEVER else edge), _band(interval)


def _band(interval: Interval) -> timedelta:
    if not (interval.months or interval.days):
        return timedelta(0)
    return _ZONES_DIFFER + (_MONTHS_DIFFER if interval.months else timedelta(0))


_UTC = ZoneInfo("UTC")


def _by(at: datetime, by: timedelta) -> datetime:
    try:
        return at + by
    except OverflowError:
        return NEVER if by > timedelta(0) else EVER


def _tested_instant(operator: str, value: Any, now: datetime) -> _Bounds | None:
    """Return the bounds of a test of an instant, or None where it is not known."""
    name = operators.known(operator)
    if name == "within":
        edge, band = _edge(now, value)
        return _Bounds(_by(edge, band), now + _INSTANT, _by(edge, -band), now + _INSTANT)
    if name == "older_than":
        edge, band = _edge(now, value)
        return _Bounds(EVER, _by(edge, -band), EVER, _by(edge, band))
    if name == "in_next":
        edge, band = _edge(now, value, ahead=True)
        return _Bounds(now, _by(edge, -band + _INSTANT), now, _by(edge, band + _INSTANT))
    at = operators.instant(value, _UTC) if isinstance(value, str) else None
    if at is None:
        return None
    # Without an offset it is meant in the contact's timezone.
    band = timedelta(0) if _has_offset(value) else _ZONES_DIFFER
    return cast(_Bounds | None, _compared(name, _by(at, -band), _by(at, band), _INSTANT))


def _has_offset(value: str) -> bool:
    try:
        return datetime.fromisoformat(value.strip()).tzinfo is not None
    except ValueError:
        return False


def _compared(name: str, first: Any, last: Any, one: timedelta, show: Callable[[Any], Any] = lambda at: at) -> Any:
    """Return the bounds of a comparison with what is somewhere between two; `one` is the smallest step."""
    never, ever = show(NEVER), show(EVER)
    after_first, after_last = show(_step(first, one)), show(_step(last, one))
    first, last = show(first), show(last)
    match name:
        case "gt":
            return _Bounds(after_last, never, after_first, never)
        case "gte":
            return _Bounds(last, never, first, never)
        case "lt":
            return _Bounds(ever, first, ever, last)
        case "lte":
            return _Bounds(ever, after_first, ever, after_last)
        case "=":
            exactly = (first, after_first) if first == last else (never, ever)
            return _Bounds(*exactly, first, after_last)
    return None


def _step(at: Any, one: timedelta) -> Any:
    try:
        return at + one
    except OverflowError:
        return at


# Days of fields, which compare as texts. What is near the ends of the calendar is left to Python.


def _day_text(day: Any) -> str:
    if isinstance(day, datetime):
        return "0" if day == EVER else "A" if day == NEVER else day.date().isoformat()
    return cast(date, day).isoformat()


def _tested_day(operator: str, value: Any, now: datetime) -> _Bounds | None:
    """Return the bounds of a test of a day, as texts, or None where it is not known."""
    name = operators.known(operator)
    # Today, in the timezones where it begins first and last.
    first, last = (now - timedelta(hours=14)).date(), (now + timedelta(hours=16)).date()
    day = timedelta(days=1)
    ever, never = _day_text(EVER), _day_text(NEVER)
    if name == "date":
        asked = operators.the_day(value)
        if not isinstance(asked, tuple):
            plain = asked is not None and 2 < asked.year < 9998
            return _Bounds(*_two(asked, asked), *_two(asked, asked)) if asked is not None and plain else None
        days = [operators.moved(each, *asked) for each in (first, first + day, last)]
        known = [each for each in days if each is not None]
        return None if len(known) < 3 else _Bounds(never, ever, *_two(min(known), max(known)))
    if name in ("within", "older_than", "in_next"):
        interval = parse_interval(value)
        if interval.exact:
            return None
        sign = 1 if name == "in_next" else -1
        slack = _MONTHS_DIFFER if interval.months else timedelta(0)
        early, late = (operators.moved(each, sign * interval.months, sign * interval.days) for each in (first, last))
        if early is None or late is None or early.year < 2 or late.year > 9998:
            return None
        early, late = early - slack, late + slack
        if name == "within":
            return _Bounds(*map(str, (late, first + day, early, last + day)))
        if name == "older_than":
            return _Bounds(ever, str(early), ever, str(late))
        return _Bounds(*map(str, (last, early + day, first, late + day)))
    found = re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value.strip()) if isinstance(value, str) else None
    if found is None or not operators.is_moment(value):
        return None
    asked_day = date.fromisoformat(value.strip())
    if not 2 < asked_day.year < 9998:
        return None
    # Somewhere there were days that began when others did: a date line was moved.
    return cast(_Bounds, _compared(name, asked_day - day, asked_day + day, day, _day_text))


def _two(first: date, last: date) -> tuple[str, str]:
    return first.isoformat(), (last + timedelta(days=1)).isoformat()


# The conditions.


def _tags(asked: HasTags, now: datetime) -> SqlForm:
    return _form("tags", tags=list(asked.tags))


def _segments(asked: InSegments, now: datetime) -> SqlForm:
    return _form("segments", keys=list(asked.segments))


def _campaigns(asked: InCampaigns, now: datetime) -> SqlForm:
    inside = _form("campaigns", keys=list(asked.campaigns))
    if asked.added is None:
        return inside
    return SqlForm(f"CASE WHEN NOT {inside.sql} THEN false END", inside.parameters)


_SIGNS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


def _points(asked: PointsTest, now: datetime) -> SqlForm:
    # What a column of points cannot hold is compared in Python.
    if abs(asked.points) >= 2**31:
        return _UNKNOWN
    compared = {"operator": _SIGNS.get(asked.operator, asked.operator), "number": asked.points}
    return _form("points", **compared) if asked.group is None else _form("scores", group_key=asked.group, **compared)


def _stage(asked: InStage, now: datetime) -> SqlForm:
    return _form("stage", keys=list(asked.stages))


def _owner(asked: HasOwner, now: datetime) -> SqlForm:
    return _form("owner", keys=list(asked.owners))


def _do_not_contact(asked: DoNotContact, now: datetime) -> SqlForm:
    plain = asked.reason is None and asked.match == "any"
    return _form("do_not_contact", channels=list(asked.channels), plain=plain)


def _created(asked: CreatedWhen, now: datetime) -> SqlForm:
    period = _form("created", **_period(asked, now)._asdict())
    if asked.operator is None:
        return period
    bounds = _tested_instant(asked.operator, asked.value, now)
    if bounds is None:
        return _UNKNOWN
    tested = _form("created", **bounds._asdict())
    if not asked.ends_or_begins_now:
        return tested
    # Both, each with parameters of its own.
    renamed = _PARAMETER.sub(r":tested_\1", tested.sql)
    parameters = {f"tested_{name}": value for name, value in tested.parameters.items()}
    return SqlForm(f"({period.sql}) AND ({renamed})", {**period.parameters, **parameters})


def _form_submitted(asked: FormSent, now: datetime) -> SqlForm:
    bounds = _period(asked, now)._asdict()
    return _form("form_submitted", any_form=not asked.forms, keys=list(asked.forms), most=MOST_LOOKED_AT, **bounds)


def _form_field(asked: FormFieldTest, now: datetime) -> SqlForm:
    return _form("never_submitted", form=asked.form)


def _email_activity(asked: EmailActivity, now: datetime) -> SqlForm:
    events = {"opened": ["email.opened", "email.clicked"], "clicked": ["email.clicked"], "bounced": ["email.bounced"]}
    return _form(
        "email_activity",
        activity=asked.activity,
        any_email=not asked.emails,
        emails=list(asked.emails),
        types=events.get(asked.activity, []),
        every_type=["email.opened", "email.clicked", "email.bounced"],
        most=MOST_LOOKED_AT,
        received_from=_received_from(asked, now),
        **_period(asked, now)._asdict(),
    )


def _event_count(asked: EventCount, now: datetime) -> SqlForm:
    if "*" in asked.type:
        # One click may count as two events of a pattern.
        return _UNKNOWN
    least, most = asked.bounds
    return _form(
        "event_count",
        types=sorted(asked.types),
        at_least=least,
        at_most=most,
        plain=not asked.where,
        # Python looks at the latest ones; the others matter only where the latest do not.
        few=MOST_LOOKED_AT if asked.older_than is not None else 2**31 - 1,
        by_machines=[name for name, each in EVENT_TYPES.items() if each.by_machines],
        received_from=_received_from(asked, now),
        **_period(asked, now)._asdict(),
    )


def _received_from(asked: Lately, now: datetime) -> datetime:
    """Return from when on events are loaded for Python, so that both look at the same."""
    if asked.within is None:
        return EVER
    return _by(batch.begins(parse_interval(asked.within), now), -timedelta(days=2))


def _field(asked: FieldTest, now: datetime) -> SqlForm:
    name = asked.field
    operator, value = operators.known(asked.operator), asked.value
    if asked.other is not None or name in UTM_NAMES or name.startswith("company."):
        return _UNKNOWN
    if name == "tags":
        return _field_tags(operator, value)
    if name == "last_active_at":
        bounds = None if operator.startswith("!") else _tested_instant(operator, value, now)
        return _UNKNOWN if bounds is None else _form("last_active", **bounds._asdict())
    if name == "points":
        return _UNKNOWN
    found = _of_value(operator.removeprefix("!"), value, now)
    if found is None:
        return _UNKNOWN
    where = sql["attribute" if name in ATTRIBUTES else "custom_field"].text
    written = found.sql.replace("{text}", "({value} #>> '{}')").replace("{value}", where)
    negated = f"NOT ({written})" if operator.startswith("!") else written
    return SqlForm(negated, {**found.parameters, "field": name})


def _field_tags(operator: str, value: Any) -> SqlForm:
    positive = operator.removeprefix("!")
    if positive == "empty":
        found = _form("any_tag")
        return found if operator == "!empty" else SqlForm(f"NOT {found.sql}", {})
    if positive not in ("=", "in") or (positive == "=" and not isinstance(value, str)):
        return _UNKNOWN
    tags = [value] if positive == "=" else value
    if not isinstance(tags, list) or not all(isinstance(each, str) and each for each in tags):
        return _UNKNOWN
    found = _form("tags", tags=tags)
    return found if operator == positive else SqlForm(f"NOT {found.sql}", found.parameters)


def _of_value(name: str, value: Any, now: datetime) -> SqlForm | None:
    """Return the test of a field's value, or None where SQL has none that says the same."""
    if name == "empty":
        return _form("empty")
    if name == "date" and value == "anniversary":
        return _anniversary(now)
    if name in ("date", "within", "older_than", "in_next"):
        bounds = _tested_day(name, value, now)
        return None if bounds is None else _form("day_compares", **bounds._asdict())
    if name in ("=", "in"):
        words = _words(value if name == "in" and isinstance(value, list) else [value])
        if words is not None:
            return _form("text_equals", values=words)
    if name in ("=", "gt", "gte", "lt", "lte"):
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**15:
            return _form("number_compares", operator=name, number=float(value))
        bounds = _tested_day(name, value, now)
        return None if bounds is None else _form("day_compares", **bounds._asdict())
    return None


def _words(values: Sequence[Any]) -> list[str] | None:
    """Return texts as they are compared, if none of them may be a number, a time, true or false."""
    found = []
    for each in values:
        if each is None or each == "":
            continue
        if not isinstance(each, str) or each[0] <= "9" or each.casefold() in ("true", "false", "yes", "no", "nan"):
            return None
        found.append(each.casefold())
    return found


def _anniversary(now: datetime) -> SqlForm:
    today = [(now + timedelta(hours=hours)).date() for hours in (-14, 0, 16)]
    days = {f"{each:%m-%d}" for each in today}
    # Who was born on the 29th of February has it on the 28th in most years.
    return _form("month_and_day", days=sorted(days | ({"02-29"} if "02-28" in days else set())))


_FORMS: dict[tuple[str, type], Callable[[Any, datetime], SqlForm]] = {
    ("contact.tags", HasTags): _tags,
    ("contact.segments", InSegments): _segments,
    ("contact.campaigns", InCampaigns): _campaigns,
    ("contact.points", PointsTest): _points,
    ("contact.stage", InStage): _stage,
    ("contact.owner", HasOwner): _owner,
    ("contact.dnc", DoNotContact): _do_not_contact,
    ("contact.created", CreatedWhen): _created,
    ("contact.field", FieldTest): _field,
    ("form.submitted", FormSent): _form_submitted,
    ("form.field", FormFieldTest): _form_field,
    ("email.activity", EmailActivity): _email_activity,
    ("event.count", EventCount): _event_count,
    ("page.visited", PageVisited): lambda asked, now: _form("no_visit"),
    ("contact.device", PageDevice): lambda asked, now: _form("no_device"),
    ("company.field", CompanyFieldTest): lambda asked, now: _form("no_company"),
}
