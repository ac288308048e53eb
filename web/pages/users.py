"""Accounts for the pages: inviting people, what they may do, and the link by which they choose a password."""

from __future__ import annotations

import time
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response

from parcours.db import passwords
from parcours.db.tables import users
from parcours.db.tables.users import LEAST_PASSWORD, MOST_PASSWORD, Role, User
from parcours.domain.contacts.identity import is_address
from parcours.domain.errors import NotFoundError
from parcours.web.context import Site
from parcours.web.i18n.language import _, marked
from parcours.web.pages import FormOf, SiteOf, VisitorOf
from parcours.web.pages.rendering import redirect, render
from parcours.web.pages.sign_in import BUSY, OpenFormOf, maybe_visitor
from parcours.web.problems import ProblemError
from parcours.web.security.access import Visitor, visitor

INVITED_FOR_SECONDS = 3 * 24 * 3600
ROLES: dict[Role, str] = {
    "viewer": marked("Viewer: can look at everything"),
    "editor": marked("Editor: can change campaigns and contacts"),
    "admin": marked("Administrator: can also manage users"),
}


def _admin(found: Annotated[Visitor, Depends(visitor)]) -> None:
    if found.role != "admin":
        raise ProblemError(403, _("Only administrators can manage users."))


router = APIRouter(include_in_schema=False, dependencies=[Depends(_admin)])
# Whoever has the link.
invitations = APIRouter(include_in_schema=False, dependencies=[Depends(maybe_visitor)])


@router.get("/users")
def show(request: Request, site: SiteOf) -> Response:
    """All accounts."""
    return _page(request, site)


@router.post("/users")
def invite(request: Request, site: SiteOf, form: FormOf) -> Response:
    """Make an account, with a link by which its owner chooses the password."""
    email, name, role = form.text("email").strip(), form.text("name").strip(), form.text("role")
    given = {"email": email, "name": name, "role": role}
    if not is_address(email):
        return _page(request, site, given, _("Enter an email address."))
    given_role = _role(role)
    with site.engine.begin() as conn:
        made = users.invite(conn, email, name=name[:255] or email, role=given_role)
    if made is None:
        return _page(request, site, given, _("This address already has an account."))
    return _page(request, site, link_for=made)


@router.post("/users/{id_}")
def change(request: Request, site: SiteOf, found: VisitorOf, id_: int, form: FormOf) -> Response:
    """Change a role, let somebody in or keep them out, or make a new link for a password."""
    with site.engine.begin() as conn:
        known = users.by_id(conn, id_) if 0 < id_ < 2**31 else None
        if known is None:
            raise NotFoundError("user", str(id_))
        user = known[0]
        is_self = found.user is not None and found.user.id == user.id
        if "link" in form:
            return _page(request, site, link_for=user)
        if is_self:
            said = _("You cannot change your own role or disable your own account.")
            return redirect(request, "/users", flash=said, kind="error")
        if "disable" in form or "enable" in form:
            users.set_active(conn, user.email, "enable" in form)
        else:
            users.set_role(conn, user.email, _role(form.text("role")))
    return redirect(request, "/users", flash=_("{name} was changed.", name=user.name))


@invitations.get("/invitation/{token}")
def ask_password(request: Request, site: SiteOf, token: str) -> Response:
    """Ask for the password of an account."""
    return _ask(request, _invited(site, token), token)


@invitations.post("/invitation/{token}")
def choose_password(request: Request, site: SiteOf, token: str, form: OpenFormOf) -> Response:
    """Set the password of an account; the link is worth nothing from then on."""
    user = _invited(site, token)
    if user is None:
        return _ask(request, None, token)
    error = wrong_password(form.text("password"), form.text("again"))
    if error:
        return _ask(request, user, token, error)
    try:
        new_hash = passwords.hashed(form.text("password"))
    except passwords.BusyError:
        return _ask(request, user, token, _(BUSY))
    with site.engine.begin() as conn:
        users.set_password(conn, user.email, new_hash)
    return redirect(request, "/sign-in", flash=_("Your password is set. Sign in with it."))


def wrong_password(password: str, again: str) -> str | None:
    """Return why a new password cannot be, or None."""
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        return _("Enter a password of {least} to {most} characters.", least=LEAST_PASSWORD, most=MOST_PASSWORD)
    return None if password == again else _("The two passwords differ.")


def _role(text: str) -> Role:
    if text not in get_args(Role):
        raise ProblemError(422, _("Choose a role."))
    return text  # type: ignore[return-value]


def _invited(site: Site, token: str) -> User | None:
    """Return whose password a link may set, as long as it is good."""
    found: Any = site.tokens.read("invitation", token)
    if not (isinstance(found, list) and len(found) == 3 and all(isinstance(each, str | int) for each in found)):
        return None
    id_, until, mark = found
    if not isinstance(id_, int) or not isinstance(until, int) or until < time.time() or not 0 < id_ < 2**31:
        return None
    with site.engine.connect() as conn:
        known = users.by_id(conn, id_)
    return known[0] if known is not None and known[1] == mark and known[0].active else None


def _link(request: Request, site: Site, user: User) -> str:
    with site.engine.connect() as conn:
        known = users.by_id(conn, user.id)
    assert known is not None
    until = int(time.time()) + INVITED_FOR_SECONDS
    token = site.tokens.sign("invitation", [user.id, until, known[1]])
    base = site.settings.public_url or str(request.base_url)
    return f"{base.rstrip('/')}/invitation/{token}"


def _ask(request: Request, user: User | None, token: str, error: str | None = None) -> Response:
    status = 410 if user is None else 400 if error else 200
    return render(request, "invitation.html", status, user=user, token=token, error=error)


def _page(
    request: Request,
    site: Site,
    given: dict[str, str] | None = None,
    error: str | None = None,
    *,
    link_for: User | None = None,
) -> Response:
    with site.engine.connect() as conn:
        found = users.listing(conn)
    link = None if link_for is None else _link(request, site, link_for)
    return render(
        request,
        "users.html",
        400 if error else 200,
        users=found,
        roles=[(key, _(label)) for key, label in ROLES.items()],
        role_names={key: _(label).partition(":")[0].strip() for key, label in ROLES.items()},
        given=given or {"email": "", "name": "", "role": "editor"},
        error=error,
        invited=link_for,
        link=link,
        here_only=link is not None and urlsplit(link).hostname in ("127.0.0.1", "localhost", "::1"),
    )
