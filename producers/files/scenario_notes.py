"""What is wrong with a scenario is noted while it is read, each with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from parcours.domain import gate
from parcours.domain.campaign_file.model import Path as Place
from parcours.domain.campaign_file.sentences import did_you_mean, quoted, short
from parcours.domain.errors import CampaignError
from parcours.domain.events.parsing import parse
from parcours.domain.invalid_values import called
from parcours.domain.keys import checked_key
from parcours.producers.files.campaigns import CampaignDocument, FileProblem


@dataclass
class Notes:
    """The problems of one scenario, which stands at a place of its file; places below are told from there."""

    path: Path
    document: CampaignDocument
    place: Place
    problems: list[FileProblem] = field(default_factory=list)

    def line(self, place: Place = ()) -> int:
        """Return the line of a place; of what the file does not have, that of what stands above it."""
        return self.document.line((*self.place, *place))

    def note(self, place: Place, sentence: str) -> None:
        """Note what is wrong at a place."""
        self.problems.append(FileProblem(self.path, self.line(place), "", short(sentence)))

    def names(self, data: Mapping[Any, Any], known: Sequence[str], place: Place) -> None:
        """Note the properties that nobody knows."""
        for name in data:
            if name not in known:
                hint = did_you_mean(str(name), known) or f"; known are {', '.join(known)}"
                self.note((*place, str(name)), f"unknown property {quoted(name)}{hint}")

    def listed(self, data: Mapping[Any, Any], name: str) -> Iterator[tuple[Place, object]]:
        """Yield what is listed under a name, one value too, with the place of each below that of `data`."""
        given = data.get(name)
        if isinstance(given, list):
            yield from (((name, nth), each) for nth, each in enumerate(given))
        elif given is not None:
            yield (name,), given

    def key(self, what: str, value: object, place: Place) -> str | None:
        """Return a key, or None and note why it is none."""
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

    def event(self, type_: str, contact: str, data: object, place: Place) -> bool:
        """Return whether an event can be taken in, and note why it cannot."""
        said = {"specversion": "1.0", "id": str(uuid4()), "source": "scenario", "type": type_, "subject": contact}
        try:
            parse({**said, "data": data}, now=datetime(2026, 1, 1, tzinfo=UTC))
        except CampaignError as error:
            self.note(place, str(error))
            return False
        return True


def unknown(what: str, key: object, known: Sequence[str]) -> str:
    """Return that the files of a scenario do not have what is named, and what could be meant."""
    hint = did_you_mean(str(key), known) or (f"; known are {', '.join(known[:20])}" if known else "")
    return f"the files of this scenario have no {what} {quoted(key)}{hint}"
