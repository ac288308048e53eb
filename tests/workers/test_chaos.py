"""Processes killed, brokers and databases restarted, every message twice: the end is that of the calm run.

The campaign is made so that its end does not depend on timing. Decisions look back, so that their
answers are decided by which events exist; delays are none or far away; nothing runs beside a jump.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
import redis
from sqlalchemy import Connection, Engine, make_url, text

from parcours.db.clock import now as database_now
from parcours.db.engine import connect
from parcours.db.scope import Scope
from parcours.db.tables import emails, forms, outbox, segments, waits
from parcours.domain.events.parsing import parse
from parcours.domain.jobs import ExecuteDue
from parcours.ops.tokens import Tokens
from parcours.producers import event_queue
from parcours.producers.broker import make_broker, publish
from parcours.producers.files import campaigns
from parcours.services import apply_campaign, campaign_plan
from parcours.workers import events, intake
from parcours.workers.delivery.channels import nowhere
from parcours.workers.delivery.deliver import deliver_inline
from parcours.workers.delivery.render import Links
from parcours.workers.sweeps import trigger_inline, update_inline
from tests import commands, servers

ROOT = Path(__file__).parents[2]
ZONE = ZoneInfo("UTC")
# When the messages in the hands of somebody killed come back.
LEASE = timedelta(seconds=5)
SEED = int(os.environ.get("PARCOURS_TEST_SEED") or random.SystemRandom().randrange(10**6))
LATER = timedelta(days=60)

CAMPAIGNS = (
    """
campaign: second
published: true
sources: {forms: [callback]}
steps:
  - {step: joined, action: contact.points, with: {points: 100}}
  - {step: second-mail, action: email.send, with: {email: second}}
  - {step: old, action: contact.tags, with: {add: [old]}, after: 30 days}
  - {step: older, action: contact.tags, with: {add: [older]}, after: 80 days}
""",
    """
campaign: loop
published: true
sources: {segments: [vip]}
steps:
  - step: enter
    action: contact.points
    with: {points: 1}
    then:
      - step: again
        decision: page.hit
        with: {url: "https://shop.example/again"}
        look_back: 30 days
        within: 40 days
        yes:
          - {step: round, action: campaign.jump, with: {to: landing}}
        no:
          - {step: landing, action: contact.points, with: {points: 3}}
""",
    """
campaign: main
published: true
sources: {segments: [everybody], forms: [signup]}
steps:
  - step: greet
    action: contact.tags
    with: {add: [new]}
    then:
      - step: local
        condition: contact.field
        with: {field: country, operator: "=", value: FR}
        yes:
          - {step: plus, action: contact.points, with: {points: 5}}
          - step: hello
            action: email.send
            with: {email: hello}
            then:
              - step: opened
                decision: email.open
                look_back: 30 days
                yes:
                  - step: vip
                    action: contact.segments
                    with: {add: [vip]}
                    then:
                      - {step: thank, action: email.send, with: {email: thanks}}
                no:
                  - {step: remind, action: email.send, with: {email: remind}, after: 20 days}
        no:
          - {step: minus, action: contact.points, with: {points: -1}}
  - step: visit
    decision: page.hit
    with: {url: "https://shop.example/price*"}
    look_back: 30 days
    yes:
      - step: over
        action: campaign.change
        with: {add: [second]}
        then:
          - step: asked
            decision: form.submit
            with: {forms: [quote]}
            look_back: 30 days
            yes:
              - {step: quoted, action: contact.points, with: {points: 10}}
            no:
              - {step: call, action: contact.tags, with: {add: [call]}, after: 30 days}
    no:
      - {step: cold, action: contact.tags, with: {add: [cold]}, after: 40 days}
      - {step: colder, action: contact.points, with: {points: -2}, after: 45 days}
  - step: later
    action: contact.points
    with: {points: 1}
    after: 50 days
    then:
      - step: city
        condition: contact.field
        with: {field: city, operator: "=", value: Lyon}
        yes:
          - {step: local-points, action: contact.points, with: {points: 7}}
        no:
          - {step: elsewhere, action: contact.tags, with: {add: [elsewhere]}}
  - {step: far, action: contact.points, with: {points: 1000}, after: 90 days}
