"""The rule of a segment, put in its place: what it names, and that it is asked of everybody."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from parcours.db.tables import campaigns, rebuilds, rules, segments
from parcours.domain.campaign_file.model import Problem
from parcours.domain.campaign_file.sentences import short
from parcours.domain.errors import CampaignError
from parcours.domain.segments import parsing
from parcours.domain.segments import rule as tree
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
    rules.begin_to_change(conn)
    segments.save(conn, key, name=None, public=None, published=None)
    found = segments.find(conn, key)
    assert found is not None
    store(conn, found.id, data, rule, now=now)
    return found.id


def store(conn: Connection, segment_id: int, data: Any, rule: Rule | None, *, now: datetime) -> None:
    """Write a rule, or that there is none any more, and that it is to be asked of everybody.

    The caller has begun to change rules. Segments and campaigns that it names are there.
    """
    rebuilds.stop(conn, [segment_id])
    if rule is None:
        rules.save(conn, segment_id, None, digest=None, reads=())
        return
    reads = rules.ids_named(conn, tree.reads(rule))
    rules.save(conn, segment_id, {"format": rules.FORMAT, "rule": data}, digest=digest_of(data), reads=reads)
    rebuilds.ask(conn, [segment_id], now=now)


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
        RefersTo.SEGMENT: "apply a file of it, or make it with `parcours segments create`",
        RefersTo.FORM: "make it with `parcours forms create`",
        RefersTo.CAMPAIGN: "apply its file first",
    }
    words = {RefersTo.SEGMENT: "segment", RefersTo.FORM: "form", RefersTo.CAMPAIGN: "campaign"}
    for path, what, key in tree.references(rule):
        if what in there and key not in there[what] and key not in also.get(what, ()):
            yield Problem(path, short(f"there is no {words[what]} {key!r}; {made[what]}", key))
