"""The tokens of links that come back to us."""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from parcours.ops.settings import Settings
from parcours.ops.tokens import Purpose, Tokens, tokens_of
from parcours.web.inbox import AWAY


class Signed:
    """Reads tokens. The secret is read once a process, so that links work when the database is away later."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._lock = threading.Lock()
        self._tokens: Tokens | None = None

    def prepare(self) -> None:
        """Read the secret now, if that can be done; else the first token will."""
        try:
            self.tokens()
        # Not migrated yet counts as away here; whoever needs a token is told.
        except (*AWAY, DBAPIError):
            return

    def tokens(self) -> Tokens:
        """Return what signs and reads tokens. Raises what the database raises, while the secret is not known yet."""
        with self._lock:
            if self._tokens is None:
                self._tokens = tokens_of(self._engine, self._settings)
            return self._tokens

    async def message(self, purpose: Purpose, token: str) -> str | None:
        """Return the message key that a token holds, or None."""
        found = await self._read(purpose, token)
        return found if isinstance(found, str) else None

    async def pair(self, purpose: Purpose, token: str) -> tuple[str, str] | None:
        """Return the message key and the other text that a token holds, or None."""
        found = await self._read(purpose, token)
        if isinstance(found, list) and len(found) == 2 and all(isinstance(each, str) for each in found):
            return found[0], found[1]
        return None

    async def _read(self, purpose: Purpose, token: str) -> Any:
        if self._tokens is not None:
            return self._tokens.read(purpose, token)
        return (await run_in_threadpool(self.tokens)).read(purpose, token)
