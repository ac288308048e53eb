"""What the pages of a large campaign cost on the server: `python -m tests.benchmarks.overview`.

One campaign of a million contacts and some five million outcomes, written by SQL as the engine would
have left it. Each page is asked for through the app, without a network; what is shown is the median, in
milliseconds. The exit code is 0 whatever the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from fastapi.testclient import TestClient
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine, text

from parcours.db import schema
from parcours.db.partitions import ensure_partitions
from parcours.ops.settings import Settings
from parcours.producers.files import campaigns
from parcours.services import apply_campaign, campaign_plan
from parcours.web.app import make_app
from tests.benchmarks.server import Server, a_server
from tests.benchmarks.worlds import ZONE

DAYS = 60
RUNS = 9
CAMPAIGN = """
campaign: large
published: true
sources: {segments: [everybody]}
steps:
  - step: new
    action: contact.tags
    with: {add: [new]}
    then:
      - step: home
        condition: contact.field
        with: {field: country, operator: "=", value: FR}
        yes: [{step: bonus, action: contact.points, with: {points: 5}}]
        no: [{step: abroad, action: contact.update, with: {fields: {shipping: abroad}}}]
  - step: hello
    action: email.send
    with: {email: hello}
    after: 1 day
    then:
      - step: opened
        decision: email.open
        yes: [{step: thank, action: contact.points, with: {points: 10}, after: 1 day}]
        no: [{step: remind, action: contact.points, with: {points: 1}, after: 3 days}]
  - {step: some_day, decision: page.hit, with: {url: "*"}, yes: [{step: hot, action: contact.tags, with: {add: [hot]}}]}
