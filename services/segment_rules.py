"""The rule of a segment, put in its place: what it names, and that it is asked of everybody."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from parcours.db.tables import campaigns, rebuilds, rules, segments
from parcours.db.tables.rules import StoredRule
from parcours.db.tables.segments import Segment
from parcours.domain.campaign_file.model import Problem
from parcours.domain.campaign_file.sentences import short
from parcours.domain.contacts.touched import CAMPAIGNS
from parcours.domain.errors import CampaignError
from parcours.domain.segments import parsing
from parcours.domain.segments import rule as tree
from parcours.domain.segments.file import SegmentFile
from parcours.domain.segments.rule import Rule
from parcours.domain.steps.types import RefersTo


def digest_of(data: Any) -> str:
    """Return by what a rule is known to be the same as another one."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def put(conn: Connection, key: str, data: Any, *, now: datetime) -> int:
    """Give a segment, made when it is new, a rule or none; return its id.

    Rules are asked of everybody by whoever works then (`workers.rebuilding`). Raises CampaignError for what is no rule.
    """
    rule = None
    if data is not None:
        rule, problems = parsing.parse(data)
        if problems or rule is None:
            raise CampaignError(str(problems[0]) if problems else "this is no rule")
    apply(conn, [SegmentFile(key, data=data, rule=rule)], forget=False, now=now)
    found = segments.find(conn, key)
    assert found is not None
    return found.id


def apply(
    conn: Connection,
    files: Sequence[SegmentFile],
    *,
    forget: bool,
    now: datetime,
    stamps: Mapping[str, str | None] | None = None,
) -> list[int]:
    """Do what files say, in the caller's transaction; return the ids of segments whose rules are to be asked.

    Whoever works then asks them of everybody (`workers.rebuilding`). `forget`: what was done by hand is forgotten.
    `stamps` say how the segments were when the plan was made. Raises CampaignError when somebody changed one since.
    """
    rules.begin_to_change(conn)
    stored = {each.key: each for each in rules.stored(conn)}
    before = {file.segment: segments.find(conn, file.segment) for file in files}
    for file in files:
        rule = stored.get(file.segment)
        stamp = stamp_of(before[file.segment], None if rule is None else rule.version)
        if stamps is not None and stamps.get(file.segment) != stamp:
            raise CampaignError(
                f"segment {file.segment!r} was changed after the plan was made, so nothing was applied; check the new "
                "plan, then apply again"
            )
    ids: dict[str, int] = {}
    # First, since who is at work there may want the segment's row.
    changing = [file for file in files if _digest(file) != _digest_of(stored.get(file.segment))]
    rebuilds.stop(conn, [each.id for file in changing if (each := before[file.segment]) is not None])
    for file in files:
        segments.save(conn, file.segment, name=file.name, public=file.public, published=file.published)
        found = segments.find(conn, file.segment)
        assert found is not None
        ids[file.segment] = found.id
    asked = []
    # Once all of them are there, since they may name each other.
    for file in files:
        segment_id = ids[file.segment]
        if file in changing:
            store(conn, segment_id, file.data, file.rule, now=now)
        elif forget and file.rule is not None:
            rebuilds.ask(conn, [segment_id], now=now)
        if forget and file.rule is not None:
            rules.release(conn, segment_id, None)
        if file.rule is not None and (forget or file in changing):
            asked.append(segment_id)
    return asked


def _digest(file: SegmentFile) -> str | None:
    return None if file.data is None else digest_of(file.data)


def _digest_of(stored: StoredRule | None) -> str | None:
    return None if stored is None else stored.digest


def stamp_of(stored: Segment | None, rule_version: int | None) -> str | None:
    """Return by what a segment is known to be as it was."""
    if stored is None:
        return None
    return f"{stored.name}\0{stored.public}\0{stored.published}\0{rule_version}"


def store(conn: Connection, segment_id: int, data: Any, rule: Rule | None, *, now: datetime) -> None:
    """Write a rule, or that there is none any more, and that it is to be asked of everybody.

    The caller has begun to change rules, and stopped those who ask it. Segments and campaigns that it names are there.
    """
    if rule is None:
        rules.save(conn, segment_id, None, digest=None, reads=())
        return
    reads = rules.ids_named(conn, tree.reads(rule))
    rules.save(conn, segment_id, {"format": rules.FORMAT, "rule": data}, digest=digest_of(data), reads=reads)
    rebuilds.ask(conn, [segment_id], now=now)


def ask_who_reads(conn: Connection, campaign_id: int, *, now: datetime) -> None:
    """Let rules that ask for a campaign be asked of everybody: it was deleted, or came back, with all its members."""
    book = rules.book(conn)
    rebuilds.ask(conn, book.readers.of([f"{CAMPAIGNS}.{campaign_id}"]), now=now)


def unknown(conn: Connection, rule: Rule, also: Mapping[RefersTo, frozenset[str]]) -> Iterator[Problem]:
    """Yield what a rule names that is not there; `also` are those that come with it."""
    named: dict[RefersTo, set[str]] = {}
    for _, what, key in tree.references(rule):
        named.setdefault(what, set()).add(key)
    there: dict[RefersTo, set[str]] = {
        RefersTo.SEGMENT: set(campaigns.named(conn, "segments", named.get(RefersTo.SEGMENT, set()))),
        RefersTo.FORM: set(campaigns.named(conn, "forms", named.get(RefersTo.FORM, set()))),
        RefersTo.CAMPAIGN: {row.key for row in campaigns.listing(conn)},
    }
    made = {
        RefersTo.SEGMENT: "apply its file, or create it with `parcours segments create`",
        RefersTo.FORM: "create it with `parcours forms create`",
        RefersTo.CAMPAIGN: "apply its file first",
    }
    words = {RefersTo.SEGMENT: "segment", RefersTo.FORM: "form", RefersTo.CAMPAIGN: "campaign"}
    for path, what, key in tree.references(rule):
        if what in there and key not in there[what] and key not in also.get(what, ()):
            yield Problem(path, short(f"there is no {words[what]} {key!r}; {made[what]}", key))
