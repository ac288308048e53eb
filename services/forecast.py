"""What a campaign would do in the time ahead: simulated in a scratch schema, and what of it binds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from parcours.db.reads import learnt, overview, timeline
from parcours.db.reads import simulation as rows
from parcours.db.reads.learnt import LearntAnswer
from parcours.db.reads.overview import Overview
from parcours.db.reads.simulation import HeldBackOnDay
from parcours.db.scratch import scratch
from parcours.db.tables import campaigns, contacts
from parcours.db.tables.contacts import Incoming, Shown
from parcours.domain.campaign import Campaign
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.errors import NotFoundError
from parcours.domain.messages.rate import parse_rate
from parcours.domain.steps import registry
from parcours.domain.steps.types import Kind
from parcours.domain.time.text import iso
from parcours.services.sample.contacts import people, with_dates
from parcours.services.simulation import Simulation, Tell

_FAR = datetime(9000, 1, 1, tzinfo=UTC)
# Entries of the walk of one contact.
MOST_ENTRIES = 500


@dataclass(frozen=True)
class ForecastAsked:
    """What is to be simulated: from when on, how long, and what is known of those who come."""

    file: CampaignFile
    zone: ZoneInfo
    start: datetime
    days: int
    batch_size: int = 1000
    seed: int = 1
    # Percent of yes by step, and after how many seconds they came.
    answers: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    over: float = 0
    arrivals: Mapping[str, float] = field(default_factory=dict)
    # Messages a second that the providers of channels take.
    per_second: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Forecast:
    """What came of it, by day (UTC)."""

    campaign: Campaign
    came: int
    figures: Overview
    # (step, day, result, how many), (day, channel, how many), (day, source, how many).
    volume: Sequence[tuple[str, date, str, int]]
    messages: Sequence[tuple[date, str, int]]
    arrived: Sequence[tuple[date, str, int]]
    held: Sequence[HeldBackOnDay]
    # Contacts whom the campaign's limit still keeps from entering at the end.
    at_the_door: int
    rates: Sequence[BindingRate]
    missing: Sequence[str]


@dataclass(frozen=True)
class BindingRate:
    """An hour in which more messages are due than may leave within it. `whose`: `provider` or `campaign`."""

    channel: str
    hour: datetime
    due: int
    an_hour: float
    whose: str

    @property
    def hours(self) -> float:
        """How long the messages of that hour take to leave."""
        return self.due / self.an_hour


def forecast(
    real: Engine, asked: ForecastAsked, load: Callable[[Engine], int], tell: Tell = lambda _: None
) -> Forecast:
    """Simulate contacts, whom `load` brings into a new schema, and return what came of it.

    The schema is gone afterwards, and the real one stays as it is.
    """
    with scratch(real) as engine:
        came = load(engine)
        simulation = _simulation(engine, asked)
        campaign = simulation.run(tell)
        with engine.connect() as conn:
            figures = overview.of(conn, campaign)
            messages = rows.messages(conn)
            # What is in the outbox counts as sent, and what the simulation itself did is no news.
            emails = sum(n for _, channel, n in messages if channel == "email")
            return Forecast(
                campaign,
                came,
                replace(figures, emails_sent=emails, activity=[]),
                rows.volume(conn, campaign.id),
                messages,
                [(day, source, n) for (day, source), n in sorted(simulation.arrived.items())],
                rows.held(conn),
                rows.held_at_the_door(conn, campaign.id),
                list(_binding(rows.busiest_hours(conn), asked)),
                simulation.missing,
            )


def _simulation(engine: Engine, asked: ForecastAsked) -> Simulation:
    return Simulation(
        engine,
        asked.file,
        asked.zone,
        asked.batch_size,
        asked.start,
        asked.days,
        asked.seed,
        asked.answers,
        asked.over,
        asked.seconds,
        asked.arrivals,
    )


def _binding(hours: Sequence[tuple[str, datetime, int]], asked: ForecastAsked) -> Iterator[BindingRate]:
    for channel, hour, due in hours:
        rates = {"provider": asked.per_second.get(channel)}
        if asked.file.rate is not None:
            rates["campaign"] = parse_rate(asked.file.rate)
        for whose, a_second in rates.items():
            if a_second is not None and due > a_second * 3600:
                yield BindingRate(channel, hour, due, a_second * 3600, whose)


def generated(number: int, asked: ForecastAsked) -> Callable[[Engine], int]:
    """Return what loads so many generated contacts, with the dates that the campaign goes by."""

    def load(engine: Engine) -> int:
        made = (person.incoming(line) for line, person in enumerate(people(number, asked.seed), 2))
        return loaded(engine, (with_dates(each, asked.file, asked.start, asked.days) for each in made), asked.start)

    return load


def loaded(engine: Engine, given: Iterator[Incoming], now: datetime) -> int:
    """Bring contacts into a new schema; return how many there are."""
    with engine.begin() as conn:
        contacts.stage(conn, given)
        came = contacts.merge(conn, now=now).added
    with engine.begin() as conn:
        contacts.analyze(conn)
    return came


def learn(conn: Connection, key: str, zone: ZoneInfo, *, now: datetime, times: bool = True) -> dict[str, LearntAnswer]:
    """Return how contacts answered the decisions of a campaign so far, by step.

    Raises NotFoundError for a campaign that is not there, and UnreadableCampaignError.
    """
    found = campaigns.find(conn, key)
    return learnt.answers(conn, campaigns.load(conn, found.id, found.version, zone), now=now, times=times)


# One contact.


@dataclass(frozen=True)
class WalkEntry:
    """Something that would happen to a contact; `type` is that of the step, and `detail` what its outcome keeps."""

    at: datetime
    what: str
    step: str | None
    name: str | None
    type: str | None
    result: str | None
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Walk:
    """A contact on its way through a campaign. `assumed` has the answer that was taken for each decision."""

    contact: Shown
    entries: Sequence[WalkEntry]
    # Where it still waits at the end, and until when.
    waits: Sequence[tuple[str, datetime | None]]
    assumed: Mapping[str, bool]


def walk(real: Engine, asked: ForecastAsked, key: str) -> Walk:
    """Let a contact, as it is now, walk through a campaign as if it entered at the start; nothing is changed.

    At each decision the likelier answer is taken. Raises NotFoundError when there is no such contact.
    """
    with real.connect() as conn:
        shown = contacts.show(conn, key)
    if shown is None:
        raise NotFoundError("contact", key)
    decisions = [step for step in asked.file.walk() if step.kind is Kind.DECISION]
    likely = {step.step: asked.answers.get(step.step, _likely(step.type)) for step in decisions}
    assumed = {step: percent >= 50 for step, percent in likely.items()}
    asked = replace(asked, answers={step: 100.0 * answer for step, answer in assumed.items()}, over=0, arrivals={})
    with scratch(real) as engine:
        with engine.begin() as conn:
            # By their number contacts are spread over time.
            rows.begin_ids_at(conn, shown.id)
        loaded(engine, iter([as_incoming(shown)]), asked.start)
        campaign = replace(_simulation(engine, asked), exact=True).run(lambda _: None)
        with engine.connect() as conn:
            after = contacts.show(conn, shown.key)
            assert after is not None
            entries, _ = timeline.page(conn, after.id, timeline.Place(_FAR), limit=MOST_ENTRIES)
    by_key = campaign.by_key
    met = {each.step for each in entries}
    # Of what happens at one instant, the steps above come first.
    order = {step.step: nth for nth, step in enumerate(asked.file.walk())}
    return Walk(
        shown,
        [
            WalkEntry(
                each.at,
                each.what,
                each.step,
                by_key[each.step].name if each.step in by_key else None,
                by_key[each.step].type.name if each.step in by_key else each.type,
                each.result,
                each.detail if isinstance(each.detail, Mapping) else {},
            )
            for each in sorted(entries, key=lambda each: (each.at, order.get(each.step or "", -1)))
            if each.what not in ("event", "message")
        ],
        [(wait.step, wait.due_at) for standing in after.campaigns for wait in standing.waits],
        {step: answer for step, answer in assumed.items() if step in met},
    )


def _likely(type_: str) -> float:
    return registry.step_type(Kind.DECISION, type_).likely


def as_incoming(shown: Shown) -> Incoming:
    """Return a contact as a row of an import, to make the same one elsewhere."""
    refused = {each.channel: each.reason for each in shown.refusals}
    return Incoming(
        2,
        False,
        shown.key,
        shown.email,
        shown.timezone,
        shown.points,
        shown.stage,
        shown.owner,
        json.dumps(shown.fields),
        json.dumps(shown.tags),
        None,
        json.dumps(refused) if refused else None,
    )


def forecast_json(found: Forecast) -> dict[str, Any]:
    """Return what bound, and who came, as JSON."""
    return {
        "arrivals": [{"day": day.isoformat(), "source": source, "n": n} for day, source, n in found.arrived],
        "held": [
            {"day": each.day.isoformat(), "rule": each.rule, "channel": each.channel, "n": each.n}
            for each in found.held
        ],
        "held_at_entry": found.at_the_door,
        "rates": [
            {
                "channel": each.channel,
                "hour": iso(each.hour),
                "due": each.due,
                "per_hour": each.an_hour,
                "whose": each.whose,
            }
            for each in found.rates
        ],
    }
