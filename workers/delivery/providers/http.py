"""Text messages and notifications over HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from parcours.domain.messages.results import GaveUp, Result, Retry, Sent
from parcours.workers.delivery.network import Network, bound
from parcours.workers.delivery.payloads import Note

# An answer of a provider is read so far; what it says beyond that interests nobody.
ANSWER_BYTES = 65_536
# How much of an answer stands in a reason.
SHOWN = 200
# Answers that say "not now" of a request that is in order. Source: RFC 9110, 15.5.9; RFC 8470; RFC 6585.
NOT_NOW = frozenset({408, 425, 429})
# What a proxy answers whose server is away.
SERVER_AWAY = frozenset({502, 503, 504})
TIMEOUT_SECONDS = 15.0


@dataclass
class Gateway:
    """Hands notes to a provider over HTTP: `POST` of JSON, with the key as `Idempotency-Key`.

    The provider is the operator's own choice, so its address is not questioned. User and password of the
    URL become basic authentication.
    """

    url: str
    # Of one note as a whole, however its answer comes.
    seconds: float = TIMEOUT_SECONDS
    _client: httpx.Client = field(init=False)
    _network: Network = field(init=False)

    def __post_init__(self) -> None:
        self._client = httpx.Client(timeout=self.seconds, follow_redirects=False)
        self._network = Network(allow_private=True)
        bound(self._client, self._network)

    def send(self, batch: Sequence[Note]) -> list[Result]:
        return [self._send(note) for note in batch]

    def _send(self, note: Note) -> Result:
        self._network.ends = time.monotonic() + self.seconds
        try:
            with self._client.stream(
                "POST", self.url, json=note.data(), headers={"Idempotency-Key": note.key, "User-Agent": "Parcours"}
            ) as response:
                said = read_some(response)
        except httpx.HTTPError as error:
            return Retry(f"the provider does not respond ({type(error).__name__})", away=True)
        if response.status_code in (401, 403):
            # Ours to mend, and nothing to do with this message.
            return Retry(f"the provider refused access: {response.status_code} {said}".strip(), away=True)
        return verdict(response, said)

    def close(self) -> None:
        self._client.close()


def read_some(response: httpx.Response) -> str:
    """Return the beginning of an answer on one line, and read the rest only as far as it is small."""
    read = b""
    for chunk in response.iter_raw(8192):
        read += chunk
        if len(read) > ANSWER_BYTES:
            break
    return " ".join(read[: SHOWN * 4].decode("utf-8", "replace").split())[:SHOWN]


def verdict(response: httpx.Response, said: str) -> Result:
    """Return what an HTTP answer means for the message: 2xx is sent, "not now" and 5xx come again."""
    status = response.status_code
    if response.is_success:
        return Sent()
    shown = f"it answered {status}{f': {said}' if said else ''}"
    if status in NOT_NOW or response.is_server_error:
        return Retry(shown, _retry_after(response), away=status in SERVER_AWAY)
    if response.is_redirect:
        return GaveUp(f"it answered {status}; redirects are not followed")
    return GaveUp(shown)


def _retry_after(response: httpx.Response) -> timedelta | None:
    """Return the patience that an answer asks for. Source: RFC 9110, section 10.2.3: seconds, or a date."""
    given = response.headers.get("Retry-After", "").strip()
    try:
        if given.isdecimal():
            return timedelta(seconds=min(int(given), 10**6))
        return max(parsedate_to_datetime(given) - datetime.now(UTC), timedelta(0)) if given else None
    except (ValueError, TypeError):
        return None
