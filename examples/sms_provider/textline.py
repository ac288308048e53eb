"""Text messages over an HTTP API, with signed reports of what became of them and of what people answered."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from parcours.providers import (
    Bounced,
    ForgedError,
    GaveUp,
    IncomingRequest,
    Note,
    Provider,
    ProviderOptions,
    Reported,
    Result,
    Retry,
    Sent,
    Setup,
)

SIGNATURE = "textline-signature"
# A request that is older may have been recorded and sent again by somebody else.
OLDEST_SECONDS = 300
# What Textline says of numbers that nobody has.
NO_SUCH_NUMBER = frozenset({"unknown_number", "number_deactivated"})


class TextlineOptions(ProviderOptions):
    """Each is a setting: `PARCOURS_PROVIDER_TEXTLINE_URL`, and so on."""

    url: str
    key: str
    secret: str
    sender: str
    seconds: float = 15


class Textline(Provider[Note]):
    """One connection to Textline."""

    channels = frozenset({"sms"})
    options = TextlineOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._known: TextlineOptions = setup.options
        self._client: httpx.Client | None = None

    def send(self, batch: Sequence[Note]) -> list[Result]:
        return [self._send(note) for note in batch]

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _send(self, note: Note) -> Result:
        if self._client is None:
            self._client = httpx.Client(
                base_url=self._known.url,
                headers={"Authorization": f"Bearer {self._known.key}"},
                timeout=self._known.seconds,
            )
        said = {
            "from": self._known.sender,
            "to": note.to,
            "text": note.content.get("text", ""),
            "reference": note.key,
            "report_to": self.setup.inbound_url,
        }
        try:
            # Trying again repeats the key, so that Textline sends the message once.
            answer = self._client.post("/v1/messages", json=said, headers={"Idempotency-Key": note.key})
        except httpx.HTTPError as error:
            return Retry(f"Textline does not respond ({type(error).__name__})", away=True)
        return _result(answer)

    def parse(self, request: IncomingRequest) -> Iterator[Reported]:
        _check_signature(request, self._known.secret, now=time.time())
        said = json.loads(request.body)
        for each in said if isinstance(said, list) else [said]:
            if not isinstance(each, dict):
                raise ValueError("a report must be an object")
            if (reported := _reported(each)) is not None:
                yield reported


def _result(answer: httpx.Response) -> Result:
    """Return what an answer means: for the message, or, with `away`, for everything we send."""
    if answer.is_success:
        return Sent()
    try:
        said = answer.json()
        code = str(said.get("code", "")) if isinstance(said, dict) else ""
    except ValueError:
        code = ""
    shown = f"Textline answered {answer.status_code} {code}".strip()
    if answer.status_code in (401, 402, 403):
        # Our key or our account, which no other message would change.
        return Retry(shown, away=True)
    if answer.status_code in (408, 425, 429):
        given = answer.headers.get("Retry-After", "")
        return Retry(shown, timedelta(seconds=min(int(given), 86_400)) if re.fullmatch(r"[0-9]{1,9}", given) else None)
    if answer.is_server_error:
        return Retry(shown, away=answer.status_code in (502, 503, 504))
    return Bounced(shown) if code in NO_SUCH_NUMBER else GaveUp(shown)


def _check_signature(request: IncomingRequest, secret: str, *, now: float) -> None:
    """Raise ForgedError unless the body was signed with the secret, and lately."""
    found = re.fullmatch(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", request.headers.get(SIGNATURE, ""))
    if found is None or abs(now - int(found[1])) > OLDEST_SECONDS:
        raise ForgedError
    if not hmac.compare_digest(signature(secret, int(found[1]), request.body), found[0]):
        raise ForgedError


def signature(secret: str, at: int, body: bytes) -> str:
    """Return the value of `Textline-Signature`: seconds since 1970, and the HMAC-SHA256 of `AT.BODY`."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"


def _reported(said: Mapping[str, Any]) -> Reported | None:
    """Return the event that a report becomes; None for what does not concern contacts."""
    id_ = said.get("id")
    if not isinstance(id_, str):
        raise ValueError("a report has an id")
    at = said.get("at")
    when = datetime.fromtimestamp(at, UTC) if isinstance(at, int) and 0 <= at < 2**33 else None
    message = said.get("reference") if isinstance(said.get("reference"), str) else None
    code = str(said.get("code", ""))
    match said.get("event"):
        case "delivered":
            return Reported("sms.delivered", message=message, id=id_, time=when)
        case "undelivered":
            kind = "hard" if code in NO_SUCH_NUMBER else "soft"
            return Reported("sms.bounced", message=message, data={"kind": kind, "reason": code}, id=id_, time=when)
        case "inbound":
            data = {"text": str(said.get("text", ""))}
            return Reported(
                "sms.replied", message=message, phone=str(said.get("from", "")), data=data, id=id_, time=when
            )
    return None
