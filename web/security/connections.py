"""Limits on connections and on requests in progress, for each client network and for all clients together."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from parcours.web.security.access import network_of

# Health probes and metrics have slots of their own, which other requests cannot take.
HEALTH_PATHS = ("/health/", "/metrics")
HEALTH_PLACES = 20


class Connection(Protocol):
    """A connection, as far as the limits need to know it."""

    # The network address of the client, or its network.
    source: str

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress: none has arrived yet, or the last one is answered."""
        ...

    def end(self) -> None:
        """Close the connection."""
        ...


class ConnectionPlaces:
    """Limits the connections and requests of a server to `most`, and those of one client network to half of that.

    At the limit, a new connection replaces the oldest idle one, so a client that opens many connections and sends
    nothing cannot keep others out. A trusted proxy represents many clients and may use the whole limit.
    """

    def __init__(self, most: int, trusted_proxies: str | None) -> None:
        self._most = most
        names = [each.strip() for each in (trusted_proxies or "").split(",") if each.strip()]
        self._proxies = [network for name in names if (network := _network(name)) is not None]
        self._trusts_all = "*" in names
        # By client network, oldest first.
        self._open: dict[str, dict[Connection, None]] = {}
        self._n_open = 0
        self._requests: Counter[str] = Counter()
        self._n_requests = 0
        self._n_health = 0

    def enter(self, connection: Connection) -> None:
        """Count a new connection; at the limit, close the oldest idle one."""
        own = self._open.setdefault(connection.source, {})
        own[connection] = None
        self._n_open += 1
        if len(own) > self._share(connection.source):
            self._end_oldest(own, but=connection)
        elif self._n_open > self._most:
            self._end_oldest(max(self._open.values(), key=len), but=connection)

    def leave(self, connection: Connection) -> None:
        """Stop counting a connection."""
        own = self._open.get(connection.source, {})
        if connection in own:
            del own[connection]
            self._n_open -= 1
            if not own:
                del self._open[connection.source]

    @contextmanager
    def request(self, source: str, path: str) -> Iterator[bool]:
        """Count a request while it is answered; yield False when the limit is reached."""
        if path.startswith(HEALTH_PATHS):
            admitted = self._n_health < HEALTH_PLACES
            self._n_health += 1
            try:
                yield admitted
            finally:
                self._n_health -= 1
            return
        if self._n_requests >= self._most or self._requests[source] >= self._share(source):
            yield False
            return
        self._n_requests += 1
        self._requests[source] += 1
        try:
            yield True
        finally:
            self._n_requests -= 1
            self._requests[source] -= 1
            if not self._requests[source]:
                del self._requests[source]

    def _end_oldest(self, connections: dict[Connection, None], *, but: Connection) -> None:
        idle = next((each for each in connections if each is not but and each.is_idle), None)
        if idle is not None:
            # Stop counting now: many more connections may arrive before the server reports this one as closed.
            self.leave(idle)
            idle.end()

    def _share(self, source: str) -> int:
        return self._most if self._is_proxy(source) else max(1, self._most // 2)

    def _is_proxy(self, source: str) -> bool:
        found = _network(source)
        return self._trusts_all or (
            found is not None and any(found.version == each.version and found.subnet_of(each) for each in self._proxies)  # type: ignore[arg-type]
        )


def source_of(address: str | None) -> str:
    """Return the network of a client address, which groups the connections of one household or machine."""
    return "unknown" if address is None else network_of(address)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
