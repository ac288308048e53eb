"""The table `membership`: who is in a campaign, and the sweeps that align it with the segments."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db import touched
from parcours.db.scope import Scope
from parcours.db.statements import statements, variant
from parcours.db.tables import runs
from parcours.domain.contacts.membership import Arrival, Departure, Entering, State
from parcours.domain.goal import Draw
from parcours.domain.walk.rows import Member

sql = statements(__file__)


class Chunk(NamedTuple):
    """A range of contact ids, both ends included."""

    first_id: int
    last_id: int


class Joined(NamedTuple):
    """How many joined, and how many could not: who is being erased or merged, or is gone."""

    joined: int
    left_out: int


class Sources(NamedTuple):
    """The segments that feed a campaign, and whom of their members they do not let in.

    `after`: who entered a segment no later than this number; None: everybody comes in. `exits` are the segments whose
    members are out.
    """

    segment_ids: Sequence[int]
    after: int | None = None
    exits: Sequence[int] = ()
    # Of a range that is joined: whom exits by rule keep out.
    kept_out: Collection[int] = ()

    @property
    def forms(self) -> list[str]:
        """The forms of the statements that ask for what is set."""
        return [*(["late"] if self.after is not None else []), *(["out"] if self.exits else [])]

    @property
    def of_joining(self) -> list[str]:
        """Those of who joins, whom exits by rule may keep out besides."""
        return [*self.forms, *(["kept"] if self.kept_out else [])]

    def parameters(self) -> dict[str, Any]:
        """What those forms ask for."""
        late = {} if self.after is None else {"entries_after": self.after}
        return {**late, **({"exit_ids": list(self.exits)} if self.exits else {})}


class KnownMember(NamedTuple):
    """A contact's membership of a campaign, if any, whether it has runs, and the contact's timezone."""

    state: State | None
    runs: bool
    timezone: str | None


class MembersEntered(NamedTuple):
    """Who came in: the rotation of each, who had no membership before, and who is in the control group."""

    rotations: dict[int, int]
    new: set[int]
    control: set[int]


class Root(NamedTuple):
    """The wait of a new member at a root step, for contacts of one timezone ('': those who have none)."""

    zone: str
    step_id: int
    reason: str
    due_at: datetime | None


def differing(
    conn: Connection,
    campaign_id: int,
    sources: Sources,
    whole: Chunk,
    *,
    width: int,
    leaving: bool,
    returning: bool,
) -> list[Chunk]:
    """Return the parts of a range, each of so many contact ids, in which members and segments may differ.

    `leaving` and `returning` say whether the campaign lets members go with their segments, and come back.
    """
    parameters: dict[str, Any] = {
        "campaign_id": campaign_id,
        **whole._asdict(),
        "width": width,
        "leaving": leaving,
        "returning": returning,
        **sources.parameters(),
    }
    if len(sources.segment_ids) == 1:
        statement = variant(__file__, "differing", *sources.forms)
        parameters["segment_id"] = sources.segment_ids[0]
    else:
        statement = variant(__file__, "differing_several", *sources.forms)
        parameters["segment_ids"] = list(sources.segment_ids)
    numbers = conn.execute(statement, parameters).scalars().all()
    firsts = (whole.first_id + number * width for number in numbers)
    return [Chunk(first, min(first + width - 1, whole.last_id)) for first in firsts]


def join(
    conn: Connection,
    campaign_id: int,
    sources: Sources,
    chunk: Chunk,
    roots: Sequence[Root],
    *,
    by_zone: bool,
    now: datetime,
    limit: int | None,
    scope: Scope,
    watched: bool = False,
    draw: Draw | None = None,
    until: datetime | None = None,
) -> Joined:
    """Add who is in a segment and was never in the campaign, roots armed but for who is drawn for the control group.

    `watched`: the campaign has a goal or a control group; `until`: when the goal can be reached no more, None: never.
    """
    columns = _columns(roots)
    if not by_zone:
        del columns["zones"]
    parameters: dict[str, Any] = {
        "campaign_id": campaign_id,
        "segment_ids": list(sources.segment_ids),
        **sources.parameters(),
        **chunk._asdict(),
        **scope.contacts(),
        **columns,
        "now": now,
        "limit": limit,
    }
    if watched:
        parameters |= {**_drawn(draw), "until": until}
    if sources.kept_out:
        parameters["kept_out"] = list(sources.kept_out)
    forms = [*sources.of_joining, *(["watched"] if watched else [])]
    statement = variant(__file__, "join_by_zone" if by_zone else "join", *forms)
    done = Joined(*conn.execute(statement, parameters).one())
    if done.joined:
        touched.note_joined(conn, campaign_id, chunk.first_id, chunk.last_id, now)
    return done


def set_exit_due(conn: Connection, campaign_id: int, due: Mapping[int, datetime | None]) -> None:
    """Write when exits by rule are to be asked again of members; None: not by time."""
    if due:
        given = {"campaign_id": campaign_id, "contact_ids": list(due), "dues": list(due.values())}
        conn.execute(sql["set_exit_due"], given)


def ask_exits(conn: Connection, campaign_id: int, *, now: datetime) -> None:
    """Let exits by rule be asked of all members at once, by whoever follows rules then."""
    conn.execute(sql["ask_exits"], {"campaign_id": campaign_id, "now": now})


def ask_exits_of(conn: Connection, campaign_id: int, chunk: Chunk, *, now: datetime) -> None:
    """Let exits by rule be asked of those of a range who joined at this instant."""
    conn.execute(sql["ask_exits_of"], {"campaign_id": campaign_id, **chunk._asdict(), "now": now})


def not_manual(conn: Connection, campaign_id: int, contact_ids: Sequence[int]) -> list[int]:
    """Return which of these contacts are in the campaign, and were not added by a person."""
    if not contact_ids:
        return []
    return list(
        conn.execute(sql["not_manual"], {"campaign_id": campaign_id, "contact_ids": list(contact_ids)}).scalars()
    )


def asked_for_exit(conn: Connection, campaign_id: int, contact_ids: Sequence[int], *, now: datetime) -> set[int]:
    """Return those of contacts who are in a campaign, not by a person, and whose exits by rule nobody is to ask now."""
    if not contact_ids:
        return set()
    given = {"campaign_id": campaign_id, "contact_ids": list(contact_ids), "now": now}
    return set(conn.execute(sql["asked_for_exit"], given).scalars())


def exits_due(conn: Connection, campaign_ids: Collection[int], *, now: datetime, limit: int) -> list[int]:
    """Return members of whom the exits by rule of these campaigns are to be asked again, the longest due first."""
    given = {"campaign_ids": list(campaign_ids), "now": now, "limit": limit}
    return list(conn.execute(sql["exits_due"], given).scalars()) if campaign_ids else []


def take_exits_due(
    conn: Connection, campaign_ids: Collection[int], contact_ids: Collection[int], *, now: datetime
) -> list[tuple[int, int]]:
    """Return (contact, campaign) of exits that are due for contacts whose locks the caller holds, and forget when."""
    if not campaign_ids:
        return []
    given = {"campaign_ids": list(campaign_ids), "ids": list(contact_ids), "now": now}
    return [(row.contact_id, row.campaign_id) for row in conn.execute(sql["take_exits_due"], given)]


def exiting(conn: Connection, campaign_id: int, exits: Sequence[int], chunk: Chunk, *, limit: int) -> list[int]:
    """Return members in a range whom a segment that is an exit of the campaign holds."""
    parameters = {"campaign_id": campaign_id, "exit_ids": list(exits), "limit": limit, **chunk._asdict()}
    return list(conn.execute(sql["exiting"], parameters).scalars())


def of_nobody(conn: Connection, segment_ids: Sequence[int], chunk: Chunk, *, limit: int) -> list[int]:
    """Return ids in a range that segments still name although there is no such contact any more."""
    parameters = {"segment_ids": list(segment_ids), "limit": limit, **chunk._asdict()}
    return list(conn.execute(sql["of_nobody"], parameters).scalars())


def zones(conn: Connection, chunk: Chunk) -> list[str]:
    """Return the timezones of contacts in a range; '' for those who have none."""
    return list(conn.execute(sql["zones"], chunk._asdict()).scalars())


def returning(
    conn: Connection,
    campaign_id: int,
    segment_ids: Sequence[int],
    chunk: Chunk,
    *,
    limit: int,
    now: datetime,
    scope: Scope,
) -> list[int]:
    """Return contacts that exited before `now` and are in a source segment."""
    parameters = {
        "campaign_id": campaign_id,
        "segment_ids": list(segment_ids),
        "limit": limit,
        "now": now,
        **chunk._asdict(),
        **scope.contacts(),
    }
    return list(conn.execute(sql["returning"], parameters).scalars())


def in_runs_alone(
    conn: Connection, campaign_id: int, sources: Sources, chunk: Chunk, *, limit: int, scope: Scope
) -> list[int]:
    """Return members of a range that a source segment holds, and that only events let in."""
    parameters = {
        "campaign_id": campaign_id,
        "segment_ids": list(sources.segment_ids),
        "after": sources.after,
        "limit": limit,
        **chunk._asdict(),
        **scope.contacts(),
    }
    return list(conn.execute(sql["in_runs_alone"], parameters).scalars())


def orphans(
    conn: Connection, campaign_id: int, segment_ids: Sequence[int], chunk: Chunk, *, limit: int, scope: Scope
) -> list[int]:
    """Return active members that came through a segment and are in none any more."""
    parameters = {
        "campaign_id": campaign_id,
        "segment_ids": list(segment_ids),
        "limit": limit,
        **chunk._asdict(),
        **scope.contacts(),
    }
    return list(conn.execute(sql["orphans"], parameters).scalars())


def states(
    conn: Connection, campaign_id: int, segment_ids: Sequence[int], contact_ids: Sequence[int]
) -> dict[int, KnownMember]:
    """Return the membership, if any, and the timezone of contacts that the caller has locked."""
    parameters = {"campaign_id": campaign_id, "segment_ids": list(segment_ids), "contact_ids": list(contact_ids)}
    found: dict[int, KnownMember] = {}
    for row in conn.execute(sql["states"], parameters):
        state = None
        if row.rotation is not None:
            departure = None if row.departure is None else Departure(row.departure)
            state = State(row.rotation, row.added_at, row.manual, row.left_at, departure, row.left_entry, row.entry)
        found[row.contact_id] = KnownMember(state, bool(row.runs), row.timezone)
    return found


def enter(
    conn: Connection,
    campaign_id: int,
    entering: dict[int, Entering],
    *,
    arrival: Arrival,
    now: datetime,
    draw: Draw | None = None,
) -> MembersEntered:
    """Write new and returning members; new ones are drawn for the control group, the others are as they were."""
    parameters = {
        "campaign_id": campaign_id,
        "contact_ids": list(entering),
        "rotations": [each.rotation for each in entering.values()],
        "manuals": [each.manual for each in entering.values()],
        "arrival": arrival.value,
        "now": now,
        **_drawn(draw),
    }
    rows = conn.execute(sql["enter"], parameters).all()
    touched.note_named(conn, "campaigns", ((contact_id, campaign_id) for contact_id in entering))
    return MembersEntered(
        {id_: each.rotation for id_, each in entering.items()},
        {row.contact_id for row in rows if row.is_new},
        {row.contact_id for row in rows if row.control},
    )


def give_rotations(
    conn: Connection,
    campaign_id: int,
    entering: dict[int, Entering],
    *,
    arrival: Arrival,
    now: datetime,
    draw: Draw | None = None,
) -> MembersEntered:
    """Give each of these contacts, whose locks the caller holds, a new rotation for one of its runs.

    Who was no member becomes one, drawn for the control group as in `enter`. A membership that was one
    run by itself gets a row for it, since it is now one of several.
    """
    parameters = {
        "campaign_id": campaign_id,
        "contact_ids": list(entering),
        "manuals": [each.manual for each in entering.values()],
        "arrival": arrival.value,
        "now": now,
        **_drawn(draw),
    }
    # An update may insert the same membership meanwhile; from here on it is there.
    new = set(conn.execute(sql["make_members"], parameters).scalars())
    conn.execute(sql["tell_apart"], parameters)
    rows = conn.execute(sql["give_rotations"], parameters).all()
    given = {row.contact_id: row.rotation for row in rows}
    touched.note_named(conn, "campaigns", ((contact_id, campaign_id) for contact_id in given))
    return MembersEntered(given, new, {row.contact_id for row in rows if row.control})


def _drawn(draw: Draw | None) -> dict[str, bytes | None]:
    return {"drawn": None, "below": None} if draw is None else {"drawn": draw.prefix, "below": draw.below}


def come_by_segment_no_more(conn: Connection, campaign_id: int, contact_ids: Sequence[int]) -> None:
    """Remember of members that they stay whatever segments they are in."""
    if contact_ids:
        conn.execute(sql["come_by_segment_no_more"], {"campaign_id": campaign_id, "contact_ids": list(contact_ids)})


def leave(
    conn: Connection,
    campaign_id: int,
    contact_ids: Sequence[int],
    *,
    departure: Departure,
    now: datetime,
    reason: str | None = None,
) -> list[int]:
    """Mark members as gone, for a reason in words where there is one; return those for whom anything changed."""
    parameters = {
        "campaign_id": campaign_id,
        "contact_ids": list(contact_ids),
        "departure": departure.value,
        "reason": reason,
        "now": now,
    }
    left = list(conn.execute(sql["leave"], parameters).scalars())
    touched.note_named(conn, "campaigns", ((contact_id, campaign_id) for contact_id in left))
    return left


def members(conn: Connection, campaign_id: int, contact_ids: Sequence[int]) -> dict[int, Member]:
    """Return those of these contacts that are in the campaign, with their runs there."""
    parameters = {"campaign_id": campaign_id, "contact_ids": list(contact_ids)}
    rows = conn.execute(sql["members"], parameters).all()
    found = {row.contact_id: Member(row.rotation, True) for row in rows}
    several = {row.contact_id: found[row.contact_id] for row in rows if row.runs}
    if several:
        runs.open_of(conn, campaign_id, several)
    return found


def rotate(conn: Connection, campaign_id: int, rotations: dict[int, int]) -> None:
    """Write the new rotations of members that jumped."""
    if rotations:
        parameters = {"contact_ids": list(rotations), "rotations": list(rotations.values()), "campaign_id": campaign_id}
        conn.execute(sql["rotate"], parameters)


def backfill(conn: Connection, campaign_id: int, roots: Sequence[Root], *, now: datetime) -> int:
    """Put every active member at steps added at the root; return how many waits that made."""
    if not roots:
        return 0
    columns = _columns(roots)
    return conn.execute(sql["backfill"], {"campaign_id": campaign_id, "now": now, **columns}).rowcount


def backfill_below(conn: Connection, campaign_id: int, new: Root, parent_id: int, result: str, *, now: datetime) -> int:
    """Put active members of a timezone who passed a step with a result at one below; return how many."""
    parameters = {
        "campaign_id": campaign_id,
        "zone": new.zone,
        "step_id": new.step_id,
        # At once, and not as who has just joined.
        "reason": "delay" if new.reason == "kickoff" else new.reason,
        "due_at": new.due_at,
        "parent_id": parent_id,
        "result": result,
        "now": now,
    }
    return conn.execute(sql["backfill_below"], parameters).rowcount


def id_range(conn: Connection, campaign_id: int, segment_ids: Sequence[int]) -> Chunk | None:
    """Return the range of contact ids that an update has to look at; None when there is nobody."""
    parameters = {"campaign_id": campaign_id, "segment_ids": list(segment_ids)}
    row = conn.execute(sql["id_range"], parameters).one()
    return None if row[0] is None else Chunk(*row)


def active(conn: Connection, campaign_id: int, contact_ids: Sequence[int]) -> dict[int, bool]:
    """Return which of these contacts are in the campaign, and whether they have runs there."""
    parameters = {"campaign_id": campaign_id, "contact_ids": list(contact_ids)}
    return {row.contact_id: row.runs for row in conn.execute(sql["active"], parameters)}


def inside(
    conn: Connection, segment_ids: Sequence[int], contact_ids: Sequence[int], *, after: int | None = None
) -> list[int]:
    """Return which of these contacts are in one of these segments, entered later than a number if one is given."""
    parameters = {"segment_ids": list(segment_ids), "contact_ids": list(contact_ids), "after": after}
    return list(conn.execute(sql["inside"], parameters).scalars())


def outside(conn: Connection, campaign_id: int, segment_ids: Sequence[int], contact_ids: Sequence[int]) -> list[int]:
    """Return which of these contacts are members through a segment and in none of these any more."""
    parameters = {"campaign_id": campaign_id, "segment_ids": list(segment_ids), "contact_ids": list(contact_ids)}
    return list(conn.execute(sql["outside"], parameters).scalars())


def give_grace(conn: Connection, campaign_id: int, contact_ids: Sequence[int], *, until: datetime) -> None:
    """Let members that left every segment stay until an instant; who has a grace keeps it."""
    parameters = {"campaign_id": campaign_id, "contact_ids": list(contact_ids), "until": until}
    conn.execute(sql["give_grace"], parameters)


def look_again(conn: Connection, campaign_id: int, due: Mapping[int, datetime]) -> None:
    """Let contacts who are out be looked at when their cooldown ends, as members are whose grace is over."""
    if due:
        parameters = {"campaign_id": campaign_id, "contact_ids": list(due), "dues": list(due.values())}
        conn.execute(sql["look_again"], parameters)


def stay(conn: Connection, campaign_id: int, contact_ids: Sequence[int]) -> None:
    """Forget the grace of members that a segment took back, and the cooldown of who came in."""
    conn.execute(sql["stay"], {"campaign_id": campaign_id, "contact_ids": list(contact_ids)})


def stay_in_sources(conn: Connection, campaign_id: int) -> None:
    """Forget the grace of members whom a segment holds that feeds the campaign now."""
    conn.execute(sql["stay_in_sources"], {"campaign_id": campaign_id})


def grace_until(conn: Connection, campaign_id: int, contact_id: int) -> datetime | None:
    """Return when the grace of a contact that is in none of a campaign's sources any more ends; None without one."""
    parameters = {"campaign_id": campaign_id, "contact_id": contact_id}
    ends: datetime | None = conn.execute(sql["grace_until"], parameters).scalar_one_or_none()
    return ends


