"""Orders: what a message on a queue asks a worker to do. A hint; the work itself stands in the database."""

from dataclasses import dataclass
from typing import ClassVar

# The first has priority where one worker serves several.
QUEUES = ("decisions", "membership", "executor", "delivery", "sweeps")
# Of contact events, which hold no orders: the queue, and the exchange before it.
EVENT_QUEUE = "parcours.events"


@dataclass(frozen=True, slots=True)
class Order:
    """Base of the orders; the fields of one are the arguments of its actor."""

    queue: ClassVar[str]
    actor: ClassVar[str]


@dataclass(frozen=True, slots=True)
class RunSweep(Order):
    """Split a sweep into work, or look whether it is finished; `round` counts the looks."""

    queue = "sweeps"
    actor = "run_sweep"
    sweep_id: int
    round: int = 0


@dataclass(frozen=True, slots=True)
class SyncMembers(Order):
    """Align members with segments, chunk by chunk, for an update."""

    queue = "membership"
    actor = "sync_members"
    sweep_id: int


@dataclass(frozen=True, slots=True)
class ActOnEvents(Order):
    """Act on what the inbox holds; `look` counts the times in a row that all of it was in other hands."""

    queue = "decisions"
    actor = "act_on_events"
    look: int = 0


@dataclass(frozen=True, slots=True)
class EndGraces(Order):
    """Let go whose grace is over, and in whose cooldown is."""

    queue = "membership"
    actor = "end_graces"


@dataclass(frozen=True, slots=True)
class ReleaseEntrants(Order):
    """Let in who was held back by the limit of a campaign."""

    queue = "membership"
    actor = "release_entrants"


@dataclass(frozen=True, slots=True)
class FollowTimezones(Order):
    """Move the waits of contacts whose timezone or dates changed."""

    queue = "membership"
    actor = "follow_timezones"


@dataclass(frozen=True, slots=True)
class EnterByDate(Order):
    """Let in whose date has come, and write when contacts enter by dates that are new to a campaign."""

    queue = "membership"
    actor = "enter_by_date"


@dataclass(frozen=True, slots=True)
class FollowRules(Order):
    """Ask rules of contacts for whom it is time, or whom nobody asked yet."""

    queue = "membership"
    actor = "follow_rules"


@dataclass(frozen=True, slots=True)
class RebuildSegments(Order):
    """Ask rules of everybody, range by range; `hand` tells apart those who share the work."""

    queue = "membership"
    actor = "rebuild_segments"
    hand: int = 0


@dataclass(frozen=True, slots=True)
class WipeFiles(Order):
    """Delete files of erased contacts that whoever erased them did not come to delete."""

    queue = "membership"
    actor = "wipe_files"


@dataclass(frozen=True, slots=True)
class ExecuteDue(Order):
    """Do what is due at a step: now, or as of a sweep's instant and within its scope."""

    queue = "executor"
    actor = "execute_due"
    step_id: int
    sweep_id: int | None = None


@dataclass(frozen=True, slots=True)
class Deliver(Order):
    """Send what is due of a channel."""

    queue = "delivery"
    actor = "deliver"
    channel: str
