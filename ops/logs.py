"""Logs: one shape for every line, and one line for every message handled.

No contact data ever stands in a log: no address, no name, no field, no event's content. What
may stand there are ids, counts, durations and the keys of campaigns and steps.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from traceback import format_tb
from typing import TYPE_CHECKING, Any, Literal, TextIO

import dramatiq
import structlog
from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.middleware import Interrupt
from structlog.stdlib import ProcessorFormatter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from dramatiq import Broker, MessageProxy
    from structlog.typing import EventDict, Processor

LOGGER = "parcours"
# What the line already says by itself.
TAKEN = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "logger",
        "actor",
        "message_id",
        "queue",
        "duration_ms",
        "error",
        "text",
        "where",
    }
)
TEXT_LIMIT = 300
FRAMES = 6
# Lines that a stranger can have written as often as they like: so many of each in a minute and process. Whoever asks
# for pages or health, fills in forms, publishes events, receives messages, or writes to a queue is a stranger here.
FLOODABLE = frozenset(
    {
        *("broker_away", "database_away", "database_busy", "figures_not_read"),
        *("request_failed", "request_refused_by_database", "sighting_kept", "sightings_lost"),
        *("event_buried", "event_not_stored", "event_not_understood", "event_refused", "form_field_not_understood"),
        *(
            "member_left_out",
            "member_not_let_go",
            "member_not_let_in",
            "step_raised",
            "delivery_failed",
            "order_refused",
        ),
        *(
            "entry_refused",
            "event_without_key",
            "rule_failed",
            "exit_rule_failed",
            "decision_rule_failed",
            "rules_not_asked",
            "run_not_begun",
        ),
        *("provider_failed", "provider_not_understood", "provider_unusable", "text_command_of_nobody"),
    }
)
LINES_A_MINUTE = 20
# What a line names that its kind is counted by, so that one campaign's flood hides no other's: few of each.
_APART = ("campaign", "campaign_id", "step", "step_id", "route")

log = structlog.get_logger()


@dataclass
class _Line:
    """The line of the message in hand, until it is written."""

    started: float
    numbers: dict[str, int | float] = field(default_factory=dict)


_line: ContextVar[_Line | None] = ContextVar("parcours_line", default=None)


def bind_to_line(**numbers: int | float) -> None:
    """Add numbers to the line of the message in hand; a name bound again takes its last value.

    Each message has its own line, also when threads handle several at once. Outside of a
    message it does nothing, so the same code runs with `--inline`. Ids and counts only,
    never contact data.

    Raises ValueError for a name that the line uses itself.
    """
    if taken := TAKEN & numbers.keys():
        raise ValueError(f"the line has its own {', '.join(sorted(taken))}; bind another name")
    line = _line.get()
    if line is not None:
        line.numbers.update(numbers)


class FloodLimit:
    """Leaves out lines that come too often; the next one written says in `left_out` how many those were."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # By kind: when its minute began, lines written in it, lines left out since one was written.
        self._counts: dict[tuple[Any, ...], tuple[float, int, int]] = {}

    def __call__(self, _logger: Any, _method: str, line: EventDict) -> EventDict:
        if line.get("event") not in FLOODABLE:
            return line
        left_out = self._left_out(line["event"], *(line.get(name) for name in _APART))
        if left_out is None:
            raise structlog.DropEvent
        return {**line, "left_out": left_out} if left_out else line

    def of_library(self, record: logging.LogRecord) -> bool:
        """Return whether a line of a library is written; they tell of strangers' requests too.

        Counted by logger and level, since their words may be made of anything.
        """
        if record.name == LOGGER:
            return True
        left_out = self._left_out(record.name, record.levelno)
        if left_out:
            record.__dict__["left_out"] = left_out
        return left_out is not None

    def _left_out(self, *kind: Any) -> int | None:
        """Count a line of a kind; return how many were left out before it, or None when it is left out itself."""
        now = self._clock()
        with self._lock:
            began, written, left_out = self._counts.get(kind, (now, 0, 0))
            if now - began >= 60:
                began, written = now, 0
            if written >= LINES_A_MINUTE:
                self._counts[kind] = (began, written, left_out + 1)
                return None
            self._counts[kind] = (began, written + 1, 0)
        return left_out


