"""Signing in and out, and choosing a language."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from parcours.db import passwords
from parcours.db.clock import now as database_now
from parcours.db.tables import users
from parcours.db.tables.users import Throttled
from parcours.web.i18n.language import LANGUAGES, _, _n
from parcours.web.pages import SiteOf
from parcours.web.pages.middleware import LANGUAGE_COOKIE
from parcours.web.pages.rendering import is_ours, redirect, render
from parcours.web.security.access import (
    BROWSER_COOKIE,
    SIGN_IN_COOKIE,
    FormBody,
    client_address,
    known_visitor,
    posted,
    remember_device,
    set_cookie,
    source_of,
    visitor,
)

router = APIRouter(include_in_schema=False)

HOME = "/campaigns"
BUSY_SECONDS = 5
A_YEAR_SECONDS = 365 * 24 * 3600
# What a form may post without a sign-in.
OpenFormOf = Annotated[FormBody, Depends(posted)]


@router.get("/")
def home() -> Response:
    return Response(status_code=303, headers={"Location": HOME})


@router.get("/sign-in")
def ask(request: Request, site: SiteOf) -> Response:
    if site.open_to_all:
        return redirect(request, HOME)
    return _page(request, request.query_params.get("next", HOME))


@router.post("/sign-in")
def sign_in(request: Request, site: SiteOf, form: OpenFormOf) -> Response:
    if site.open_to_all:
        return redirect(request, HOME)
    goal, email = form.text("next"), form.text("email").strip()
    source = source_of(request, email)
    with site.engine.begin() as conn:
        now = database_now(conn)
        attempt = users.begin(conn, email, source, now=now)
    if isinstance(attempt, Throttled):
        wait = (attempt.until - now).total_seconds()
        minutes = max(1, math.ceil(wait / 60))
        sentence = _n(
            "Too many failed sign-ins. Try again in {n} minute.",
            "Too many failed sign-ins. Try again in {n} minutes.",
            minutes,
        )
        return _later(request, goal, email, sentence, math.ceil(wait))
    try:
        right = passwords.is_right(attempt.password_hash, form.text("password"))
    except passwords.BusyError:
        with site.engine.begin() as conn:
            users.withdraw(conn, attempt)
        return _later(
            request, goal, email, _("Too many sign-ins at the moment. Try again in a few seconds."), BUSY_SECONDS
        )
    if not right or attempt.user is None or attempt.password_hash is None:
        return _page(request, goal, email=email, error=_("The address or the password is wrong."), status=401)
    with site.engine.begin() as conn:
        users.succeed(conn, attempt, email, source)
        if passwords.is_outdated(attempt.password_hash):
            users.renew_hash(conn, attempt.user, form.text("password"))
        agent = request.headers.get("user-agent", "")
        secret = users.sign_in(conn, attempt.user, now=now, address=client_address(request), agent=agent)
    answer = redirect(request, goal if is_ours(goal) else HOME)
    set_cookie(request, answer, SIGN_IN_COOKIE, secret, seconds=int(users.SIGNED_IN_FOR.total_seconds()))
    remember_device(request, answer, attempt.user.email)
    return answer


def _later(request: Request, goal: str, email: str, sentence: str, seconds: int) -> Response:
    answer = _page(request, goal, email=email, error=sentence, status=429)
    answer.headers["Retry-After"] = str(max(1, seconds))
    return answer


def _page(request: Request, goal: str, *, email: str = "", error: str | None = None, status: int = 200) -> Response:
    goal = goal if is_ours(goal) else HOME
    return render(request, "sign_in.html", status, next=goal, email=email, error=error)


def _maybe_visitor(request: Request, site: SiteOf) -> None:
    """Know who it is where that makes no difference to what they may do, so that their forms are theirs."""
    request.state.visitor = known_visitor(request, site)


@router.post("/sign-out", dependencies=[Depends(visitor)])
def sign_out(request: Request, site: SiteOf, _form: OpenFormOf) -> Response:
    secret = request.cookies.get(SIGN_IN_COOKIE)
    if secret:
        with site.engine.begin() as conn:
            users.sign_out(conn, secret)
    return signed_out(request)


def signed_out(request: Request) -> Response:
    """Return the way to the sign-in page, with nothing left in the browser of who was in."""
    answer = redirect(request, "/sign-in")
    for name in (SIGN_IN_COOKIE, BROWSER_COOKIE):
        answer.delete_cookie(name, path="/")
    return answer


@router.post("/language", dependencies=[Depends(_maybe_visitor)])
def choose_language(request: Request, form: OpenFormOf) -> Response:
    goal, language = form.text("next"), form.text("language")
    answer = redirect(request, goal if is_ours(goal) else HOME)
    if language in LANGUAGES:
        set_cookie(request, answer, LANGUAGE_COOKIE, language, seconds=A_YEAR_SECONDS)
    return answer