""",
)
CONTACTS = 280


def a_world(engine: Engine, folder: Path) -> None:
    """280 contacts, a third of them French, a tenth without an address; three campaigns; nobody is anywhere."""
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO contact (key, email, fields) SELECT 'c' || n, "
                "CASE WHEN n % 10 > 0 THEN 'c' || n || '@example.com' END, "
                "jsonb_build_object('country', CASE WHEN n % 3 < 2 THEN 'FR' ELSE 'DE' END) "
                "FROM generate_series(1, :n) AS n"
            ),
            {"n": CONTACTS},
        )
        for key in ("everybody", "vip"):
            segments.save(conn, key, name=None, public=True, published=True)
        for key in ("signup", "quote", "callback"):
            forms.create(conn, key, key, False)
        now = database_now(conn)
        for key in ("hello", "thanks", "remind", "second"):
            emails.save(conn, emails.Email(key, key, None, "Hello", None, True), now=now)
    for definition in CAMPAIGNS:
        path = folder / "campaign.yaml"
        path.write_text(definition, encoding="utf-8")
        with engine.begin() as conn:
            plan = campaign_plan.plan(conn, campaigns.read(path, default_zone=ZONE), zone=ZONE)
            apply_campaign.apply(conn, plan, backfill=False, reschedule=False, who="test", now=now, zone=ZONE)


Event = dict[str, Any]


def event(type_: str, contact: str, at: datetime, **data: Any) -> Event:
    name = f"{type_} {contact} {json.dumps(data)}"
    return {
        "specversion": "1.0",
        "id": name,
        "source": "test",
        "type": type_,
        "subject": contact,
        "time": at.isoformat(),
        "data": data,
    }


def first_wave(at: datetime) -> list[Event]:
    """Who comes in, what they do, and what is said of them, in any order."""
    made: list[Event] = []
    soon = at + timedelta(seconds=1)
    for n in range(1, CONTACTS + 1):
        key = f"c{n}"
        if n <= 240:
            made.append(event("segment.contact_added", key, at, segment="everybody"))
        else:
            made.append(event("form.submitted", key, at, form="signup", fields={"n": n}))
        made.append(event("contact.changed", key, at, fields={"city": "Paris"}, tags=["said"]))
        made.append(event("contact.changed", key, soon, fields={"city": "Lyon" if n % 4 else "Nice"}))
        if n % 2:
            made.append(event("page.hit", key, at, url=f"https://shop.example/price/{n}", campaign="main"))
        if n % 7 < 4:
            made.append(event("page.hit", key, at, url="https://shop.example/again"))
        if n % 5 < 2:
            made.append(event("form.submitted", key, at, form="quote", fields={"what": "all"}))
        if n % 4 < 2:
            made.append(event("email.opened", key, at, email="hello"))
    for n in range(1, 21):
        # Nobody has heard of them before.
        made.append(event("segment.contact_added", f"x{n}", at, segment="everybody"))
        made.append(event("page.hit", f"x{n}", at, url="https://shop.example/price/x"))
    return made


def second_wave(at: datetime) -> list[Event]:
    """Who leaves, does not want more, or wants to be forgotten, once the first wave is done."""
    made = [event("segment.contact_removed", f"c{n}", at, segment="everybody") for n in range(7, 240, 9)]
    made += [event("email.unsubscribed", f"c{n}", at) for n in range(3, 240, 11)]
    made += [event("email.bounced", f"c{n}", at) for n in range(3, 240, 13)]
    made += [event("contact.deleted", f"c{n}", at) for n in range(20, 240, 40)]
    return made


# What there is in the end, by keys and without the instants at which it happened to be written.
QUESTIONS = {
    "outcomes": "SELECT c.key, s.key, o.rotation, o.passage, o.result::text, count(*) FROM outcome o "
    "JOIN contact c ON c.id = o.contact_id JOIN step s ON s.id = o.step_id GROUP BY 1, 2, 3, 4, 5",
    "waits": "SELECT c.key, s.key, w.rotation, w.passage, w.reason::text, w.attempt FROM wait w "
    "JOIN contact c ON c.id = w.contact_id JOIN step s ON s.id = w.step_id",
    "memberships": "SELECT c.key, g.key, m.rotation, m.arrival::text, m.manual, m.departure::text FROM membership m "
    "JOIN contact c ON c.id = m.contact_id JOIN campaign g ON g.id = m.campaign_id",
    "contacts": "SELECT key, email, points, fields::text, last_active_at FROM contact",
    "tags": "SELECT c.key, t.tag FROM contact_tag t JOIN contact c ON c.id = t.contact_id",
    "segments": "SELECT c.key, s.key, m.active, m.manually_added FROM segment_member m "
    "JOIN contact c ON c.id = m.contact_id JOIN segment s ON s.id = m.segment_id",
    "submissions": "SELECT c.key, f.key, s.fields::text FROM form_submission s "
    "JOIN contact c ON c.id = s.contact_id JOIN form f ON f.id = s.form_id",
    "messages": "SELECT c.key, s.key, m.rotation, split_part(m.key, '-', 4), m.template, m.address, "
    "m.state::text FROM message m JOIN contact c ON c.id = m.contact_id JOIN step s ON s.id = m.step_id",
    "do not contact": "SELECT c.key, d.channel, d.reason FROM do_not_contact d JOIN contact c ON c.id = d.contact_id",
    "history": "SELECT c.key, e.source, e.id FROM event e JOIN contact c ON c.id = e.contact_id",
    "step counters": "SELECT s.key, n.result::text, sum(n.n)::bigint FROM step_count n "
    "JOIN step s ON s.id = n.step_id GROUP BY 1, 2 HAVING sum(n.n) <> 0",
    "campaign counters": "SELECT g.key, n.what, sum(n.n)::bigint FROM campaign_count n "
    "JOIN campaign g ON g.id = n.campaign_id GROUP BY 1, 2",
}


def everything(engine: Engine) -> dict[str, Counter[Any]]:
    with engine.connect() as conn:
        return {name: Counter(tuple(row) for row in conn.execute(text(sql))) for name, sql in QUESTIONS.items()}


def differences(found: dict[str, Counter[Any]], wanted: dict[str, Counter[Any]]) -> dict[str, Any]:
    return {
        name: {
            "too much": sorted(found[name] - wanted[name], key=str)[:5],
            "missing": sorted(wanted[name] - found[name], key=str)[:5],
        }
        for name in wanted
        if found[name] != wanted[name]
    }


def calm_run(engine: Engine, first: list[Event], second: list[Event], later: datetime) -> list[dict[str, Counter[Any]]]:
    """The same in one process and in order; return what there is after the first wave, and in the end."""
    states = []
    post = nowhere(Links(Tokens("secret"), "https://parcours.example"), [])
    for wave, at in ((first, None), (second, later)):
        with engine.connect() as conn:
            now = database_now(conn)
        intake.take_in(engine, [parse(each, now=now) for each in wave], unknown_contacts="create")
        events.act_on_all(engine, {each["subject"] for each in wave}, zone=ZONE)
        for moment in (None, at):
            with engine.connect() as conn:
                when = moment or database_now(conn)
            update_inline(engine, Scope(), now=when, zone=ZONE)
            trigger_inline(engine, Scope(), now=when, zone=ZONE, batch_size=1000)
            deliver_inline(engine, post, Scope(), now=when, zone=ZONE)
        states.append(everything(engine))
    return states


class Fleet:
    """Every kind of process, several of most; who dies is started again, as systemd would."""

    ROLES = (("consume",), ("consume",), ("worker", "--threads", "2"), ("worker", "--threads", "2"), ("tick",))

    def __init__(self, engine: Engine, broker_url: str, folder: Path) -> None:
        self._log = folder / "fleet.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")},
            "PARCOURS_DATABASE_URL": engine.url.render_as_string(hide_password=False),
            "PARCOURS_BROKER_URL": broker_url,
            "PARCOURS_HOME": str(folder),
            "PARCOURS_BATCH_SIZE": "50",
            "PARCOURS_DELIVERY_LEASE_SECONDS": str(LEASE.seconds),
            "PYTHONPATH": str(ROOT),
        }
        self.processes: dict[int, commands.Started] = {}
        self.gave_up: list[str] = []

    def start(self, *numbers: int) -> None:
        for number in numbers or range(len(self.ROLES)):
            self.processes[number] = commands.Started(
                self.ROLES[number], environment=self._environment, folder=self._log.parent, log=self._log
            )

    def kill(self, number: int) -> None:
        process = self.processes[number]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(600)

    def look_after(self) -> None:
        """Start again who gave up by itself, which is noted."""
        for number, process in self.processes.items():
            if process.poll() is not None:
                self.gave_up.append(" ".join(self.ROLES[number]))
                self.start(number)

    def run(self, *arguments: str) -> commands.Ran:
        return commands.run(arguments, environment=self._environment, folder=self._log.parent, stdin=None, seconds=600)

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def close(self) -> None:
        for number in self.processes:
            self.kill(number)


class Upstream:
    """Publishes events in the background, in messages of ten, each message twice; a broker that is away loses them."""

    def __init__(self, url: str, wave: list[Event], chance: random.Random, *, seconds: float) -> None:
        self._url = url
        shuffled = chance.sample(wave, len(wave))
        messages = [shuffled[first : first + 10] for first in range(0, len(shuffled), 10)]
        self._messages = chance.sample(messages * 2, len(messages) * 2)
        self._pause = seconds / len(self._messages)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        waiting = list(self._messages)
        while waiting:
            try:
                with event_queue.publisher(self._url) as publish_events:
                    while waiting:
                        publish_events(waiting.pop())
                        time.sleep(self._pause)
            except Exception:
                time.sleep(self._pause)

    def join(self) -> None:
        self._thread.join()

    def again(self) -> None:
        """Publish everything once more, as an upstream does that is not sure of what arrived."""
        with event_queue.publisher(self._url) as publish_events:
            for message in self._messages:
                publish_events(message)


def eventually(true: Callable[[], bool], *, within: float, why: Callable[[], str] = lambda: "") -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, f"it did not happen in {within:.0f} s: {why()}"
        time.sleep(0.1)


def to_come(conn: Connection, published: list[Event]) -> int:
    """Return how many events have not arrived. What is known of an erased contact's events goes with the contact."""
    erased = {each["subject"] for each in published if each["type"] == "contact.deleted"}
    arrived = {id_ for (id_,) in conn.execute(text("SELECT id FROM event_key"))}
    left = conn.execute(text("SELECT count(*) FROM contact WHERE key = ANY(:keys)"), {"keys": list(erased)})
    wanted = {each["id"] for each in published if each["subject"] not in erased}
    return len(wanted - arrived) + int(left.scalar_one())


