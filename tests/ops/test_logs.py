"""One line a message, one shape for every line, and no contact data."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import pytest
import structlog
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import Retry

from parcours.ops.logs import FLOODABLE, LINES_A_MINUTE, FloodLimit, OneLineMiddleware, bind_to_line, configure
from tests.docs.reference import log_events


class RowError(Exception):
    """Stands in for a database's error: the first line says what, the next ones quote the row."""


class ValueDoesNotFitError(Exception):
    sqlstate = "22P02"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "dramatiq", "parcours")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    broker = StubBroker(middleware=[OneLineMiddleware()])
    broker.emit_after("process_boot")
    yield broker
    broker.flush_all()
    broker.close()


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return read


Lines = Callable[[], list[dict[str, Any]]]


@contextmanager
def worker_of(broker: StubBroker, threads: int = 1) -> Iterator[dramatiq.Worker]:
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=threads)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def handle(broker: StubBroker, *messages: dramatiq.Message[Any]) -> None:
    with worker_of(broker) as worker:
        for queue in {message.queue_name for message in messages}:
            broker.join(queue, timeout=600_000, fail_fast=False)
        worker.join()


def test_a_handled_message_writes_one_line_with_what_was_bound(broker: StubBroker, lines: Lines) -> None:
    @dramatiq.actor(broker=broker, queue_name="executor")
    def execute(step_id: int) -> None:
        bind_to_line(step_id=step_id, claimed=2)
        bind_to_line(claimed=3)

    configure("json", "INFO")
    message = execute.send(7)
    handle(broker, message)
    (line,) = lines()
    assert line.pop("duration_ms") >= 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "message_handled",
        "level": "info",
        "queue": "executor",
        "actor": "execute",
        "message_id": message.message_id,
        "step_id": 7,
        "claimed": 3,
    }


def test_a_failed_message_writes_one_line_with_its_error_and_no_row(broker: StubBroker, lines: Lines) -> None:
    @dramatiq.actor(broker=broker)
    def execute() -> None:
        bind_to_line(claimed=1)
        raise RowError("duplicate key\nDETAIL: Key (email)=(ada@example.com) already exists.")

    configure("json", "INFO")
    handle(broker, execute.send())
    (line,) = lines()
    assert (line["event"], line["level"], line["claimed"]) == ("message_failed", "error", 1)
    assert (line["error"], line["text"]) == ("RowError", "duplicate key")
    assert "test_logs.py:" in line["where"]
    assert "ada@example.com" not in json.dumps(line)


def test_a_value_that_the_database_quotes_is_left_out(broker: StubBroker, lines: Lines) -> None:
    @dramatiq.actor(broker=broker)
    def execute() -> None:
        raise ValueDoesNotFitError('invalid input syntax for type bigint: "ada@example.com"')

    configure("json", "INFO")
    handle(broker, execute.send())
    (line,) = lines()
    assert line["text"] == "SQLSTATE 22P02: a value does not fit"


def test_asking_for_another_turn_is_a_warning(broker: StubBroker, lines: Lines) -> None:
    @dramatiq.actor(broker=broker)
    def execute() -> None:
        raise Retry("later")

    configure("json", "INFO")
    handle(broker, execute.send())
    (line,) = lines()
    assert (line["event"], line["level"]) == ("message_failed", "warning")


def test_messages_handled_at_once_keep_their_lines_apart(broker: StubBroker, lines: Lines) -> None:
    together = threading.Barrier(4)

    @dramatiq.actor(broker=broker)
    def execute(step_id: int) -> None:
        together.wait(timeout=600)
        bind_to_line(step_id=step_id)
        together.wait(timeout=600)

    configure("json", "INFO")
    sent = {execute.send(number).message_id: number for number in range(4)}
    with worker_of(broker, threads=4) as worker:
        broker.join("default", timeout=600_000)
        worker.join()
    assert {line["message_id"]: line["step_id"] for line in lines()} == sent


def test_other_lines_of_a_message_carry_its_actor_and_later_ones_do_not(broker: StubBroker, lines: Lines) -> None:
    @dramatiq.actor(broker=broker)
    def execute() -> None:
        structlog.get_logger().info("campaign_stopped", campaign_id=1)
        logging.getLogger("sqlalchemy.pool").warning("connection lost")

    configure("json", "INFO")
    message = execute.send()
    handle(broker, message)
    structlog.get_logger().info("worker_stopped")
    *within, after = lines()
    assert [line["event"] for line in within] == ["campaign_stopped", "connection lost", "message_handled"]
    assert {line["message_id"] for line in within} == {message.message_id}
    assert after.keys() == {"event", "level", "timestamp"}


