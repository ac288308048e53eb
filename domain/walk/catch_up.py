"""When a campaign did not run, and what happens to work that fell due meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from parcours.domain.campaign import Status


class Pause(NamedTuple):
    """A time in which a campaign did not run; without `resumed_at` it goes on, and it may end in the future."""

    paused_at: datetime
    resumed_at: datetime | None


class Shift(NamedTuple):
    """Waits that are due at or after `since` move by the time from `since` to `until`, which may be negative."""

    since: datetime
    until: datetime


def pause_after(before: Status, after: Status, last: Pause | None, *, now: datetime) -> Pause | None:
    """Return the pause to write when a campaign's status changes; None when it runs on, or had not begun.

    A pause begins when the campaign is switched off or its window ends, whichever is first, and ends
    when it is switched on and its window has begun. A category switched off is no pause.
    """
    since = _stopped_since(before, last, now)
    start = runs_from(after, now)
    if since is None:
        return None if runs_from(before, now) != now or start == now else Pause(now, start)
    return Pause(since, None if start is None else max(start, since))


def shift_between(last: Pause | None, pause: Pause) -> Shift | None:
    """Return how waits move when a pause is written in a campaign that shifts; None: they stay.

    A pause whose end was set for the future has moved them already; another end moves them on, or back.
    """
    planned = last.resumed_at if last is not None and last.paused_at == pause.paused_at else None
    since, until = planned or pause.paused_at, pause.resumed_at or pause.paused_at
    return None if since == until else Shift(since, until)


def fell_due_in(pauses: Iterable[Pause], due_at: datetime) -> bool:
    """Return whether something fell due while a campaign did not run."""
    return any(
        pause.paused_at <= due_at and (pause.resumed_at is None or due_at < pause.resumed_at) for pause in pauses
    )


def _stopped_since(status: Status, last: Pause | None, now: datetime) -> datetime | None:
    if last is not None and (last.resumed_at is None or last.resumed_at > now):
        return last.paused_at
    if status.published and status.publish_until is not None and status.publish_until <= now:
        return status.publish_until
    return None


def runs_from(status: Status, now: datetime) -> datetime | None:
    """Return when a campaign with this status runs next: now, later, or None for never."""
    over = status.publish_until is not None and status.publish_until <= now
    if status.deleted or not status.published or over:
        return None
    return max(now, status.publish_from or now)
