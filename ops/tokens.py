"""Signed tokens: what a link that we sent says when it comes back, and nobody else could have said."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import Engine

from parcours.db.tables import installation
from parcours.ops.settings import Settings

# A token of one purpose is worth nothing for another.
Purpose = Literal["open", "click", "unsubscribe", "visit", "csrf", "flash", "device", "invitation", "sample"]


class Tokens:
    """Signs and reads tokens with one secret; they last for ever, unless what they hold says otherwise."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def sign(self, purpose: Purpose, value: Any) -> str:
        """Return a token, safe in a URL, that holds a JSON value, which anybody can read and nobody can change."""
        return str(self._serializer(purpose).dumps(value))

    def read(self, purpose: Purpose, token: str) -> Any | None:
        """Return what a token holds; None when it was not signed by us for this purpose."""
        try:
            return self._serializer(purpose).loads(token)
        except BadData:
            return None

    def _serializer(self, purpose: Purpose) -> URLSafeSerializer:
        return URLSafeSerializer(
            self._secret, salt=f"parcours.{purpose}", signer_kwargs={"digest_method": hashlib.sha256}
        )


def tokens_of(engine: Engine, settings: Settings) -> Tokens:
    """Return the tokens of an installation: signed with `secret_key` of the settings, else the database's."""
    return Tokens(settings.secret_key or installation.secret_key(engine))
