"""What every page costs on the server in a large installation: `python -m tests.benchmarks.pages`.

Contacts, 500 segments, 200 campaigns and one campaign of 300 steps, in which every contact waits; up to 200,000 of them
with failures, messages, events and dead letters. Each page, each GET of REST, and each operation of the builder on the
large tree and then the page that it leads to, is asked for through the app, without a network. Shown are the
milliseconds of some requests after a first one: median and worst by the clock, and the median of this process's own
time, which a busy machine changes little. The exit code is 1 when a median is over the limit.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from fastapi.testclient import TestClient
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine, text
from starlette.routing import compile_path

import parcours.cli  # noqa: F401  # sets how often garbage is looked for, as in every process
from parcours.db import schema
from parcours.db.clock import now as database_now
from parcours.db.partitions import ensure_partitions
from parcours.ops.settings import Settings
from parcours.web.app import make_app
from parcours.web.server import keep_what_is_loaded
from tests.benchmarks.server import Server, a_server
from tests.benchmarks.worlds import _campaign, _contacts

LIMIT_MS = 200
RUNS = 7
# Of each: failures, messages, events, outcomes and dead letters.
HISTORY = 200_000
SEGMENTS, CAMPAIGNS, STEPS = 500, 200, 300
SMALL = "steps:\n  - {step: one, action: contact.points, with: {points: 1}}\n"
PAGES = (
    *("/account", "/start", "/status", "/users", "/drafts", "/drafts/+new"),
    *("/campaigns", "/campaigns?q=small-1", "/campaigns/+new?as=yaml", "/campaigns/large", "/campaigns/large/actions"),
    *("/campaigns/large/decisions", "/campaigns/large/conditions", "/campaigns/large/contacts"),
    *("/campaigns/large/failures", "/campaigns/large/activity", "/campaigns/large/live?tab=path"),
    *("/campaigns/large/build", "/campaigns/large/build?step=step-150", "/campaigns/large/build?settings=1"),
    *("/campaigns/large/build?yaml=1", "/campaigns/large/build?q=step-15", "/campaigns/large/build?only=step-150"),
    *("/campaigns/large/build?add=1&parent=step-9&branch=then&nth=0", "/campaigns/large/build?moving=step-105"),
    *("/campaigns/large/build/review", "/campaigns/large/edit", "/campaigns/large/clone", "/campaigns/large/publish"),
    *("/campaigns/large/pause", "/campaigns/large/delete", "/campaigns/large/versions", "/campaigns/large/versions/1"),
    *("/campaigns/large/versions/1?yaml=1", "/campaigns/large/versions/1?yaml=present"),
    *(
        "/campaigns/large/try",
        "/campaigns/large/ahead",
        "/contacts",
        "/contacts?q=c77",
        "/contacts/+new",
        "/contacts/+found?q=c77",
        "/contacts/+import",
        "/contacts/c77",
        "/contacts/c77?show=events",
        "/contacts/c77?campaign=large",
    ),
    *("/contacts/c77/edit", "/contacts/c77/erase", "/segments", "/segments?q=segment-4", "/segments/+new"),
    *("/segments/everybody", "/segments/everybody/edit", "/segments/segment-7", "/segments/segment-7/delete"),
    *("/segments?q=7", "/segments/ruled", "/segments/ruled/edit", "/contacts?q=c77%40example.org"),
    *("/emails", "/emails/+new", "/emails/hello", "/emails/hello/edit", "/emails/hello/preview", "/forms"),
    "/emails/hello/delete",
    *(
        "/",
        "/sign-in",
        "/forms/signup",
        "/forms/signup/delete",
        "/forms?q=sign",
        "/campaigns/large/versions/1/rollback",
        "/contacts/c77/leave?campaign=large",
    ),
    *("/contacts/c77/export", "/segments/segment-7/export", "/drafts/{draft}", "/drafts/{draft}/review"),
    "/drafts/{draft}/delete",
    *(
        "/contacts/+import/{upload}",
        "/contacts/+import/{upload}/delete",
        "/campaigns/large?range=all",
        "/campaigns/large/actions?range=all",
    ),
    *("/forms/signup/delete", "/forms?q=sign"),
    *("/health/live", "/health/ready", "/metrics", "/metrics/process"),
    *("/api/campaigns", "/api/campaigns/large", "/api/campaigns/large/diff?from=1&to=2", "/api/campaigns/large/log"),
    *("/api/campaigns/large/members", "/api/campaigns/large/overview", "/api/campaigns/large/versions"),
    *("/api/campaigns/large/versions/1", "/api/campaigns/large/waiting", "/api/contacts", "/api/contacts/c77"),
    *("/api/contacts/c77/campaigns", "/api/contacts/c77/export", "/api/docs", "/api/openapi.json"),
    *("/api/emails", "/api/emails/hello", "/api/emails/hello/figures", "/api/forms", "/api/forms/signup"),
    *("/api/segments", "/api/segments/everybody", "/api/segments/ruled/explain/c77", "/api/segments/segment-7/export"),
    "/api/segments/everybody/members",
)
# What costs the same in every installation: files, and what contacts and invited people open with a token; and rows of
# an upload, which is none of the pages' reading.
NOT_ASKED = {
    *("/static/{name}", "/t/c/{token}", "/t/o/{token}.gif", "/t/parcours.js", "/unsubscribe/{token}"),
    *("/invitation/{token}", "/contacts/+import/{id_}/rejected"),
}


def route_of(page: str, routes: Iterable[str]) -> str | None:
    """Return the route that answers a page: of those that fit, the one that says most itself."""
    path = page.partition("?")[0]
    fitting = [route for route in routes if compile_path(route)[0].match(path)]
    return max(fitting, key=lambda route: len(re.sub(r"\{.*?\}", "", route)), default=None)


def _tree() -> str:
    """Return steps in branches of ten, one below the other."""
    lines = ["steps:"]
    for first in range(0, STEPS, 10):
        for depth in range(10):
            pad = "  " + "    " * depth
            name = f"step-{first + depth}"
            lines += [f"{pad}- step: {name}", f"{pad}  action: contact.points", f"{pad}  with: {{points: 1}}"]
            lines += [f"{pad}  then:"] if depth < 9 else []
    return "\n".join([*lines, ""])


def populate(engine: Engine, contacts: int) -> None:
    """Make the world."""
    with engine.begin() as conn:
        now = database_now(conn)
        _contacts(conn, contacts)
        conn.execute(
            text(
                "INSERT INTO segment (key, name) SELECT 'segment-' || n, 'Segment ' || n FROM generate_series(1, :n) n"
            ),
            {"n": SEGMENTS},
        )
        conn.execute(text("INSERT INTO email (key, subject, html) VALUES ('hello', 'Hello', '<p>Hello')"))
    ensure_partitions(engine, now)
    for number in range(CAMPAIGNS - 1):
        _campaign(engine, f"small-{number}", SMALL, [f"segment-{number + 1}"])
    _campaign(engine, "large", _tree().replace("points: 1}", "points: 2}"), ["everybody"])
    large = _campaign(engine, "large", _tree(), ["everybody"])
    with engine.begin() as conn:
        rule = '{"field": "country", "operator": "=", "value": "FR"}'
        conn.execute(
            text("INSERT INTO segment (key, name, rule) VALUES ('ruled', 'Ruled', CAST(:rule AS jsonb))"),
            {"rule": rule},
        )
        steps = [large[f"step-{n}"] for n in range(STEPS)]
        _inside(conn, large["campaign_id"], steps, now)
        _history(conn, large["campaign_id"], steps, now, min(HISTORY, contacts))


def _inside(conn: Connection, campaign_id: int, steps: Sequence[int], now: datetime) -> None:
    """Have everybody wait in a campaign, spread over its steps, for a day of the next month."""
    given = {"campaign": campaign_id, "steps": list(steps), "many": len(steps), "now": now}
    conn.execute(
        text(
            "INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival) "
            "SELECT id, :campaign, 1, :now, 'segment' FROM contact"
        ),
        given,
    )
    conn.execute(
        text(
            "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
            "SELECT id, (CAST(:steps AS int[]))[1 + id % :many], :campaign, 1, 1, 'delay', "
            "CAST(:now AS timestamptz), CAST(:now AS timestamptz) + (1 + id % 30) * interval '1 day' "
            "+ id % 40009 * interval '1 second' FROM contact"
        ),
        given,
    )
    conn.execute(
        text(
            "INSERT INTO campaign_count (campaign_id, day, what, slot, n) "
            "SELECT :campaign, CAST(CAST(:now AS timestamptz) AS date), 'added', 0, count(*) FROM contact"
        ),
        given,
    )


def _history(conn: Connection, campaign_id: int, steps: Sequence[int], now: datetime, rows: int) -> None:
    """Write what happened to many of them before, most of it to one contact's neighbours, some to c77 itself."""
    given = {"campaign": campaign_id, "steps": list(steps), "many": len(steps), "now": now, "n": rows}
    for statement in HISTORY_SQL:
        conn.execute(text(statement), given)


