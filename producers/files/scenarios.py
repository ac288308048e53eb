"""Scenario files: who does what in a campaign and what is expected, read with the line of every problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from parcours.db.tables.emails import Email
from parcours.db.tables.templates import Template
from parcours.domain import gate
from parcours.domain.campaign_file.model import CampaignFile, dotted
from parcours.domain.campaign_file.model import Path as Place
from parcours.domain.campaign_file.sentences import did_you_mean, quoted, short
from parcours.domain.contacts import identity
from parcours.domain.errors import CampaignError
from parcours.domain.events.parsing import parse
from parcours.domain.events.table import CHANGES, EVENT_TYPES, refused_type
from parcours.domain.invalid_values import called
from parcours.domain.keys import checked_key
from parcours.domain.segments.file import SegmentFile
from parcours.domain.steps import registry
from parcours.domain.time import schedule
from parcours.domain.time.instants import parse_instant, practical
from parcours.domain.time.intervals import parse_interval
from parcours.producers.files import campaigns as campaign_files
from parcours.producers.files import emails as email_files
from parcours.producers.files import messages as message_files
from parcours.producers.files import policies as policy_files
from parcours.producers.files import segments as segment_files
from parcours.producers.files.campaigns import CampaignDocument, CampaignFileError, FileProblem
from parcours.producers.files.documents import DocumentProblem

NAMES = (
    *("scenario", "campaign", "campaigns", "segments", "emails", "messages", "policies", "forms"),
    *("timezone", "start", "contacts", "steps"),
)
CONTACT = ("key", "points", "segments", *CHANGES)
ACTS = ("enters", "leaves", "submits", "changes", "does")
# What is done to campaigns, whoever the contacts are.
DEEDS = ("apply", "pause", "publish")
CHECKS = (
    *("sent", "waits", "step", "result", "results", "points", "tags", "fields", "stage", "in", "not in", "left"),
    "not",
)
STEP = ("at", "contact", "contacts", "campaign", *DEEDS, *ACTS, "expect", *CHECKS)
RESULTS = ("done", "skipped", "failed", "yes", "no", "cancelled")
# What an example never has more of.
MOST_CONTACTS = 1_000
MOST_STEPS = 2_000
# A text in place of a list that says that there is nothing.
NOTHING = ("none", "nothing")


@dataclass(frozen=True, slots=True)
class ScenarioContact:
    """A contact who is there from the start: the data of `contact.changed`, points, and segments."""

    key: str
    changes: Mapping[str, Any]
    points: int
    segments: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class ScenarioAct:
    """What happens to contacts: one of `ACTS` and its value, of which events have type and data.

    Or to a campaign: one of `DEEDS`, with the file that is applied, or the key of the campaign.
    """

    what: str
    value: Any
    line: int


@dataclass(frozen=True, slots=True)
class Check:
    """What is expected: one of `CHECKS` and its value; `step` has (step, result or None)."""

    what: str
    value: Any
    line: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ScenarioStep:
    """A moment: what the contacts do at it, and what is expected of them afterwards."""

    at: datetime
    line: int
    contacts: tuple[str, ...]
    # The campaign that expectations are about; None: any.
    campaign: str | None
    acts: tuple[ScenarioAct, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario with everything that its files hold."""

    name: str
    file: Path
    line: int
    start: datetime
    zone: ZoneInfo
    campaigns: tuple[CampaignFile, ...]
    segments: tuple[SegmentFile, ...]
    emails: tuple[Email, ...]
    templates: tuple[Template, ...]
    policies: Mapping[str, dict[str, Any]]
    forms: tuple[str, ...]
    contacts: tuple[ScenarioContact, ...]
    steps: tuple[ScenarioStep, ...]


@dataclass(frozen=True, slots=True)
class UnreadScenario:
    """A scenario, or a whole file of them, that cannot be run, and why."""

    name: str
    file: Path
    line: int
    problems: Sequence[FileProblem]