class OneLineMiddleware(dramatiq.Middleware):
    """Write exactly one line a message: `message_handled`, or `message_failed` with its error.

    Add it last, so that it times the actor alone. While a message is handled, every other
    line of that thread carries its `actor` and `message_id` too.

    No contact data: arguments and results are never written, and of an error only its class,
    the first line of its text and the places it passed. The database names a row's values on
    the later lines; where it quotes a value on the first, the text is left out.
    """

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        structlog.contextvars.bind_contextvars(actor=message.actor_name, message_id=message.message_id)
        _line.set(_Line(started=time.perf_counter()))

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        # Without a line, another middleware refused the message before it came to us.
        line = _line.get() or _Line(started=time.perf_counter())
        told: dict[str, Any] = {
            "queue": message.queue_name,
            "actor": message.actor_name,
            "message_id": message.message_id,
            "duration_ms": round((time.perf_counter() - line.started) * 1000, 1),
            **line.numbers,
        }
        try:
            if exception is None:
                log.info("message_handled", **told)
            else:
                # These ask for another turn; nothing is broken.
                asks_again = isinstance(exception, (Retry, RateLimitExceeded, Interrupt))
                write = log.warning if asks_again else log.error
                write(
                    "message_failed",
                    **told,
                    error=type(exception).__name__,
                    text=_text(exception),
                    where=where(exception.__traceback__),
                )
        finally:
            self._forget()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        self._forget()

    def _forget(self) -> None:
        _line.set(None)
        structlog.contextvars.unbind_contextvars("actor", "message_id")


def configure(settings_format: Literal["json", "console"] | None, level: str) -> None:
    """Set up the logs of this process, to standard error: ours from `level` on, libraries' from WARNING.

    Without a format, a terminal gets columns and everything else gets JSON, one object a
    line. Calling it again replaces what the last call set up, so no line is written twice.
    """
    form = settings_format or ("console" if _on_terminal() else "json")
    stamps: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    limit = FloodLimit()
    structlog.configure(
        processors=[
            limit,
            structlog.contextvars.merge_contextvars,
            *stamps,
            ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=lambda *_: logging.getLogger(LOGGER),
        cache_logger_on_first_use=False,
    )
    handler = _ToStandardError()
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(["left_out"]),
                *stamps,
            ],
            processors=[ProcessorFormatter.remove_processors_meta, *_rendering(form)],
        )
    )
    handler.addFilter(_is_wanted)
    handler.addFilter(limit.of_library)
    root = logging.getLogger()
    for old in list(root.handlers):
        # A plain StreamHandler is what logging.basicConfig leaves; dramatiq's command calls it.
        if type(old) in (_ToStandardError, logging.StreamHandler):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    logging.getLogger("dramatiq").setLevel(logging.WARNING)
    # Ours are sifted by structlog before they come here.
    logging.getLogger(LOGGER).setLevel(logging.DEBUG)


class _ToStandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at that moment: dramatiq's processes replace it by a pipe."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _on_terminal() -> bool:
    # In dramatiq's processes standard error is a pipe to the parent, and so never a terminal.
    return sys.stderr.isatty()


def _rendering(form: str) -> Sequence[Processor]:
    if form == "console":
        # A plain traceback, since the richer ones print the local variables: contacts.
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]


def _is_wanted(record: logging.LogRecord) -> bool:
    if record.name == LOGGER:
        return True
    # dramatiq reports a failed message with the whole traceback, and the values in it. The
    # message's own line says it already; without our middleware there is no such line.
    told = record.name == "dramatiq.worker.WorkerThread" and str(record.msg).startswith("Failed to process")
    return record.levelno >= logging.WARNING and not (told and _line.get() is not None)


def _text(error: BaseException) -> str:
    error = getattr(error, "orig", None) or error
    sqlstate = getattr(error, "sqlstate", None)
    # PostgreSQL's class 22, data exceptions: the first line quotes the value that did not fit.
    if isinstance(sqlstate, str) and sqlstate.startswith("22"):
        return f"SQLSTATE {sqlstate}: a value does not fit"
    try:
        lines = str(error).splitlines()
    # Of a step type of another package, whose errors may be broken too.
    except Exception:
        lines = []
    return lines[0][:TEXT_LIMIT] if lines else ""


def described(error: BaseException) -> dict[str, str]:
    """Return an error as a line of the log tells it where work goes on without what raised it.

    The traceback is its places and their code. Neither values of variables nor the causes of the error stand
    there, since these quote contacts.
    """
    return {
        "error": type(error).__name__,
        "text": _text(error),
        "traceback": "".join(format_tb(error.__traceback__)),
    }


def where(traceback: TracebackType | None) -> str:
    """Return the last places an error passed, the innermost last: `actors.py:12 > executor.py:80`."""
    places = []
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename.rsplit("/", 1)[-1]
        places.append(f"{file}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return " > ".join(places[-FRAMES:])