def unrest(engine: Engine, published: list[Event]) -> str:
    """Return what is still to be done, or nothing."""
    with engine.connect() as conn:
        now = database_now(conn)
        found = {
            "events to come": to_come(conn, published),
            "events in the inbox": int(conn.execute(text("SELECT count(*) FROM inbox")).scalar_one()),
            "steps due": len(waits.due_steps(conn, now=now)),
            "lanes of messages due": len(outbox.lanes(conn, now=now + LEASE, scope=Scope())),
        }
    return ", ".join(f"{n} {what}" for what, n in found.items() if n)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[servers.PostgreSQL]:
    made = servers.PostgreSQL()
    yield made
    made.close()


@pytest.fixture
def durable(postgresql: servers.PostgreSQL, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A migrated database on a server that the test may restart."""
    name = f"chaos_{abs(hash(request.node.name))}"
    admin = connect(postgresql.url)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text(f"CREATE DATABASE {name} TEMPLATE postgres"))
    admin.dispose()
    engine = connect(make_url(postgresql.url).set(database=name).render_as_string(hide_password=False))
    yield engine
    engine.dispose()


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[servers.Broker]:
    with servers.broker(request.param) as made:
        yield made


@pytest.fixture
def fleet(durable: Engine, broker: servers.Broker, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(durable, broker.url, tmp_path)
    yield made
    made.close()


def havoc(
    fleet: Fleet,
    broker: servers.Broker,
    postgresql: servers.PostgreSQL,
    chance: random.Random,
    acts: list[str],
) -> None:
    """Kill processes of chance, restart the broker or the database, in an order of chance."""
    for act in chance.sample(acts, len(acts)):
        time.sleep(chance.uniform(0.1, 1.0))
        if act == "broker":
            broker.kill()
            broker.start()
        elif act == "database":
            postgresql.restart()
        else:
            number = chance.randrange(len(fleet.ROLES))
            fleet.kill(number)
            fleet.start(number)
        fleet.look_after()


def test_the_end_is_that_of_the_calm_run(
    engine: Engine,
    durable: Engine,
    broker: servers.Broker,
    postgresql: servers.PostgreSQL,
    fleet: Fleet,
    tmp_path: Path,
) -> None:
    print(f"PARCOURS_TEST_SEED={SEED}")  # noqa: T201
    chance = random.Random(SEED)
    began = datetime.now(UTC)
    first, second, later = first_wave(began), second_wave(began + timedelta(seconds=2)), began + LATER
    for each in (engine, durable):
        a_world(each, tmp_path)
    calm = calm_run(engine, first, second, later)

    fleet.start()
    published: list[Event] = []
    for wave, acts, state in (
        (first, ["process"] * 7 + ["broker", "database"], calm[0]),
        (second, ["process", "database"], None),
    ):
        published = published + wave
        upstream = Upstream(broker.url, wave, chance, seconds=4.0)
        havoc(fleet, broker, postgresql, chance, acts)
        upstream.join()
        upstream.again()

        def is_quiet(published: list[Event] = published) -> bool:
            fleet.look_after()
            return not unrest(durable, published)

        def why(published: list[Event] = published) -> str:
            return unrest(durable, published) + fleet.said()[-3000:]

        eventually(is_quiet, within=600, why=why)
        with durable.connect() as conn:
            now = database_now(conn)
        update_inline(durable, Scope(), now=now, zone=ZONE)
        trigger_inline(durable, Scope(), now=now, zone=ZONE, batch_size=100)
        eventually(is_quiet, within=600, why=why)
        if state is not None:
            assert differences(everything(durable), state) == {}

    done = fleet.run("trigger", "--now", later.isoformat(), "--quiet")
    assert done.returncode == 0, done.stderr
    havoc(fleet, broker, postgresql, chance, ["process", "process", "broker"])
    for sweep in ("update", "trigger"):
        done = fleet.run(sweep, "--inline", "--quiet", "--now", later.isoformat())
        assert done.returncode == 0, done.stderr

    assert differences(everything(durable), calm[1]) == {}
    done = fleet.run("check")
    assert done.returncode == 0, done.stdout
    with durable.connect() as conn:
        dead = conn.execute(text("SELECT reason, body FROM dead_letter WHERE reason NOT LIKE '%erased%'")).all()
    assert dead == []
    print(f"gave up and were started again: {fleet.gave_up}")  # noqa: T201


def joins(engine: Engine) -> int:
    with engine.connect() as conn:
        return int(
            conn.execute(
                text("SELECT count(*) FROM outcome JOIN step ON id = step_id WHERE key = 'greet'")
            ).scalar_one()
        )


def test_every_process_goes_on_by_itself_when_database_and_broker_were_away(
    durable: Engine, broker: servers.Broker, postgresql: servers.PostgreSQL, fleet: Fleet, tmp_path: Path
) -> None:
    a_world(durable, tmp_path)
    fleet.start(0, 2, 4)

    def joins_when_published(key: str) -> None:
        with event_queue.publisher(broker.url) as publish_events:
            publish_events([event("segment.contact_added", key, datetime.now(UTC), segment="everybody")])
        before = joins(durable)
        # The consumer joins it, tick finds its kickoff, a worker runs it.
        eventually(lambda: joins(durable) > before, within=600, why=fleet.said)

    joins_when_published("c1")
    broker.kill()
    postgresql.kill()
    time.sleep(20)
    postgresql.start()
    broker.start()
    joins_when_published("c2")
    fleet.look_after()
    assert fleet.gave_up == []
    # Nor does anybody stumble over one of the two alone.
    broker.kill()
    time.sleep(2)
    broker.start()
    joins_when_published("c3")
    postgresql.restart()
    joins_when_published("c4")
    fleet.look_after()
    assert fleet.gave_up == []


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_what_a_killed_worker_held_on_redis_is_done_by_another(
    durable: Engine, broker: servers.Broker, fleet: Fleet, tmp_path: Path
) -> None:
    a_world(durable, tmp_path)
    with durable.begin() as conn:
        now = database_now(conn)
        conn.execute(
            text("INSERT INTO segment_member (contact_id, segment_id, changed_at) VALUES (1, 1, :now)"), {"now": now}
        )
    update_inline(durable, Scope(), now=now, zone=ZONE)
    with durable.connect() as conn:
        step_id = conn.execute(text("SELECT id FROM step WHERE key = 'greet'")).scalar_one()
    fleet.start(2)
    with durable.begin() as gate:  # The victim stops at its first write, holding its claim and its message.
        gate.execute(text("LOCK TABLE outcome IN ACCESS EXCLUSIVE MODE"))
        # No tick runs: only the broker can give the message to somebody else.
        sender = make_broker(broker.url)
        publish(sender, ExecuteDue(step_id))
        sender.close()
        eventually(lambda: _somebody_waits(durable), within=600, why=fleet.said)
        client = redis.Redis.from_url(broker.url)
        before = heartbeats(client)
        fleet.start(3)
        eventually(lambda: bool(heartbeats(client) - before), within=600, why=fleet.said)
        client.close()
        fleet.kill(2)
    # Ten seconds, by the timeouts that are set; more only on a machine that is busy with other things.
    eventually(lambda: joins(durable) == 1, within=600, why=fleet.said)


def heartbeats(client: redis.Redis) -> set[bytes]:
    """Return who fetches messages; those of earlier workers go meanwhile."""
    return set(cast("list[bytes]", client.zrange("parcours:__heartbeats__", 0, -1)))


def _somebody_waits(engine: Engine) -> bool:
    with engine.connect() as conn:
        found = conn.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outcome'::regclass"))
        return bool(found.scalar_one())


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_what_others_publish_after_a_flushall_still_reaches_the_queue(
    durable: Engine, broker: servers.Broker, fleet: Fleet, tmp_path: Path
) -> None:
    a_world(durable, tmp_path)
    fleet.start(0)

    def known() -> int:
        with durable.connect() as conn:
            return int(conn.execute(text("SELECT count(*) FROM event_key")).scalar_one())

    # Somebody else's publisher, which declared the queue once and keeps its connection.
    with event_queue.connection(broker.url) as conn:
        producer = conn.Producer()
        for number, lost in ((1, False), (2, True)):
            if lost:
                producer.channel.client.flushall()
                time.sleep(event_queue.DECLARE_SECONDS + 1)
            body = json.dumps(event("order.paid", f"c{number}", datetime.now(UTC)))
            producer.publish(body, exchange=event_queue.EXCHANGE, routing_key="order.paid", declare=[event_queue.QUEUE])
            eventually(lambda number=number: known() == number, within=600, why=fleet.said)  # type: ignore[misc]