"""
# Step, whom it has, what became of them, how long after they joined, and the detail. `n` is the contact's id.
PASSED = (
    ("new", "true", "'done'", "0 hours", "NULL"),
    ("home", "true", "CASE WHEN n % 3 = 0 THEN 'yes' ELSE 'no' END", "0 hours", "NULL"),
    ("bonus", "n % 3 = 0", "'done'", "0 hours", "NULL"),
    (
        "abroad",
        "n % 3 <> 0",
        "CASE WHEN n % 100 = 7 THEN 'failed' ELSE 'done' END",
        "0 hours",
        "CASE WHEN n % 100 = 7 THEN jsonb_build_object('error', 'no field x' || n % 7, 'attempts', 5) END",
    ),
    (
        "hello",
        "true",
        "CASE WHEN n % 30 = 1 THEN 'skipped' ELSE 'done' END",
        "24 hours",
        "CASE WHEN n % 30 = 1 THEN jsonb_build_object('reason', 'the contact has no email address') END",
    ),
    ("opened", "n % 30 <> 1 AND n % 10 <> 9", "CASE WHEN n % 2 = 0 THEN 'yes' ELSE 'no' END", "48 hours", "NULL"),
)
PAGES = (
    "/campaigns/large",
    "/campaigns/large?range=1",
    "/campaigns/large?range=all",
    "/campaigns/large/live?tab=path",
    "/campaigns/large/actions",
    "/campaigns/large/contacts",
    "/campaigns/large/contacts?state=left",
    "/campaigns/large/contacts?step=some_day",
    "/campaigns/large/contacts?step=hello&at=skipped",
    "/campaigns/large/contacts?step=hot&at=done",
    "/campaigns/large/contacts?q=c5",
    "/campaigns/large/failures",
    "/contacts",
    "/contacts/c777",
    "/segments/everybody",
)


def populate(engine: Engine, contacts: int, now: datetime) -> None:
    """Make the world: who joined over the last two months, passed the steps since, or waits at the next."""
    for day in range(-DAYS - 1, 2):
        ensure_partitions(engine, now + timedelta(days=day))
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO contact (key, email, fields, timezone) SELECT 'c' || n, 'c' || n || '@example.org', "
                "jsonb_build_object('country', CASE WHEN n % 3 = 0 THEN 'FR' ELSE 'DE' END), "
                "(ARRAY['Europe/Paris', 'America/New_York', NULL])[n % 3 + 1] FROM generate_series(1, :n) AS n"
            ),
            {"n": contacts},
        )
        conn.execute(text("INSERT INTO segment (key, name) VALUES ('everybody', 'Everybody')"))
        conn.execute(text("INSERT INTO email (key, subject, html) VALUES ('hello', 'Hello', '<p>Hello')"))
        conn.execute(
            text("INSERT INTO segment_member (contact_id, segment_id, changed_at) SELECT id, 1, :now FROM contact"),
            {"now": now},
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "large.yaml"
            path.write_text(CAMPAIGN, encoding="utf-8")
            plan = campaign_plan.plan(conn, campaigns.read(path, default_zone=ZONE), zone=ZONE)
        began = now - timedelta(days=DAYS + 1)
        apply_campaign.apply(conn, plan, backfill=False, reschedule=False, who="benchmark", now=began, zone=ZONE)
        _members(conn, now)
        _messages(conn)
        _counters(conn)


def _members(conn: Connection, now: datetime) -> None:
    # A prime spreads who joined when over the ids; one of twenty has left.
    joined = "CAST(:now AS timestamptz) - n * 7919 % :seconds * interval '1 second'"
    conn.execute(
        text(
            "INSERT INTO membership (contact_id, campaign_id, added_at, arrival, left_at, departure) "
            f"SELECT n, 1, {joined}, 'segment', CASE WHEN n % 20 = 0 THEN CAST(:now AS timestamptz) END, "
            "CASE WHEN n % 20 = 0 THEN CAST('segment' AS departure) END FROM (SELECT id AS n FROM contact) AS contact"
        ),
        {"now": now, "seconds": DAYS * 86_400},
    )
    for step, who, result, later, detail in PASSED:
        conn.execute(
            text(
                "INSERT INTO outcome (contact_id, step_id, rotation, passage, at, result, detail) "
                f"SELECT n, (SELECT id FROM step WHERE key = :step), 1, 1, at, CAST({result} AS result), {detail} "
                "FROM (SELECT contact_id AS n, added_at + CAST(:later AS interval) AS at FROM membership) AS member "
                f"WHERE {who} AND at < :now ORDER BY at"
            ),
            {"step": step, "later": later, "now": now},
        )
    conn.execute(
        text(
            "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
            "SELECT outcome.contact_id, child.id, 1, 1, 1, CAST('delay' AS wait_reason), outcome.at, "
            "CAST(:now AS timestamptz) + outcome.contact_id * 7919 % 259200 * interval '1 second' "
            "FROM outcome JOIN step ON step.id = outcome.step_id AND step.key = 'opened' "
            "JOIN step AS child ON child.key = CASE WHEN outcome.result = 'yes' THEN 'thank' ELSE 'remind' END "
            "JOIN membership ON membership.contact_id = outcome.contact_id AND left_at IS NULL "
            "UNION ALL SELECT contact_id, step.id, 1, 1, 1, CAST('decision' AS wait_reason), added_at, 'infinity' "
            "FROM membership JOIN step ON step.key = 'some_day' WHERE left_at IS NULL AND contact_id % 4 = 0"
        ),
        {"now": now},
    )


def _messages(conn: Connection) -> None:
    conn.execute(
        text(
            "INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, template, state, due_at, "
            "created_at, sent_at, error) SELECT contact_id, '1-' || step_id || '-' || contact_id || '-1', 1, step_id, "
            "1, 'email', 'hello', CAST(CASE WHEN contact_id % 500 = 3 THEN 'failed' ELSE 'sent' END AS message_state), "
            "at, at, CASE WHEN contact_id % 500 <> 3 THEN at END, "
            "CASE WHEN contact_id % 500 = 3 THEN '550 no such mailbox' END "
            "FROM outcome JOIN step ON step.id = step_id AND step.key = 'hello' WHERE result = 'done'"
        )
    )


def _counters(conn: Connection) -> None:
    conn.execute(
        text(
            "INSERT INTO step_count SELECT step_id, (at AT TIME ZONE 'UTC')::date, result, contact_id % 32, count(*) "
            "FROM outcome GROUP BY 1, 2, 3, 4"
        )
    )
    counted = (
        "SELECT 'added' AS what, added_at AS at, contact_id FROM membership "
        "UNION ALL SELECT 'left', left_at, contact_id FROM membership WHERE left_at IS NOT NULL "
        "UNION ALL SELECT 'emails_sent', sent_at, contact_id FROM message WHERE sent_at IS NOT NULL"
    )
    conn.execute(
        text(
            "INSERT INTO campaign_count SELECT 1, (at AT TIME ZONE 'UTC')::date, what, contact_id % 32, count(*) "
            f"FROM ({counted}) AS counted GROUP BY 2, 3, 4"
        )
    )
    conn.execute(
        text(
            "INSERT INTO campaign_hour_count SELECT 1, date_trunc('hour', at), what, contact_id % 32, count(*) "
            f"FROM ({counted}) AS counted WHERE what <> 'left' GROUP BY 2, 3, 4"
        )
    )


def measure(engine: Engine) -> dict[str, float]:
    """Return the milliseconds of each page: the median of some, after a first one."""
    app = make_app(engine, None, Settings(), open_to_all=True)
    found = {}
    with TestClient(app) as http:
        for page in PAGES:
            http.get(page).raise_for_status()
            took = []
            for _ in range(RUNS):
                began = time.perf_counter()
                http.get(page)
                took.append((time.perf_counter() - began) * 1000)
            found[page] = statistics.median(took)
    return found


def run(server: Server, contacts: int, console: Console) -> dict[str, Any]:
    server.administer("CREATE DATABASE pages")
    with server.engine("pages") as engine:
        schema.upgrade(engine)
        populate(engine, contacts, datetime.now(UTC).replace(microsecond=0))
    with server.bare("pages") as conn:
        conn.execute("VACUUM ANALYZE")
        (outcomes,) = conn.execute("SELECT count(*) FROM outcome").fetchone() or (0,)
        (waits,) = conn.execute("SELECT count(*) FROM wait").fetchone() or (0,)
    console.print(f"{contacts:,} contacts, {outcomes:,} outcomes, {waits:,} waits", highlight=False)
    with server.engine("pages") as engine:
        return {"contacts": contacts, "outcomes": outcomes, "waits": waits, "ms": measure(engine)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the pages of a large campaign.")
    parser.add_argument("--contacts", type=int, default=1_000_000, help="contacts of the campaign (1,000,000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    console = Console(stderr=True)
    with a_server(options.contacts) as server:
        figures = run(server, options.contacts, console)
    table = Table("page", title=f"{options.contacts:,} contacts")
    table.add_column("ms", justify="right")
    for page, took in figures["ms"].items():
        table.add_row(page, f"{took:.1f}")
    Console(width=110).print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
