"""One's own account: where one is signed in, and ending that."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from parcours.db.clock import now as database_now
from parcours.db.tables import users
from parcours.web.i18n.language import _
from parcours.web.pages import SiteOf, VisitorOf
from parcours.web.pages.rendering import redirect, render
from parcours.web.pages.sign_in import HOME, OpenFormOf, signed_out
from parcours.web.security.access import SIGN_IN_COOKIE, visitor

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
