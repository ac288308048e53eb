"""The worlds of the benchmarks: databases that are made once and copied for each measurement."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from sqlalchemy import Connection, Engine, text

from parcours.db import schema
from parcours.db.partitions import ensure_partitions
from parcours.db.tables import emails, segments
from parcours.producers.files import campaigns
from parcours.services import apply_campaign, campaign_plan
from tests.benchmarks import limit
from tests.benchmarks.server import Server

ZONE = ZoneInfo("UTC")
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
# In the world of 1 % changes, every so-manieth contact has left the segment, and as many are new in it.
CHANGED = 100
CAMPAIGNS = 100

DATA = f"""
steps:
  - step: score
    action: contact.points
    with: {{points: {limit.POINTS}}}
    then:
      - step: local
        condition: contact.field
        with: {{field: country, operator: "=", value: {limit.COUNTRY}}}
        yes:
          - step: tag_yes
            action: contact.tags
            with: {{add: [{limit.TAGS[True]}]}}
            then: [{{step: later_yes, action: contact.points, with: {{points: 1}}, after: {limit.DELAY.days} days}}]
        no:
          - step: tag_no
            action: contact.tags
            with: {{add: [{limit.TAGS[False]}]}}
            then: [{{step: later_no, action: contact.points, with: {{points: 1}}, after: {limit.DELAY.days} days}}]
"""
EMAIL = f"""
steps:
  - step: hello
    action: email.send
    with: {{email: {limit.EMAIL}}}
    then:
      - step: opened
        decision: email.open
        yes: [{{step: warm, action: contact.points, with: {{points: 1}}}}]
        no: [{{step: cold, action: contact.tags, with: {{add: [{limit.COLD}]}}, after: {limit.PATIENCE.days} days}}]
"""


@dataclass(frozen=True)
class Worlds:
    """What the databases hold: `fresh`, where nobody has joined, and the others made of it."""

    contacts: int
    data: limit.Tree
    email: limit.EmailTree


def make(server: Server, contacts: int, waiting: Sequence[int]) -> Worlds:
    """Make the databases to copy.

    `fresh`: a campaign on data that nobody has joined. `joined`: everybody is at its first step, due.
    `changed`: everybody is in and past that, and 1 % of the segment is another. `waiting_N`: N wait for
    later days. `mailing`: everybody is to get an email. `silent`: everybody got it, nobody opened it, and
    the time for that is over. `hundred`: as `joined`, in a hundred campaigns of a hundredth each.
    """
    data = make_joined(server, contacts)
    server.clone("joined", "changed")
    with server.bare("changed") as db:
        _change(db, data)
    server.settle("changed")

    for number in waiting:
        server.clone("fresh", f"waiting_{number}")
        with server.bare(f"waiting_{number}") as db:
            db.execute(
                "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
                "SELECT n, %s, %s, 1, 1, 'delay', now(), now() + n %% 30 * interval '1 day' + interval '1 day' "
                "FROM generate_series(1, %s) AS n",
                (data.later_yes, data.campaign_id, number),
            )
        server.settle(f"waiting_{number}")

    server.clone("bare", "mailing")
    with server.engine("mailing") as engine:
        with engine.begin() as conn:
            emails.save(conn, emails.Email(limit.EMAIL, "Hello", None, "Hello", None, True), now=NOW)
        email = limit.EmailTree(**_campaign(engine, "benchmark", EMAIL, ["everybody"]))
    with server.bare("mailing") as db:
        limit.arm_everybody(db, email.campaign_id, email.hello, "kickoff", now=NOW)
    server.settle("mailing")
    server.clone("mailing", "silent")
    with server.bare("silent") as db:
        limit.run_emails(db, email, now=NOW)
    server.settle("silent")

    server.clone("bare", "hundred")
    with server.engine("hundred") as engine:
        with engine.begin() as conn:
            for n in range(1, CAMPAIGNS + 1):
                segments.save(conn, f"s{n}", name=None, public=None, published=None)
        firsts = [_campaign(engine, f"benchmark-{n}", DATA, [f"s{n}"]) for n in range(1, CAMPAIGNS + 1)]
    with server.bare("hundred") as db:
        for n, tree in enumerate(firsts):
            limit.arm_everybody(db, tree["campaign_id"], tree["score"], "kickoff", now=NOW, share=(n, CAMPAIGNS))
    server.settle("hundred")
    return Worlds(contacts, data, email)


def make_joined(server: Server, contacts: int) -> limit.Tree:
    """Make `bare`, contacts without a campaign, and of it `fresh` and `joined`."""
    server.administer("CREATE DATABASE bare")
    with server.engine("bare") as engine:
        schema.upgrade(engine)
        ensure_partitions(engine, NOW)
        with engine.begin() as conn:
            _contacts(conn, contacts)
    server.settle("bare")
    server.clone("bare", "fresh")
    with server.engine("fresh") as engine:
        data = limit.Tree(**_campaign(engine, "benchmark", DATA, ["everybody"]), segment_id=1)
    server.clone("fresh", "joined")
    with server.bare("joined") as db:
        limit.join(db, data, now=NOW)
    server.settle("joined")
    return data


def _contacts(conn: Connection, contacts: int) -> None:
    conn.execute(
        text(
            "INSERT INTO contact (key, email, points, fields) "
            "SELECT 'c' || n, 'c' || n || '@example.org', n % 100, jsonb_build_object('country', "
            "CASE WHEN n % 3 = 0 THEN 'FR' ELSE 'DE' END, 'city', 'City ' || n % 500) "
            "FROM generate_series(1, :n) AS n"
        ),
        {"n": contacts},
    )
    conn.execute(text("INSERT INTO segment (key, name) VALUES ('everybody', 'Everybody')"))
    conn.execute(
        text("INSERT INTO segment_member (contact_id, segment_id, changed_at) SELECT id, 1, :now FROM contact"),
        {"now": NOW},
    )


def _campaign(engine: Engine, key: str, steps: str, segments: Sequence[str]) -> dict[str, int]:
    """Apply a campaign; return its id and those of its steps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "benchmark.yaml"
        head = f"campaign: {key}\npublished: true\nsources: {{segments: [{', '.join(segments)}]}}\n"
        path.write_text(head + steps, encoding="utf-8")
        file = campaigns.read(path, default_zone=ZONE)
    with engine.begin() as conn:
        plan = campaign_plan.plan(conn, file, zone=ZONE)
        id_ = apply_campaign.apply(conn, plan, backfill=False, reschedule=False, who="benchmark", now=NOW, zone=ZONE)
        rows = conn.execute(text("SELECT key, id FROM step WHERE campaign_id = :id"), {"id": id_})
        return {"campaign_id": id_, **{row.key: row.id for row in rows}}


def _change(db: psycopg.Connection[Any], tree: limit.Tree) -> None:
    """1 % of the members left the segment; as many who are in it have not joined yet."""
    db.execute(
        "UPDATE segment_member SET active = false WHERE contact_id %% %s = 1 AND segment_id = %s",
        (CHANGED, tree.segment_id),
    )
    for table in ("membership", "wait"):
        db.execute(f"DELETE FROM {table} WHERE contact_id % {CHANGED} = 2".encode())
