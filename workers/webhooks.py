"""Webhooks: calls of web addresses that campaigns name, signed, and kept away from what is inside.

Whoever writes a campaign, and whoever fills in a form whose field ends up in an address, could otherwise reach
what only this machine reaches: a database's console, a cloud's metadata.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpcore
import httpx

from domain.delivery import GaveUp, Result, Retry
from domain.templates import one_line
from workers.couriers import read_some, verdict

TIMEOUT_SECONDS = 10.0
LONGEST_SECONDS = 30.0
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
SIGNATURE = "Parcours-Signature"
# Ours, or the connection's: a campaign cannot set them.
_RESERVED = frozenset(
    {"idempotency-key", "parcours-signature", "host", "content-length", "transfer-encoding", "connection"}
)
# What is not the public internet, in a list of our own: what a version of Python knows of these changes. Source:
# IANA's registries of special-purpose addresses (RFC 6890), and what clouds serve their machines' data from.
_INSIDE = [
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        # The wire server and platform addresses of Azure, and the metadata of Alibaba and Oracle.
        *("168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"),
        # Of IPv6, all but 2000::/3, and what is special in that. 64:ff9b::/96 is looked into below.
        *("::/8", "100::/8", "200::/7", "400::/6", "800::/5", "1000::/4", "4000::/2", "8000::/1"),
        *("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20", "5f00::/16"),
    )
]
# Addresses that carry one of IPv4 in their last bits. Source: RFC 6052, section 2.1.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")


@dataclass(frozen=True, slots=True)
class Call:
    """A request, ready to leave; a body is sent as JSON or as a form."""

    key: str
    method: str
    url: str
    headers: dict[str, str]
    body: Any
    as_json: bool
    timeout: float = TIMEOUT_SECONDS

    @property
    def host(self) -> str:
        """Whose failures count together: the host and port of the address."""
        try:
            return urlsplit(self.url).netloc.rpartition("@")[2].lower()
        except ValueError:
            return ""


def signature(secret: str, at: int, body: bytes) -> str:
    """Return the value of `Parcours-Signature`: seconds since 1970, and the HMAC-SHA256 in hex of `AT.BODY`.

    Who receives it computes the same with the secret and the body as it came, compares in constant time, and
    refuses what is old.
    """
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"


class WebhookCourier:
    """Calls web addresses over connections that it keeps, with a time for each call as a whole."""

    def __init__(self, secret: str, *, allow_private: bool) -> None:
        self._secret = secret
        self._network = _Network(allow_private=allow_private)
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
        except _RefusedError as error:
            return GaveUp(str(error))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, ValueError) as error:
            return GaveUp(f"this cannot be called: {error}"[:300])
        except httpx.TimeoutException:
            return Retry(f"{call.host} did not answer within {seconds:g} s", away=True)
        except (httpx.HTTPError, OSError) as error:
            return Retry(f"{call.host} does not answer ({type(error).__name__}: {error})"[:300], away=True)
        finally:
            # What one receiver wants remembered is nothing for the next.
            self._client.cookies.clear()

    def _request(self, call: Call, seconds: float) -> httpx.Request:
        method = call.method.upper()
        if method not in METHODS:
            raise ValueError(f"the method {call.method!r} is none of {', '.join(sorted(METHODS))}")
        if urlsplit(call.url).scheme not in ("http", "https"):
            raise ValueError(f"{call.url[:100]!r} begins with neither http:// nor https://")
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


def refused(address: str) -> bool:
    """Return whether an IP address is inside: private, loopback, link-local, multicast or reserved.

    An address of IPv6 that carries one of IPv4 is as good as that one.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64 or ip in _MAPPED:
            return refused(str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)))
        if ip in _SIX_TO_FOUR and refused(str(ipaddress.IPv4Address(int(ip) >> 80 & 0xFFFF_FFFF))):
            return True
    return any(ip in network for network in _INSIDE if network.version == ip.version) or not ip.is_global


class _RefusedError(Exception):
    """A name leads to an address that must not be called."""


class _Network(httpcore.NetworkBackend):
    """Connects to an address that was looked at, rather than to a name that may mean another the next moment.

    TLS still asks for the certificate of the name: it is told by whoever calls.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpcore.SyncBackend()
        # When the call in hand must be over, on the monotonic clock.
        self.ends = 0.0

    def left(self, timeout: float | None = None) -> float:
        """Return the seconds that the call in hand still has. Raises httpcore.ReadTimeout when there are none."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the call took too long")
        return left if timeout is None else min(left, timeout)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} is not known ({error})") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if not self._allow_private:
            inside = [address for address in addresses if refused(address)]
            if inside:
                raise _RefusedError(
                    f"{host} is {inside[0]}, an address inside a network, which webhooks do not call; "
                    "PARCOURS_WEBHOOK_ALLOW_PRIVATE=true lets them"
                )
        last: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                inner = self._inner.connect_tcp(address, port, self.left(timeout), local_address, socket_options)
                return _Stream(inner, self)
            except httpcore.ConnectError as error:
                last = error
        raise last

    def connect_unix_socket(self, *_: Any, **__: Any) -> NoReturn:
        raise _RefusedError("webhooks call no sockets of this machine")

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, self.left()))


class _Stream(httpcore.NetworkStream):
    """A connection whose every wait ends with the call: an answer that drips does not hold up a worker."""

    def __init__(self, inner: httpcore.NetworkStream, network: _Network) -> None:
        self._inner = inner
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._network.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._network.left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, self._network.left(timeout)), self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Transport(httpx.HTTPTransport):
    def __init__(self, network: _Network) -> None:
        super().__init__(trust_env=False)
        # The library has no parameter for who connects.
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=10,
            max_keepalive_connections=10,
            keepalive_expiry=15.0,
            network_backend=network,
        )
