"""Connections over HTTP that end in time, and that lead where they may: who connects for webhooks and gateways."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any, NoReturn

import httpcore
import httpx

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


class RefusedError(Exception):
    """A name leads to an address that must not be called."""


class Network(httpcore.NetworkBackend):
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
            raise httpcore.ConnectError(f"cannot resolve the host {host} ({error})") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if not self._allow_private:
            inside = [address for address in addresses if refused(address)]
            if host in inside:
                raise RefusedError(
                    f"{host} is an internal address, which webhooks cannot call; use an address that "
                    "the Internet reaches, or ask an administrator to allow internal ones "
                    "(PARCOURS_WEBHOOK_ALLOW_PRIVATE=true)"
                )
            if inside:
                raise RefusedError(
                    f"{host} is {inside[0]}, an internal address, which webhooks cannot call; use an address "
                    "that the Internet reaches, or ask an administrator to allow internal ones "
                    "(PARCOURS_WEBHOOK_ALLOW_PRIVATE=true)"
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
        raise RefusedError("webhooks cannot call local sockets")

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, self.left()))


class _Stream(httpcore.NetworkStream):
    """A connection whose every wait ends with the call: an answer that drips does not hold up a worker."""

    def __init__(self, inner: httpcore.NetworkStream, network: Network) -> None:
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


def bound(client: httpx.Client, network: Network) -> None:
    """Let a client, and the proxies that it goes through, connect by a network, which ends its calls in time."""
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            # The library has no parameter for who connects.
            transport._pool._network_backend = network
