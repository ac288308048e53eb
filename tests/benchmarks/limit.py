"""The hand-written limit: what PostgreSQL and Python allow for known trees, with nothing around them.

Bare psycopg, batches of 1,000, the project's own tables, and trees that stand in the code. It does
what the engine does to the contacts, and nothing else: no look at whether the campaign runs or the
contact is still a member, no counters, no retries, no other step types. The engine is measured
against it in the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
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


@dataclass(frozen=True)
class EmailTree:
    """Ids of the benchmark's mailing: an email, a decision that waits for it to be opened, and what follows."""

    campaign_id: int
    hello: int
    opened: int
    warm: int
    cold: int


POINTS = 5
COUNTRY = "FR"
TAGS = {True: "local", False: "abroad"}
DELAY = timedelta(days=7)
EMAIL = "hello"
COLD = "cold"
# How long the mailing waits for an email to be opened.
PATIENCE = timedelta(days=3)

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

# Who is in the segment and not in the campaign joins, and who is in and not in the segment leaves.
_JOIN_ALL = """
WITH joined AS (
    INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival)
    SELECT contact_id, %(campaign)s, 1, %(now)s, 'segment' FROM segment_member
    WHERE segment_id = %(segment)s AND active
      AND NOT EXISTS (
          SELECT FROM membership
          WHERE membership.contact_id = segment_member.contact_id AND membership.campaign_id = %(campaign)s
      )
    RETURNING contact_id
), armed AS (
    INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at)
    SELECT contact_id, %(step)s, %(campaign)s, 1, 1, 'kickoff', %(now)s, %(now)s FROM joined
)
SELECT count(*) FROM joined
"""
_LEAVE_ALL = """
WITH gone AS (
    UPDATE membership SET left_at = %(now)s, departure = 'segment'
    WHERE campaign_id = %(campaign)s AND left_at IS NULL AND NOT manual
      AND NOT EXISTS (
          SELECT FROM segment_member
          WHERE segment_member.contact_id = membership.contact_id AND segment_id = %(segment)s AND active
      )
    RETURNING contact_id
), cancelled AS (
    DELETE FROM wait USING gone
    WHERE wait.contact_id = gone.contact_id AND wait.campaign_id = %(campaign)s
    RETURNING wait.contact_id, wait.step_id, wait.rotation, wait.passage, wait.due_at
), told AS (
    INSERT INTO outcome (contact_id, step_id, rotation, passage, at, due_at, result)
    SELECT contact_id, step_id, rotation, passage, %(now)s, due_at, 'cancelled' FROM cancelled
)
SELECT count(*) FROM gone
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

_RECEIVED = """
SELECT contact_id FROM message WHERE contact_id = ANY (%(ids)s::bigint[]) AND template = %(template)s
"""
_REFUSED = """
SELECT contact_id FROM do_not_contact WHERE contact_id = ANY (%(ids)s::bigint[]) AND channel = 'email'
"""
_LOAD_ADDRESSES = """
SELECT id, email FROM contact WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE
"""
_MESSAGES = """
INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, template, address, due_at, created_at)
SELECT contact_id, key, %(campaign)s, %(step)s, rotation, 'email', %(template)s, address, %(now)s, %(now)s
FROM unnest(%(ids)s::bigint[], %(keys)s::text[], %(rotations)s::int[], %(addresses)s::text[])
     AS new (contact_id, key, rotation, address)
ON CONFLICT (key) DO NOTHING
"""
_ARM = """
INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at)
SELECT contact_id, %(step)s, %(campaign)s, rotation, passage, 'decision', %(now)s, %(due)s
FROM unnest(%(ids)s::bigint[], %(rotations)s::int[], %(passages)s::int[]) AS new (contact_id, rotation, passage)
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


def sync(conn: psycopg.Connection[Any], tree: Tree, *, now: datetime) -> int:
    """Let everybody in who is missing, and out who is too much; return how many that were."""
    given = {"segment": tree.segment_id, "campaign": tree.campaign_id, "step": tree.score, "now": now}
    with conn.transaction():
        moved = [conn.execute(statement, given).fetchone() for statement in (_JOIN_ALL, _LEAVE_ALL)]
    return sum(row[0] for row in moved if row is not None)


