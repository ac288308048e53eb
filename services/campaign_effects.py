"""What a version of a campaign does to contacts by its settings: who comes, who leaves, what starts or stops."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.reads import alignment
from parcours.db.reads import rules as in_sql
from parcours.db.reads.alignment import Movement
from parcours.db.tables import campaigns, entrants
from parcours.db.tables import membership as memberships
from parcours.domain.campaign import Status
from parcours.domain.campaign_file.difference import Difference
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.segments.rule import Rule
from parcours.domain.time import schedule
from parcours.domain.time.intervals import Interval, parse_interval

# Ids of contacts that new exit rules are asked about at most, and at once.
MOST_ASKED = 40_000
RANGE = 4_000
# What decides who is in a campaign.
MOVES = {"sources.segments", "sources.existing", "exit", "exit_on_leave", "reentry", "cooldown"}

What = Literal[
    "joins",
    "returns",
    "leaves",
    "leaves_after_grace",
    "stays",
    "exits",
    "rule_exits",
    "held_back",
    "held_back_joins",
    "in_grace",
    "in_grace_stays",
    "refused",
    "held_back_refused",
    "delayed",
    "not_counted",
    "source_ends",
    "starts",
    "stops",
    "later",
    "minimum",
]
# One, and many.
_SENTENCES: dict[What, tuple[str, str]] = {
    "joins": ("{n} contact joins", "{n} contacts join"),
    "returns": ("{n} contact who left comes back", "{n} contacts who left come back"),
    "leaves": (
        "{n} contact leaves, because it is in none of the segments",
        "{n} contacts leave, because they are in none of the segments",
    ),
    "leaves_after_grace": (
        "{n} contact is in none of the segments and leaves after the grace period ({detail})",
        "{n} contacts are in none of the segments and leave after the grace period ({detail})",
    ),
    "stays": (
        "{n} contact is in none of the segments and stays, because exit_on_leave is off",
        "{n} contacts are in none of the segments and stay, because exit_on_leave is off",
    ),
    "exits": (
        "{n} contact leaves, because it is in an exit segment",
        "{n} contacts leave, because they are in an exit segment",
    ),
    "rule_exits": (
        "{n} contact leaves, because a new exit rule is true for it",
        "{n} contacts leave, because a new exit rule is true for them",
    ),
    "held_back": (
        "{n} contact is held back by the entry limit and joins as the new limit allows",
        "{n} contacts are held back by the entry limit and join as the new limit allows",
    ),
    "held_back_joins": (
        "{n} contact held back by the entry limit joins",
        "{n} contacts held back by the entry limit join",
    ),
    "in_grace": (
        "{n} contact in its grace period keeps it",
        "{n} contacts in their grace period keep it",
    ),
    "in_grace_stays": (
        "{n} contact in its grace period is in one of the segments again and stays",
        "{n} contacts in their grace period are in one of the segments again and stay",
    ),
    "refused": (
        "{n} contact of the segments does not join, because the entry limit ({detail}) is reached",
        "{n} contacts of the segments do not join, because the entry limit ({detail}) is reached",
    ),
    "held_back_refused": (
        "{n} contact held back does not join, because the entry limit ({detail}) is reached",
        "{n} contacts held back do not join, because the entry limit ({detail}) is reached",
    ),
    "delayed": (
        "they join as the limit allows ({detail})",
        "they join as the limit allows ({detail})",
    ),
    "not_counted": (
        "{n} contact inside does not count towards the new limit",
        "{n} contacts inside do not count towards the new limit",
    ),
    "source_ends": (
        "no contact joins by {detail} any more; contacts who did stay",
        "no contact joins by {detail} any more; contacts who did stay",
    ),
    "starts": (
        "the campaign starts; {n} contact inside continues",
        "the campaign starts; {n} contacts inside continue",
    ),
    "stops": (
        "the campaign stops: {detail}; {n} contact inside keeps its place",
        "the campaign stops: {detail}; {n} contacts inside keep their places",
    ),
    "later": ("contacts join and leave once the campaign runs", "contacts join and leave once the campaign runs"),
    "minimum": (
        "the numbers of contacts are minimums; not everybody was counted",
        "the numbers of contacts are minimums; not everybody was counted",
    ),
}
_COMING: tuple[What, ...] = ("joins", "returns", "held_back_joins", "starts")
_GOING: tuple[What, ...] = ("leaves", "leaves_after_grace", "exits", "rule_exits", "source_ends", "stops")


class CampaignEffect(NamedTuple):
    """One thing that happens, to how many contacts; `detail` is a name or a reason."""

    what: What
    n: int = 0
    detail: str = ""

    @property
    def sentence(self) -> str:
        one, many = _SENTENCES[self.what]
        return (one if self.n == 1 else many).format(n=f"{self.n:,}", detail=self.detail)

    @property
    def kind(self) -> Literal["added", "removed", "note"]:
        """Whether contacts come, go, or neither."""
        return "added" if self.what in _COMING else "removed" if self.what in _GOING else "note"

    def to_json(self) -> dict[str, Any]:
        return {"what": self.what, "contacts": self.n, "detail": self.detail, "sentence": self.sentence}


def moved_by(conn: Connection, campaign_id: int, file: CampaignFile, *, now: datetime, zone: ZoneInfo) -> Movement:
    """Count whom an update moves once a file is the present version. A campaign that is new has the id 0."""
    campaigns.read_by_index(conn)
    rows = campaigns.named(conn, "segments", file.sources.segments).values()
    exits = [each.segment for each in file.exit if each.segment is not None]
    after = None
    if not file.sources.existing:
        known = alignment.entries_after(conn, campaign_id)
        # Not yet marked: only who enters from now on joins.
        after = 2**62 if known is None else known
    left_before = now
    if file.cooldown is not None:
        left_before = _before(parse_interval(file.cooldown), now, zone)
    return alignment.movement(
        conn,
        campaign_id,
        segment_ids=[row.id for row in rows],
        published_ids=[row.id for row in rows if row.published],
        exit_ids=[row.id for row in campaigns.named(conn, "segments", exits).values()] if exits else [],
        after=after,
        returning=file.reentry != "never",
        left_before=left_before,
    )


def _before(interval: Interval, now: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant about an interval before another: to the day, where months differ in length."""
    try:
        return now - (schedule.add(interval, now, zone) - now)
    except OverflowError:
        return datetime(1, 1, 2, tzinfo=now.tzinfo)


