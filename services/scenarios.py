"""Scenarios run: each in a database of its own, with the real engine, in simulated time; and what came told plainly."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from parcours.db.reads import timeline
from parcours.db.tables import campaigns, contacts, emails, forms, policies, templates
from parcours.db.tables.contacts import ContactRun, ContactStanding, Incoming, Shown
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.contacts.identity import timezone
from parcours.domain.errors import CampaignError
from parcours.domain.time.text import iso
from parcours.domain.time.zones import zone_of
from parcours.producers.files import scenarios as files
from parcours.producers.files.campaigns import FileProblem
from parcours.producers.files.scenarios import Check, Scenario, ScenarioAct, ScenarioStep, UnreadScenario, after_start
from parcours.services import campaign_plan, manual_changes
from parcours.services.sandbox import NewWorld, Sandbox, SentMessage, worlds

# Of one scenario; what takes longer is no example any more.
MOST_SECONDS = 60.0
# Failures of one scenario that are told, and lines of a path.
MOST_FAILURES = 20
MOST_PATH = 30
# In which order what happened at one instant is told.
_ORDER = ("event", "joined", "outcome", "message", "left")
_FAR = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ScenarioFailure:
    """What was expected, or went wrong, and where; with the path of the contact up to there."""

    file: Path
    line: int | None
    sentence: str
    path: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The file, with the line where there is one."""
        return str(self.file) if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """What became of one scenario. It passed when there are no failures.

    `broken`: it could not be run, or not to its end. `seconds` is how long it took.
    """

    name: str
    file: Path
    line: int
    seconds: float
    failures: tuple[ScenarioFailure, ...] = ()
    broken: bool = False

    @property
    def passed(self) -> bool:
        """Whether everything came as expected."""
        return not self.failures

    def lines(self) -> list[str]:
        """Return the result for a person: a line for the scenario, and what failed below it."""
        word = "ok" if self.passed else "ERROR" if self.broken else "FAIL"
        lines = [f"{word:5} {self.file}: {self.name} ({self.seconds:.2f} s)"]
        for failure in self.failures:
            lines.append(f"  {failure.place}: {failure.sentence}")
            lines += [f"    {line}" for line in failure.path]
        return lines


def run_scenarios(
    paths: Iterable[Path], database_url: str | None = None, *, default_timezone: str = "UTC"
) -> list[ScenarioResult]:
    """Run all scenarios of some files, each in a new database, and return what became of each.

    The databases are made on the server of `database_url`, where the user must be allowed to create some, or on a
    temporary server, which takes some seconds to start. Nothing is raised for a scenario that fails or cannot be read.
    """
    return list(each_result(paths, database_url, zone=ZoneInfo(timezone(default_timezone))))


def each_result(paths: Iterable[Path], database_url: str | None = None, *, zone: ZoneInfo) -> Iterator[ScenarioResult]:
    """Yield what `run_scenarios` returns, each result as soon as it is there."""
    found: list[Scenario | UnreadScenario] = []
    for path in paths:
        found += _read(path, zone)
    if all(isinstance(each, UnreadScenario) for each in found):
        yield from (_unread(each) for each in found if isinstance(each, UnreadScenario))
        return
    with worlds(database_url) as new_world:
        for each in found:
            yield _unread(each) if isinstance(each, UnreadScenario) else run(each, new_world)


def _read(path: Path, zone: ZoneInfo) -> list[Scenario | UnreadScenario]:
    try:
        return files.read(path, default_zone=zone)
    except Exception as error:  # One file must not keep the others from running.
        return [UnreadScenario(path.name, path, 1, [FileProblem(path, None, "", _unexpected(error))])]


def _unread(scenario: UnreadScenario) -> ScenarioResult:
    failures = [
        ScenarioFailure(each.file, each.line, f"{each.path}: {each.sentence}" if each.path else each.sentence)
        for each in scenario.problems
    ]
    return ScenarioResult(scenario.name, scenario.file, scenario.line, 0, tuple(failures), broken=True)


def run(scenario: Scenario, new_world: NewWorld) -> ScenarioResult:
    """Run a scenario in a new world and return what became of it; whatever goes wrong is a failure of it."""
    began = time.monotonic()
    failures: list[ScenarioFailure] = []
    broken = False
    playing: _Playing | None = None
    try:
        with new_world(scenario.start, scenario.zone) as world:
            world.until = began + MOST_SECONDS
            playing = _Playing(scenario, world)
            playing.play(failures)
    except Exception as error:  # One scenario must not keep the others from running.
        broken = True
        sentence = str(error) if isinstance(error, CampaignError) else _unexpected(error)
        failures.append(ScenarioFailure(scenario.file, scenario.line if playing is None else playing.line, sentence))
    return ScenarioResult(
        scenario.name, scenario.file, scenario.line, time.monotonic() - began, tuple(failures), broken
    )


