"""Webhooks: calls of web addresses that campaigns name, signed, and kept away from what is inside.

Whoever writes a campaign, and whoever fills in a form whose field ends up in an address, could otherwise reach
what only this machine reaches: a database's console, a cloud's metadata.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from parcours.domain.messages.results import GaveUp, Result, Retry
from parcours.domain.messages.templates import one_line
from parcours.workers.delivery.network import Network, RefusedError
from parcours.workers.delivery.payloads import Call
from parcours.workers.delivery.providers.http import read_some, verdict

LONGEST_SECONDS = 30.0
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
SIGNATURE = "Parcours-Signature"
# Ours, or the connection's: a campaign cannot set them.
_RESERVED = frozenset(
    {"idempotency-key", "parcours-signature", "host", "content-length", "transfer-encoding", "connection"}
)


def signature(secret: str, at: int, body: bytes) -> str:
    """Return the value of `Parcours-Signature`: seconds since 1970, and the HMAC-SHA256 in hex of `AT.BODY`.

    Who receives it computes the same with the secret and the body as it came, compares in constant time, and
    refuses what is old.
    """
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"


class WebhookProvider:
    """Calls web addresses over connections that it keeps, with a time for each call as a whole."""

    def __init__(self, secret: str, *, allow_private: bool) -> None:
        self._secret = secret
        self._network = Network(allow_private=allow_private)
        self._client = httpx.Client(
            transport=_Transport(self._network),
            follow_redirects=False,
            # A proxy of the environment would connect in our place, and look at no address.
            trust_env=False,
        )

    def send(self, batch: Sequence[Call]) -> list[Result]:
        return [self._send(call) for call in batch]

    def close(self) -> None:
        self._client.close()

    def _send(self, call: Call) -> Result:
        seconds = min(call.timeout, LONGEST_SECONDS)
        self._network.ends = time.monotonic() + seconds
        try:
            request = self._request(call, seconds)
            with contextlib.closing(self._client.send(request, stream=True)) as answer:
                return verdict(answer, read_some(answer))
        except RefusedError as error:
            return GaveUp(str(error))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, ValueError) as error:
            return GaveUp(f"invalid request: {error}"[:300])
        except httpx.TimeoutException:
            return Retry(f"{call.host} did not respond within {seconds:g} s", away=True)
        except (httpx.HTTPError, OSError) as error:
            return Retry(f"{call.host} does not respond ({type(error).__name__}: {error})"[:300], away=True)
        finally:
            # What one receiver wants remembered is nothing for the next.
            self._client.cookies.clear()

    def _request(self, call: Call, seconds: float) -> httpx.Request:
        method = call.method.upper()
        if method not in METHODS:
            raise ValueError(f"the method {call.method!r} is not one of {', '.join(sorted(METHODS))}")
        if urlsplit(call.url).scheme not in ("http", "https"):
            raise ValueError(f"{call.url[:100]!r} does not start with http:// or https://")
        headers = {
            one_line(name): one_line(str(value))
            for name, value in call.headers.items()
            if name.strip().lower() not in _RESERVED
        }
        body: dict[str, Any] = {}
        if call.body is not None and method in ("GET", "DELETE"):
            if method == "GET" and isinstance(call.body, dict):
                body = {"params": _fields(call.body)}
        elif call.body is not None and (call.as_json or not isinstance(call.body, dict)):
            content = call.body if isinstance(call.body, str) else json.dumps(call.body, ensure_ascii=False)
            body = {"content": content.encode()}
            headers = {"Content-Type": "application/json" if call.as_json else "text/plain; charset=utf-8", **headers}
        elif call.body is not None:
            body = {"data": dict(_fields(call.body))}
        url = httpx.URL(call.url)
        if "params" in body:
            # Added to those that are in the address.
            url, body = url.copy_merge_params(body["params"]), {}
        request = self._client.build_request(method, url, headers=headers, **body)
        request.headers["User-Agent"] = headers.get("User-Agent", "Parcours")
        request.headers["Idempotency-Key"] = call.key
        at = int(time.time())
        request.headers[SIGNATURE] = signature(self._secret, at, request.read())
        return request


def _fields(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in body.items()]


class _Transport(httpx.HTTPTransport):
    def __init__(self, network: Network) -> None:
        super().__init__(trust_env=False)
        # The library has no parameter for who connects.
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=10,
            max_keepalive_connections=10,
            keepalive_expiry=15.0,
            network_backend=network,
        )
