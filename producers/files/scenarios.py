"""Scenario files: who does what in a campaign and what is expected, read with the line of every problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from parcours.db.tables.emails import Email
from parcours.db.tables.templates import Template
from parcours.domain import gate
from parcours.domain.campaign_file.model import CampaignFile, dotted
from parcours.domain.campaign_file.model import Path as Place
from parcours.domain.campaign_file.sentences import did_you_mean, quoted
from parcours.domain.contacts import identity
from parcours.domain.events.table import CHANGES
from parcours.domain.invalid_values import called
from parcours.domain.segments.file import SegmentFile
from parcours.domain.time.instants import parse_instant
from parcours.producers.files import campaigns as campaign_files
from parcours.producers.files import emails as email_files
from parcours.producers.files import messages as message_files
from parcours.producers.files import policies as policy_files
from parcours.producers.files import segments as segment_files
from parcours.producers.files.campaigns import CampaignFileError, FileProblem
from parcours.producers.files.documents import DocumentProblem
from parcours.producers.files.scenario import (
    Check,
    Scenario,
    ScenarioAct,
    ScenarioContact,
    ScenarioStep,
    UnreadScenario,
    after_start,
)
from parcours.producers.files.scenario_checks import NOTHING, CheckReading
from parcours.producers.files.scenario_names import Known
from parcours.producers.files.scenario_notes import Notes, incomplete
from parcours.producers.files.scenario_steps import MOST_STEPS, StepReading

__all__ = [
    "NOTHING",
    "Check",
    "Scenario",
    "ScenarioAct",
    "ScenarioContact",
    "ScenarioStep",
    "UnreadScenario",
    "after_start",
    "read",
]

NAMES = (
    *("scenario", "campaign", "campaigns", "segments", "emails", "messages", "policies", "forms"),
    *("timezone", "start", "contacts", "steps"),
)
CONTACT = ("key", "points", "segments", *CHANGES)
# What an example never has more of.
MOST_CONTACTS = 1_000


def read(path: Path, *, default_zone: ZoneInfo) -> list[Scenario | UnreadScenario]:
    """Return the scenarios of a file, which holds one or a list of them, each with its problems if it has some."""
    try:
        document = campaign_files.document_of(path)
    except CampaignFileError as error:
        line = next((each.line for each in error.problems if each.line is not None), 1)
        return [UnreadScenario(path.name, path, line, error.problems)]
    data = document.data
    if isinstance(data, list) and data:
        return [
            _ScenarioReading(Notes(path, document, (nth,)), default_zone).read(each) for nth, each in enumerate(data)
        ]
    return [_ScenarioReading(Notes(path, document, ()), default_zone).read(data)]


@dataclass
class _ScenarioReading:
    """One scenario: what is wrong is noted on the way, with its line."""

    notes: Notes
    default_zone: ZoneInfo
    files_with_problems: bool = False

    def read(self, data: object) -> Scenario | UnreadScenario:
        name = data.get("scenario") if isinstance(data, Mapping) else None
        nth = f" {self.notes.place[0] + 1}" if self.notes.place and isinstance(self.notes.place[0], int) else ""
        title = (
            gate.clean(name.strip()[:200]) if isinstance(name, str) and name.strip() else f"{self.notes.path.stem}{nth}"
        )
        line = self.notes.line()
        found = None
        try:
            for place in incomplete(data):
                said = f"{dotted(place) or title}: contains {gate.INCOMPLETE}; write the whole character"
                self.notes.note(place, said)
            if not self.notes.problems:
                found = self._scenario(data, title, line)
        except RecursionError:
            self.notes.note((), "it is nested too deeply")
        if self.notes.problems or found is None:
            ordered = sorted(self.notes.problems, key=lambda each: (each.file != self.notes.path, each.line or 0))
            return UnreadScenario(title, self.notes.path, line, campaign_files.first_of(ordered))
        return found

    def _scenario(self, data: object, title: str, line: int) -> Scenario | None:
        if data is None:
            self.notes.note((), "the scenario is empty; write campaign, start, contacts and steps")
            return None
        if not isinstance(data, Mapping):
            self.notes.note(
                (), f"a scenario must be a mapping with campaign, start, contacts and steps, not {called(data)}"
            )
            return None
        if "sources" in data and "contacts" not in data:
            self.notes.note(
                (), "this is the file of a campaign; write a scenario that names it, as 'campaign: welcome.yaml'"
            )
            return None
        self.notes.names(data, NAMES, ())
        if not {"campaign", "campaigns", "segments"} & data.keys():
            self.notes.note((), "a scenario needs a campaign or a segment; add 'campaign: campaign.yaml'")
        zone = self._zone(data)
        self._read_files(data, zone)
        self._read_later(data.get("steps"), zone)
        contacts = self._contacts(data.get("contacts"))
        # Days and months of `at` follow the calendar of the contacts where they share one.
        zones = {each.changes.get("timezone") for each in contacts} if "timezone" not in data else set()
        only = next(iter(zones)) if len(zones) == 1 else None
        zone_of_time = ZoneInfo(only) if isinstance(only, str) else zone
        start = self._start(data, zone)
        if self.files_with_problems:
            # Without them nobody knows what steps and emails the scenario can name.
            return None
        known = Known([*self.campaigns, *self.later.values()], self.segments, self.emails, self.forms)
        checks = CheckReading(self.notes, known, self.default_zone)
        keys = list(dict.fromkeys(each.campaign for each in self.campaigns))
        reading = StepReading(self.notes, known, checks, keys, self.later)
        steps = reading.read(data.get("steps"), start, zone_of_time, [each.key for each in contacts])
        return Scenario(
            title,
            self.notes.path,
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

    def _zone(self, data: Mapping[Any, Any]) -> ZoneInfo:
        given = data.get("timezone")
        if given is None:
            return self.default_zone
        try:
            return ZoneInfo(identity.timezone(given if isinstance(given, str) else str(given)))
        except identity.IdentityError as error:
            self.notes.note(("timezone",), f"timezone: {error}")
            return self.default_zone

    def _start(self, data: Mapping[Any, Any], zone: ZoneInfo) -> datetime:
        if data.get("start") is None:
            self.notes.note((), "a scenario needs a time at which it starts; add 'start: 2026-12-01T09:00:00Z'")
            return datetime(2026, 1, 1, tzinfo=UTC)
        try:
            return parse_instant(data["start"], zone)
        except ValueError as error:
            self.notes.note(("start",), f"start: {error}")
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
                self.notes.note((), f"two files of this scenario define {what} {quoted(twice)}; name one of them")
        self.forms = [
            key
            for place, each in self.notes.listed(data, "forms")
            if (key := self.notes.key("form", each, place)) is not None
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
                    self.notes.note(
                        place, f"{file.name} is no campaign of this scenario, but {quoted(read.campaign)}{hint}"
                    )

    def _files(self, data: Mapping[Any, Any], name: str, *above: str | int) -> Iterator[tuple[Place, Path]]:
        for place, each in self.notes.listed(data, name):
            if isinstance(each, str) and each.strip() and "\0" not in each:
                yield (*above, *place), self.notes.path.parent / each.strip()
            else:
                self.notes.note((*above, *place), f"{name!r} must name a file beside this one, not {called(each)}")

    def _in_file(self, place: Place, file: Path, problems: Sequence[FileProblem]) -> None:
        self.files_with_problems = True
        if all(each.line is None for each in problems):
            self.notes.note(place, f"{file.name}: {problems[0].sentence}")
        else:
            self.notes.problems += problems

    def _document(self, place: Place, file: Path, read: Any, otherwise: Any) -> Any:
        wrong: list[DocumentProblem]
        try:
            found, wrong = read([file])
        except OSError as error:
            self.files_with_problems = True
            self.notes.note(place, f"{file.name}: {(error.strerror or 'the file cannot be read').lower()}")
            return otherwise
        except RecursionError:
            self.notes.note(place, f"{file.name}: the file is nested too deeply")
            return otherwise
        self.notes.problems += [FileProblem(each.path, each.line, each.about or "", each.what) for each in wrong]
        return found

    # Who is there.

    def _contacts(self, data: object) -> list[ScenarioContact]:
        if not isinstance(data, list) or not data:
            self.notes.note(("contacts",), "a scenario needs contacts; add a list such as 'contacts: [{key: ann}]'")
            return []
        if len(data) > MOST_CONTACTS:
            self.notes.note(("contacts",), f"a scenario has at most {MOST_CONTACTS:,} contacts, not {len(data):,}")
            return []
        found: dict[str, ScenarioContact] = {}
        for nth, each in enumerate(data):
            contact = self._contact(each, ("contacts", nth))
            if contact is not None and contact.key in found:
                self.notes.note(("contacts", nth), f"contact {quoted(contact.key)} is written twice")
            elif contact is not None:
                found[contact.key] = contact
        return list(found.values())

    def _contact(self, data: object, place: Place) -> ScenarioContact | None:
        if isinstance(data, str | int) and not isinstance(data, bool):
            data = {"key": data}
        if not isinstance(data, Mapping):
            self.notes.note(place, f"a contact must be a mapping such as {{key: ann}}, not {called(data)}")
            return None
        self.notes.names(data, CONTACT, place)
        key = self.notes.key("contact", data.get("key"), place)
        points = data.get("points", 0)
        if not isinstance(points, int) or isinstance(points, bool) or abs(points) > 10**9:
            self.notes.note((*place, "points"), f"'points' must be a whole number, not {called(points)}")
            points = 0
        segments = [
            found
            for where, each in self.notes.listed(data, "segments")
            if (found := self.notes.key("segment", each, (*place, *where))) is not None
        ]
        changes = {name: value for name, value in data.items() if name in CHANGES}
        changes.setdefault("email", f"{key}@example.com")
        if key is None or not self.notes.event("contact.changed", key, changes, place):
            return None
        return ScenarioContact(key, changes, points, tuple(segments), self.notes.line(place))