_WHO = "FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM contact ORDER BY id LIMIT :n) AS one"
_STEP = "(CAST(:steps AS int[]))[1 + id % :many]"
_AT = "CAST(:now AS timestamptz) - n % 3000 * interval '1 second'"
HISTORY_SQL = (
    "INSERT INTO form (key, name) VALUES ('signup', 'Sign up')",
    f"INSERT INTO failure (contact_id, step_id, at, attempts, error) "
    f"SELECT id, {_STEP}, {_AT}, 1 + n % 3, 'the server answered ' || 500 + n % 20 {_WHO}",
    f"INSERT INTO outcome (contact_id, step_id, rotation, passage, at, result) "
    f"SELECT id, (CAST(:steps AS int[]))[1 + (id + 1) % :many], 1, 1, {_AT}, 'done' {_WHO}",
    f"INSERT INTO step_count (step_id, day, result, slot, n) SELECT (CAST(:steps AS int[]))[1 + (id + 1) % :many], "
    f"CAST(CAST(:now AS timestamptz) AS date), 'done', 0, count(*) {_WHO} GROUP BY 1",
    f"INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, template, address, state, due_at, "
    f"created_at, sent_at) SELECT id, 'm' || n, :campaign, {_STEP}, 1, 'email', 'hello', 'c' || id || '@example.org', "
    f"CAST(CASE WHEN n % 20 = 0 THEN 'failed' WHEN n % 7 = 0 THEN 'queued' ELSE 'sent' END AS message_state), "
    f"{_AT}, {_AT}, CASE WHEN n % 20 <> 0 AND n % 7 <> 0 THEN {_AT} END {_WHO}",
    f"INSERT INTO event (contact_id, received_at, source, id, type, at) "
    f"SELECT CASE WHEN n % 200 = 0 THEN 77 ELSE id END, {_AT}, 'shop', 'e' || n, 'page.hit', {_AT} {_WHO}",
    f"INSERT INTO dead_letter (at, origin, reason, body) SELECT {_AT}, 'event', 'unknown type', 'no json' {_WHO}",
)