def read(path: Path, *, default_zone: ZoneInfo) -> list[Scenario | UnreadScenario]:
    """Return the scenarios of a file, which holds one or a list of them, each with its problems if it has some."""
    try:
        document = campaign_files.document_of(path)
    except CampaignFileError as error:
        line = next((each.line for each in error.problems if each.line is not None), 1)
        return [UnreadScenario(path.name, path, line, error.problems)]
    data = document.data
    if isinstance(data, list) and data:
        return [_ScenarioReading(path, document, (nth,), default_zone).read(each) for nth, each in enumerate(data)]
    return [_ScenarioReading(path, document, (), default_zone).read(data)]


@dataclass
class _ScenarioReading:
    """One scenario: what is wrong is noted on the way, with its line."""

    path: Path
    document: CampaignDocument
    place: Place
    default_zone: ZoneInfo
    problems: list[FileProblem] = field(default_factory=list)
    files_with_problems: bool = False

    def read(self, data: object) -> Scenario | UnreadScenario:
        name = data.get("scenario") if isinstance(data, Mapping) else None
        nth = f" {self.place[0] + 1}" if self.place and isinstance(self.place[0], int) else ""
        title = gate.clean(name.strip()[:200]) if isinstance(name, str) and name.strip() else f"{self.path.stem}{nth}"
        line = self.document.line(self.place)
        found = None
        try:
            for place in _incomplete(data):
                self.note(place, f"{dotted(place) or title}: contains {gate.INCOMPLETE}; write the whole character")
            if not self.problems:
                found = self._scenario(data, title, line)
        except RecursionError:
            self.note((), "it is nested too deeply")
        if self.problems or found is None:
            ordered = sorted(self.problems, key=lambda each: (each.file != self.path, each.line or 0))
            return UnreadScenario(title, self.path, line, campaign_files.first_of(ordered))
        return found

    def note(self, place: Place, sentence: str) -> None:
        # What is said to be missing at a place that the file does not have stands at the one above.
        line = self.document.line((*self.place, *place))
        self.problems.append(FileProblem(self.path, line, "", short(sentence)))

    def _scenario(self, data: object, title: str, line: int) -> Scenario | None:
        if data is None:
            self.note((), "the scenario is empty; write campaign, start, contacts and steps")
            return None
        if not isinstance(data, Mapping):
            self.note((), f"a scenario must be a mapping with campaign, start, contacts and steps, not {called(data)}")
            return None
        if "sources" in data and "contacts" not in data:
            self.note((), "this is the file of a campaign; write a scenario that names it, as 'campaign: welcome.yaml'")
            return None
        self._names(data, NAMES, ())
        if not {"campaign", "campaigns", "segments"} & data.keys():
            self.note((), "a scenario needs a campaign or a segment; add 'campaign: campaign.yaml'")
        zone = self._zone(data)
        self._read_files(data, zone)
        self._read_later(data.get("steps"), zone)
        contacts = self._contacts(data.get("contacts"))
        self.known = _Known([*self.campaigns, *self.later.values()], self.segments, self.emails, self.forms)
        # Days and months of `at` follow the calendar of the contacts where they share one.
        zones = {each.changes.get("timezone") for each in contacts} if "timezone" not in data else set()
        only = next(iter(zones)) if len(zones) == 1 else None
        zone_of_time = ZoneInfo(only) if isinstance(only, str) else zone
        start = self._start(data, zone)
        if self.files_with_problems:
            # Without them nobody knows what steps and emails the scenario can name.
            return None
        steps = self._steps(data.get("steps"), start, zone_of_time, [each.key for each in contacts])
        return Scenario(
            title,
            self.path,
            line,
            start,
            zone,
            tuple(self.campaigns),
            tuple(self.segments),
            tuple(self.emails),
            tuple(self.templates),
            self.policies,
            tuple(self.forms),
            tuple(contacts),
            tuple(steps),
        )

    def _names(self, data: Mapping[Any, Any], known: Sequence[str], place: Place) -> None:
        for name in data:
            if name not in known:
                hint = did_you_mean(str(name), known) or f"; known are {', '.join(known)}"
                self.note((*place, str(name)), f"unknown property {quoted(name)}{hint}")

    def _zone(self, data: Mapping[Any, Any]) -> ZoneInfo:
        given = data.get("timezone")
        if given is None:
            return self.default_zone
        try:
            return ZoneInfo(identity.timezone(given if isinstance(given, str) else str(given)))
        except identity.IdentityError as error:
            self.note(("timezone",), f"timezone: {error}")
            return self.default_zone

    def _start(self, data: Mapping[Any, Any], zone: ZoneInfo) -> datetime:
        if data.get("start") is None:
            self.note((), "a scenario needs a time at which it starts; add 'start: 2026-12-01T09:00:00Z'")
            return datetime(2026, 1, 1, tzinfo=UTC)
        try:
            return parse_instant(data["start"], zone)
        except ValueError as error:
            self.note(("start",), f"start: {error}")
            return datetime(2026, 1, 1, tzinfo=UTC)

    # The files that a scenario names.

    def _read_files(self, data: Mapping[Any, Any], zone: ZoneInfo) -> None:
        self.campaigns: list[CampaignFile] = []
        self.segments: list[SegmentFile] = []
        self.emails: list[Email] = []
        self.templates: list[Template] = []
        self.policies: dict[str, dict[str, Any]] = {}
        for name in ("campaign", "campaigns"):
            for place, file in self._files(data, name):
                try:
                    self.campaigns.append(campaign_files.read(file, default_zone=zone))
                except CampaignFileError as error:
                    self._in_file(place, file, error.problems)
        for place, file in self._files(data, "segments"):
            try:
                self.segments += segment_files.read(file).segments
            except CampaignFileError as error:
                self._in_file(place, file, error.problems)
        for place, file in self._files(data, "emails"):
            self.emails += self._document(place, file, email_files.read, [])
        for place, file in self._files(data, "messages"):
            self.templates += self._document(place, file, message_files.read, [])
        for place, file in self._files(data, "policies"):
            self.policies |= self._document(place, file, policy_files.read, {})
        for what, keys in (
            ("campaign", [each.campaign for each in self.campaigns]),
            ("segment", [each.segment for each in self.segments]),
            ("email", [each.key for each in self.emails]),
        ):
            for twice in sorted({key for key in keys if keys.count(key) > 1}):
                self.note((), f"two files of this scenario define {what} {quoted(twice)}; name one of them")
        self.forms = [
            key for place, each in self._listed(data, "forms") if (key := self._key("form", each, place)) is not None
        ]

    def _read_later(self, steps: object, zone: ZoneInfo) -> None:
        """Read the files that steps apply, by the place where each is named: steps may then name what is in them."""
        self.later: dict[Place, CampaignFile] = {}
        keys = [each.campaign for each in self.campaigns]
        for nth, step in enumerate(steps[:MOST_STEPS] if isinstance(steps, list) else ()):
            for place, file in self._files(step, "apply", "steps", nth) if isinstance(step, Mapping) else ():
                try:
                    read = campaign_files.read(file, default_zone=zone)
                except CampaignFileError as error:
                    self._in_file(place, file, error.problems)
                    continue
                self.later[place] = read
                if read.campaign not in keys and not self.files_with_problems:
                    hint = did_you_mean(read.campaign, keys) or "; name its first version as 'campaign' or 'campaigns'"
                    self.note(place, f"{file.name} is no campaign of this scenario, but {quoted(read.campaign)}{hint}")

    def _files(self, data: Mapping[Any, Any], name: str, *above: str | int) -> Iterator[tuple[Place, Path]]:
        for place, each in self._listed(data, name):
            if isinstance(each, str) and each.strip() and "\0" not in each:
                yield (*above, *place), self.path.parent / each.strip()
            else:
                self.note((*above, *place), f"{name!r} must name a file beside this one, not {called(each)}")

    def _listed(self, data: Mapping[Any, Any], name: str) -> Iterator[tuple[Place, object]]:
        given = data.get(name)
        if isinstance(given, list):
            yield from (((name, nth), each) for nth, each in enumerate(given))
        elif given is not None:
            yield (name,), given

    def _in_file(self, place: Place, file: Path, problems: Sequence[FileProblem]) -> None:
        self.files_with_problems = True
        if all(each.line is None for each in problems):
            self.note(place, f"{file.name}: {problems[0].sentence}")
        else:
            self.problems += problems

    def _document(self, place: Place, file: Path, read: Any, otherwise: Any) -> Any:
        wrong: list[DocumentProblem]
        try:
            found, wrong = read([file])
        except OSError as error:
            self.files_with_problems = True
            self.note(place, f"{file.name}: {(error.strerror or 'the file cannot be read').lower()}")
            return otherwise
        except RecursionError:
            self.note(place, f"{file.name}: the file is nested too deeply")
            return otherwise
        self.problems += [FileProblem(each.path, each.line, each.about or "", each.what) for each in wrong]
        return found

    # Who is there.

    def _contacts(self, data: object) -> list[ScenarioContact]:
        if not isinstance(data, list) or not data:
            self.note(("contacts",), "a scenario needs contacts; add a list such as 'contacts: [{key: ann}]'")
            return []
        if len(data) > MOST_CONTACTS:
            self.note(("contacts",), f"a scenario has at most {MOST_CONTACTS:,} contacts, not {len(data):,}")
            return []
        found: dict[str, ScenarioContact] = {}
        for nth, each in enumerate(data):
            contact = self._contact(each, ("contacts", nth))
            if contact is not None and contact.key in found:
                self.note(("contacts", nth), f"contact {quoted(contact.key)} is written twice")
            elif contact is not None:
                found[contact.key] = contact
        return list(found.values())

    def _contact(self, data: object, place: Place) -> ScenarioContact | None:
        if isinstance(data, str | int) and not isinstance(data, bool):
            data = {"key": data}
        if not isinstance(data, Mapping):
            self.note(place, f"a contact must be a mapping such as {{key: ann}}, not {called(data)}")
            return None
        self._names(data, CONTACT, place)
        key = self._key("contact", data.get("key"), place)
        points = data.get("points", 0)
        if not isinstance(points, int) or isinstance(points, bool) or abs(points) > 10**9:
            self.note((*place, "points"), f"'points' must be a whole number, not {called(points)}")
            points = 0
        segments = [
            found
            for where, each in self._listed(data, "segments")
            if (found := self._key("segment", each, (*place, *where))) is not None
        ]
        changes = {name: value for name, value in data.items() if name in CHANGES}
        changes.setdefault("email", f"{key}@example.com")
        if key is None or not self._event("contact.changed", key, changes, place):
            return None
        return ScenarioContact(key, changes, points, tuple(segments), self.document.line((*self.place, *place)))

    def _key(self, what: str, value: object, place: Place) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            self.note(place, f"a {what} needs a key, a text, not {called(value)}")
            return None
        try:
            gate.check_text(value, f"the key of a {what}")
            return checked_key(what, value)
        except (CampaignError, gate.GateError) as error:
            self.note(place, str(error))
            return None

    def _event(self, type_: str, contact: str, data: object, place: Place) -> bool:
        """Return whether an event can be taken in, and note why it cannot."""
        said = {"specversion": "1.0", "id": str(uuid4()), "source": "scenario", "type": type_, "subject": contact}
        try:
            parse({**said, "data": data}, now=datetime(2026, 1, 1, tzinfo=UTC))
        except CampaignError as error:
            self.note(place, str(error))
            return False
        return True

    # What happens.

    def _steps(self, data: object, start: datetime, zone: ZoneInfo, everybody: list[str]) -> list[ScenarioStep]:
        if not isinstance(data, list) or not data:
            self.note(("steps",), "a scenario needs steps; add 'steps: [{at: 1 day, expect: {sent: hello}}]'")
            return []
        if len(data) > MOST_STEPS:
            self.note(("steps",), f"a scenario has at most {MOST_STEPS:,} steps, not {len(data):,}; split it")
            return []
        found: list[ScenarioStep] = []
        at, written = start, "the start"
        for nth, each in enumerate(data):
            place: Place = ("steps", nth)
            if not isinstance(each, Mapping):
                self.note(
                    place,
                    f"a step must be a mapping such as {{at: 1 day, enters: newsletter}}, not {called(each)}",
                )
                continue
            self._names(each, STEP, place)
            if (given := each.get("at")) is not None:
                later = self._at(given, start, zone, (*place, "at"))
                if later is not None and later < at:
                    self.note((*place, "at"), f"{given} is before {written}; put the steps in the order of time")
                elif later is not None:
                    at, written = later, str(given)
            found.append(self._step(each, at, place, everybody))
        return found

    def _at(self, given: object, start: datetime, zone: ZoneInfo, place: Place) -> datetime | None:
        """Return an instant: so long after the start, or a time."""
        try:
            if isinstance(given, str) and given[:1].isdigit() and "-" in given:
                return parse_instant(given, zone)
            return practical(schedule.add(parse_interval("0 days" if given == 0 else given), start, zone))
        except ValueError as error:
            self.note(place, f"at: {error}")
        except OverflowError:
            self.note(place, f"at: {given} after the start is out of range")
        return None

    def _step(self, data: Mapping[Any, Any], at: datetime, place: Place, everybody: list[str]) -> ScenarioStep:
        contacts: list[str] = []
        for name in ("contact", "contacts"):
            for where, key in self._listed(data, name):
                if str(key) in everybody:
                    contacts.append(str(key))
                elif everybody:
                    hint = did_you_mean(str(key), everybody)
                    self.note((*place, *where), f"the scenario has no contact {quoted(key)}{hint}")
        campaign = data.get("campaign")
        if campaign is not None and campaign not in self.known.campaigns:
            self.note((*place, "campaign"), self._unknown("campaign", campaign, self.known.campaigns))
        acts = [
            act
            for name in data
            if name in (*DEEDS, *ACTS)
            for act in (
                self._deeds(name, data[name], (*place, name), campaign)
                if name in DEEDS
                else self._acts(name, data[name], (*place, name), contacts or everybody)
            )
        ]
        checks = [*self._checks(data.get("expect", {}), (*place, "expect"), campaign)]
        beside = {name: data[name] for name in data if name in CHECKS}
        checks += self._checks(beside, place, campaign)
        if not acts and not checks and not any(name in data for name in (*DEEDS, *ACTS, "expect", *CHECKS)):
            self.note(place, f"this step does nothing; add one of {', '.join((*ACTS, *DEEDS))} or expect")
        return ScenarioStep(
            at,
            self.document.line((*self.place, *place)),
            tuple(contacts or everybody),
            campaign,
            tuple(acts),
            tuple(checks),
        )

    def _deeds(self, what: str, value: object, place: Place, campaign: object) -> Iterator[ScenarioAct]:
        """Yield what is done to campaigns: a file is applied, or one is paused or published."""
        if what == "apply":
            for where, file in self.later.items():
                if where[: len(place)] == place:
                    yield ScenarioAct(what, file, self.document.line((*self.place, *where)))
            return
        named = list(dict.fromkeys(each.campaign for each in self.campaigns))
        for nth, each in enumerate(value if isinstance(value, list) else [value]):
            where = (*place, nth) if isinstance(value, list) else place
            key = (campaign or (named[0] if len(named) == 1 else None)) if each is True else each
            if each is True and key is None and named:
                self.note(where, f"say which campaign: write '{what}: {named[0]}'")
            elif each is True and key is None:
                self.note(where, f"{what!r} needs a campaign; add 'campaign: campaign.yaml' to the scenario")
            elif not isinstance(key, str):
                example = named[0] if named else "welcome"
                self.note(where, f"{what!r} must be true or the key of a campaign, as '{example}', not {called(each)}")
            elif key not in named and key != campaign:
                self.note(where, self._unknown("campaign", key, named))
            elif key in named:
                yield ScenarioAct(what, key, self.document.line((*self.place, *where)))

    def _unknown(self, what: str, key: object, known: Sequence[str]) -> str:
        hint = did_you_mean(str(key), known) or (f"; known are {', '.join(known[:20])}" if known else "")
        return f"the files of this scenario have no {what} {quoted(key)}{hint}"

    def _acts(self, what: str, value: object, place: Place, contacts: Sequence[str]) -> Iterator[ScenarioAct]:
        given = value if isinstance(value, list) else [value]
        for nth, each in enumerate(given):
            where = (*place, nth) if isinstance(value, list) else place
            line = self.document.line((*self.place, *where))
            if what == "enters":
                if (act := self._entering(each, where, line)) is not None:
                    yield act
            elif what == "leaves":
                if (key := self._key("segment", each, where)) is not None:
                    yield ScenarioAct("leaves", key, line)
            elif what == "submits":
                form = each if isinstance(each, Mapping) else {"form": each}
                self._names(form, ("form", "fields"), where)
                key = self._key("form", form.get("form"), where)
                if key is not None and key not in self.known.forms:
                    self.note(where, self._unknown("form", key, self.known.forms))
                elif key is not None:
                    data = {"form": key, "fields": form.get("fields") or {}}
                    if self._event("form.submitted", contacts[0] if contacts else "ann", data, where):
                        yield ScenarioAct("does", ("form.submitted", data), line)
            else:
                happened = {"type": "contact.changed", "data": each} if what == "changes" else each
                if (found := self._does(happened, where, contacts)) is not None:
                    yield ScenarioAct("does", found, line)

    def _entering(self, value: object, place: Place, line: int) -> ScenarioAct | None:
        key = self._key("segment", value, place)
        if key is None:
            return None
        if key in self.known.segments or (key not in self.known.forms and key not in self.known.campaigns):
            if self.known.segments and key not in self.known.segments and did_you_mean(key, self.known.segments):
                self.note(place, self._unknown("segment, form or campaign", key, self.known.segments))
                return None
            return ScenarioAct("enters", key, line)
        if key in self.known.forms:
            return ScenarioAct("does", ("form.submitted", {"form": key, "fields": {}}), line)
        return ScenarioAct("joins", key, line)

    def _does(self, value: object, place: Place, contacts: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
        event = {"type": value} if isinstance(value, str) else value
        if not isinstance(event, Mapping):
            self.note(
                place,
                f"an event must be a mapping such as {{type: order.paid}}, not {called(value)}",
            )
            return None
        self._names(event, ("type", "data"), place)
        type_, data = event.get("type"), event.get("data")
        if not isinstance(type_, str) or not type_.strip():
            self.note(place, "an event needs a type, such as email.opened or order.paid")
            return None
        if type_ not in EVENT_TYPES and not self.known.looks_at(type_):
            slip = refused_type(type_, source=False)
            hint = did_you_mean(type_, [*self.known.types, *EVENT_TYPES])
            self.note(
                (*place, "type"),
                slip or f"nothing in this scenario looks at events of type {quoted(type_)}{hint}",
            )
            return None
        data = self._with_email(type_, data, place) if isinstance(data, Mapping) else data
        if not self._event(type_, contacts[0] if contacts else "ann", data, place):
            return None
        return type_, dict(data or {})

    def _with_email(self, type_: str, data: Mapping[str, Any], place: Place) -> dict[str, Any]:
        """Return the data of an event about an email, which may be called by the step that sends it."""
        email = data.get("email")
        if not type_.startswith("email.") or not isinstance(email, str) or email in self.known.templates:
            return dict(data)
        sends = self.known.sends.get(email)
        if sends is None:
            known = [*self.known.templates, *self.known.sends]
            self.note((*place, "data", "email"), self._unknown("email, or step that sends one,", email, known))
            return dict(data)
        return {**data, "email": sends}

    # What is expected.

    def _checks(self, data: object, place: Place, campaign: object, *, negated: bool = False) -> Iterator[Check]:
        if not isinstance(data, Mapping):
            self.note(place, f"'expect' must be a mapping such as {{sent: hello}}, not {called(data)}")
            return
        if place[-1] in ("expect", "not"):
            self._names(data, CHECKS, place)
        if "result" in data and "step" not in data:
            self.note((*place, "result"), "'result' needs 'step'; write {step: opened, result: yes}")
        for name, value in data.items():
            line = self.document.line((*self.place, *place, name))
            where = (*place, name)
            if name == "not":
                yield from self._checks(value, where, campaign, negated=True)
            elif name == "step":
                result = self._result(data.get("result"), (*place, "result"))
                for key in self._step_keys(value, where, campaign):
                    yield Check("step", (key, result), line, negated)
            elif name == "results":
                if not isinstance(value, Mapping):
                    self.note(where, f"'results' must be a mapping such as {{opened: yes}}, not {called(value)}")
                    continue
                for step, said in value.items():
                    for key in self._step_keys(step, (*where, step), campaign):
                        yield Check("step", (key, self._result(said, (*where, step))), line, negated)
            elif name in ("in", "not in"):
                for there in self._places(value, where):
                    yield Check("in", there, line, negated != (name == "not in"))
            elif name in CHECKS and name != "result":
                for each in self._values(name, value, where, campaign):
                    yield Check(name, each, line, negated)

    def _result(self, value: object, place: Place) -> str | None:
        if value is None:
            return None
        text = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        if text not in RESULTS:
            self.note(place, f"a result is one of {', '.join(RESULTS)}, not {quoted(value)}")
            return None
        return str(text)

    def _step_keys(self, value: object, place: Place, campaign: object) -> Iterator[str]:
        for each in value if isinstance(value, list) else [value]:
            owners = [key for key, steps in self.known.steps.items() if each in steps and campaign in (None, key)]
            if not owners:
                known = [step for steps in self.known.steps.values() for step in steps]
                self.note(place, self._unknown("step", each, known))
            elif len(owners) > 1:
                self.note(
                    place,
                    f"{', '.join(owners)} have a step {quoted(each)}; add 'campaign: {owners[0]}' to say which",
                )
            else:
                yield str(each)

    def _places(self, value: object, place: Place) -> Iterator[tuple[str, str]]:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                self._names(each, ("segment", "campaign"), place)
                yield from ((what, str(key)) for what, key in each.items() if what in ("segment", "campaign"))
                continue
            here = [
                what
                for what, known in (("campaign", self.known.campaigns), ("segment", self.known.segments))
                if each in known
            ]
            if len(here) == 2:
                either = f"write {{campaign: {each}}} or {{segment: {each}}}"
                self.note(place, f"a campaign and a segment are named {quoted(each)}; {either}")
            elif here:
                yield here[0], str(each)
            else:
                self.note(
                    place, self._unknown("campaign or segment", each, [*self.known.campaigns, *self.known.segments])
                )

    def _values(self, name: str, value: object, place: Place, campaign: object) -> Iterator[object]:
        """Yield what is expected under a name, piece by piece, each in one form."""
        match name:
            case "sent":
                yield from self._sent(value, place)
            case "waits":
                yield from self._waits(value, place, campaign)
            case "points":
                if not isinstance(value, int) or isinstance(value, bool):
                    self.note(place, f"'points' must be a whole number, not {called(value)}")
                else:
                    yield value
            case "tags":
                yield [str(each) for each in (value if isinstance(value, list) else [value])]
            case "fields":
                if isinstance(value, Mapping):
                    yield from value.items()
                else:
                    self.note(place, f"'fields' must be a mapping such as {{country: FR}}, not {called(value)}")
            case "stage":
                yield value
            case "left":
                yield from self._left(value, place)

    def _sent(self, value: object, place: Place) -> Iterator[dict[str, Any]]:
        if value in ([], None, *NOTHING):
            yield {}
            return
        for each in value if isinstance(value, list) else [value]:
            told = {"email": each} if not isinstance(each, Mapping) else dict(each)
            self._names(told, ("email", "step", "times", "subject", "text"), place)
            key = told.get("email", told.get("step"))
            known = [*self.known.templates, *self.known.actions]
            if key is not None and key not in known:
                self.note(place, self._unknown("email, template or step", key, known))
            elif not isinstance(told.get("times", 1), int):
                self.note(place, f"'times' must be a whole number, not {called(told['times'])}")
            else:
                yield told

    def _waits(self, value: object, place: Place, campaign: object) -> Iterator[dict[str, Any]]:
        if value in ([], None, *NOTHING):
            yield {}
            return
        for each in value if isinstance(value, list) else [value]:
            told = dict(each) if isinstance(each, Mapping) else {"step": each}
            self._names(told, ("step", "until"), place)
            if "until" in told:
                try:
                    told["until"] = parse_instant(told["until"], self.default_zone)
                except ValueError as error:
                    self.note(place, f"until: {error}")
            for key in self._step_keys(told.get("step"), place, campaign):
                yield {**told, "step": key}

    def _left(self, value: object, place: Place) -> Iterator[dict[str, Any]]:
        told = dict(value) if isinstance(value, Mapping) else {} if value is True else {"reason": value}
        self._names(told, ("campaign", "reason", "run"), place)
        if "campaign" in told and told["campaign"] not in self.known.campaigns:
            # The short form for one campaign of several.
            self.note(place, self._unknown("campaign", told["campaign"], self.known.campaigns))
        elif told.get("reason") in self.known.campaigns:
            yield {"campaign": told["reason"]}
        else:
            yield told


class _Known:
    """What the files of a scenario name, those that its steps apply included."""

    def __init__(
        self,
        campaigns: Sequence[CampaignFile],
        segments: Sequence[SegmentFile],
        emails: Sequence[Email],
        forms: Sequence[str],
    ) -> None:
        self.campaigns = list(dict.fromkeys(each.campaign for each in campaigns))
        # Of all versions of a campaign.
        self.steps = {
            key: list(dict.fromkeys(step.step for each in campaigns if each.campaign == key for step in each.walk()))
            for key in self.campaigns
        }
        self.actions = [step.step for each in campaigns for step in each.walk() if step.kind == "action"]
        # Which template a step sends.
        self.sends = {
            step.step: str(step.with_["email"])
            for each in campaigns
            for step in each.walk()
            if step.kind == "action" and isinstance(step.with_.get("email"), str)
        }
        self.templates = list(dict.fromkeys([*(each.key for each in emails), *self.sends.values()]))
        self.templates += [
            str(step.with_[name])
            for each in campaigns
            for step in each.walk()
            for name in ("sms", "push", "message")
            if isinstance(step.with_.get(name), str)
        ]
        named = [each.segment for each in segments]
        named += [key for each in campaigns for key in each.sources.segments]
        named += [leaving.segment for each in campaigns for leaving in each.exit if leaving.segment is not None]
        asked = [
            *(value for each in segments for value in _under(each.data, "segments", "segment")),
            *(
                value
                for each in campaigns
                for step in each.walk()
                for value in _under(step.with_, "segments", "add", "remove")
                if step.type == "contact.segments"
            ),
        ]
        self.segments = list(dict.fromkeys([*named, *asked]))
        self.forms = list(dict.fromkeys([*forms, *(key for each in campaigns for key in each.sources.forms)]))
        self.forms += [
            value
            for each in campaigns
            for step in each.walk()
            if step.type in ("form.submit", "form.field")
            for value in _under(step.with_, "forms", "form")
            if value not in self.forms
        ]
        data = [each.model_dump(by_alias=True, mode="json") for each in campaigns]
        self.types = list(dict.fromkeys(_under([*data, *(each.data for each in segments)], "type", "event")))
        for each in campaigns:
            for step in each.walk():
                if step.kind == "decision":
                    kind = registry.step_type(step.kind, step.type)
                    made = kind.properties.model_validate(step.with_)
                    self.types += sorted(set(kind.events_of(made)) - {*self.types})

    def looks_at(self, type_: str) -> bool:
        """Return whether a campaign or a rule names a type of event, with or without a wildcard."""
        return any(type_ == each or ("*" in each and _fits(type_, each)) for each in self.types)


def _fits(type_: str, pattern: str) -> bool:
    before, _, after = pattern.partition("*")
    return type_.startswith(before) and type_.endswith(after.rpartition("*")[2])


def _under(data: object, *names: str) -> Iterator[str]:
    """Yield the texts that stand anywhere in data under some names."""
    open_: list[object] = [data]
    while open_:
        each = open_.pop()
        if isinstance(each, Mapping):
            for name, value in each.items():
                if name in names:
                    yield from (
                        text
                        for text in (value if isinstance(value, list | tuple) else [value])
                        if isinstance(text, str)
                    )
            open_ += each.values()
        elif isinstance(each, list | tuple):
            open_ += each


def after_start(at: datetime, start: datetime) -> str:
    """Return how long after the start something was, in words."""
    length = at - start
    if length.total_seconds() < 0:
        return "before"
    days, rest = divmod(int(length.total_seconds()), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes = rest // 60
    parts = [f"{n} {unit}{'s' * (n != 1)}" for n, unit in ((days, "day"), (hours, "hour"), (minutes, "minute")) if n]
    return " ".join(parts[:3]) or "0 days"


def _incomplete(data: object, place: Place = ()) -> Iterator[Place]:
    """Yield where half of an emoji stands, which nothing can store."""
    if isinstance(data, str):
        if gate.is_incomplete(data):
            yield place
    elif isinstance(data, Mapping):
        for name, value in data.items():
            if gate.is_incomplete(str(name)):
                yield place
            yield from _incomplete(value, (*place, str(name)))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _incomplete(value, (*place, index))
