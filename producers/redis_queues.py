"""Queues on Redis, from which whatever cannot be acknowledged is removed when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dramatiq.brokers.redis import RedisBroker

from parcours.producers.orders import INVALID, id_in, refuse


class CleanRedisBroker(RedisBroker):
    """Gives only what can be acknowledged: it names the entry of the hash in which it stands.

    Anything else would stay in Redis for ever, counted as unfinished, and be read again by each new worker.
    """

    def do_fetch(self, queue: str, most: int) -> list[bytes]:
        """Take messages from a queue, at most so many, as bytes."""
        fetched: Sequence[bytes | None] = self._dispatch("fetch")(queue, most)  # type: ignore[no-untyped-call]
        if not fetched:
            return []
        ids = [None if data is None else id_in(data) for data in fetched]
        named = [each for each in ids if each is not None]
        there = dict(zip(named, self._entries(queue, named), strict=True))
        good = {data: id_ for data, id_ in zip(fetched, ids, strict=True) if id_ is not None and there[id_] == data}
        if len(good) < len(fetched):
            self._remove_others(queue)
        return [data for data in good if data is not None]

    def _entries(self, queue: str, ids: Sequence[str | bytes]) -> Sequence[bytes | None]:
        found: Any = self.client.hmget(f"{self.namespace}:{queue}.msgs", ids) if ids else []
        return list(found)

    def _remove_others(self, queue: str) -> None:
        # Under which id something stood is not told, so all that this process has taken is looked at: it is
        # never more than is read in advance.
        taken = list(self.client.smembers(f"{self.namespace}:__acks__.{self.broker_id}.{queue}"))
        for id_, data in zip(taken, self._entries(queue, taken), strict=True):
            named = None if data is None else id_in(data)
            if named is not None and named.encode(errors="surrogatepass") == id_:
                continue
            self.do_ack(queue, id_)
            if data is not None:
                refuse(queue, "", INVALID if named is None else "it has the id of another message")
