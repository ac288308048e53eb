"""Segments by rule follow what changes and what time brings: the rules that read it are asked again.

Whoever changed contacts asks before the transaction ends (`follow`). Whom nobody could ask, and who is due, are asked
from the database (`follow_due`), which tick, `update` and `trigger` see to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, Engine

from parcours.db import touched
from parcours.db.reads import batch
from parcours.db.tables import campaigns, erasure, rules
from parcours.db.tables import membership as memberships
from parcours.db.tables.rules import Book, KnownRule, Pair, RuleStanding, Watcher
from parcours.db.touched import Touches
from parcours.domain.segments.judging import Judged, judged
from parcours.domain.steps.types import Failed
from parcours.ops.logs import described
from parcours.workers import entries, membership, watching
from parcours.workers.isolation import in_halves

log = structlog.get_logger()

# Contacts whose locks one transaction takes at most.
AT_ONCE = 1000
COMPANIES_AT_ONCE = 100
# So often what a rule changed may change others, which circles through campaigns would do for ever.
ROUNDS = 20
# When a rule that failed for a contact is asked again.
RETRY = timedelta(hours=1)

Asked = dict[int, set[int]]
Watched = dict[Watcher, set[int]]


def follow(conn: Connection, *, now: datetime, zone: ZoneInfo, since: Mapping[int, datetime] | None = None) -> None:
    """Ask the rules that read what this transaction changed, and let campaigns follow who comes and goes.

    The caller holds the locks of the contacts that were changed. `since` is as for `membership.arrive`. Costs one
    small read, and nothing where nothing was changed.
    """
    noted = touched.take(conn)
    if not noted:
        return
    book = rules.book(conn)
    _ask(conn, book, *_left_to_others(conn, book, noted), now=now, zone=zone, since=since)


def _left_to_others(conn: Connection, book: Book, noted: Touches) -> tuple[Asked, Watched]:
    """Set aside for others what is not of locked contacts; return what is asked of whom."""
    touched.set_aside(conn, noted)
    return book.asked(noted), book.watched(noted)


def _ask(
    conn: Connection,
    book: Book,
    asked: Asked,
    watched: Watched,
    *,
    now: datetime,
    zone: ZoneInfo,
    since: Mapping[int, datetime] | None = None,
) -> None:
    """Ask rules of contacts, those first that no other one waits for, until nothing follows any more.

    Those of campaigns come last, when it is known who is in which segment.
    """
    for _ in range(ROUNDS + len(book.rules)):
        if not asked and not watched:
            return
        if not asked:
            watching.ask(conn, watched, now=now, zone=zone)
            asked, watched = _left_to_others(conn, book, touched.take(conn))
            continue
        level = min(book.rules[segment_id].level for segment_id in asked)
        present = {id_: asked.pop(id_) for id_ in list(asked) if book.rules[id_].level == level}
        for segment_id, moved in sorted(align(conn, [book.rules[id_] for id_ in present], present, now, zone).items()):
            goal_of = book.rules[segment_id].goal_of
            if goal_of is None:
                membership.segment_changed(conn, segment_id, moved, now=now, zone=zone, since=since)
            else:
                entries.reach_by_rule(conn, goal_of, segment_id, moved, now=now, zone=zone, since=since)
        of_segments, of_campaigns = _left_to_others(conn, book, touched.take(conn))
        for segment_id, ids in of_segments.items():
            asked.setdefault(segment_id, set()).update(ids)
        for watcher, ids in of_campaigns.items():
            watched.setdefault(watcher, set()).update(ids)
    log.error("rules_go_round", segments=sorted(book.rules[id_].key for id_ in asked))
    rules.complain(conn, dict.fromkeys(asked, "it depends on a campaign whose members depend on it"), now=now)


def ask_again(
    conn: Connection, segment_id: int, contact_ids: Collection[int], *, now: datetime, zone: ZoneInfo
) -> None:
    """Ask the rule of a segment, if it has one, of contacts whose locks the caller holds."""
    book = rules.book(conn)
    if segment_id in book.rules and contact_ids:
        _ask(conn, book, {segment_id: set(contact_ids)}, {}, now=now, zone=zone)


def align(
    conn: Connection, asking: Sequence[KnownRule], of: Mapping[int, Collection[int]], now: datetime, zone: ZoneInfo
) -> dict[int, list[int]]:
    """Let contacts, whose locks the caller holds, into segments and out as the rules say; return who moved, by segment.

    Nothing follows of it yet. Of whom a rule cannot tell, stays as they are.
    """
    ids = sorted(set().union(*of.values()))
    standing = {(each.contact_id, each.segment_id): each for each in rules.standing(conn, list(of), ids)}
    known = batch.load_rules(conn, [each.rule for each in asking], ids, now=now)
    entering: list[Pair] = []
    leaving: list[Pair] = []
    due: dict[Pair, datetime] = {}
    never: list[Pair] = []
    failed: dict[int, str] = {}
    for each in asking:
        contacts = [known.contacts[id_] for id_ in sorted(of[each.segment_id]) if id_ in known.contacts]
        answers = judged(each.rule, contacts, known.world, now, zone, when=each.by_time)
        for contact, answer in zip(contacts, answers, strict=True):
            pair = (contact.id, each.segment_id)
            if isinstance(answer.answer, Failed):
                failed[each.segment_id] = answer.answer.error
                due[pair] = now + RETRY
                continue
            match moves(answer.answer, standing.get(pair)):
                case True:
                    entering.append(pair)
                case False:
                    leaving.append(pair)
            _note_due(each, pair, answer, due, never)
    rules.complain(conn, failed, now=now)
    for each in asking:
        if each.segment_id in failed:
            log.error("rule_failed", segment=each.key, error=failed[each.segment_id])
    rules.set_due(conn, due)
    rules.drop_due(conn, never)
    moved: dict[int, list[int]] = {}
    for contact_id, segment_id in (*rules.enter(conn, entering, now=now), *rules.leave(conn, leaving, now=now)):
        moved.setdefault(segment_id, []).append(contact_id)
    return {segment_id: sorted(ids) for segment_id, ids in moved.items()}


def moves(answer: bool, standing: RuleStanding | None) -> bool | None:
    """Return whether somebody comes in (True) or goes (False) by what a rule says, None when they stay as they are.

    What was done by hand holds.
    """
    if answer:
        comes = standing is None or not (standing.active or standing.manually_removed)
        return True if comes else None
    goes = standing is not None and standing.active and not standing.manually_added
    return False if goes else None


def _note_due(asked: KnownRule, pair: Pair, answer: Judged, due: dict[Pair, datetime], never: list[Pair]) -> None:
    if not asked.by_time:
        return
    if answer.changes_at is None:
        never.append(pair)
    else:
        due[pair] = answer.changes_at


def follow_due(conn: Connection, *, now: datetime, zone: ZoneInfo, limit: int = AT_ONCE) -> int:
    """Ask rules of contacts for whom it is time, or whom nobody asked yet; return of how many.

    Who is in other hands has a turn later.
    """
    campaigns.read_by_index(conn)
    book = rules.book(conn)
    rules.expand_companies(conn, limit=COMPANIES_AT_ONCE)
    wanted = {
        *rules.contacts_left(conn, limit=limit),
        *rules.due_contacts(conn, list(book.rules), now=now, limit=limit),
        *memberships.exits_due(conn, book.exits, now=now, limit=limit),
    }
    locked = rules.lock_free(conn, wanted)
    rules.look_again(conn)
    book = rules.book(conn)
    if len(locked) < len(wanted):
        erasure.clean_up(conn, rules.gone(conn, wanted.difference(locked)), now=now)

    def ask(contact_ids: Sequence[int]) -> None:
        _ask(conn, book, *_due_of(conn, book, contact_ids, now), now=now, zone=zone)

    def told(contact_id: int, error: Exception) -> None:
        log.error("rules_not_asked", contact_id=contact_id, **described(error))
        rules.take_left(conn, [contact_id])
        late = rules.due_of(conn, list(book.rules), [contact_id], now=now)
        rules.set_due(conn, dict.fromkeys(late, now + RETRY))
        for _, campaign_id in memberships.take_exits_due(conn, book.exits, [contact_id], now=now):
            memberships.set_exit_due(conn, campaign_id, {contact_id: now + RETRY})

    if locked:
        in_halves(conn, locked, ask, told)
    return len(locked)


def _due_of(conn: Connection, book: Book, contact_ids: Sequence[int], now: datetime) -> tuple[Asked, Watched]:
    noted = Touches()
    for contact_id, what in rules.take_left(conn, contact_ids):
        (noted.anything if what is None else noted.tokens.setdefault(what, set())).add(contact_id)
    asked = book.asked(noted)
    due = rules.due_of(conn, list(book.rules), contact_ids, now=now)
    # When they are due again is written with the answer.
    rules.drop_due(conn, due)
    for contact_id, segment_id in due:
        asked.setdefault(segment_id, set()).add(contact_id)
    watched = book.watched(noted)
    for contact_id, campaign_id in memberships.take_exits_due(conn, book.exits, contact_ids, now=now):
        watched.setdefault(Watcher(campaign_id, None), set()).add(contact_id)
    return asked, watched


def take_up(conn: Connection, contact_ids: Sequence[int]) -> None:
    """Note again what was left to others of contacts whose locks the caller holds: it is asked with what follows."""
    if rules.book(conn).is_empty:
        return
    for contact_id, what in rules.take_left(conn, contact_ids):
        if what is None:
            touched.note_anything(conn, [contact_id])
        else:
            touched.note(conn, what, [contact_id])


def follow_all(engine: Engine, *, now: datetime, zone: ZoneInfo) -> None:
    """Ask rules of everybody for whom it is time, or whom nobody asked yet, and who is in nobody's hands."""
    with engine.connect() as conn:
        if rules.oldest_due(conn, now=now) is None:
            return
    looked = 1
    while looked:
        with engine.begin() as conn:
            looked = follow_due(conn, now=now, zone=zone)
