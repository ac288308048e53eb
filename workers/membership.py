"""Who joins, comes back and leaves: the rules of `domain.membership`, applied to many contacts at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, Engine

from parcours.db import touched
from parcours.db.reads import batch
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, entrants, erasure, events, outcomes, runs, sweeps, trials, waits
from parcours.db.tables import membership as memberships
from parcours.db.tables.campaigns import Source
from parcours.db.tables.entrants import Held
from parcours.db.tables.membership import Chunk, KnownMember, MembersEntered, Root, Sources
from parcours.db.tables.runs import Beginning, StoredRun
from parcours.db.tables.trials import NewTrial
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.campaign import Campaign
from parcours.domain.contacts.membership import Arrival, Departure, Entering, State, cooldown_ends, entering
from parcours.domain.entry import EntryLimit
from parcours.domain.events.reading import Entry, bounded
from parcours.domain.steps.types import Kind
from parcours.domain.time import schedule
from parcours.domain.time.intervals import Interval
from parcours.domain.time.zones import zone_of
from parcours.domain.walk.rows import Jumped, Member, OutcomeRow, Wait
from parcours.domain.walk.walk import came_at, first_due
from parcours.ops.logs import described
from parcours.workers import exits
from parcours.workers.isolation import in_halves

log = structlog.get_logger()

T = TypeVar("T")
What = Literal["added", "back", "restarted"]

LEFT = "the contact left the campaign"
STARTED_AGAIN = "the contact started again"
# Runs of one contact in a campaign, in which it waits for something, at a time.
MOST_RUNS = 100

# Contacts whose locks one transaction takes at most.
LOCKED_AT_ONCE = 2000
UNLIMITED = 2**31


def arrive(
    conn: Connection,
    campaign: Campaign,
    contact_ids: Sequence[int],
    arrival: Arrival,
    *,
    now: datetime,
    zone: ZoneInfo,
    since: Mapping[int, datetime] | None = None,
    entries: Mapping[int, Entry] | None = None,
    again: bool = False,
) -> Counter[str]:
    """Let contacts into a campaign as far as the rules do; return how many were `added` and `restarted`.

    `since`: when contacts did what lets them in. What they do from then on answers the decisions that they
    come to, though we hear of both only now. `entries`: the key and the data of the run of each contact that an
    event lets in. `again`: whatever the campaign says of re-entry.
    """
    entered = admit(conn, campaign, contact_ids, arrival, now=now, zone=zone, since=since, entries=entries, again=again)
    # Whom an update let in at the same moment, it counts.
    return Counter[str]("added" if each == "added" else "restarted" for each in entered.values())


def admit(
    conn: Connection,
    campaign: Campaign,
    contact_ids: Sequence[int],
    arrival: Arrival,
    *,
    now: datetime,
    zone: ZoneInfo,
    since: Mapping[int, datetime] | None = None,
    entries: Mapping[int, Entry] | None = None,
    again: bool = False,
    released: bool = False,
) -> dict[int, What]:
    """Let contacts into a campaign as far as the rules do, with every root step armed; return what each did.

    Whom the rules hold back is left out; `again` is as for `arrive`. The roots of a new rotation replace whatever was
    still open in earlier ones of the same run. Whom the campaign's limit holds back comes in later; who is `released`
    by it now stands before all others.
    """
    present = batch.lock(conn, contact_ids)
    sources = [source.id for source in campaigns.sources(conn, campaign.id)]
    if campaign.segment_exits and arrival is not Arrival.MANUAL:
        out = set(memberships.inside(conn, exits_of(conn, campaign), present))
        present = [id_ for id_ in present if id_ not in out]
    told = exits.told(conn, campaign, present, now=now, zone=zone) if campaign.rule_exits and present else {}
    if told and arrival is not Arrival.MANUAL:
        if arrival is Arrival.SEGMENT:
            kept_out = {id_: each.asked_at for id_, each in told.items() if each.reason is not None}
            _look_when_exits_end(conn, campaign, kept_out)
        present = [id_ for id_ in present if id_ in told and told[id_].reason is None]
    known = memberships.states(conn, campaign.id, sources, present)
    one = {id_: each for id_, each in known.items() if not (each.runs or entries)}
    several = {id_: each for id_, each in known.items() if id_ not in one}
    coming = _Coming(conn, campaign, arrival, now, zone, since or {}, entries or {}, again, released)
    done = coming.by_itself(one) if one else {}
    done |= coming.beside_others(several) if several else {}
    asked = {id_: told[id_] for id_ in done if id_ in told}
    due = {id_: each.asked_at for id_, each in asked.items() if each.reason is None and each.asked_at is not None}
    memberships.set_exit_due(conn, campaign.id, due)
    if done and campaign.cooldown is not None:
        memberships.stay(conn, campaign.id, list(done))
    return done


@dataclass
class _Coming:
    """Contacts that come to a campaign at one moment and in one way; the caller has locked them."""

    conn: Connection
    campaign: Campaign
    arrival: Arrival
    now: datetime
    zone: ZoneInfo
    since: Mapping[int, datetime]
    given: Mapping[int, Entry]
    again: bool
    released: bool

    def by_itself(self, known: Mapping[int, KnownMember]) -> dict[int, What]:
        """Let in contacts whose membership is one run by itself."""
        conn, campaign, now = self.conn, self.campaign, self.now
        states = {id_: each.state for id_, each in known.items()}
        entries = self._within_limit(self._entering(states, known), states)
        if not entries:
            return {}
        again = _again({id_: known[id_].state for id_ in entries})
        _cancel(conn, campaign.id, list(again), STARTED_AGAIN, now=now)
        entered = memberships.enter(conn, campaign.id, entries, arrival=self.arrival, now=now, draw=campaign.control)
        new = entered.new
        self._start(entered, known)
        _count(conn, campaign.id, "added", len(new) + list(again.values()).count("back"), now)
        return {**dict.fromkeys(new, "added"), **again}

    def beside_others(self, known: Mapping[int, KnownMember]) -> dict[int, What]:
        """Begin a run of each contact, or begin it again, beside those that it may have already."""
        conn, campaign, now, given = self.conn, self.campaign, self.now, self.given
        keys = {id_: given[id_].key if id_ in given else "" for id_ in known}
        there = runs.of_keys(conn, campaign.id, keys)
        states = {id_: _state_of(each, there.get(id_), keys[id_]) for id_, each in known.items()}
        # Whom a person removed, no new key brings back.
        removed = {
            id_
            for id_, each in known.items()
            if self.arrival is not Arrival.MANUAL and each.state and each.state.departure is Departure.MANUAL
        }
        entries = self._entering({id_: state for id_, state in states.items() if id_ not in removed}, known)
        new_beside = [id_ for id_ in entries if states[id_] is None and known[id_].runs]
        for id_ in runs.waiting(conn, campaign.id, new_beside, least=MOST_RUNS) if new_beside else ():
            log.warning("run_not_begun", campaign=campaign.key, contact_id=id_, most=MOST_RUNS)
            del entries[id_]
        entries = self._within_limit(entries, states)
        if not entries:
            return {}
        again = _again({id_: states[id_] for id_ in entries})
        before = {id_: state.rotation for id_ in again if (state := states[id_]) is not None}
        numbers = {(id_, run.rotation): run.number for id_, run in there.items()}
        _cancel_runs(conn, campaign.id, list(before.items()), numbers, STARTED_AGAIN, now=now)
        entered = memberships.give_rotations(
            conn, campaign.id, entries, arrival=self.arrival, now=now, draw=campaign.control
        )
        runs.begin(
            conn,
            campaign.id,
            [
                Beginning(
                    id_,
                    keys[id_],
                    rotation,
                    bounded(given[id_].data) if id_ in given else {},
                    self.arrival,
                    entries[id_].manual,
                )
                for id_, rotation in entered.rotations.items()
            ],
            now=now,
        )
        self._start(entered, known, keys)
        # Whom an update let in at the same moment, it counts.
        back = [id_ for id_ in entries if (state := known[id_].state) is not None and state.departure is not None]
        _count(conn, campaign.id, "added", len(entered.new) + len(back), now)
        return {**dict.fromkeys(entries, "added"), **again}

    def _entering(self, states: Mapping[int, State | None], known: Mapping[int, KnownMember]) -> dict[int, Entering]:
        campaign, found = self.campaign, {}
        reentry = "always" if self.again else campaign.reentry
        for id_, state in states.items():
            entry = entering(
                state,
                self.arrival,
                reentry=reentry,
                cooldown=campaign.cooldown,
                now=self.now,
                zone=zone_of(known[id_].timezone, self.zone),
            )
            if entry is not None:
                found[id_] = entry
        if campaign.cooldown is not None and self.arrival is Arrival.SEGMENT:
            self._wait_for_cooldown(campaign.cooldown, states, known)
        return found

    def _wait_for_cooldown(
        self, cooldown: Interval, states: Mapping[int, State | None], known: Mapping[int, KnownMember]
    ) -> None:
        """Let contacts whom nothing but the cooldown keeps out be looked at again when it ends."""
        due: dict[int, datetime] = {}
        for id_, state in states.items():
            zone = zone_of(known[id_].timezone, self.zone)
            reentry = self.campaign.reentry
            ends = cooldown_ends(state, self.arrival, reentry=reentry, cooldown=cooldown, now=self.now, zone=zone)
            if ends is not None:
                due[id_] = ends
        memberships.look_again(self.conn, self.campaign.id, due)

    def _within_limit(self, coming: dict[int, Entering], states: Mapping[int, State | None]) -> dict[int, Entering]:
        """Return who may begin now, and hold the others back; who only begins again is not counted.

        A person's word goes before the limit, and counts.
        """
        campaign, limit = self.campaign, self.campaign.entry
        new = [id_ for id_ in coming if (state := states[id_]) is None or state.departure is not None]
        if limit is None or not new:
            return coming
        room = entrants.room(self.conn, campaign.id, limit, now=self.now)
        free = room.free if self.released or not room.queued else 0
        allowed = new if self.arrival is Arrival.MANUAL or free is None else new[:free]
        entrants.took(self.conn, campaign.id, limit, len(allowed), now=self.now)
        held = new[len(allowed) :]
        until = limit.next_period(self.now)
        if held and until is not None and (room.ever is None or room.ever > len(allowed)):
            self._hold(held, until)
        elif held:
            log.info("entry_refused", campaign=campaign.key, contacts=len(held), most=limit.most)
        out = set(held)
        return {id_: entry for id_, entry in coming.items() if id_ not in out}

    def _hold(self, contact_ids: Sequence[int], until: datetime) -> None:
        held = [
            Held(
                0,
                id_,
                self.arrival,
                None if given is None else given.key,
                None if given is None else bounded(given.data),
                self.since.get(id_, self.now),
                self.again,
            )
            for id_ in contact_ids
            for given in (self.given.get(id_),)
        ]
        entrants.hold(self.conn, self.campaign.id, held, until=until)

    def _start(
        self, entered: MembersEntered, known: Mapping[int, KnownMember], keys: Mapping[int, str] | None = None
    ) -> None:
        """Let contacts begin, but for those of the control group, to whom nothing happens; all are watched."""
        treated = {id_: each for id_, each in entered.rotations.items() if id_ not in entered.control}
        self._arm(treated, known)
        if self.campaign.watches:
            keys = keys or {}
            trials.begin(
                self.conn,
                self.campaign.id,
                [
                    NewTrial(id_, rotation, keys.get(id_, ""), id_ in entered.control, began_at, self._until(began_at))
                    for id_, rotation in entered.rotations.items()
                    for began_at in (came_at(self.since.get(id_, self.now), self.now),)
                ],
            )

    def _until(self, began_at: datetime) -> datetime | None:
        return reached_until(self.campaign, began_at, self.zone)

    def _arm(self, rotations: Mapping[int, int], known: Mapping[int, KnownMember]) -> None:
        """Let contacts stand at every root step, in new rotations."""
        campaign, now = self.campaign, self.now
        zones = {id_: zone_of(known[id_].timezone, self.zone) for id_ in rotations}
        due = {
            (step.id, own_zone): first_due(campaign, step, since=now, zone=own_zone)
            for step in campaign.roots
            for own_zone in set(zones.values())
        }
        armed = [
            Wait(id_, step.id, campaign.id, rotation, rotation, 0, reason, anchor, due_at)
            for id_, rotation in rotations.items()
            for began in (came_at(self.since.get(id_, now), now),)
            for step in campaign.roots
            for reason, due_at in (due[step.id, zones[id_]],)
            for anchor in (began if reason == "decision" else now,)
        ]
        waits.arm(self.conn, armed)
        touched.note_due(
            self.conn, [each.contact_id for each in armed if each.due_at is not None and each.due_at <= now]
        )


def _again(states: Mapping[int, State | None]) -> dict[int, What]:
    """Return who begins again, and how."""
    return {
        id_: "restarted" if state.departure is None else "back" for id_, state in states.items() if state is not None
    }


def _state_of(known: KnownMember, run: StoredRun | None, key: str) -> State | None:
    """Return what the rules of re-entry are asked of: the run of a key, if there was one before."""
    whole = known.state
    if run is None:
        # Until now the membership was that run by itself.
        return whole if key == "" and not known.runs else None
    assert whole is not None
    removed = whole.departure is Departure.MANUAL
    return State(
        run.rotation,
        run.began_at,
        run.manual,
        run.left_at,
        Departure.MANUAL if removed else run.departure,
        whole.left_entry,
        whole.entry,
    )


def in_turns(found: Iterable[tuple[int, T]]) -> list[list[tuple[int, T]]]:
    """Return pairs of a contact and something in groups in which nobody is twice, in their order."""
    nth: Counter[int] = Counter()
    groups: list[list[tuple[int, T]]] = []
    for contact_id, each in found:
        if nth[contact_id] == len(groups):
            groups.append([])
        groups[nth[contact_id]].append((contact_id, each))
        nth[contact_id] += 1
    return groups


def move(conn: Connection, campaign_id: int, moved: Mapping[tuple[int, int], Member]) -> None:
    """Write what jumps came to: rotations of memberships and runs, and of what is waited for in them.

    `moved` holds (contact, rotation in which it was found) to the membership, or run, that jumped.
    """
    jumped = [Jumped(id_, member.number, before, member.rotation) for (id_, before), member in moved.items()]
    highest = {id_: (member.whole or member).rotation for (id_, _), member in moved.items()}
    memberships.rotate(conn, campaign_id, highest)
    runs.rotate(conn, campaign_id, jumped)
    waits.move(conn, campaign_id, jumped)


def depart(
    conn: Connection,
    campaign_id: int,
    contact_ids: Sequence[int],
    departure: Departure,
    *,
    now: datetime,
    reason: str | None = None,
) -> int:
    """Let members out of a campaign; whatever they waited for, in any rotation, is cancelled. Returns how many left."""
    left = dismiss(conn, campaign_id, contact_ids, departure, now=now, reason=reason)
    return list(left.values()).count("removed")


def dismiss(
    conn: Connection,
    campaign_id: int,
    contact_ids: Sequence[int],
    departure: Departure,
    *,
    now: datetime,
    reason: str | None = None,
) -> dict[int, Literal["removed", "stays out"]]:
    """As `depart`; return what each did. Who was out already and now stays out is told apart, others are left out.

    All runs of a contact end; only that without a key when it is a segment that the contact left. `reason` says in
    words why, and is kept.
    """
    present = batch.lock(conn, contact_ids)
    were_in = memberships.active(conn, campaign_id, present)
    in_runs = [contact_id for contact_id, several in were_in.items() if several]
    kept: set[int] = set()
    if in_runs:
        only = {(contact_id, "") for contact_id in in_runs} if departure is Departure.SEGMENT else None
        kept = _end(conn, campaign_id, in_runs, departure, only, reason, now=now)
    left = memberships.leave(
        conn,
        campaign_id,
        [contact_id for contact_id in present if contact_id not in kept],
        departure=departure,
        now=now,
        reason=reason,
    )
    _cancel(conn, campaign_id, left, _left_because(reason), now=now)
    _count(conn, campaign_id, "left", len(were_in.keys() & set(left)), now)
    return {contact_id: "removed" if contact_id in were_in else "stays out" for contact_id in left}


def end_runs(
    conn: Connection,
    campaign_id: int,
    only: Collection[tuple[int, str]],
    departure: Departure,
    *,
    now: datetime,
    reason: str | None = None,
) -> int:
    """End the runs of (contact, key), whatever else the contacts have; return how many contacts are out by that.

    The caller has locked the contacts. Whose last run ends leaves the campaign.
    """
    were_in = memberships.active(conn, campaign_id, sorted({contact_id for contact_id, _ in only}))
    in_runs = [contact_id for contact_id, several in were_in.items() if several]
    kept = _end(conn, campaign_id, in_runs, departure, only, reason, now=now)
    out = [contact_id for contact_id in in_runs if contact_id not in kept]
    left = memberships.leave(conn, campaign_id, out, departure=departure, now=now, reason=reason)
    _count(conn, campaign_id, "left", len(left), now)
    return len(left)


def _end(
    conn: Connection,
    campaign_id: int,
    contact_ids: Sequence[int],
    departure: Departure,
    only: Collection[tuple[int, str]] | None,
    reason: str | None,
    *,
    now: datetime,
) -> set[int]:
    """End open runs of members, with what is waited for in them; return who has others that go on."""
    ended = runs.end(conn, campaign_id, contact_ids, departure, only=only, reason=reason, now=now)
    numbers = {(run.contact_id, run.rotation): run.number for run in ended}
    _cancel_runs(conn, campaign_id, list(numbers), numbers, _left_because(reason), now=now)
    still = runs.still_in(conn, campaign_id, contact_ids)
    memberships.come_by_segment_no_more(conn, campaign_id, [id_ for id_, manual in still.items() if manual])
    return set(still)


def _left_because(reason: str | None) -> str:
    return LEFT if reason is None else f"{LEFT}: {reason}"


def segment_changed(
    conn: Connection,
    segment_id: int,
    contact_ids: Sequence[int],
    *,
    now: datetime,
    zone: ZoneInfo,
    since: Mapping[int, datetime] | None = None,
) -> Counter[str]:
    """Let a change of a segment reach the campaigns that it feeds: who is in it now joins, who is in none leaves.

    The caller has locked the contacts. `since` is as for `arrive`. Campaigns that do not run are left to the next
    update.
    """
    done: Counter[str] = Counter()
    for campaign_id, key in events.campaigns_of_segment(conn, segment_id):
        campaign, status = campaigns.enter(conn, campaign_id, zone)
        if key is not None:
            inside = memberships.inside(conn, [segment_id], contact_ids)
            if inside and not status.deleted:
                done["removed"] += exit_all(conn, campaign, inside, f"it entered segment {key!r}", now=now)
            # Whom it kept out may come in.
            free = sorted(set(contact_ids).difference(inside))
            if free and status.why_not(now) is None:
                sources = campaigns.sources(conn, campaign_id)
                done += join_from(conn, campaign, sources, free, now=now, zone=zone, since=since)
            continue
        if status.why_not(now) is not None:
            continue
        sources = campaigns.sources(conn, campaign_id)
        done += join_from(conn, campaign, sources, contact_ids, now=now, zone=zone, since=since)
        outside = memberships.outside(conn, campaign_id, [source.id for source in sources], contact_ids)
        if outside and campaign.exit_on_leave:
            if campaign.grace is None:
                done["removed"] += depart(conn, campaign_id, outside, Departure.SEGMENT, now=now)
            else:
                memberships.give_grace(conn, campaign_id, outside, until=schedule.add(campaign.grace, now, zone))
    return done


def join_from(
    conn: Connection,
    campaign: Campaign,
    sources: Sequence[Source],
    contact_ids: Sequence[int],
    *,
    now: datetime,
    zone: ZoneInfo,
    since: Mapping[int, datetime] | None,
) -> Counter[str]:
    """Let contacts in that are in a segment which feeds the campaign; what may let them go by and by is forgotten."""
    published = [source.id for source in sources if source.published]
    inside = memberships.inside(conn, published, contact_ids)
    if not inside:
        return Counter()
    memberships.stay(conn, campaign.id, inside)
    if sources[0].after is not None:
        inside = memberships.inside(conn, published, inside, after=sources[0].after)
    return arrive(conn, campaign, inside, Arrival.SEGMENT, now=now, zone=zone, since=since)


def exit_all(conn: Connection, campaign: Campaign, contact_ids: Sequence[int], reason: str, *, now: datetime) -> int:
    """Let contacts out for a reason that the campaign names as an exit, in all their runs; return how many left.

    Whatever finds that an exit is true of a contact, in whichever way, ends here.
    """
    if campaign.entry is not None:
        entrants.drop(conn, campaign.id, contact_ids)
    return depart(conn, campaign.id, contact_ids, Departure.EXIT, now=now, reason=reason)


def _look_when_exits_end(conn: Connection, campaign: Campaign, kept_out: Mapping[int, datetime | None]) -> None:
    """Let contacts of a source segment whom exits by rule keep out be looked at when time alone may change that."""
    due = {id_: at for id_, at in sorted(kept_out.items()) if at is not None}
    if due:
        members = memberships.active(conn, campaign.id, list(due))
        memberships.look_again(conn, campaign.id, {id_: at for id_, at in due.items() if id_ not in members})


def exits_of(conn: Connection, campaign: Campaign) -> list[int]:
    """Return the ids of the segments that are exits of a campaign."""
    if not campaign.segment_exits:
        return []
    return [row.id for row in campaigns.named(conn, "segments", campaign.segment_exits).values()]


def sources_of(conn: Connection, campaign: Campaign, *, published: bool = False) -> Sources:
    """Return the segments that feed a campaign, all or only the published ones, and whom they do not let in."""
    found = campaigns.sources(conn, campaign.id)
    ids = [source.id for source in found if source.published or not published]
    return Sources(ids, found[0].after if found else None, exits_of(conn, campaign))


def release(conn: Connection, campaign_id: int, *, now: datetime, zone: ZoneInfo, ask: bool = False) -> Counter[str]:
    """Let in who was held back by a campaign's limit, in the order in which they came, as many as it allows now.

    Returns how many were added and restarted. With `ask`, an update that the limit cut short is asked
    for again.
    """
    campaign, status = campaigns.enter(conn, campaign_id, zone)
    done: Counter[str] = Counter()
    limit = campaign.entry or (EntryLimit() if entrants.first(conn, campaign_id, limit=1) else None)
    if limit is None or status.why_not(now) is not None:
        return done
    while held := entrants.first(conn, campaign_id, limit=LOCKED_AT_ONCE):
        locked = set(batch.lock(conn, sorted({each.contact_id for each in held})))
        room = entrants.room(conn, campaign_id, limit, now=now)
        if room.ever == 0:
            log.info(
                "entry_refused", campaign=campaign.key, contacts=entrants.drop_all(conn, campaign_id), most=limit.most
            )
            break
        if room.free == 0:
            entrants.look_again(conn, campaign_id, limit.next_period(now))
            return done
        free = len(held) if room.free is None else room.free
        taken = entrants.take(conn, campaign_id, [each.seq for each in held[:free]])
        done += _let_in(
            conn,
            campaign,
            [each for each in held if each.seq in taken and each.contact_id in locked],
            now=now,
            zone=zone,
        )
    if ask and entrants.has_more(conn, campaign_id):
        sweeps.ask(conn, "update", Scope(campaign_ids=(campaign_id,)), at=now)
    entrants.look_again(conn, campaign_id, None, more=False)
    return done


def _let_in(
    conn: Connection, campaign: Campaign, held: Sequence[Held], *, now: datetime, zone: ZoneInfo
) -> Counter[str]:
    """Let contacts in who were held back, whose locks the caller holds; who left the segment meanwhile is left out."""
    done: Counter[str] = Counter()
    alike: dict[tuple[Arrival, bool], list[tuple[int, Held]]] = {}
    for each in held:
        alike.setdefault((each.arrival, each.again), []).append((each.contact_id, each))
    for (arrival, again), found in alike.items():
        for turn in in_turns(found):
            came = dict(turn)
            ids = list(came)
            if arrival is Arrival.SEGMENT:
                sources = sources_of(conn, campaign, published=True)
                ids = memberships.inside(conn, sources.segment_ids, ids, after=sources.after)
            entries = {id_: Entry(each.key, each.entry or {}) for id_, each in came.items() if each.key is not None}
            since = {id_: each.came_at for id_, each in came.items()}
            for some, given in ((True, entries), (False, None)):
                these = [id_ for id_ in ids if (id_ in entries) is some]
                if these:
                    entered = admit(
                        conn,
                        campaign,
                        these,
                        arrival,
                        now=now,
                        zone=zone,
                        since=since,
                        entries=given,
                        again=again,
                        released=True,
                    )
                    done += Counter("added" if each == "added" else "restarted" for each in entered.values())
    return done


def grace_over(conn: Connection, *, now: datetime, zone: ZoneInfo, limit: int = LOCKED_AT_ONCE) -> int:
    """Let go whom no segment took back within their grace, and in whose cooldown is over; return how many were seen."""
    looked = memberships.grace_over(conn, now=now, limit=limit)
    by_campaign: dict[int, list[int]] = {}
    for contact_id, campaign_id in looked:
        by_campaign.setdefault(campaign_id, []).append(contact_id)
    for campaign_id, contact_ids in sorted(by_campaign.items()):
        campaign, status = campaigns.enter(conn, campaign_id, zone)
        if status.why_not(now) is not None:
            continue
        sources = campaigns.sources(conn, campaign_id)

        def look(some: Sequence[int], campaign: Campaign = campaign, sources: Sequence[Source] = sources) -> None:
            if campaign.exit_on_leave:
                outside = memberships.outside(conn, campaign.id, [source.id for source in sources], some)
                depart(conn, campaign.id, outside, Departure.SEGMENT, now=now)
            inside = memberships.inside(conn, [source.id for source in sources if source.published], some)
            if inside:
                arrive(conn, campaign, inside, Arrival.SEGMENT, now=now, zone=zone)

        def told(contact_id: int, error: Exception, key: str = campaign.key) -> None:
            log.error("member_not_let_go", campaign=key, contact_id=contact_id, **described(error))

        in_halves(conn, contact_ids, look, told)
    return len(looked)


def grace_over_all(engine: Engine, *, now: datetime, zone: ZoneInfo) -> None:
    """Do `grace_over` until nobody is left whose grace or cooldown is over."""
    while True:
        with engine.begin() as conn:
            if not grace_over(conn, now=now, zone=zone):
                return


def reconcile(
    conn: Connection,
    campaign: Campaign,
    chunk: Chunk,
    *,
    now: datetime,
    zone: ZoneInfo,
    limit: int | None = None,
    scope: Scope = EVERYTHING,
) -> Counter[str]:
    """Align the members within a range of contact ids with the campaign's segments.

    Returns how many were `added`, `restarted` and `removed`, together at most `limit`. In normal
    running there is nothing to find, and three index reads say so.
    """
    sources = campaigns.sources(conn, campaign.id)
    published = [source.id for source in sources if source.published]
    every = [source.id for source in sources]
    feeding = Sources(published, sources[0].after if sources else None, exits_of(conn, campaign))
    done: Counter[str] = Counter()
    if feeding.exits:
        done += Counter(removed=_let_out(conn, campaign, feeding.exits, chunk, now=now, limit=limit))
    if campaign.rule_exits:
        out = exits.of_range(conn, campaign, chunk, now=now, zone=zone)
        feeding = feeding._replace(kept_out=out)
        done += Counter(removed=_let_out_by_rule(conn, campaign, out, now=now, zone=zone, limit=_left(limit, done)))
        if changing := [id_ for id_, at in out.items() if at is not None]:
            inside = memberships.inside(conn, published, changing)
            _look_when_exits_end(conn, campaign, {id_: out[id_] for id_ in inside})
    if campaign.event_sources and published:
        done += _join_beside_runs(
            conn, campaign, feeding, chunk, now=now, zone=zone, limit=_left(limit, done), scope=scope
        )
    if campaign.entry is not None:
        # Who joins is counted, under a lock for which nobody is to wait who holds contacts.
        done += _realign(
            conn, campaign, every, published, chunk, now=now, zone=zone, limit=_left(limit, done), scope=scope
        )
        room = _left(limit, done)
        if published and room > 0:
            done["added"] += _join_within_limit(
                conn, campaign, feeding, chunk, campaign.entry, now=now, zone=zone, limit=room, scope=scope
            )
        return done
    # With a limit, who joins comes first. Without one, those whose locks are needed do: who joins is held without
    # waiting, so that nothing waits for a contact while it holds others that come later in the order of ids.
    if published and limit is not None:
        done["added"] = _join(conn, campaign, feeding, chunk, now=now, zone=zone, limit=limit, scope=scope)
    done += _realign(conn, campaign, every, published, chunk, now=now, zone=zone, limit=_left(limit, done), scope=scope)
    if published and limit is None:
        done["added"] = _join(conn, campaign, feeding, chunk, now=now, zone=zone, limit=None, scope=scope)
    return done


def _let_out(
    conn: Connection, campaign: Campaign, exits: Sequence[int], chunk: Chunk, *, now: datetime, limit: int | None
) -> int:
    """Let members of a range out whom a segment that is an exit holds; return how many left."""
    out, rest = 0, chunk
    most = LOCKED_AT_ONCE if limit is None else min(limit, LOCKED_AT_ONCE)
    while found := memberships.exiting(conn, campaign.id, exits, rest, limit=most):
        out += exit_all(conn, campaign, found, "it is in an exit segment", now=now)
        if limit is not None or len(found) < most:
            break
        rest = Chunk(found[-1] + 1, rest.last_id)
    return out


def _join_beside_runs(
    conn: Connection,
    campaign: Campaign,
    sources: Sources,
    chunk: Chunk,
    *,
    now: datetime,
    zone: ZoneInfo,
    limit: int,
    scope: Scope,
) -> Counter[str]:
    """Let members of a range whom only events let in begin the run of the segment that holds them."""
    done: Counter[str] = Counter()
    rest = chunk
    while (room := limit - done.total()) > 0:
        most = min(room, LOCKED_AT_ONCE)
        found = memberships.in_runs_alone(conn, campaign.id, sources, rest, limit=most, scope=scope)
        done += arrive(conn, campaign, found, Arrival.SEGMENT, now=now, zone=zone) if found else Counter()
        if len(found) < most:
            break
        rest = Chunk(found[-1] + 1, rest.last_id)
    return done


def _let_out_by_rule(
    conn: Connection, campaign: Campaign, to_go: Collection[int], *, now: datetime, zone: ZoneInfo, limit: int
) -> int:
    """Let members of a range out of whom an exit by rule is true, but for those whom a person added."""
    out, found = 0, memberships.not_manual(conn, campaign.id, sorted(to_go))
    for first in range(0, min(limit, len(found)), LOCKED_AT_ONCE):
        locked = batch.lock(conn, found[first : min(limit, first + LOCKED_AT_ONCE)])
        answers = exits.told(conn, campaign, locked, now=now, zone=zone)
        for reason, ids in exits.by_reason(answers).items():
            out += exit_all(conn, campaign, ids, reason, now=now)
    return out


def _realign(
    conn: Connection,
    campaign: Campaign,
    every: Sequence[int],
    published: Sequence[int],
    chunk: Chunk,
    *,
    now: datetime,
    zone: ZoneInfo,
    limit: int,
    scope: Scope,
) -> Counter[str]:
    """Let come back who is in a segment again, and go who is in none; one pass in the order of ids.

    Who they might be is read without their locks, and asked again with them: an event may just have put
    somebody into a segment or taken them out. In two passes, locks would be taken out of their order, and an
    import that takes them in order would wait in a circle with this.
    """
    done: Counter[str] = Counter()
    rest = chunk
    while (room := limit - done.total()) > 0:
        most = min(room, LOCKED_AT_ONCE)
        back = left = list[int]()
        if published and campaign.reentry != "never":
            back = memberships.returning(conn, campaign.id, published, rest, limit=most, now=now, scope=scope)
        if campaign.exit_on_leave:
            left = memberships.orphans(conn, campaign.id, every, rest, limit=most, scope=scope)
        # Nobody is in both. Beyond the last of a list that was cut off, it says nothing.
        end = min((found[-1] for found in (back, left) if len(found) == most), default=rest.last_id)
        found = sorted(id_ for id_ in (*back, *left) if id_ <= end)
        if len(found) > most:
            found = found[:most]
            end = found[-1]
        done += _ask_again(conn, campaign, every, published, found, set(back), now=now, zone=zone)
        if end >= rest.last_id:
            break
        rest = Chunk(end + 1, rest.last_id)
    return done


def _ask_again(
    conn: Connection,
    campaign: Campaign,
    every: Sequence[int],
    published: Sequence[int],
    found: Sequence[int],
    back: Collection[int],
    *,
    now: datetime,
    zone: ZoneInfo,
) -> Counter[str]:
    """Lock contacts, and let come back or go those of whom it is still true."""
    done: Counter[str] = Counter()
    if not found:
        return done
    locked = batch.lock(conn, found)
    if len(locked) < len(found):
        erasure.clean_up(conn, sorted(set(found).difference(locked)), now=now)
    returning = memberships.inside(conn, published, [id_ for id_ in locked if id_ in back])
    if returning:
        done += arrive(conn, campaign, returning, Arrival.SEGMENT, now=now, zone=zone)
    outside = memberships.outside(conn, campaign.id, every, [id_ for id_ in locked if id_ not in back])
    if outside and campaign.grace is not None:
        memberships.give_grace(conn, campaign.id, outside, until=schedule.add(campaign.grace, now, zone))
        outside = memberships.take_grace_over(conn, campaign.id, outside, now=now)
    if outside:
        done["removed"] += depart(conn, campaign.id, outside, Departure.SEGMENT, now=now)
    return done


def _left(limit: int | None, done: Counter[str]) -> int:
    return UNLIMITED if limit is None else limit - done.total()


def _join_within_limit(
    conn: Connection,
    campaign: Campaign,
    sources: Sources,
    chunk: Chunk,
    limited: EntryLimit,
    *,
    now: datetime,
    zone: ZoneInfo,
    limit: int,
    scope: Scope,
) -> int:
    room = entrants.room(conn, campaign.id, limited, now=now)
    free = 0 if room.queued else UNLIMITED if room.free is None else room.free
    joined = 0
    if free:
        most = min(limit, free)
        joined = _join(conn, campaign, sources, chunk, now=now, zone=zone, limit=most, scope=scope)
        entrants.took(conn, campaign.id, limited, joined, now=now)
    until = limited.next_period(now)
    if joined == free and until is not None and room.ever != 0:
        entrants.look_again(conn, campaign.id, until, more=True)
    return joined


def _join(
    conn: Connection,
    campaign: Campaign,
    sources: Sources,
    chunk: Chunk,
    *,
    now: datetime,
    zone: ZoneInfo,
    limit: int | None,
    scope: Scope,
) -> int:
    by_zone = any(depends_on_zone(campaign, step_id) for step_id in (root.id for root in campaign.roots))
    names = memberships.zones(conn, chunk) if by_zone else [""]
    if not names:
        # There is nobody in this range of ids.
        return 0
    roots = roots_by_zone(campaign, names, now=now, zone=zone)
    joined, left_out = memberships.join(
        conn,
        campaign.id,
        sources,
        chunk,
        roots,
        by_zone=by_zone,
        now=now,
        limit=limit,
        scope=scope,
        watched=campaign.watches,
        draw=campaign.control,
        until=reached_until(campaign, now, zone),
    )
    if joined and campaign.rule_exits:
        # With their locks, by whoever follows rules next: what changed meanwhile is seen then.
        memberships.ask_exits_of(conn, campaign.id, chunk, now=now)
    _count(conn, campaign.id, "added", joined, now)
    if left_out:
        nobody = memberships.of_nobody(conn, sources.segment_ids, chunk, limit=LOCKED_AT_ONCE)
        erasure.clean_up(conn, nobody, now=now)
    return joined


def reached_until(campaign: Campaign, began_at: datetime, zone: ZoneInfo) -> datetime | None:
    """Return when who begins at an instant can reach the goal no more; None: never."""
    return None if campaign.goal is None else campaign.goal.until(began_at, zone)


def roots_by_zone(
    campaign: Campaign, names: Sequence[str], *, now: datetime, zone: ZoneInfo, only: Sequence[int] | None = None
) -> list[Root]:
    """Return the waits of somebody who joins now, for contacts of each timezone."""
    return [
        Root(name, step.id, *first_due(campaign, step, since=now, zone=zone_of(name or None, zone)))
        for name in names
        for step in campaign.roots
        if only is None or step.id in only
    ]


def depends_on_zone(campaign: Campaign, step_id: int) -> bool:
    """Return whether contacts in different timezones who reach a step together may be due at different instants."""
    step = campaign.step(step_id)
    if step.kind is not Kind.DECISION:
        return schedule.depends_on_zone(step.timing)
    if step.within is not None:
        return schedule.depends_on_zone(schedule.Timing(after=step.within))
    return any(schedule.depends_on_zone(child.timing) for child in campaign.children(step, "no"))


def _cancel(conn: Connection, campaign_id: int, contact_ids: Sequence[int], reason: str, *, now: datetime) -> None:
    if not contact_ids:
        return
    detail = {"reason": reason}
    cancelled = waits.cancel(conn, campaign_id, contact_ids)
    outcomes.record(
        conn,
        [
            OutcomeRow(
                each.contact_id, each.step_id, each.rotation, each.passage, now, each.due_at, "cancelled", detail
            )
            for each in cancelled
        ],
    )


def _cancel_runs(
    conn: Connection,
    campaign_id: int,
    places: Sequence[tuple[int, int]],
    numbers: Mapping[tuple[int, int], int],
    reason: str,
    *,
    now: datetime,
) -> None:
    """Cancel what is waited for in runs, by (contact, rotation); `numbers` says which they are."""
    if not places:
        return
    cancelled = waits.cancel(conn, campaign_id, [id_ for id_, _ in places], [rotation for _, rotation in places])
    outcomes.record(
        conn,
        [
            OutcomeRow(
                each.contact_id,
                each.step_id,
                each.rotation,
                each.passage,
                now,
                each.due_at,
                "cancelled",
                {"reason": reason},
                numbers.get((each.contact_id, each.rotation)),
            )
            for each in cancelled
        ],
    )


def _count(conn: Connection, campaign_id: int, what: str, n: int, now: datetime) -> None:
    outcomes.count_campaign(conn, Counter({(campaign_id, now, what): n}))
