"""What every route needs: the database, the settings, and the secret that signs what browsers keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from fastapi import Request
from sqlalchemy import Engine

from parcours.ops.settings import Settings
from parcours.ops.tokens import Tokens
from parcours.web.security.tokens import Signed


@dataclass(frozen=True)
class Site:
    """One installation, as the app of this process serves it. `app.state.site` is it."""

    engine: Engine
    settings: Settings
    # Everybody is let in without a key or a sign-in: nobody but this machine reaches us.
    open_to_all: bool
    signed: Signed
    # Says that the inbox holds something; returns at once.
    hint: Callable[[], None] = field(default=lambda: None)

    @property
    def tokens(self) -> Tokens:
        """What signs and reads tokens; see `Signed.tokens`."""
        return self.signed.tokens()

    @property
    def zone(self) -> ZoneInfo:
        """The timezone of contacts who have none, and of the times on pages for who chose no other."""
        return self.settings.zone


def site_of(request: Request) -> Site:
    """Return the site that a request came to."""
    site: Site = request.app.state.site
    return site
