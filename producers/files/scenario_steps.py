"""What happens in a scenario, moment by moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.campaign_file.model import Path as Place
from parcours.domain.campaign_file.sentences import did_you_mean, quoted
from parcours.domain.events.table import EVENT_TYPES, refused_type
from parcours.domain.invalid_values import called
from parcours.domain.time import schedule
from parcours.domain.time.instants import parse_instant, practical
from parcours.domain.time.intervals import parse_interval
from parcours.producers.files.scenario import ACTS, CHECKS, DEEDS, ScenarioAct, ScenarioStep
from parcours.producers.files.scenario_checks import CheckReading
from parcours.producers.files.scenario_names import Known
from parcours.producers.files.scenario_notes import Notes, unknown

STEP = ("at", "contact", "contacts", "campaign", *DEEDS, *ACTS, "expect", *CHECKS)
# What an example never has more of.
MOST_STEPS = 2_000


@dataclass
class StepReading:
    """The steps of one scenario: `later` has the files that they apply, by the place where each is named.

    `campaigns` are the keys of the campaigns that are there from the start.
    """

    notes: Notes
    known: Known
    checks: CheckReading
    campaigns: list[str]
    later: Mapping[Place, CampaignFile]

    def read(self, data: object, start: datetime, zone: ZoneInfo, everybody: list[str]) -> list[ScenarioStep]:
        """Return the steps, in the order of time; intervals count from the start, by the calendar of a timezone."""
        if not isinstance(data, list) or not data:
            self.notes.note(("steps",), "a scenario needs steps; add 'steps: [{at: 1 day, expect: {sent: hello}}]'")
            return []
        if len(data) > MOST_STEPS:
            self.notes.note(("steps",), f"a scenario has at most {MOST_STEPS:,} steps, not {len(data):,}; split it")
            return []
        found: list[ScenarioStep] = []
        at, written = start, "the start"
        for nth, each in enumerate(data):
            place: Place = ("steps", nth)
            if not isinstance(each, Mapping):
                self.notes.note(
                    place,
                    f"a step must be a mapping such as {{at: 1 day, enters: newsletter}}, not {called(each)}",
                )
                continue
            self.notes.names(each, STEP, place)
            if (given := each.get("at")) is not None:
                later = self._at(given, start, zone, (*place, "at"))
                if later is not None and later < at:
                    self.notes.note((*place, "at"), f"{given} is before {written}; put the steps in the order of time")
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
            self.notes.note(place, f"at: {error}")
        except OverflowError:
            self.notes.note(place, f"at: {given} after the start is out of range")
        return None

    def _step(self, data: Mapping[Any, Any], at: datetime, place: Place, everybody: list[str]) -> ScenarioStep:
        contacts: list[str] = []
        for name in ("contact", "contacts"):
            for where, key in self.notes.listed(data, name):
                if str(key) in everybody:
                    contacts.append(str(key))
                elif everybody:
                    hint = did_you_mean(str(key), everybody)
                    self.notes.note((*place, *where), f"the scenario has no contact {quoted(key)}{hint}")
        campaign = data.get("campaign")
        if campaign is not None and campaign not in self.known.campaigns:
            self.notes.note((*place, "campaign"), unknown("campaign", campaign, self.known.campaigns))
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
        checks = [*self.checks.read(data.get("expect", {}), (*place, "expect"), campaign)]
        beside = {name: data[name] for name in data if name in CHECKS}
        checks += self.checks.read(beside, place, campaign)
        if not acts and not checks and not any(name in data for name in (*DEEDS, *ACTS, "expect", *CHECKS)):
            self.notes.note(place, f"this step does nothing; add one of {', '.join((*ACTS, *DEEDS))} or expect")
        return ScenarioStep(
            at,
            self.notes.line(place),
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
                    yield ScenarioAct(what, file, self.notes.line(where))
            return
        named = self.campaigns
        for nth, each in enumerate(value if isinstance(value, list) else [value]):
            where = (*place, nth) if isinstance(value, list) else place
            key = (campaign or (named[0] if len(named) == 1 else None)) if each is True else each
            if each is True and key is None and named:
                self.notes.note(where, f"say which campaign: write '{what}: {named[0]}'")
            elif each is True and key is None:
                self.notes.note(where, f"{what!r} needs a campaign; add 'campaign: campaign.yaml' to the scenario")
            elif not isinstance(key, str):
                example = named[0] if named else "welcome"
                sentence = f"{what!r} must be true or the key of a campaign, as '{example}', not {called(each)}"
                self.notes.note(where, sentence)
            elif key not in named and key != campaign:
                self.notes.note(where, unknown("campaign", key, named))
            elif key in named:
                yield ScenarioAct(what, key, self.notes.line(where))

    def _acts(self, what: str, value: object, place: Place, contacts: Sequence[str]) -> Iterator[ScenarioAct]:
        given = value if isinstance(value, list) else [value]
        for nth, each in enumerate(given):
            where = (*place, nth) if isinstance(value, list) else place
            line = self.notes.line(where)
            if what == "enters":
                if (act := self._entering(each, where, line)) is not None:
                    yield act
            elif what == "leaves":
                if (key := self.notes.key("segment", each, where)) is not None:
                    yield ScenarioAct("leaves", key, line)
            elif what == "submits":
                form = each if isinstance(each, Mapping) else {"form": each}
                self.notes.names(form, ("form", "fields"), where)
                key = self.notes.key("form", form.get("form"), where)
                if key is not None and key not in self.known.forms:
                    self.notes.note(where, unknown("form", key, self.known.forms))
                elif key is not None:
                    data = {"form": key, "fields": form.get("fields") or {}}
                    if self.notes.event("form.submitted", contacts[0] if contacts else "ann", data, where):
                        yield ScenarioAct("does", ("form.submitted", data), line)
            else:
                happened = {"type": "contact.changed", "data": each} if what == "changes" else each
                if (found := self._does(happened, where, contacts)) is not None:
                    yield ScenarioAct("does", found, line)

    def _entering(self, value: object, place: Place, line: int) -> ScenarioAct | None:
        key = self.notes.key("segment", value, place)
        if key is None:
            return None
        if key in self.known.segments or (key not in self.known.forms and key not in self.known.campaigns):
            if self.known.segments and key not in self.known.segments and did_you_mean(key, self.known.segments):
                self.notes.note(place, unknown("segment, form or campaign", key, self.known.segments))
                return None
            return ScenarioAct("enters", key, line)
        if key in self.known.forms:
            return ScenarioAct("does", ("form.submitted", {"form": key, "fields": {}}), line)
        return ScenarioAct("joins", key, line)

    def _does(self, value: object, place: Place, contacts: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
        event = {"type": value} if isinstance(value, str) else value
        if not isinstance(event, Mapping):
            self.notes.note(
                place,
                f"an event must be a mapping such as {{type: order.paid}}, not {called(value)}",
            )
            return None
        self.notes.names(event, ("type", "data"), place)
        type_, data = event.get("type"), event.get("data")
        if not isinstance(type_, str) or not type_.strip():
            self.notes.note(place, "an event needs a type, such as email.opened or order.paid")
            return None
        if type_ not in EVENT_TYPES and not self.known.looks_at(type_):
            slip = refused_type(type_, source=False)
            hint = did_you_mean(type_, [*self.known.types, *EVENT_TYPES])
            self.notes.note(
                (*place, "type"),
                slip or f"nothing in this scenario looks at events of type {quoted(type_)}{hint}",
            )
            return None
        data = self._with_email(type_, data, place) if isinstance(data, Mapping) else data
        if not self.notes.event(type_, contacts[0] if contacts else "ann", data, place):
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
            self.notes.note((*place, "data", "email"), unknown("email, or step that sends one,", email, known))
            return dict(data)
        return {**data, "email": sends}
