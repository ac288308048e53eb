"""What every route needs: the database, the settings, and the secret that signs what browsers keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from zoneinfo import ZoneInfo

from fastapi import Request
from sqlalchemy import Engine

from producers.tokens import Tokens, tokens_of
from settings import Settings


@dataclass(frozen=True)
class Site:
    """One installation, as the app of this process serves it. `app.state.site` is it."""

    engine: Engine
    settings: Settings
    # Everybody is let in without a key or a sign-in: nobody but this machine reaches us.
    open_to_all: bool
    # Says that the inbox holds something; returns at once.
    hint: Callable[[], None] = field(default=lambda: None)

    @cached_property
    def tokens(self) -> Tokens:
        # Not when the app is made: it also starts while the database is away.
        return tokens_of(self.engine, self.settings)

    @property
    def zone(self) -> ZoneInfo:
        """The timezone of contacts who have none, and of the times on pages."""
        return self.settings.zone


def site_of(request: Request) -> Site:
    """Return the site that a request came to."""
    site: Site = request.app.state.site
    return site