def arm_everybody(
    conn: psycopg.Connection[Any],
    campaign_id: int,
    step_id: int,
    reason: str,
    *,
    now: datetime,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Make everybody, or every so-manieth contact, a member who waits at a step, due now."""
    nth, of = share
    given = {"campaign": campaign_id, "step": step_id, "reason": reason, "now": now, "nth": nth % of, "of": of}
    conn.execute(
        "INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival) "
        "SELECT id, %(campaign)s, 1, %(now)s, 'segment' FROM contact WHERE id %% %(of)s = %(nth)s",
        given,
    )
    conn.execute(
        "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
        "SELECT id, %(step)s, %(campaign)s, 1, 1, %(reason)s, %(now)s, %(now)s FROM contact "
        "WHERE id %% %(of)s = %(nth)s",
        given,
    )


def run_due(conn: psycopg.Connection[Any], tree: Tree, *, now: datetime) -> int:
    """Run everything that is due at the first step, down to the delays; return how many contacts that were."""
    return _batches(conn, lambda: _run_batch(conn, tree, now))


def run_emails(conn: psycopg.Connection[Any], tree: EmailTree, *, now: datetime) -> int:
    """Write everybody's email to the outbox and arm the decision below; return how many contacts that were."""
    return _batches(conn, lambda: _mail_batch(conn, tree, now))


def run_silent(conn: psycopg.Connection[Any], tree: EmailTree, *, now: datetime) -> int:
    """Take the "no" branch of everybody whose time is over; return how many contacts that were."""
    return _batches(conn, lambda: _silent_batch(conn, tree, now))


def _batches(conn: psycopg.Connection[Any], run_batch: Callable[[], int]) -> int:
    total = 0
    while True:
        with conn.transaction():
            done = run_batch()
        total += done
        if done < BATCH:
            return total


def _mail_batch(conn: psycopg.Connection[Any], tree: EmailTree, now: datetime) -> int:
    claims = conn.execute(_CLAIM, {"step": tree.hello, "now": now, "limit": BATCH}).fetchall()
    if not claims:
        return 0
    ids = [claim[0] for claim in claims]
    addresses: dict[int, str] = dict(conn.execute(_LOAD_ADDRESSES, {"ids": ids}).fetchall())
    out = {row[0] for row in conn.execute(_RECEIVED, {"ids": ids, "template": EMAIL}).fetchall()}
    out |= {row[0] for row in conn.execute(_REFUSED, {"ids": ids}).fetchall()}
    sent = [claim for claim in claims if claim[0] not in out and addresses[claim[0]]]
    rotations, passages = [claim[1] for claim in claims], [claim[2] for claim in claims]
    results = ["done" if claim[0] not in out else "skipped" for claim in claims]
    conn.execute(
        _OUTCOMES,
        {
            "contacts": ids,
            "steps": [tree.hello] * len(ids),
            "rotations": rotations,
            "passages": passages,
            "now": now,
            "due": [claim[3] for claim in claims],
            "results": results,
        },
    )
    conn.execute(
        _MESSAGES,
        {
            "ids": [claim[0] for claim in sent],
            "keys": [f"{tree.campaign_id}-{tree.hello}-{claim[0]}-{claim[2]}" for claim in sent],
            "rotations": [claim[1] for claim in sent],
            "addresses": [addresses[claim[0]] for claim in sent],
            "campaign": tree.campaign_id,
            "step": tree.hello,
            "template": EMAIL,
            "now": now,
        },
    )
    conn.execute(
        _ARM,
        {
            "ids": ids,
            "rotations": rotations,
            "passages": passages,
            "step": tree.opened,
            "campaign": tree.campaign_id,
            "now": now,
            "due": now + PATIENCE,
        },
    )
    return len(claims)


def _silent_batch(conn: psycopg.Connection[Any], tree: EmailTree, now: datetime) -> int:
    claims = conn.execute(_CLAIM, {"step": tree.opened, "now": now, "limit": BATCH}).fetchall()
    if not claims:
        return 0
    ids = [claim[0] for claim in claims]
    conn.execute("SELECT id FROM contact WHERE id = ANY (%s::bigint[]) ORDER BY id FOR NO KEY UPDATE", (ids,))
    twice = range(2)
    conn.execute(
        _OUTCOMES,
        {
            "contacts": [id_ for id_ in ids for _ in twice],
            "steps": [tree.opened, tree.cold] * len(ids),
            "rotations": [claim[1] for claim in claims for _ in twice],
            "passages": [claim[2] for claim in claims for _ in twice],
            "now": now,
            "due": [due for claim in claims for due in (claim[3], None)],
            "results": ["no", "done"] * len(ids),
        },
    )
    conn.execute(_TAGS, {"ids": ids, "tags": [COLD] * len(ids)})
    return len(claims)


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


def import_csv(conn: psycopg.Connection[Any], path: Path) -> int:
    """Load a file of key, email and country with COPY; return how many contacts that were."""
    with conn.transaction():
        conn.execute("CREATE TEMP TABLE row (key text, email text, country text) ON COMMIT DROP")
        with path.open("rb") as file, conn.cursor().copy("COPY row FROM STDIN (FORMAT csv, HEADER)") as copy:
            while chunk := file.read(1 << 20):
                copy.write(chunk)
        done = conn.execute(
            "INSERT INTO contact (key, email, fields) "
            "SELECT key, email, jsonb_build_object('country', country) FROM row ON CONFLICT (key) DO NOTHING"
        )
    return done.rowcount