def grace_over(conn: Connection, *, now: datetime, limit: int) -> list[tuple[int, int]]:
    """Take (contact, campaign) whose grace or cooldown is over, with the contacts' locks."""
    return [(row.contact_id, row.campaign_id) for row in conn.execute(sql["grace_over"], {"now": now, "limit": limit})]


def first_grace_over(conn: Connection, *, now: datetime) -> datetime | None:
    """Return when the first grace or cooldown that is over ended; None when there is none."""
    ended: datetime | None = conn.execute(sql["first_grace_over"], {"now": now}).scalar_one()
    return ended


def take_grace_over(conn: Connection, campaign_id: int, contact_ids: Sequence[int], *, now: datetime) -> list[int]:
    """Take those of these contacts whose grace is over."""
    parameters = {"campaign_id": campaign_id, "contact_ids": list(contact_ids), "now": now}
    return sorted(conn.execute(sql["take_grace_over"], parameters).scalars())


def _columns(roots: Sequence[Root]) -> dict[str, list[Any]]:
    return {
        "zones": [root.zone for root in roots],
        "step_ids": [root.step_id for root in roots],
        "reasons": [root.reason for root in roots],
        "due": [root.due_at for root in roots],
    }


def count_active(conn: Connection, campaign_id: int) -> int:
    """Return how many members a campaign has, from its counters."""
    figures = conn.execute(sql["figures"], {"campaign_id": campaign_id}).one()
    return int(figures.added - figures.left)