def test_libraries_are_heard_from_warning_on_in_the_same_shape(lines: Lines) -> None:
    configure("json", "DEBUG")
    for name in ("dramatiq.worker", "alembic.runtime.migration", "kombu", "sqlalchemy.engine"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("%s has gone", "something")
    structlog.get_logger().debug("batch_executed", claimed=1)
    *foreign, ours = lines()
    assert [(line["logger"], line["level"], line["event"]) for line in foreign] == [
        (name, "warning", "something has gone")
        for name in ("dramatiq.worker", "alembic.runtime.migration", "kombu", "sqlalchemy.engine")
    ]
    assert (ours["event"], ours["level"]) == ("batch_executed", "debug")


def test_a_failure_without_the_middleware_is_still_told(lines: Lines) -> None:
    configure("json", "INFO")
    logging.getLogger("dramatiq.worker.WorkerThread").error("Failed to process message %s", 1)
    assert len(lines()) == 1


def test_lines_below_the_level_are_not_written(lines: Lines) -> None:
    configure("json", "ERROR")
    structlog.get_logger().warning("batch_executed")
    logging.getLogger("kombu").warning("slow")
    assert lines() == []


def test_configuring_twice_writes_each_line_once(lines: Lines) -> None:
    configure("json", "INFO")
    configure("json", "INFO")
    structlog.get_logger().info("tick_started")
    assert len(lines()) == 1


def test_json_where_there_is_no_terminal(lines: Lines) -> None:
    configure(None, "INFO")
    structlog.get_logger().info("tick_started")
    assert lines()[0]["event"] == "tick_started"


def test_columns_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console", "INFO")
    structlog.get_logger().info("tick_started", campaign_id=1)
    written = capsys.readouterr()
    assert "tick_started" in written.err
    assert not written.err.startswith("{")
    assert written.out == ""


def test_binding_outside_of_a_message_does_nothing() -> None:
    bind_to_line(claimed=1)


def test_a_name_of_the_line_cannot_be_bound() -> None:
    with pytest.raises(ValueError, match="its own queue"):
        bind_to_line(queue=1)


def test_lines_that_strangers_cause_are_limited(lines: Lines) -> None:
    configure("json", "INFO")
    for _ in range(1_000):
        structlog.get_logger().warning("order_refused", why="it is not a valid message")
        structlog.get_logger().warning("batch_executed")
    events = [line["event"] for line in lines()]
    assert events.count("order_refused") == LINES_A_MINUTE
    assert events.count("batch_executed") == 1_000


def test_the_next_minute_says_how_many_lines_were_left_out() -> None:
    now = 0.0
    limit = FloodLimit(lambda: now)
    for number in range(LINES_A_MINUTE + 7):
        if number < LINES_A_MINUTE:
            assert "left_out" not in limit(None, "warning", {"event": "database_away"})
        else:
            with pytest.raises(structlog.DropEvent):
                limit(None, "warning", {"event": "database_away"})
    now = 60.0
    assert limit(None, "warning", {"event": "database_away"})["left_out"] == 7
    assert "left_out" not in limit(None, "warning", {"event": "database_away"})


# Nobody outside can cause these as often as they like, for the reason given.
NOT_BY_STRANGERS = {
    "campaign_unreadable": "once a claim of its lane",
    "campaign_paused": "once a change by a user, or once when a campaign stops itself",
    "campaign_published": "once a change by a user",
    "consumer_failed": "the process pauses or ends",
    "events_acted_on": "once a batch",
    "events_stored": "once a batch",
    "event_not_judged": "a person replays dead letters",
    "files_of_erased_contacts_left": "what cannot be deleted is tried again every 15 seconds",
    "health_served": "once",
    "variant_won": "once a step and a set of variants",
    "import_failed": "once an import, which a person started",
    "hint_not_published": "once, until hints are published again",
    "inbox_full": "once, until there is room",
    "messages_kept_back": "once, until messages can be sent again",
    "sending_paused": "once, until the provider responds",
    "sending_resumed": "once after the provider was paused",
    "message_failed": "once a message of the task queue, whose hints are few",
    "message_handled": "once a message of the task queue, whose hints are few",
    "part_died": "once",
    "refused_requests_not_logged": "once a second",
    "request_handled": "a number a second of its own",
    "requests_not_logged": "once a second",
    "rule_range_failed": "once a range of a rebuild",
    "rules_go_round": "once a batch, whose rules are then left alone for an hour",
    "tick": "once a second",
    "tick_interrupted": "once a second",
    "tick_leads": "once a lead",
}


def test_every_line_that_a_stranger_can_cause_is_limited() -> None:
    assert log_events().keys() == FLOODABLE | NOT_BY_STRANGERS.keys()
    assert FLOODABLE & NOT_BY_STRANGERS.keys() == set()


def test_the_flood_of_one_campaign_hides_no_line_of_another(lines: Lines) -> None:
    configure("json", "INFO")
    for _ in range(100):
        structlog.get_logger().error("step_raised", campaign="loud", step="a")
    structlog.get_logger().error("step_raised", campaign="quiet", step="a")
    assert [line["campaign"] for line in lines()] == ["loud"] * LINES_A_MINUTE + ["quiet"]


def test_lines_of_libraries_are_limited_too_and_say_how_many_were_left_out(
    lines: Lines,
) -> None:
    configure("json", "INFO")
    for number in range(100):
        logging.getLogger("some_server").warning("Invalid HTTP request received: %s", number)
    logging.getLogger("some_server").error("something else")
    assert [line["level"] for line in lines()] == ["warning"] * LINES_A_MINUTE + ["error"]
    now = time.monotonic()
    limit = FloodLimit(lambda: now)
    record = logging.LogRecord("library", logging.WARNING, "", 1, "Invalid", (), None)
    assert [limit.of_library(record) for _ in range(LINES_A_MINUTE + 3)] == [True] * LINES_A_MINUTE + [False] * 3
    now += 60
    assert limit.of_library(record)
    logging.getLogger("library").handle(record)
    assert lines()[-1]["left_out"] == 3