@dataclass(frozen=True)
class Took:
    """Milliseconds of some requests: median and worst by the clock, and the median of this process's own."""

    median: float
    worst: float
    own: float


class Timed:
    """The milliseconds of requests; the first one, that loads what the others have, does not count."""

    def __init__(self) -> None:
        self._took: list[float] = []
        self._own: list[float] = []

    def ask(self, request: Callable[[], Any]) -> Any:
        """Send a request; return its answer."""
        began, began_own = time.perf_counter(), time.process_time()
        answer = request()
        self._took.append((time.perf_counter() - began) * 1000)
        self._own.append((time.process_time() - began_own) * 1000)
        assert answer.status_code in (200, 303), answer.text
        return answer

    @property
    def took(self) -> Took:
        return Took(statistics.median(self._took[1:]), max(self._took[1:]), statistics.median(self._own[1:]))


def measure(engine: Engine) -> Mapping[str, Took]:
    """Return what each page takes, and each operation of the builder."""
    app = make_app(engine, None, Settings(), open_to_all=True)
    found = {}
    keep_what_is_loaded()
    with TestClient(app, raise_server_exceptions=True) as http:
        made = _made(http)
        for page in (each.format(**made) for each in PAGES):
            timed = Timed()
            for _ in range(RUNS + 1):
                timed.ask(lambda page=page: http.get(page))  # type: ignore[misc]
            found[page] = timed.took
        for does, asks in (
            *((does, _operations(http, does.split()[0], fields)) for does, fields in OPERATIONS),
            ("apply", _applying(http)),
        ):
            operation, leads_to = Timed(), Timed()
            for ask in asks:
                answer = operation.ask(ask)
                assert answer.status_code == 303, answer.text
                leads_to.ask(lambda answer=answer: http.get(answer.headers["location"]))  # type: ignore[misc]
            found |= {f"build: {does}": operation.took, f"build: {does}, its page": leads_to.took}
    return found


