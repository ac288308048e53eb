"""Who may have how much of the server: connections, and requests in hand, of one source and of all together."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from parcours.web.security.access import network_of

# Probes and metrics have places of their own, which nobody else can take.
HEALTH_PATHS = ("/health/", "/metrics")
HEALTH_PLACES = 20


class Connection(Protocol):
    """What this needs to know of a connection, and do with it."""

    # Its network address, or its network's.
    source: str

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is in hand: its head has not come, or its last one is answered."""
        ...

    def end(self) -> None:
        """Close it."""
        ...


class ConnectionPlaces:
    """The connections and requests of a server: `most` together, of one source half of them at most.

    Connections without a request make room for those that come later, so who opens many and says nothing keeps
    nobody out. A proxy that we trust speaks for many, and may have them all.
    """

    def __init__(self, most: int, trusted_proxies: str | None) -> None:
        self._most = most
        names = [each.strip() for each in (trusted_proxies or "").split(",") if each.strip()]
        self._proxies = [network for name in names if (network := _network(name)) is not None]
        self._trusts_all = "*" in names
        # By source, the oldest first.
        self._open: dict[str, dict[Connection, None]] = {}
        self._n_open = 0
        self._requests: Counter[str] = Counter()
        self._n_requests = 0
        self._n_health = 0

    def enter(self, connection: Connection) -> None:
        """Count a connection that has just come; one that is idle makes room for it."""
        own = self._open.setdefault(connection.source, {})
        own[connection] = None
        self._n_open += 1
        if len(own) > self._share(connection.source):
            self._end_oldest(own, but=connection)
        elif self._n_open > self._most:
            self._end_oldest(max(self._open.values(), key=len), but=connection)

    def leave(self, connection: Connection) -> None:
        """Count a connection no more."""
        own = self._open.get(connection.source, {})
        if connection in own:
            del own[connection]
            self._n_open -= 1
            if not own:
                del self._open[connection.source]

    @contextmanager
    def request(self, source: str, path: str) -> Iterator[bool]:
        """Take a place for a request while it is answered; gives whether there is one."""
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
            # At once: until the server says that it is closed, many more may come.
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
    """Return what connections of one household or machine have in common."""
    return "unknown" if address is None else network_of(address)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