def people(file: CampaignFile, moved: Movement, *, runs: bool, entered: int = 0) -> Iterator[CampaignEffect]:
    """Yield what an update does to contacts, in the order of importance; nothing where nobody moves.

    `entered` contacts count towards the limit of entries already.
    """
    if file.exit_on_leave:
        yield from _some("leaves" if file.grace is None else "leaves_after_grace", moved.leaves, file.grace or "")
    else:
        yield from _some("stays", moved.leaves)
    yield from _some("exits", moved.exits)
    yield from _some("in_grace_stays", moved.stays)
    refused = _refused(file, moved.joins + moved.returns, entered)
    returns = max(0, moved.returns - refused)
    joins = moved.joins + moved.returns - refused - returns
    yield from _some("joins", joins)
    yield from _some("returns", returns)
    if file.entry is not None and file.entry.most is not None:
        yield from _some("refused", refused, f"{file.entry.most:,}")
    if file.entry is not None and file.entry.rate is not None and joins + returns:
        yield CampaignEffect("delayed", joins + returns, file.entry.rate)
    if not runs and (moved.joins or moved.returns or moved.leaves or moved.exits):
        yield CampaignEffect("later")
    if not moved.complete:
        yield CampaignEffect("minimum")


def _refused(file: CampaignFile, coming: int, entered: int) -> int:
    """Return how many of those who come may not, because as many as may ever enter have entered."""
    if file.entry is None or file.entry.most is None:
        return 0
    return max(0, coming - max(0, file.entry.most - entered))


def out_by_rules(
    conn: Connection, campaign_id: int, rules: Sequence[Rule], *, now: datetime, zone: ZoneInfo
) -> Iterator[CampaignEffect]:
    """Yield how many members new exit rules let out, also if nobody; of so many contacts at most, with a word of it."""
    whole = memberships.id_range(conn, campaign_id, [])
    if whole is None:
        return
    last = min(whole.last_id, whole.first_id + MOST_ASKED - 1)
    out: set[int] = set()
    for first in range(whole.first_id, last + 1, RANGE):
        for rule in rules:
            told = in_sql.judged(conn, rule, first, min(first + RANGE - 1, last), now=now, zone=zone)
            out |= {contact_id for contact_id, each in told.items() if each.answer is True}
    yield CampaignEffect("rule_exits", len(memberships.active(conn, campaign_id, sorted(out))))
    if last < whole.last_id:
        yield CampaignEffect("minimum")


def settings(
    conn: Connection, campaign_id: int, file: CampaignFile, differing: Collection[Difference]
) -> Iterator[CampaignEffect]:
    """Yield what changed settings do to contacts that wait to enter or to leave, and sources that end."""
    names = {each.name: each for each in differing if each.step is None}
    if forms := names.get("sources.forms"):
        yield from (CampaignEffect("source_ends", detail=f"form {key}") for key in forms.removed)
    if events := names.get("sources.events"):
        yield from (CampaignEffect("source_ends", detail=f"event {each.get('type')}") for each in events.removed)
    if "entry" in names:
        held = alignment.held_back(conn, campaign_id)
        if file.entry is None:
            yield from _some("held_back_joins", held)
        elif file.entry.most is None:
            yield from _some("held_back", held)
        else:
            room = max(0, file.entry.most - entrants.ever(conn, campaign_id))
            yield from _some("held_back", min(held, room))
            yield from _some("held_back_refused", held - min(held, room), f"{file.entry.most:,}")
            if names["entry"].before is None:
                yield from _some("not_counted", memberships.count_active(conn, campaign_id))
    if "grace" in names and file.grace is not None:
        yield from _some("in_grace", alignment.in_grace(conn, campaign_id))


def switched(before: Status, after: Status, members: int, *, now: datetime, zone: ZoneInfo) -> Iterator[CampaignEffect]:
    """Yield whether a campaign starts or stops by what its file says of dates and its category."""
    ran, runs = before.why_not(now) is None, after.why_not(now) is None
    if ran and not runs:
        yield CampaignEffect("stops", members, after.why_not(now, zone) or "")
    elif runs and not ran:
        yield CampaignEffect("starts", members)


def _some(what: What, n: int, detail: str = "") -> Iterator[CampaignEffect]:
    if n:
        yield CampaignEffect(what, n, detail)
