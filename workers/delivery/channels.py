"""The ways out of this process: for each channel its connections, and the threads that use them."""

from __future__ import annotations

import hashlib
import hmac
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Engine

from parcours.db.tables import installation
from parcours.domain.campaign import StopRule
from parcours.domain.messages.circuit import THRESHOLD
from parcours.domain.messages.results import Claimed, Result, Retry, Untried
from parcours.ops.logs import where
from parcours.ops.settings import Settings
from parcours.ops.tokens import Tokens
from parcours.workers.delivery import registry
from parcours.workers.delivery.registry import CHANNELS
from parcours.workers.delivery.render import Links
from parcours.workers.delivery.transport import Channel, Nowhere, Transport

log = structlog.get_logger()


class Ready(NamedTuple):
    """A message as its courier takes it, and the provider that will answer for it."""

    message: Claimed
    provider: str
    content: Any


class Outgoing:
    """One channel of this process. Its couriers are kept from batch to batch, and shared by all its threads."""

    def __init__(self, channel: Channel[Any], *idle: Transport[Any]) -> None:
        """Couriers that exist already are `idle`; others are made when they are needed."""
        self.channel = channel
        self._idle = list(idle)
        # The messages for which couriers raised since any of them answered, as far as it matters how many.
        self._raised: set[str] = set()
        self._lock = threading.Lock()
        self._free = channel.connections

    @contextmanager
    def reserved(self) -> Iterator[int]:
        """Reserve connections while a batch is claimed and sent; 0 when others of this process have them all."""
        with self._lock:
            granted, self._free = self._free, 0
        try:
            yield granted
        finally:
            with self._lock:
                self._free += granted

    def send(
        self, ready: Sequence[Ready], *, connections: int, until: float, closed: Callable[[Ready], bool]
    ) -> Iterator[list[tuple[Claimed, Result]]]:
        """Send messages in parallel and yield what became of them, group by group.

        A connection takes its next message only when its last result was yielded and the caller came back for
        more, having written it down: so a worker that dies repeats one message a connection. Messages that were
        not begun at `until`, on the monotonic clock, or that are `closed` when their turn comes, are Untried.
        """
        todo, left = deque(ready), list[Ready]()
        # What each thread has done and waits to see written; None says that it has ended.
        done: queue.SimpleQueue[tuple[list[tuple[Claimed, Result]] | None, threading.Event]] = queue.SimpleQueue()
        lock, stopped = threading.Lock(), threading.Event()

        def following() -> list[Ready]:
            batch: list[Ready] = []
            with lock:
                while todo and len(batch) < self.channel.at_once and time.monotonic() < until and not stopped.is_set():
                    each = todo.popleft()
                    (left if closed(each) else batch).append(each)
            return batch

        def work() -> None:
            courier: Transport[Any] | None = None
            try:
                while batch := following():
                    courier, results = self._carry(courier, batch)
                    written = threading.Event()
                    done.put((results, written))
                    written.wait()
            finally:
                if courier is not None:
                    self._give(courier)
                done.put((None, threading.Event()))

        working = min(connections, -(-len(ready) // self.channel.at_once))
        for nth in range(working):
            threading.Thread(target=work, name=f"{self.channel.name}-{nth}", daemon=True).start()
        waiting: list[threading.Event] = []
        try:
            while working:
                group: list[tuple[Claimed, Result]] = []
                for results, written in _drained(done):
                    working -= results is None
                    group += results or []
                    waiting.append(written)
                if group:
                    yield group
                while waiting:
                    waiting.pop().set()
            if rest := [(each.message, Untried()) for each in (*left, *todo)]:
                yield list[tuple[Claimed, Result]](rest)
        finally:
            # Where the caller gave up, what is under way is waited for and comes again when its lease ends.
            stopped.set()
            while waiting:
                waiting.pop().set()
            while working:
                results, written = done.get()
                working -= results is None
                written.set()

    def _carry(
        self, courier: Transport[Any] | None, batch: list[Ready]
    ) -> tuple[Transport[Any] | None, list[tuple[Claimed, Result]]]:
        """Return the courier and what became of messages; whatever a courier raises is that message's failure.

        After an error each message goes by itself, under its own key, so that one costs the others nothing.
        """
        try:
            if courier is None:
                courier = self._take()
            results = courier.send([each.content for each in batch])
            sent = [(each.message, _checked(result)) for each, result in zip(batch, results, strict=True)]
            self._raised.clear()
            return courier, sent
        except (Exception, SystemExit) as error:
            if len(batch) == 1:
                return courier, [(batch[0].message, self._failed(batch[0].message, error, made=courier is not None))]
        alone: list[tuple[Claimed, Result]] = []
        for each in batch:
            courier, result_of_one = self._carry(courier, [each])
            alone += result_of_one
        return courier, alone

    def _failed(self, message: Claimed, error: BaseException, *, made: bool) -> Retry:
        """Return what an error means: after several messages without any answer, it is the provider's and not theirs.

        Then the provider counts as away: messages wait for it, and keep their attempts.
        """
        result = unforeseen(message, "sending", error)
        if len(self._raised) < THRESHOLD:
            self._raised.add(message.key)
        return replace(result, away=not made or len(self._raised) >= THRESHOLD)

    def _take(self) -> Transport[Any]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self.channel.courier()

    def _give(self, courier: Transport[Any]) -> None:
        with self._lock:
            self._idle.append(courier)

    def close(self) -> None:
        """Close the connections that nobody uses at this moment."""
        with self._lock:
            idle, self._idle = self._idle, []
        for courier in idle:
            courier.close()


def _checked(result: Any) -> Result:
    """Return what a provider returned. Raises TypeError for what is no result."""
    if not isinstance(result, Result):
        raise TypeError(f"the provider returned {type(result).__name__}, which is not a result")
    return result


def unforeseen(message: Claimed, doing: str, error: BaseException) -> Retry:
    """Return what becomes of a message whose handling raised what nobody foresaw; the log says where.

    It may have to do with the moment, so it is tried as often as after any other failure, and then given up. The
    log has no text of the error, which may quote the contact; the message has it.
    """
    log.error(
        "delivery_failed",
        key=message.key,
        campaign_id=message.campaign_id,
        step_id=message.step_id,
        channel=message.channel,
        doing=doing,
        error=type(error).__name__,
        where=where(error.__traceback__),
    )
    return Retry(f"{doing} failed unexpectedly: {type(error).__name__}: {error}")


def _drained(done: queue.SimpleQueue[Any]) -> Iterator[Any]:
    """Yield what a queue holds, and wait for the first."""
    yield done.get()
    while True:
        try:
            yield done.get_nowait()
        except queue.Empty:
            return


@dataclass(frozen=True)
class Delivery:
    """All that delivering needs besides the database: the ways out, addresses of ours, rates, and patience."""

    outlets: dict[str, Outgoing]
    links: Links
    # Messages a second of a channel, over all workers; a channel without one goes as fast as it can.
    per_second: dict[str, float]
    lease_seconds: float
    # When a campaign stops itself because messages of a step are given up.
    stop: StopRule = field(default_factory=StopRule)
    # Channel to why its provider cannot be used; its messages wait.
    stopped: dict[str, str] = field(default_factory=dict)

    def close(self) -> None:
        """Close the connections that nobody uses at this moment."""
        for outlet in self.outlets.values():
            outlet.close()


def delivery_of(engine: Engine, settings: Settings) -> Delivery:
    """Return how messages leave by these settings. A provider that cannot be used stops its channel alone."""
    secret = settings.secret_key or installation.secret_key(engine)
    outlets: dict[str, Outgoing] = {}
    stopped: dict[str, str] = {}
    for name in CHANNELS:
        try:
            outlets[name] = _outgoing(settings, name, webhook_secret(settings, secret))
        except registry.UnusableProviderError as error:
            stopped[name] = str(error)
            log.error("provider_unusable", channel=name, provider=registry.chosen(settings, name), text=str(error))
    rates = {
        "email": settings.email_per_second,
        "sms": settings.sms_per_second,
        "push": settings.push_per_second,
        "webhook": settings.webhook_per_second,
    }
    return Delivery(
        outlets,
        Links(Tokens(secret), settings.public_url),
        {name: rate for name, rate in rates.items() if rate is not None},
        settings.delivery_lease_seconds,
        settings.stop_rule,
        stopped,
    )


def _outgoing(settings: Settings, name: str, signing: str) -> Outgoing:
    """Return the way out of a channel. Raises UnusableProviderError."""

    def courier() -> Transport[Any]:
        return registry.make(settings, name, signing=signing)

    first = registry.make(settings, name, signing=signing)
    connections = settings.delivery_connections if first.connections is None else first.connections
    where = registry.chosen(settings, name)
    return Outgoing(
        Channel(name, courier, where, max(1, first.at_once), max(1, connections), to_files=first.to_files), first
    )


def nowhere(links: Links, taken: list[str]) -> Delivery:
    """Return a delivery that does everything but send, and adds the keys of what it took: for simulations."""
    channels = [Channel(name, lambda: Nowhere(taken), "nowhere", at_once=1000, connections=1) for name in CHANNELS]
    return Delivery({channel.name: Outgoing(channel) for channel in channels}, links, {}, 600)


def webhook_secret(settings: Settings, secret: str) -> str:
    """Return what signs webhooks: the setting, else one that is made of the installation's and tells nothing of it."""
    if settings.webhook_secret is not None:
        return settings.webhook_secret
    return hmac.new(secret.encode(), b"parcours.webhook", hashlib.sha256).hexdigest()
