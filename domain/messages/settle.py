"""Messages that leave: what a provider answers, and what becomes of the message and of the provider then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from zlib import crc32

from parcours.domain.messages.results import Bounced, Cancelled, Claimed, GaveUp, Result, Retry, Sent, Untried
from parcours.domain.walk.retries import retry_delay
from parcours.domain.walk.rows import Failure

# How often a message is tried whose payload does not say it.
ATTEMPTS = 3

# A provider may ask for so much patience, not for more.
LONGEST_RETRY = timedelta(days=1)

# While a provider is away, or asks for patience with a message, messages wait without using up attempts; so
# long at most.
LONGEST_AWAY = timedelta(days=3)

# A message that needs patience waits as long as it has waited already, within these bounds: greylisting lets
# it through after some minutes, a quota of the day after hours. Source: RFC 5321, section 4.5.4.1.
FIRST_PATIENCE = timedelta(minutes=5)

LONGEST_PATIENCE = timedelta(hours=2)

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

    `paused` says, by the key of messages whose provider is away altogether, until when nobody tries: they
    keep their attempts, for up to three days, and so do those that a provider asks to be patient with. Others
    are tried again after about 1, 4, 16, … minutes, or when the provider says, up to the `attempts` of their
    payload. Then, or when the provider will never take it, the next channel of `payload.fallback` has its turn
    under the same key; without one, it has failed.
    """
    done = Settlement()
    for message, result in results:
        match result:
            case Sent():
                done.rows.append(_row(message, "sent", message.attempts + 1, now))
            case Untried(until, held):
                done.rows.append(_row(message, "queued", message.attempts, until or now)._replace(held=held))
            case Retry(error, _, True) if message.key in paused and now - message.tried_at < LONGEST_AWAY:
                done.rows.append(_row(message, "queued", message.attempts, paused[message.key], error))
            case Retry(error, after, _, True) if now - message.tried_at < LONGEST_AWAY:
                due = now + min(after if after is not None else _patience(message, now), LONGEST_RETRY)
                done.rows.append(_row(message, "queued", message.attempts, due, error))
            case Retry(error, after, away):
                attempts = message.attempts + 1
                if attempts < int(message.payload.get("attempts") or ATTEMPTS):
                    delay = after if after is not None else retry_delay(attempts, message.contact_id, message.step_id)
                    done.rows.append(_row(message, "queued", attempts, now + min(delay, LONGEST_RETRY), error))
                else:
                    _give_up(done, message, attempts, error, now, blamed=not (away and message.key in paused))
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


def _patience(message: Claimed, now: datetime) -> timedelta:
    """Return how long a message waits that is tried for days, up to a quarter longer so that not all come together."""
    waited = min(max(now - message.tried_at, FIRST_PATIENCE), LONGEST_PATIENCE)
    return waited * (1 + crc32(message.key.encode()) % 1000 / 4000)


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
