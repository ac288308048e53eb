"""Who may do what: keys of the interface, people who signed in, and where a request comes from."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request, Response
from sqlalchemy import Engine

from parcours.db.clock import now as database_now
from parcours.db.tables import api_keys, users
from parcours.db.tables.api_keys import Role
from parcours.db.tables.users import User
from parcours.domain.urls import origin_of
from parcours.web.context import Site, site_of
from parcours.web.i18n.language import _, show_times_in
from parcours.web.problems import ProblemError
from parcours.web.security.bodies import read_body

# What each role of a key may do.
GRANTS: dict[Role, frozenset[Role]] = {
    "publish": frozenset({"publish"}),
    "read": frozenset({"read"}),
    "manage": frozenset({"publish", "read", "manage"}),
}
# What each role of a person may do, in the words of keys.
ROLE_OF: dict[users.Role, Role] = {"viewer": "read", "editor": "manage", "admin": "manage"}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SIGN_IN_COOKIE = "parcours_session"
BROWSER_COOKIE = "parcours_browser"
DEVICE_COOKIE = "parcours_device"
# Of who needs no sign-in, and so has no account that keeps it.
ZONE_COOKIE = "parcours_timezone"
DEVICE_KNOWN_FOR_SECONDS = 400 * 24 * 3600
CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"
MOST_FIELDS = 5_000


class SignInNeededError(Exception):
    """A page is asked for by somebody who is not signed in."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at the pages; `who` is their name in the audit."""

    who: str
    role: users.Role
    user: User | None = None

    @property
    def may_edit(self) -> bool:
        return self.role in ("editor", "admin")


NEIGHBOUR = Visitor("a user on this machine", "admin")


class FormBody:
    """The fields of a posted form, decoded; a name may come several times."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def text(self, name: str, default: str = "") -> str:
        """Return the last value of a field."""
        return next((value for found, value in reversed(self._pairs) if found == name), default)

    def all(self, name: str) -> list[str]:
        """Return every value of a field, in order."""
        return [value for found, value in self._pairs if found == name]

    def __contains__(self, name: str) -> bool:
        return any(found == name for found, _value in self._pairs)

    def pairs(self) -> list[tuple[str, str]]:
        """Return all fields but the one that proves where the form comes from."""
        return [pair for pair in self._pairs if pair[0] != CSRF_FIELD]


# Pages.


def visitor(request: Request, site: Annotated[Site, Depends(site_of)]) -> Visitor:
    """Return who looks at a page. Raises SignInNeededError."""
    found = known_visitor(request, site)
    if found is None:
        raise SignInNeededError
    request.state.visitor = found
    return found


def known_visitor(request: Request, site: Site) -> Visitor | None:
    """Return who looks at a page, if that is known. From then on times are shown in the timezone of theirs."""
    found = _known_visitor(request, site)
    if found is not None:
        chosen = request.cookies.get(ZONE_COOKIE) if found.user is None else found.user.timezone
        show_times_in(chosen, site.zone)
    return found


def _known_visitor(request: Request, site: Site) -> Visitor | None:
    if site.open_to_all:
        return NEIGHBOUR
    secret = request.cookies.get(SIGN_IN_COOKIE)
    if not secret:
        return None
    with site.engine.connect() as conn:
        user = users.signed_in(conn, secret, now=database_now(conn))
    return None if user is None else Visitor(user.email, user.role, user)


def source_of(request: Request, email: str) -> str:
    """Return where a sign-in comes from, as failures are counted.

    A browser in which this account was signed in before is a source of its own, so that whoever guesses
    passwords from the same network address does not keep its owner out.

    Source: OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
    """
    known = site_of(request).tokens.read("device", request.cookies.get(DEVICE_COOKIE, ""))
    if isinstance(known, list) and len(known) == 2 and known[0] == email.lower():
        return f"device {known[1]}"
    return f"address {network_of(client_address(request))}"


def remember_device(request: Request, response: Response, email: str) -> None:
    """Let a browser say, next time, that this account was signed in there before."""
    token = site_of(request).tokens.sign("device", [email.lower(), secrets.token_urlsafe(12)])
    set_cookie(request, response, DEVICE_COOKIE, token, seconds=DEVICE_KNOWN_FOR_SECONDS)


def client_address(request: Request) -> str:
    """Return the network address that a request came from; behind proxies that we trust, the one before them."""
    return request.client.host if request.client is not None else "unknown"


def network_of(address: str) -> str:
    """Return what one household or machine has of addresses: an IPv4 address, or 64 bits of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    mapped = found.ipv4_mapped
    return str(mapped or ipaddress.ip_network((found, 64), strict=False))


def browser(request: Request) -> str:
    """Return the name of a browser that no other site knows, made when it has none yet."""
    if not hasattr(request.state, "browser"):
        request.state.browser = request.cookies.get(BROWSER_COOKIE) or secrets.token_urlsafe(24)
    return str(request.state.browser)


