"""One's own account: the timezone of the pages, the password, where one is signed in, and ending that."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from parcours.db import passwords
from parcours.db.clock import now as database_now
from parcours.db.tables import users
from parcours.db.tables.users import Attempt, Throttled
from parcours.domain.contacts import identity
from parcours.domain.contacts.identity import IdentityError
from parcours.web.context import Site
from parcours.web.i18n.language import _, reader, show_times_in
from parcours.web.pages import SiteOf, VisitorOf
from parcours.web.pages.rendering import is_ours, redirect, render
from parcours.web.pages.sign_in import A_YEAR_SECONDS, BUSY, HOME, OpenFormOf, signed_out, too_many
from parcours.web.pages.users import password_rule, wrong_password
from parcours.web.security.access import (
    SIGN_IN_COOKIE,
    ZONE_COOKIE,
    Visitor,
    client_address,
    set_cookie,
    source_of,
    visitor,
)

# Whoever is in may do this, also those who may only look.
router = APIRouter(include_in_schema=False, dependencies=[Depends(visitor)])

OWN = "/account"


@router.get(OWN)
def show(request: Request, site: SiteOf, found: VisitorOf) -> Response:
    """The visitor's timezone, and where they are signed in."""
    return _page(request, site, found, reader().chosen or "")


@router.post(f"{OWN}/timezone")
def change_timezone(request: Request, site: SiteOf, found: VisitorOf, form: OpenFormOf) -> Response:
    """Change in which timezone the visitor is shown times; who has no account keeps it in the browser."""
    given, goal = form.text("timezone").strip(), form.text("next", OWN)
    try:
        chosen = identity.timezone(given) if given else None
    except IdentityError as error:
        return _page(request, site, found, given, str(error), status=422)
    if found.user is not None:
        with site.engine.begin() as conn:
            users.set_timezone(conn, found.user.email, chosen)
    show_times_in(chosen, site.zone)
    said = _("Times are shown in {zone}.", zone=reader().zone)
    answer = redirect(request, goal if is_ours(goal) else OWN, flash=said)
    if found.user is None:
        set_cookie(request, answer, ZONE_COOKIE, chosen or "", seconds=A_YEAR_SECONDS if chosen else 0)
    return answer


def _page(
    request: Request, site: Site, found: Visitor, timezone: str, error: str | None = None, *, status: int = 200
) -> Response:
    lines = None
    if found.user is not None:
        secret = request.cookies.get(SIGN_IN_COOKIE, "")
        with site.engine.connect() as conn:
            lines = users.sign_ins(conn, found.user, secret, now=database_now(conn))
    return render(
        request,
        "account.html",
        status,
        lines=lines,
        password_rule=password_rule(),
        timezone=timezone,
        wrong=[error] if error else [],
        timezones=identity.timezones(),
        installation=site.zone.key,
    )


@router.post(f"{OWN}/password")
def change_password(request: Request, site: SiteOf, found: VisitorOf, form: OpenFormOf) -> Response:
    """Change the visitor's own password; all other sessions end."""
    if found.user is None:
        return redirect(request, HOME)
    email, new = found.user.email, form.text("password")
    source = source_of(request, email)
    with site.engine.begin() as conn:
        now = database_now(conn)
        attempt = users.begin(conn, email, source, now=now)
    # As for a sign-in: whoever sits down at an open browser cannot try passwords without end.
    try:
        is_right = isinstance(attempt, Attempt) and passwords.is_right(attempt.password_hash, form.text("present"))
        error = wrong_password(new, form.text("again"))
        new_hash = passwords.hashed(new) if is_right and not error else ""
    except passwords.BusyError:
        assert isinstance(attempt, Attempt)
        with site.engine.begin() as conn:
            users.withdraw(conn, attempt)
        return redirect(request, OWN, flash=_(BUSY), kind="error")
    if isinstance(attempt, Throttled):
        return redirect(request, OWN, flash=too_many(attempt, now), kind="error")
    if not is_right:
        return redirect(request, OWN, flash=_("The present password is wrong."), kind="error")
    with site.engine.begin() as conn:
        now = database_now(conn)
        users.succeed(conn, email, source)
        if error:
            return redirect(request, OWN, flash=error, kind="error")
        users.set_password(conn, email, new_hash, now=now)
        agent = request.headers.get("user-agent", "")
        secret = users.sign_in(conn, found.user, now=now, address=client_address(request), agent=agent)
    answer = redirect(request, OWN, flash=_("Your password was changed. All other sessions have ended."))
    set_cookie(request, answer, SIGN_IN_COOKIE, secret, seconds=int(users.SIGNED_IN_FOR.total_seconds()))
    return answer


@router.post(f"{OWN}/sign-ins/{{id_}}/end")
def end(request: Request, site: SiteOf, found: VisitorOf, _form: OpenFormOf, id_: int) -> Response:
    """End one of the visitor's own sign-ins."""
    if found.user is not None:
        with site.engine.begin() as conn:
            users.end_sign_in(conn, found.user, id_)
    return redirect(request, OWN, flash=_("The session has ended."))


@router.post(f"{OWN}/sign-out-everywhere")
def end_all(request: Request, site: SiteOf, found: VisitorOf, _form: OpenFormOf) -> Response:
    """End all of the visitor's sign-ins, this one included."""
    if found.user is not None:
        with site.engine.begin() as conn:
            users.sign_out_everywhere(conn, found.user)
    return signed_out(request)
