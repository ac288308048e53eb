"""Messages that leave: what a provider answers, and what becomes of the message and of the provider then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from parcours.domain.messages.results import Bounced, Cancelled, Claimed, GaveUp, Result, Retry, Sent, Untried
from parcours.domain.retries import message_again
from parcours.domain.walk.rows import Failure

State = Literal["queued", "sending", "sent", "failed", "cancelled"]


class MessageRow(NamedTuple):
    """What is written of a message, its columns in the order of the statement."""

    key: str
    leased_until: datetime
    state: State
    channel: str
    template: str | None
    address: str | None
    # None: it stays as it is.
    payload: Mapping[str, Any] | None
    attempts: int
    due_at: datetime
    error: str | None
    variant: str | None
    locale: str | None
    bounced: bool
    held: str | None = None


@dataclass(slots=True)
class Settlement:
    """What a unit of work writes: messages, who failed, and whose addresses do not exist."""

    rows: list[MessageRow] = field(default_factory=list)
    # By message.
    failures: dict[str, Failure] = field(default_factory=dict)
    # Channel to the contacts whose address on it does not exist.
    bounced: dict[str, list[int]] = field(default_factory=dict)


def settle(results: Iterable[tuple[Claimed, Result]], *, paused: Mapping[str, datetime], now: datetime) -> Settlement:
    """Return what becomes of messages that were tried.

    `paused` says, by the key of messages whose provider is away altogether, until when nobody tries. Whether and when
    a message is tried again is decided in `domain/retries.py`. Then, or when the provider will never take it, the next
    channel of `payload.fallback` has its turn under the same key; without one, it has failed.
    """
    done = Settlement()
    for message, result in results:
        match result:
            case Sent():
                done.rows.append(_row(message, "sent", message.attempts + 1, now))
            case Untried(until, held):
                done.rows.append(_row(message, "queued", message.attempts, until or now)._replace(held=held))
            case Retry(error, _, away):
                again = message_again(message, result, paused_until=paused.get(message.key), now=now)
                if again is not None:
                    done.rows.append(_row(message, "queued", again.attempts, again.at, error))
                else:
                    blamed = not (away and message.key in paused)
                    _give_up(done, message, message.attempts + 1, error, now, blamed=blamed)
            case GaveUp(error):
                _give_up(done, message, message.attempts + 1, error, now)
            case Bounced(error):
                if message.to_contact:
                    done.bounced.setdefault(message.channel, []).append(message.contact_id)
                _give_up(done, message, message.attempts + 1, error, now, bounced=True)
            case Cancelled(reason, altogether):
                onward = None if altogether else _next_channel(message, reason, now)
                done.rows.append(onward or _row(message, "cancelled", message.attempts, now, reason))
    return done


def _give_up(
    done: Settlement,
    message: Claimed,
    attempts: int,
    error: str,
    now: datetime,
    *,
    bounced: bool = False,
    blamed: bool = True,
) -> None:
    onward = _next_channel(message, error, now)
    if onward is not None:
        done.rows.append(onward._replace(bounced=bounced))
        return
    done.rows.append(_row(message, "failed", attempts, now, error, bounced=bounced))
    if blamed:
        done.failures[message.key] = Failure(message.contact_id, message.step_id, attempts, error)


def _row(
    message: Claimed, state: State, attempts: int, due_at: datetime, error: str | None = None, *, bounced: bool = False
) -> MessageRow:
    return MessageRow(
        message.key,
        message.leased_until,
        state,
        message.channel,
        message.template,
        message.address,
        None,
        attempts,
        due_at,
        error,
        message.variant,
        message.locale,
        bounced,
    )


def _next_channel(message: Claimed, error: str, now: datetime) -> MessageRow | None:
    """Return the message on the next channel that its payload names, or None when there is none left."""
    further: Sequence[Mapping[str, Any]] = message.payload.get("fallback") or ()
    if not further:
        return None
    first, *rest = further
    given_up = [*message.payload.get("given_up", ()), {"channel": message.channel, "error": error}]
    payload = {**message.payload, **first.get("payload", {}), "fallback": rest, "given_up": given_up}
    return _row(message, "queued", 0, now, error)._replace(
        channel=first["channel"],
        template=first.get("template"),
        address=first.get("address"),
        payload=payload,
        variant=None,
        locale=None,
    )