def csrf_token(request: Request) -> str:
    """Return what forms of ours carry: a signature of this browser and this user, which is in a cookie as well.

    Source: OWASP, "Cross-Site Request Forgery Prevention": signed double-submit cookie.
    """
    return site_of(request).tokens.sign("csrf", _owner(request))


def _owner(request: Request) -> list[str]:
    found: Visitor | None = getattr(request.state, "visitor", None)
    return [browser(request), str(found.user.id) if found and found.user else ""]


def posted(request: Request, raw: Annotated[bytes, Depends(read_body)]) -> FormBody:
    """Return the fields of a form that a page of ours posted; none for a request that changes nothing.

    Raises ProblemError (403) for a form that is not from a page of ours.
    """
    if request.method in SAFE_METHODS:
        return FormBody([])
    try:
        pairs = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise ProblemError(400, _("The form cannot be read; go back, reload the page and try again.")) from None
    if any("\0" in value for pair in pairs for value in pair):
        raise ProblemError(400, _("A field contains a NUL character; remove it and try again."))
    form = FormBody(pairs)
    check_csrf(request, request.headers.get(CSRF_HEADER) or form.text(CSRF_FIELD))
    return form


def check_csrf(request: Request, token: str) -> None:
    """Raise ProblemError (403) for a token that no form of ours carries for this browser and user."""
    if BROWSER_COOKIE not in request.cookies or site_of(request).tokens.read("csrf", token) != _owner(request):
        raise ProblemError(
            403, _("The form has expired or came from another site; go back, reload the page and try again.")
        )


def may_edit(found: Visitor) -> None:
    """Raise ProblemError (403) for who may only look."""
    if not found.may_edit:
        raise ProblemError(403, _("You have read-only access; ask an administrator for the role “editor”."))


def guard(
    request: Request, found: Annotated[Visitor, Depends(visitor)], _form: Annotated[FormBody, Depends(posted)]
) -> None:
    """Let in who is signed in, and let those who may edit change something, from a page of ours."""
    if request.method not in SAFE_METHODS:
        may_edit(found)


# The interface for programs.


def needs_role(engine: Engine, role: Role, *, open_to_all: bool) -> Callable[[Request], None]:
    """Return a dependency that lets in who has a key that may do what a role does."""

    def check(request: Request) -> None:
        if open_to_all:
            return
        offered = _offered_key(request)
        if offered is None:
            raise _no_key()
        _check_key(engine, offered, role)

    return check


def caller(role: Role) -> Callable[[Request], str]:
    """Return a dependency that lets in who may do what a role does, and says who that is, for the audit.

    That is the bearer of a key, somebody who signed in, or, where everybody is let in, anybody. Without a
    key, a page of another site must not speak in the visitor's name.
    """

    def check(request: Request) -> str:
        site = site_of(request)
        offered = _offered_key(request)
        if offered is not None and not site.open_to_all:
            return f"key {_check_key(site.engine, offered, role).name}"
        found = known_visitor(request, site)
        if found is None:
            raise _no_key()
        if request.method not in SAFE_METHODS:
            check_origin(request)
        if role not in GRANTS[ROLE_OF[found.role]]:
            raise ProblemError(403, f"your role is {found.role}; this requires editor or admin")
        return found.who

    return check


def _no_key() -> ProblemError:
    return ProblemError(
        401,
        "an API key is required: send `Authorization: Bearer …` or `X-Api-Key`; create one with `parcours keys create`",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _check_key(engine: Engine, offered: str, role: Role) -> api_keys.ApiKey:
    with engine.connect() as conn:
        key = api_keys.find(conn, offered)
    if key is None:
        raise ProblemError(
            401,
            "the key is unknown or revoked; create one with `parcours keys create`",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if role not in GRANTS[key.role]:
        enough = role if role == "manage" else f"{role} or manage"
        raise ProblemError(403, f"the key has the role {key.role}; this requires {enough}")
    return key


def check_origin(request: Request) -> None:
    """Refuse what a page of another site sends: browsers name the page's origin, which scripts cannot change."""
    origin = request.headers.get("origin")
    if origin is None:
        return
    # What is no origin, `null` too, is not ours.
    if origin_of(origin) is None or urlsplit(origin).netloc != request.headers.get("host"):
        raise ProblemError(403, f"pages of {origin[:100]} are not allowed to change anything here")


def _offered_key(request: Request) -> str | None:
    scheme, _sign, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key", "").strip() or None


# Cookies.


def is_https(request: Request) -> bool:
    """Return whether cookies are for HTTPS alone: where we are reached by it, as the public address says."""
    return request.url.scheme == "https" or site_of(request).settings.public_url.startswith("https://")


def set_cookie(request: Request, response: Response, name: str, value: str, *, seconds: int | None = None) -> None:
    """Give a browser something to keep that scripts cannot read and that other sites' forms do not bring along."""
    response.set_cookie(name, value, max_age=seconds, path="/", httponly=True, samesite="lax", secure=is_https(request))
