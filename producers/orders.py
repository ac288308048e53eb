"""What may stand on a queue of orders: anything else ends when it is read, on every broker alike."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

import structlog
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.common import q_name
from dramatiq.encoder import JSONEncoder
from dramatiq.errors import DecodeError

from parcours.domain.jobs import Order

log = structlog.get_logger()

# What ours are delayed by at most, with room; a message that asks for more is looked at now.
LONGEST_DELAY_MS = 600_000
# Bytes of a message. Ours have a few hundred, and those that are tried again also the text of an error.
MOST_BYTES = 1_000_000
MOST_CHARACTERS = 40
_MOST = {"step_id": 2**31 - 1, "sweep_id": 2**63 - 1, "round": 100_000, "look": 100}
_LATEST_MS = 2**53
_ORDERS = {order.actor: order for order in Order.__subclasses__()}
_hints = {order.actor: get_type_hints(order) for order in _ORDERS.values()}
# The parts of a message, and what each is.
_PARTS: dict[str, tuple[type, ...]] = {
    "queue_name": (str,),
    "actor_name": (str,),
    "args": (list, tuple),
    "kwargs": (dict,),
    "options": (dict,),
    "message_id": (str,),
    "message_timestamp": (int,),
}
# What we or dramatiq write beside an order's arguments.
_OPTIONS: dict[str, type] = {
    "retries": int,
    "traceback": str,
    "requeue_timestamp": int,
    "eta": int,
    "redis_message_id": str,
}
INVALID = "it is not a valid message"
_ADVICE = (
    "No work of Parcours is lost. If this repeats, update all processes to one version. If they have one, another "
    "program writes to the queues: set a password on the broker."
)


class TolerantEncoder(JSONEncoder):
    """Reads what is no message as one without an id, which is refused; an error would stop the queue."""

    def decode(self, data: bytes) -> dict[str, Any]:
        found = self.readable(data)
        if found is None:
            unreadable = {"queue_name": "", "actor_name": "", "args": (), "kwargs": {}}
            return {**unreadable, "options": {}, "message_id": "", "message_timestamp": 0}
        return found

    def readable(self, data: bytes) -> dict[str, Any] | None:
        """Return a message, whatever it asks for; None if it is none."""
        if len(data) > MOST_BYTES:
            return None
        try:
            found = super().decode(data)
        except (DecodeError, ValueError, RecursionError):
            return None
        if (
            isinstance(found, dict)
            and found.keys() == _PARTS.keys()
            and all(isinstance(found[name], types) for name, types in _PARTS.items())
            and isinstance(found["options"].setdefault("redis_message_id", found["message_id"]), str)
        ):
            return found
        return None


def id_in(data: bytes) -> str | None:
    """Return the id by which Redis knows a message; None if it is no message."""
    found = TolerantEncoder().readable(data)
    if found is None:
        return None
    id_: str = found["options"]["redis_message_id"]
    # What a client of Redis cannot write is no id of ours.
    return id_ if id_ and id_.isascii() else None


def why_no_order(actor: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return why what stands on a queue is no order of ours, or None when it is one."""
    order = _ORDERS.get(actor)
    if order is None:
        return "unknown task"
    known = {each.name: each for each in fields(order)}
    if args or not kwargs.keys() <= known.keys():
        return "the arguments are invalid"
    missing = {name for name, each in known.items() if each.default is MISSING} - kwargs.keys()
    if missing:
        return f"{min(missing)} is missing"
    for name, value in kwargs.items():
        if not _fits(name, value, _hints[actor][name]):
            return f"{name} has an invalid value"
    return None


def _fits(name: str, value: object, hint: Any) -> bool:
    allowed = get_args(hint) or (hint,)
    if value is None:
        return type(None) in allowed
    if isinstance(value, bool) or type(value) not in allowed:
        return False
    if isinstance(value, int):
        return 0 <= value <= _MOST[name]
    return isinstance(value, str) and len(value) <= MOST_CHARACTERS


def why_refused(queue: str, message: MessageProxy) -> str | None:
    """Return why a message may not be taken from the queue on which it stands, or None when it may."""
    id_ = message.message_id
    if not id_ or len(id_) > MOST_CHARACTERS or not (id_.isascii() and id_.isprintable()):
        return INVALID
    if type(message.message_timestamp) is not int or not 0 <= message.message_timestamp <= _LATEST_MS:
        return "the time is invalid"
    why = why_no_order(message.actor_name, message.args, message.kwargs)
    if why is not None:
        return why
    # A worker acknowledges on the queue that is named, and its thread ends when it does not read that one.
    if message.queue_name != queue or _ORDERS[message.actor_name].queue != q_name(queue):
        return "it is for another queue"
    # What is delayed on a queue of what is not takes the place of others there.
    if ("eta" in message.options) is (queue == q_name(queue)) or not _options_fit(message.options):
        return "the options are invalid"
    return None


def _options_fit(options: Mapping[str, Any]) -> bool:
    for name in options.keys() & _OPTIONS.keys():
        value = options[name]
        if type(value) is not _OPTIONS[name] or (isinstance(value, int) and value < 0):
            return False
    return True


def refuse(queue: str, actor: str, why: str) -> None:
    """Tell of what was removed from a queue."""
    log.warning("order_refused", queue=queue, actor=actor[:MOST_CHARACTERS], why=why, advice=_ADVICE)


class OrdersOnly(Consumer):
    """Reads a queue, and ends what is no order of ours: anybody who reaches the broker can write to its queues."""

    def __init__(self, inner: Consumer, queue: str) -> None:
        self._inner = inner
        self._queue = queue

    def __next__(self) -> MessageProxy | None:
        """Return the next order; None when there is none yet, or what came is refused."""
        message = next(self._inner)
        if message is None:
            return None
        why = why_refused(self._queue, message)
        if why is not None:
            refuse(self._queue, message.actor_name, why)
            self._inner.ack(message)
            return None
        _tidy(message.options)
        return message

    def ack(self, message: MessageProxy) -> None:
        self._inner.ack(message)

    def nack(self, message: MessageProxy) -> None:
        self._inner.nack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        self._inner.requeue(messages)

    def close(self) -> None:
        self._inner.close()


def _tidy(options: dict[str, Any]) -> None:
    # Options decide how often and how long something is tried, and what is called then.
    for name in options.keys() - _OPTIONS.keys():
        del options[name]
    if options.get("eta", 0) > time.time() * 1000 + LONGEST_DELAY_MS:
        options["eta"] = 0


def read_orders_only(broker: Broker) -> None:
    """Let whoever consumes from a broker see orders of ours alone."""
    consume = broker.consume

    def orders(queue_name: str, prefetch: int = 1, timeout: int = 30_000) -> Consumer:
        return OrdersOnly(consume(queue_name, prefetch, timeout), queue_name)

    broker.consume = orders  # type: ignore[method-assign]
