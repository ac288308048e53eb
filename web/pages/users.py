"""Accounts for the pages: inviting people, what they may do, and the link by which they choose a password."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import Connection

from parcours.db import passwords
from parcours.db.clock import now as database_now
from parcours.db.tables import users
from parcours.db.tables.users import INVITED_FOR, LEAST_PASSWORD, MOST_PASSWORD, Account, KnownUser, Role, User
from parcours.domain.contacts.identity import is_address
from parcours.domain.errors import NotFoundError
from parcours.domain.gate import MAX_NAME
from parcours.web.context import Site
from parcours.web.i18n.language import _, day, instant, marked, number
from parcours.web.pages import FormOf, SiteOf, VisitorOf
from parcours.web.pages.rendering import base_address, redirect, render
from parcours.web.pages.sign_in import BUSY, HOME, OpenFormOf, maybe_visitor
from parcours.web.problems import ProblemError
from parcours.web.security.access import Visitor, visitor

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
    errors = {
        "email": [] if is_address(email) else [_("Enter an email address.")],
        "name": [] if len(name) <= MAX_NAME else [_("Enter at most {n} characters.", n=number(MAX_NAME))],
    }
    if any(errors.values()):
        return _page(request, site, given, errors)
    given_role = _role(role)
    with site.engine.begin() as conn:
        made = users.invite(conn, email, name=name or email, role=given_role, now=database_now(conn))
    if made is None:
        return _page(request, site, given, {"email": [_("This address already has an account.")], "name": []})
    return _page(request, site, link_for=made)


@router.post("/users/{id_}")
def change(request: Request, site: SiteOf, found: VisitorOf, id_: int, form: FormOf) -> Response:
    """Change a role, let somebody in or keep them out, or make a new link for a password."""
    with site.engine.begin() as conn:
        known = users.by_id(conn, id_) if 0 < id_ < 2**31 else None
        if known is None:
            raise NotFoundError("user", str(id_))
        user = known.user
        if "link" in form:
            if not user.active:
                return _refused(request, _("{name} is disabled. Enable the account first.", name=user.name))
            _renew(conn, known)
        elif found.user is not None and found.user.id == user.id:
            return _refused(request, _("You cannot change your own role or disable your own account."))
        elif "withdraw" in form:
            if not users.uninvite(conn, user.id):
                said = _("{name} has chosen a password already. Disable the account instead.", name=user.name)
                return _refused(request, said)
            return redirect(request, "/users", flash=_("The invitation of {name} was withdrawn.", name=user.name))
        elif "enable" in form:
            users.set_active(conn, user.email, True)
        else:
            role = None if "disable" in form else _role(form.text("role"))
            if user.role == "admin" and role != "admin" and not users.has_other_admin(conn, user):
                said = _("{name} is the only administrator. Make another user an administrator first.", name=user.name)
                return _refused(request, said)
            if role is None:
                users.set_active(conn, user.email, False)
            else:
                users.edit(conn, user.email, role=role)
    if "link" in form:
        return _page(request, site, link_for=user)
    return redirect(request, "/users", flash=_("{name} was changed.", name=user.name))


def _refused(request: Request, said: str) -> Response:
    return redirect(request, "/users", flash=said, kind="error")


def _is_good(user: Account, now: datetime) -> bool:
    """Return whether the present link of an invitation can still be used."""
    return user.link_until is not None and user.link_until > now


def _invitation(user: Account, now: datetime) -> str:
    """Return when somebody was invited, and until when the link is good; it stands below the word `Invited`."""
    since = day(user.created_at)
    if user.link_until is None:
        return _("On {day}", day=since)
    if not _is_good(user, now):
        return _("On {day}. The link has expired: send a new one.", day=since)
    return _("On {day}. The link is valid until {instant}.", day=since, instant=instant(user.link_until))


def _renew(conn: Connection, known: KnownUser) -> None:
    """Begin an invitation anew whose link has expired. One that has not is shown again as it was sent."""
    now = database_now(conn)
    if known.invited and (known.linked_at is None or known.linked_at + INVITED_FOR <= now):
        users.renew(conn, known.user.id, now=now)


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
        users.set_password(conn, user.email, new_hash, now=database_now(conn))
    if site.open_to_all:
        return redirect(request, HOME, flash=_("Your password is set. On this machine, the pages need no sign-in."))
    return redirect(request, "/sign-in", flash=_("Your password is set. Sign in with it."))


def wrong_password(password: str, again: str) -> str | None:
    """Return why a new password cannot be, or None."""
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        return _("Enter a password of {least} to {most} characters.", least=LEAST_PASSWORD, most=MOST_PASSWORD)
    return None if password == again else _("The two passwords differ.")


def password_rule() -> str:
    """Return what a new password must be, to stand below its field."""
    return _("{least} to {most} characters.", least=LEAST_PASSWORD, most=MOST_PASSWORD)


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
    return known.user if known is not None and known.mark == mark and known.user.active else None


def _link(request: Request, site: Site, user: User) -> tuple[str, datetime]:
    """Return the link by which somebody chooses a password, and until when it is good."""
    with site.engine.connect() as conn:
        known = users.by_id(conn, user.id)
        since = database_now(conn)
    if known is None:
        raise NotFoundError("user", str(user.id))
    if known.invited and known.linked_at is not None:
        since = known.linked_at
    until = since + INVITED_FOR
    token = site.tokens.sign("invitation", [user.id, int(until.timestamp()), known.mark])
    return f"{base_address(request)}/invitation/{token}", until


def _ask(request: Request, user: User | None, token: str, error: str | None = None) -> Response:
    status = 410 if user is None else 400 if error else 200
    return render(
        request, "invitation.html", status, user=user, token=token, error=error, password_rule=password_rule()
    )


def _page(
    request: Request,
    site: Site,
    given: dict[str, str] | None = None,
    errors: Mapping[str, list[str]] | None = None,
    *,
    link_for: User | None = None,
) -> Response:
    with site.engine.connect() as conn:
        found, now = users.listing(conn), database_now(conn)
    link, link_until = (None, None) if link_for is None else _link(request, site, link_for)
    return render(
        request,
        "users.html",
        400 if errors else 200,
        users=found,
        is_good=lambda user: _is_good(user, now),
        invitation=lambda user: _invitation(user, now),
        roles=[(key, _(label)) for key, label in ROLES.items()],
        role_names={key: _(label).partition(":")[0].strip() for key, label in ROLES.items()},
        given=given or {"email": "", "name": "", "role": "editor"},
        errors=errors or {"email": [], "name": []},
        invited=link_for,
        link=link,
        link_until=link_until,
        here_only=link is not None and urlsplit(link).hostname in ("127.0.0.1", "localhost", "::1"),
    )
