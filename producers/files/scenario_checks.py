"""What is expected in a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from parcours.domain.campaign_file.model import Path as Place
from parcours.domain.campaign_file.sentences import quoted
from parcours.domain.invalid_values import called
from parcours.domain.time.instants import parse_instant
from parcours.producers.files.scenario import CHECKS, Check
from parcours.producers.files.scenario_names import Known
from parcours.producers.files.scenario_notes import Notes, unknown

RESULTS = ("done", "skipped", "failed", "yes", "no", "cancelled")
# A text in place of a list that says that there is nothing.
NOTHING = ("none", "nothing")


@dataclass
class CheckReading:
    """What the steps of one scenario expect; `zone` is that of times without an offset."""

    notes: Notes
    known: Known
    zone: ZoneInfo

    def read(self, data: object, place: Place, campaign: object, *, negated: bool = False) -> Iterator[Check]:
        """Yield what is expected under `expect`, or beside it in a step, of a campaign or, None, of any."""
        if not isinstance(data, Mapping):
            self.notes.note(place, f"'expect' must be a mapping such as {{sent: hello}}, not {called(data)}")
            return
        if place[-1] in ("expect", "not"):
            self.notes.names(data, CHECKS, place)
        if "result" in data and "step" not in data:
            self.notes.note((*place, "result"), "'result' needs 'step'; write {step: opened, result: yes}")
        for name, value in data.items():
            line = self.notes.line((*place, name))
            where = (*place, name)
            if name == "not":
                yield from self.read(value, where, campaign, negated=True)
            elif name == "step":
                result = self._result(data.get("result"), (*place, "result"))
                for key in self._step_keys(value, where, campaign):
                    yield Check("step", (key, result), line, negated)
            elif name == "results":
                if not isinstance(value, Mapping):
                    self.notes.note(where, f"'results' must be a mapping such as {{opened: yes}}, not {called(value)}")
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
            self.notes.note(place, f"a result is one of {', '.join(RESULTS)}, not {quoted(value)}")
            return None
        return str(text)

    def _step_keys(self, value: object, place: Place, campaign: object) -> Iterator[str]:
        for each in value if isinstance(value, list) else [value]:
            owners = [key for key, steps in self.known.steps.items() if each in steps and campaign in (None, key)]
            if not owners:
                known = [step for steps in self.known.steps.values() for step in steps]
                self.notes.note(place, unknown("step", each, known))
            elif len(owners) > 1:
                self.notes.note(
                    place,
                    f"{', '.join(owners)} have a step {quoted(each)}; add 'campaign: {owners[0]}' to say which",
                )
            else:
                yield str(each)

    def _places(self, value: object, place: Place) -> Iterator[tuple[str, str]]:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                self.notes.names(each, ("segment", "campaign"), place)
                yield from ((what, str(key)) for what, key in each.items() if what in ("segment", "campaign"))
                continue
            here = [
                what
                for what, known in (("campaign", self.known.campaigns), ("segment", self.known.segments))
                if each in known
            ]
            if len(here) == 2:
                either = f"write {{campaign: {each}}} or {{segment: {each}}}"
                self.notes.note(place, f"a campaign and a segment are named {quoted(each)}; {either}")
            elif here:
                yield here[0], str(each)
            else:
                self.notes.note(
                    place, unknown("campaign or segment", each, [*self.known.campaigns, *self.known.segments])
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
                    self.notes.note(place, f"'points' must be a whole number, not {called(value)}")
                else:
                    yield value
            case "tags":
                yield [str(each) for each in (value if isinstance(value, list) else [value])]
            case "fields":
                if isinstance(value, Mapping):
                    yield from value.items()
                else:
                    self.notes.note(place, f"'fields' must be a mapping such as {{country: FR}}, not {called(value)}")
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
            self.notes.names(told, ("email", "step", "times", "subject", "text"), place)
            key = told.get("email", told.get("step"))
            known = [*self.known.templates, *self.known.actions]
            if key is not None and key not in known:
                self.notes.note(place, unknown("email, template or step", key, known))
            elif not isinstance(told.get("times", 1), int):
                self.notes.note(place, f"'times' must be a whole number, not {called(told['times'])}")
            else:
                yield told

    def _waits(self, value: object, place: Place, campaign: object) -> Iterator[dict[str, Any]]:
        if value in ([], None, *NOTHING):
            yield {}
            return
        for each in value if isinstance(value, list) else [value]:
            told = dict(each) if isinstance(each, Mapping) else {"step": each}
            self.notes.names(told, ("step", "until"), place)
            if "until" in told:
                try:
                    told["until"] = parse_instant(told["until"], self.zone)
                except ValueError as error:
                    self.notes.note(place, f"until: {error}")
            for key in self._step_keys(told.get("step"), place, campaign):
                yield {**told, "step": key}

    def _left(self, value: object, place: Place) -> Iterator[dict[str, Any]]:
        told = dict(value) if isinstance(value, Mapping) else {} if value is True else {"reason": value}
        self.notes.names(told, ("campaign", "reason", "run"), place)
        if "campaign" in told and told["campaign"] not in self.known.campaigns:
            # The short form for one campaign of several.
            self.notes.note(place, unknown("campaign", told["campaign"], self.known.campaigns))
        elif told.get("reason") in self.known.campaigns:
            yield {"campaign": told["reason"]}
        else:
            yield told
