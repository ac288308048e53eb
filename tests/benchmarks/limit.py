"""The hand-written limit: what PostgreSQL and Python allow for one known tree, with nothing around it.

Bare psycopg, batches of 1,000, the project's own tables, and a tree that stands in the code. It does
what the engine does to the contacts, and nothing else: no look at whether the campaign runs or the
contact is still a member, no counters, no retries, no other step types. The engine is measured
against it in the same run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

BATCH = 1000


@dataclass(frozen=True)
class Tree:
    """Ids of the benchmark's campaign: points, then a condition, then a tag on either branch, then a delay."""

    campaign_id: int
    segment_id: int
    score: int
    local: int
    tag_yes: int
    tag_no: int
    later_yes: int
    later_no: int


POINTS = 5
COUNTRY = "FR"
TAGS = {True: "local", False: "abroad"}
DELAY = timedelta(days=7)

# The range stands on both sides: else each batch would be joined with the whole campaign.
_JOIN = """
WITH candidate AS (
    SELECT contact_id FROM segment_member
    WHERE segment_id = %(segment)s AND active AND contact_id BETWEEN %(first)s AND %(last)s
      AND NOT EXISTS (
          SELECT FROM membership
          WHERE membership.contact_id = segment_member.contact_id AND membership.campaign_id = %(campaign)s
            AND membership.contact_id BETWEEN %(first)s AND %(last)s
      )
    ORDER BY contact_id
), joined AS (
    INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival)
    SELECT contact_id, %(campaign)s, 1, %(now)s, 'segment' FROM candidate
    ON CONFLICT DO NOTHING
    RETURNING contact_id
), armed AS (
    INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at)
    SELECT contact_id, %(step)s, %(campaign)s, 1, 1, 'kickoff', %(now)s, %(now)s FROM joined
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM joined
"""

# Over everybody at once, in one process: no range, no limit, only one of the two directions.
_MISSING = """
SELECT count(*) FROM segment_member
WHERE segment_id = %(segment)s AND active
  AND NOT EXISTS (
      SELECT FROM membership
      WHERE membership.contact_id = segment_member.contact_id AND membership.campaign_id = %(campaign)s
  )
"""

_CLAIM = """
WITH due AS (
    SELECT contact_id FROM wait
    WHERE step_id = %(step)s AND due_at <= %(now)s
    ORDER BY due_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM wait USING due
WHERE wait.contact_id = due.contact_id AND wait.step_id = %(step)s
RETURNING wait.contact_id, wait.rotation, wait.passage, wait.due_at
"""

_LOAD = """
SELECT id, points, fields ->> 'country' FROM contact
WHERE id = ANY (%(ids)s::bigint[])
ORDER BY id
FOR NO KEY UPDATE
"""

_OUTCOMES = """
INSERT INTO outcome (contact_id, step_id, rotation, passage, at, due_at, result)
SELECT contact_id, step_id, rotation, passage, %(now)s, due_at, result
FROM unnest(%(contacts)s::bigint[], %(steps)s::int[], %(rotations)s::int[], %(passages)s::int[],
            %(due)s::timestamptz[], %(results)s::result[])
     AS new (contact_id, step_id, rotation, passage, due_at, result)
"""

_POINTS = """
UPDATE contact SET points = changed.points, changed_at = %(now)s
FROM unnest(%(ids)s::bigint[], %(points)s::int[]) AS changed (id, points)
WHERE contact.id = changed.id
"""

_TAGS = """
INSERT INTO contact_tag (contact_id, tag) SELECT * FROM unnest(%(ids)s::bigint[], %(tags)s::text[])
ON CONFLICT DO NOTHING
"""

_WAITS = """
INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at)
SELECT contact_id, step_id, %(campaign)s, rotation, passage, 'delay', %(now)s, %(due)s
FROM unnest(%(ids)s::bigint[], %(steps)s::int[], %(rotations)s::int[], %(passages)s::int[])
     AS new (contact_id, step_id, rotation, passage)
ON CONFLICT DO NOTHING
"""


def join(conn: psycopg.Connection[Any], tree: Tree, *, now: datetime) -> int:
    """Let everybody in the segment into the campaign; return how many that were."""
    total = 0
    row = conn.execute("SELECT max(contact_id) FROM segment_member").fetchone()
    assert row is not None
    for first in range(1, row[0] + 1, BATCH):
        with conn.transaction():
            given = {
                "segment": tree.segment_id,
                "campaign": tree.campaign_id,
                "step": tree.score,
                "first": first,
                "last": first + BATCH - 1,
                "now": now,
            }
            row = conn.execute(_JOIN, given).fetchone()
        assert row is not None
        total += row[0]
    return total


def missing(conn: psycopg.Connection[Any], tree: Tree) -> int:
    """Return how many are in the segment and not in the campaign: the bare anti-join."""
    with conn.transaction():
        row = conn.execute(_MISSING, {"segment": tree.segment_id, "campaign": tree.campaign_id}).fetchone()
    assert row is not None
    return int(row[0])


def run_due(conn: psycopg.Connection[Any], tree: Tree, *, now: datetime) -> int:
    """Run everything that is due at the first step, down to the delays; return how many contacts that were."""
    total = 0
    while True:
        with conn.transaction():
            done = _run_batch(conn, tree, now)
        total += done
        if done < BATCH:
            return total


def _run_batch(conn: psycopg.Connection[Any], tree: Tree, now: datetime) -> int:
    claims = conn.execute(_CLAIM, {"step": tree.score, "now": now, "limit": BATCH}).fetchall()
    if not claims:
        return 0
    found = conn.execute(_LOAD, {"ids": [claim[0] for claim in claims]}).fetchall()
    known = {contact_id: (points, country) for contact_id, points, country in found}
    ids: list[int] = []
    steps: list[int] = []
    rotations: list[int] = []
    passages: list[int] = []
    dues: list[datetime | None] = []
    results: list[str] = []
    scored: list[int] = []
    tagged: list[str] = []
    later: list[int] = []
    for contact_id, rotation, passage, due in claims:
        points, country = known[contact_id]
        yes = country == COUNTRY
        ids += (contact_id, contact_id, contact_id)
        steps += (tree.score, tree.local, tree.tag_yes if yes else tree.tag_no)
        rotations += (rotation, rotation, rotation)
        passages += (passage, passage, passage)
        dues += (due, None, None)
        results += ("done", "yes" if yes else "no", "done")
        scored.append(points + POINTS)
        tagged.append(TAGS[yes])
        later.append(tree.later_yes if yes else tree.later_no)
    contacts = ids[::3]
    conn.execute(
        _OUTCOMES,
        {
            "contacts": ids,
            "steps": steps,
            "rotations": rotations,
            "passages": passages,
            "now": now,
            "due": dues,
            "results": results,
        },
    )
    conn.execute(_POINTS, {"ids": contacts, "points": scored, "now": now})
    conn.execute(_TAGS, {"ids": contacts, "tags": tagged})
    conn.execute(
        _WAITS,
        {
            "ids": contacts,
            "steps": later,
            "campaign": tree.campaign_id,
            "rotations": rotations[::3],
            "passages": passages[::3],
            "now": now,
            "due": now + DELAY,
        },
    )
    return len(claims)
