"""Who may join, come back and leave: the rules, for one contact and one campaign."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from zoneinfo import ZoneInfo

from parcours.domain.time import schedule
from parcours.domain.time.intervals import Interval


class Arrival(StrEnum):
    """How a contact comes in."""

    SEGMENT = "segment"
    FORM = "form"
    MANUAL = "manual"  # A person, or the API in a person's name.
    ACTION = "action"  # A campaign.change step.
    EVENT = "event"  # An event source.
    DATE = "date"  # A date of the contact came.


class Departure(StrEnum):
    """How a contact goes out. All but a person's removal are exits, which may be undone automatically."""

    SEGMENT = "segment"
    ACTION = "action"
    MANUAL = "manual"
    EXIT = "exit"  # What the campaign's own `exit` names.


@dataclass(frozen=True, slots=True)
class State:
    """A membership as it is. `entry` is the contact's latest entry into a source segment, if it is in one."""

    rotation: int
    added_at: datetime
    manual: bool = False
    left_at: datetime | None = None
    departure: Departure | None = None
    left_entry: int | None = None
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Entering:
    """The contact goes in: a new rotation starts at every root step. `manual` members are not removed by sweeps."""

    rotation: int
    manual: bool
    what: Literal["added", "restarted"]


Reentry = Literal["never", "after_exit", "always"]


def entering(
    state: State | None,
    arrival: Arrival,
    *,
    reentry: Reentry,
    cooldown: Interval | None,
    now: datetime,
    zone: ZoneInfo,
) -> Entering | None:
    """Return how a contact goes in, or None when it does not.

    | membership          | segment                       | form, date                | action        | manual |
    |---------------------|-------------------------------|---------------------------|---------------|--------|
    | none                | joins                         | joins                     | joins         | joins  |
    | active              | nothing                       | restarts if always        | as form       | as form|
    | exited              | if after_exit or always       | if after_exit or always   | comes back    | comes back |
    | removed by hand     | nothing                       | nothing                   | nothing       | comes back |

    An event is as a form. An exit by an action, or by what `exit` names, is undone by a segment only after the
    contact entered one again; one that merely stayed in it stays out. The cooldown counts from the departure, for a
    restart from the last start, and does not hold a person back. A date that comes again asks as if `reentry` were
    always.

    Source: Mautic 5's rules for adding contacts, except that nobody but a person undoes a removal by hand, and
    that restarting on every submission is a choice of the campaign.
    """
    by_hand = arrival is not Arrival.SEGMENT
    if state is None:
        return Entering(1, by_hand, "added")
    if not _cooled(state, arrival, cooldown, now, zone):
        return None
    again = Entering(state.rotation + 1, by_hand, "restarted")
    if state.departure is None:
        restarts = arrival is not Arrival.SEGMENT and reentry == "always"
        return Entering(again.rotation, state.manual, "restarted") if restarts else None
    if state.departure is Departure.MANUAL:
        return again if arrival is Arrival.MANUAL else None
    match arrival:
        case Arrival.SEGMENT:
            really_back = state.departure is Departure.SEGMENT or _entered_since(state)
            return again if really_back and reentry != "never" else None
        case Arrival.FORM | Arrival.EVENT | Arrival.DATE:
            return again if reentry != "never" else None
        case _:
            return again


def cooldown_ends(
    state: State | None, arrival: Arrival, *, reentry: Reentry, cooldown: Interval, now: datetime, zone: ZoneInfo
) -> datetime | None:
    """Return when the cooldown ends that alone keeps a contact out; None: something else does, or nothing."""
    if state is None or _cooled(state, arrival, cooldown, now, zone):
        return None
    if entering(state, arrival, reentry=reentry, cooldown=None, now=now, zone=zone) is None:
        return None
    return _end_of(state, cooldown, zone)


def _cooled(state: State, arrival: Arrival, cooldown: Interval | None, now: datetime, zone: ZoneInfo) -> bool:
    if cooldown is None or arrival is Arrival.MANUAL:
        return True
    return _end_of(state, cooldown, zone) <= now


def _end_of(state: State, cooldown: Interval, zone: ZoneInfo) -> datetime:
    return schedule.add(cooldown, state.left_at or state.added_at, zone)


def _entered_since(state: State) -> bool:
    return state.entry is not None and state.entry > (state.left_entry or 0)