def _made(http: TestClient) -> dict[str, str]:
    """Make what only pages make: a draft of a new campaign and an upload. Return where they are."""
    token = _one(r'name="csrf" value="([^"]+)"', http.get("/drafts/+new").text)
    draft = http.post("/drafts", data={"csrf": token, "name": "New", "template": "welcome"}, follow_redirects=False)
    rows = "key;email\n" + "".join(f"new-{n};new-{n}@example.org\n" for n in range(1000))
    upload = http.post(
        "/contacts/+import",
        data={"csrf": token},
        files={"file": ("new.csv", rows.encode())},
        follow_redirects=False,
    )
    return {
        "draft": _one(r"/drafts/(\d+)", draft.headers["location"]),
        "upload": _one(r"/(\d+)", upload.headers["location"]),
    }


def _applying(http: TestClient) -> Iterator[Callable[[], Any]]:
    """Change every step of a draft, again and again; yield what applies it."""
    for change in _operations(
        http, "yaml", {"text": _written("  # applied {n}").replace("points: {n}", "points: 7{n}")}
    ):
        change()
        page = http.get("/campaigns/large/build/review").text
        seen = {"csrf": _one(r'name="csrf" value="([^"]+)"', page), "seen": _one(r'name="seen" value="([^"]+)"', page)}

        def ask(seen: Mapping[str, str] = seen) -> Any:
            return http.post("/campaigns/large/build/review", data=seen, follow_redirects=False)

        yield ask


def _written(comment: str) -> str:
    head = "name: Large{n}\nsources: {segments: [everybody]}\n"
    return head + _tree().replace("points: 1}", "points: {n}}" + comment)


OPERATIONS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("insert", {"type": "action contact.points", "parent": "step-9", "branch": "then", "nth": "0"}),
    ("set", {"step": "step-100", "name": "Renamed {n}", "when": "now", "with-points": "5"}),
    ("copy", {"step": "step-105"}),
    ("up", {"step": "step-60"}),
    ("move", {"step": "step-5{n}", "parent": "step-209", "branch": "then", "nth": "0"}),
    ("rename", {"step": "contact-points", "key": "another-{n}"}),
    ("lift", {"step": "step-23{n}"}),
    ("remove", {"step": "step-20{-n}"}),
    ("settings", {"name": "Large {n}", "segments": "everybody", "existing": "1", "exit_on_leave": "1"}),
    ("undo", {}),
    ("redo", {}),
    ("yaml", {"text": _written("")}),
    ("yaml with comments", {"text": _written("  # number {n}")}),
)


def _one(pattern: str, page: str) -> str:
    return str(re.findall(pattern, page)[0])


def _operations(http: TestClient, does: str, fields: Mapping[str, str]) -> Iterator[Callable[[], Any]]:
    for number in range(RUNS + 1):
        page = http.get("/campaigns/large/build").text
        revision, token = _one(r'data-revision="(\d+)"', page), _one(r'name="csrf" value="([^"]+)"', page)
        own = {name: v.replace("{n}", str(number)).replace("{-n}", str(9 - number)) for name, v in fields.items()}
        data = {"csrf": token, "revision": revision, "do": does, **own}

        def ask(data: Mapping[str, str] = data) -> Any:
            return http.post("/campaigns/large/build", data=data, follow_redirects=False)

        yield ask


def run(server: Server, contacts: int) -> Mapping[str, Took]:
    server.administer("CREATE DATABASE every_page")
    with server.engine("every_page") as engine:
        schema.upgrade(engine)
        populate(engine, contacts)
    with server.bare("every_page") as conn:
        conn.execute("VACUUM ANALYZE")
    with server.engine("every_page") as engine:
        return measure(engine)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure every page of a large installation.")
    parser.add_argument("--contacts", type=int, default=20_000, help="contacts (20,000)")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with a_server(options.contacts) as server:
        figures = run(server, options.contacts)
    table = Table("page", title=f"{options.contacts:,} contacts; the limit is {LIMIT_MS} ms")
    for column in ("median ms", "worst ms", "own ms"):
        table.add_column(column, justify="right")
    for page, took in figures.items():
        over = " !" if took.median > LIMIT_MS else ""
        table.add_row(page, f"{took.median:.1f}{over}", f"{took.worst:.1f}", f"{took.own:.1f}")
    Console(width=110).print(table)
    return int(any(took.median > LIMIT_MS for took in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