def _unexpected(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0][:200]
    return f"unexpected error ({type(error).__name__}: {first}); please report it with the scenario"


@dataclass
class _Playing:
    """One scenario as it goes on."""

    scenario: Scenario
    world: Sandbox
    # Where in the file it is.
    line: int = field(init=False)

    def __post_init__(self) -> None:
        self.line = self.scenario.line

    def play(self, failures: list[ScenarioFailure]) -> None:
        """Play the scenario to its end, noting what is not as expected."""
        self._prepare()
        for step in self.scenario.steps:
            self.line = step.line
            self.world.advance(to=step.at)
            for act in step.acts:
                self.line = act.line
                self._act(step.contacts, act)
            for key in step.contacts if step.checks else ():
                failures += self._look(key, step)[: MOST_FAILURES - len(failures)]
            if len(failures) >= MOST_FAILURES:
                return

    def _prepare(self) -> None:
        scenario, world = self.scenario, self.world
        with world.engine.begin() as conn:
            for channel, rules in scenario.policies.items():
                policies.save(conn, channel, rules, now=world.now)
            for email in scenario.emails:
                emails.save(conn, email, now=world.now)
            for template in scenario.templates:
                templates.save(conn, template, now=world.now)
            for form in scenario.forms:
                forms.create(conn, form, form, standalone=False)
        world.happen([("contact.changed", each.key, each.changes) for each in scenario.contacts])
        scored = [each for each in scenario.contacts if each.points]
        if scored:
            with world.engine.begin() as conn:
                contacts.stage(conn, (_points(nth, each.key, each.points) for nth, each in enumerate(scored)))
                contacts.merge(conn, now=world.now)
        self.line = scenario.line
        if scenario.segments:
            world.segments(scenario.segments)
        for segment in sorted({key for each in scenario.contacts for key in each.segments}):
            world.enter(segment, *(each.key for each in scenario.contacts if segment in each.segments))
        for file in _in_order(scenario.campaigns):
            world.apply(file)

    def _act(self, keys: Sequence[str], act: ScenarioAct) -> None:
        match act.what:
            case "enters":
                self.world.enter(act.value, *keys)
            case "leaves":
                self.world.leave(act.value, *keys)
            case "joins":
                with self.world.engine.begin() as conn:
                    id_ = campaigns.find(conn, act.value).id
                    found = list(contacts.named(conn, keys).values())
                    manual_changes.add(conn, id_, found, who="scenario", now=self.world.now, zone=self.world.zone)
                self.world.advance()
            case "apply":
                self.world.apply(act.value, published=None)
            case "pause" | "publish":
                self.world.switch(act.value, published=act.what == "publish")
            case _:
                type_, data = act.value
                self.world.happen([(type_, key, self._with_message(type_, key, data)) for key in keys])

    def _with_message(self, type_: str, key: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the data of an event with the message that it is about, where that has to be named."""
        if type_ != "email.bounced" or "email" not in data or "message" in data:
            return data
        sent = [each for each in self.world.sent(key) if each.template == data["email"]]
        if not sent:
            raise CampaignError(f"{key} was not sent the email {data['email']!r}, so it cannot bounce")
        return {**{name: value for name, value in data.items() if name != "email"}, "message": sent[-1].content.key}

    def _look(self, key: str, step: ScenarioStep) -> list[ScenarioFailure]:
        with self.world.engine.connect() as conn:
            shown = contacts.show(conn, key)
        if shown is None:
            wrong = [(step.line, f"the contact {key!r} does not exist any more")]
            return [ScenarioFailure(self.scenario.file, line, sentence) for line, sentence in wrong]
        seen = _Seen(shown, self.world.sent(key), step.campaign, self.scenario)
        wrong = [(check.line, why) for check in step.checks if (why := seen.why_not(check)) is not None]
        path = tuple(self._path(shown)) if wrong else ()
        return [ScenarioFailure(self.scenario.file, line, f"{key}: {sentence}", path) for line, sentence in wrong]

    def _path(self, shown: Shown) -> Iterator[str]:
        """Yield what happened to a contact so far, for a person."""
        zone = self.world.zone if shown.timezone is None else zone_of(shown.timezone, self.world.zone)
        with self.world.engine.connect() as conn:
            entries, more = timeline.page(conn, shown.id, timeline.Place(_FAR), limit=MOST_PATH)
        several = len(self.scenario.campaigns) > 1
        yield f"Path of {shown.key} so far, times in {zone.key}:"
        if more is not None:
            yield f"  … earlier entries are left out; these are the last {MOST_PATH}"
        order = {step.step: nth for file in self.scenario.campaigns for nth, step in enumerate(file.walk())}
        for each in sorted(entries, key=lambda each: (each.at, _ORDER.index(each.what), order.get(each.step or "", 0))):
            yield f"  {_when(each.at, self.scenario.start, zone)}  {_told(each, several=several)}"
        now = _when(self.world.now, self.scenario.start, zone)
        standing = [
            f"waits at {_step_of(each.campaign, wait.step, several=several)}"
            + ("" if wait.due_at is None else f" until {wait.due_at.astimezone(zone):%a %Y-%m-%d %H:%M}")
            for each in shown.campaigns
            for wait in each.waits
        ]
        yield f"  {now}  now: {'; '.join(standing) or 'waits nowhere'}"


def _points(line: int, key: str, points: int) -> Incoming:
    return Incoming(line, False, key, None, None, points, None, None, None, None)


def _in_order(given: Sequence[CampaignFile]) -> Iterator[CampaignFile]:
    """Yield campaigns so that those that another one names come before it, as far as that can be."""
    open_ = list(given)
    while open_:
        keys = {each.campaign for each in open_}
        free = [
            each
            for each in open_
            if not any(
                named.what == "campaigns" and named.key in keys - {each.campaign}
                for named in campaign_plan.references(each)
            )
        ]
        for each in free or open_[:1]:
            open_.remove(each)
            yield each


def _when(at: datetime, start: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%a %Y-%m-%d %H:%M} ({after_start(at, start)})"


def _step_of(campaign: str | None, step: str | None, *, several: bool) -> str:
    return f"{campaign}/{step}" if several else str(step)


def _told(entry: timeline.TimelineEntry, *, several: bool) -> str:
    campaign = entry.campaign or ""
    detail = entry.detail if isinstance(entry.detail, Mapping) else {}
    match entry.what:
        case "outcome":
            why = detail.get("reason") or detail.get("error")
            return f"{_step_of(campaign, entry.step, several=several)}: {entry.result}" + (f" ({why})" if why else "")
        case "message":
            step = _step_of(campaign, entry.step, several=several)
            return f"message of {step}: {entry.result}"
        case "event":
            return f"event {entry.type}"
        case "joined":
            return f"joined {campaign}" + (f" ({entry.result})" if entry.result else "")
        case "left":
            return f"left {campaign}" + (f" ({entry.result})" if entry.result else "")


@dataclass
class _Seen:
    """How a contact stands, to be compared with what is expected."""

    shown: Shown
    messages: list[SentMessage]
    campaign: str | None
    scenario: Scenario

    def why_not(self, check: Check) -> str | None:
        """Return what was expected and what came; None when it is as expected."""
        expected, is_so, came = getattr(self, f"_{check.what.replace(' ', '_')}")(check.value)
        if is_so != check.negated:
            return None
        return f"expected {'not: ' if check.negated else ''}{expected}; {came}"

    def _standings(self) -> list[ContactStanding]:
        return [each for each in self.shown.campaigns if self.campaign in (None, each.campaign)]

    def _sent(self, value: Mapping[str, Any]) -> tuple[str, bool, str]:
        sent = [each for each in self.messages if self.campaign in (None, each.campaign)]
        said = [
            f"{each.template or each.channel} by {each.step} at {iso(each.at)}"
            + (f" ({each.content.subject!r})" if "subject" in value else "")
            for each in sent
        ]
        came = f"sent so far: {', '.join(said[-10:])}" if said else "nothing was sent so far"
        key = value.get("email", value.get("step"))
        fits = [each for each in sent if key is None or key in (each.template, each.step)]
        words = "nothing sent" if not value else f"{key or 'a message'} sent"
        for name in ("subject", "text"):
            if name in value:
                fits = [each for each in fits if str(value[name]) in _content(each.content, name)]
                words += f", with {value[name]!r} in its {name}"
        if "times" in value:
            return f"{words}, {value['times']} times", len(fits) == value["times"], came
        return words, bool(fits) if value else not fits, came

    def _waits(self, value: Mapping[str, Any]) -> tuple[str, bool, str]:
        waits = [(each.campaign, wait) for each in self._standings() for wait in each.waits]
        said = [f"{wait.step} until {iso(wait.due_at) or 'the event happens'}" for _, wait in waits]
        came = f"it waits at {', '.join(said)}" if said else "it waits nowhere"
        if not value:
            return "that it waits nowhere", not waits, came
        here = [wait for _, wait in waits if wait.step == value["step"]]
        if "until" in value:
            words = f"that it waits at {value['step']} until {iso(value['until'])}"
            return words, any(wait.due_at == value["until"] for wait in here), came
        return f"that it waits at {value['step']}", bool(here), came

    def _step(self, value: tuple[str, str | None]) -> tuple[str, bool, str]:
        key, result = value
        passed = [each for standing in self._standings() for each in standing.outcomes if each.step == key]
        came = f"{key} has no result yet"
        if passed:
            latest = max(passed, key=lambda each: each.at)
            why = (latest.detail or {}).get("reason") or (latest.detail or {}).get("error")
            came = f"its result is {latest.result}, at {iso(latest.at)}" + (f" ({why})" if why else "")
        if result is None:
            return f"that {key} has a result", bool(passed), came
        return f"the result {result} at {key}", bool(passed) and latest.result == result, came

    def _points(self, value: int) -> tuple[str, bool, str]:
        return f"{value} points", self.shown.points == value, f"it has {self.shown.points}"

    def _tags(self, value: list[str]) -> tuple[str, bool, str]:
        tags = self.shown.tags
        came = f"its tags are {', '.join(tags)}" if tags else "it has no tags"
        if not value or value[0] in files.NOTHING:
            return "no tags", not tags, came
        return f"the tag {', '.join(value)}", all(each in tags for each in value), came

    def _fields(self, value: tuple[str, Any]) -> tuple[str, bool, str]:
        name, wanted = value
        attributes = {each: getattr(self.shown, each) for each in ("email", "timezone", "stage", "owner")}
        found = {**attributes, **self.shown.fields}.get(name)
        is_so = found == wanted or (found is not None and wanted is not None and str(found) == str(wanted))
        return f"{wanted!r} in the field {name}", is_so, f"it holds {found!r}"

    def _stage(self, value: object) -> tuple[str, bool, str]:
        stage = self.shown.stage
        return f"the stage {value or 'none'}", (stage or "none") == (value or "none"), f"its stage is {stage or 'none'}"

    def _in(self, value: tuple[str, str]) -> tuple[str, bool, str]:
        what, key = value
        if what == "segment":
            inside = self.shown.segments
        else:
            inside = [each.campaign for each in self.shown.campaigns if each.left_at is None]
        named = f"the {what}s it is in are {', '.join(inside)}" if inside else f"it is in no {what}"
        return f"that it is in the {what} {key}", key in inside, named

    def _left(self, value: Mapping[str, Any]) -> tuple[str, bool, str]:
        wanted = value.get("campaign", self.campaign)
        ends: list[tuple[str, str | None, str]] = []
        for each in self.shown.campaigns:
            if wanted not in (None, each.campaign):
                continue
            if each.left_at is not None and "run" not in value:
                ends.append((each.campaign, None, _departed(each)))
            ends += [(each.campaign, run.key, _departed(run)) for run in each.runs if run.left_at is not None]
        said = [f"{campaign}{f' run {run}' if run else ''} ({why})" for campaign, run, why in ends]
        came = f"it left {', '.join(said)}" if said else "it has not left"
        reason = value.get("reason")
        fits = [
            why
            for _, run, why in ends
            if ("run" not in value or run == str(value["run"])) and (reason is None or str(reason) in why)
        ]
        words = "that it left" + (f" {wanted}" if wanted else "") + (f" because of {reason}" if reason else "")
        return words, bool(fits), came


def _departed(left: ContactStanding | ContactRun) -> str:
    return f"{left.departure}: {left.reason}" if left.reason else str(left.departure)


def _content(content: Any, name: str) -> str:
    if hasattr(content, name):
        bodies = [getattr(content, name), getattr(content, "html", None) if name == "text" else None]
        return "\n".join(str(each) for each in bodies if each)
    return str(getattr(content, "content", {}).get("title" if name == "subject" else "text", ""))
