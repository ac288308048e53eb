"""Who may do what: API keys and their roles."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request
from sqlalchemy import Engine

from db import api_keys
from db.api_keys import Role
from web.problems import ProblemError

# What each role may do.
GRANTS: dict[Role, frozenset[Role]] = {
    "publish": frozenset({"publish"}),
    "read": frozenset({"read"}),
    "manage": frozenset({"publish", "read", "manage"}),
}


def needs_role(engine: Engine, role: Role, *, open_to_all: bool) -> Callable[[Request], None]:
    """Return a dependency that lets in who has a key that may do what a role does."""

    def check(request: Request) -> None:
        if open_to_all:
            return
        offered = _offered_key(request)
        challenge = {"WWW-Authenticate": "Bearer"}
        if offered is None:
            raise ProblemError(
                401,
                "a key is needed: send `Authorization: Bearer …` or `X-Api-Key`; `parcours keys create` makes one",
                headers=challenge,
            )
        with engine.connect() as conn:
            key = api_keys.find(conn, offered)
        if key is None:
            raise ProblemError(
                401, "the key is unknown or revoked; `parcours keys create` makes one", headers=challenge
            )
        if role not in GRANTS[key.role]:
            raise ProblemError(403, f"the key's role is {key.role}; this needs {role} or manage")

    return check


def _offered_key(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key", "").strip() or None
