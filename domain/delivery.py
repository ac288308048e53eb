"""Messages that leave: what a provider answers, and what becomes of the message and of the provider then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from zlib import crc32

from domain.decide import Failure, retry_delay
from domain.gate import clean

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
# Characters that are kept of what a provider says.
LONGEST_ERROR = 500

# So many failures in a row, with no answer in between, and a provider is away.
THRESHOLD = 5
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)

State = Literal["queued", "sending", "sent", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider has it."""


@dataclass(frozen=True, slots=True)
class _Unsent:
    """It did not leave, for a reason. The reason may be a stranger's words, so it is made fit to be stored here."""

    error: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", clean(self.error)[:LONGEST_ERROR])


@dataclass(frozen=True, slots=True)
class Retry(_Unsent):
    """It did not leave, and may later.

    `away`: nobody answered, or the provider as a whole cannot work. `patient`: the provider asks to wait with this
    message, for minutes or until tomorrow, so it is tried for three days whatever its attempts.
    """

    after: timedelta | None = None
    away: bool = False
    patient: bool = False


@dataclass(frozen=True, slots=True)
class GaveUp(_Unsent):
    """It will never leave."""


@dataclass(frozen=True, slots=True)
class Bounced(_Unsent):
    """The address does not exist: it will never leave, and nothing else should be sent there."""


@dataclass(frozen=True, slots=True)
class Cancelled(_Unsent):
    """It must not leave any more; `altogether`: on no other channel either."""

    altogether: bool = False


@dataclass(frozen=True, slots=True)
class Untried:
    """Nobody tried; it goes back as it was, due at an instant or, with None, at once."""

    until: datetime | None = None


Result = Sent | Retry | GaveUp | Bounced | Cancelled | Untried


class Claimed(NamedTuple):
    """A message in the hands of a worker, until `leased_until`."""

    key: str
    contact_id: int
    campaign_id: int
    step_id: int
    channel: str
    template: str | None
    address: str | None
    payload: Mapping[str, Any]
    marketing: bool
    attempts: int
    created_at: datetime
    tried_at: datetime
    leased_until: datetime
    # Of the first rendering.
    variant: str | None = None
    locale: str | None = None

    @property
    def to_contact(self) -> bool:
        """Whether the contact is who gets it; an email to users, or a call of a web address, is only about them."""
        return self.channel != "webhook" and not (self.channel == "email" and self.address is None)


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of a provider that failed lately."""

    state: Literal["closed", "open", "half_open"] = "closed"
    failures: int = 0
    # How often in a row it was found away.
    trips: int = 0
    opened_until: datetime | None = None
    error: str | None = None

    def admits(self, now: datetime) -> Literal["all", "one", "none"]:
        """Return how many messages may be tried: one, as a probe, when an open circuit's time is over."""
        if self.opened_until is None:
            return "all"
        return "one" if self.opened_until <= now else "none"

    def probed(self, until: datetime) -> Circuit:
        """Return the circuit while one worker tries one message; if it dies, another may after `until`."""
        return replace(self, state="half_open", opened_until=until)


def circuit_after(
    circuit: Circuit | None, *, answered: int, away: int, error: str | None, now: datetime
) -> Circuit | None:
    """Return a provider's circuit after some tries; None when there is nothing to remember, since it works.

    Opens after 5 failures in a row, for 5 seconds, then 10, 20, up to 5 minutes, with one try in between.
    """
    if answered:
        return None
    before = circuit or Circuit()
    if not away:
        return circuit
    after = replace(before, failures=before.failures + away, error=error)
    if before.state == "open" and before.opened_until is not None and before.opened_until > now:
        return after
    if before.state == "closed" and after.failures < THRESHOLD:
        return after
    pause = min(FIRST_PAUSE * 2 ** min(before.trips, 10), LONGEST_PAUSE)
    return replace(after, state="open", trips=before.trips + 1, opened_until=now + pause)


class Row(NamedTuple):
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


@dataclass(slots=True)
class Settlement:
    """What a unit of work writes: messages, who failed, and whose addresses do not exist."""

    rows: list[Row] = field(default_factory=list)
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
            case Untried(until):
                done.rows.append(_row(message, "queued", message.attempts, until or now))
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
) -> Row:
    return Row(
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


def _next_channel(message: Claimed, error: str, now: datetime) -> Row | None:
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
