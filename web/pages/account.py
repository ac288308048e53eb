"""One's own account: where one is signed in, and ending that."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from parcours.db import passwords
from parcours.db.clock import now as database_now
from parcours.db.tables import users
from parcours.db.tables.users import Attempt
from parcours.web.i18n.language import _
from parcours.web.pages import SiteOf, VisitorOf
from parcours.web.pages.rendering import redirect, render
from parcours.web.pages.sign_in import BUSY, HOME, OpenFormOf, signed_out
from parcours.web.pages.users import wrong_password
from parcours.web.security.access import SIGN_IN_COOKIE, client_address, set_cookie, source_of, visitor

# Whoever is in may do this, also those who may only look.
router = APIRouter(include_in_schema=False, dependencies=[Depends(visitor)])

OWN = "/account"


@router.get(OWN)
def show(request: Request, site: SiteOf, found: VisitorOf) -> Response:
    """Where the visitor is signed in."""
    if found.user is None:
        return redirect(request, HOME)
    secret = request.cookies.get(SIGN_IN_COOKIE, "")
    with site.engine.connect() as conn:
        lines = users.sign_ins(conn, found.user, secret, now=database_now(conn))
    return render(request, "account.html", lines=lines)


@router.post(f"{OWN}/password")
def change_password(request: Request, site: SiteOf, found: VisitorOf, form: OpenFormOf) -> Response:
    """Change the visitor's own password; all other sessions end."""
    if found.user is None:
        return redirect(request, HOME)
    email, new = found.user.email, form.text("password")
    source = source_of(request, email)
    with site.engine.begin() as conn:
        attempt = users.begin(conn, email, source, now=database_now(conn))
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
    if not is_right or not isinstance(attempt, Attempt):
        return redirect(request, OWN, flash=_("The present password is wrong."), kind="error")
    with site.engine.begin() as conn:
        now = database_now(conn)
        users.succeed(conn, email, source)
        if error:
            return redirect(request, OWN, flash=error, kind="error")
        users.set_password(conn, email, new_hash)
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
