"""Signing in and out, and choosing a language."""

from __future__ import annotations

import contextlib
import json
import math
from datetime import datetime
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response
from starlette.requests import ClientDisconnect

from parcours.db import passwords
from parcours.db.clock import now as database_now
from parcours.db.tables import users
from parcours.db.tables.users import Throttled
from parcours.web.context import site_of
from parcours.web.i18n.language import LANGUAGES, _, _n, marked, show_times_in
from parcours.web.pages import SiteOf
from parcours.web.pages.middleware import LANGUAGE_COOKIE
from parcours.web.pages.rendering import is_ours, redirect, render
from parcours.web.problems import ProblemError, problem
from parcours.web.security.access import (
    BROWSER_COOKIE,
    CSRF_FIELD,
    CSRF_HEADER,
    MOST_FIELDS,
    SIGN_IN_COOKIE,
    FormBody,
    Visitor,
    client_address,
    known_visitor,
    posted,
    remember_device,
    set_cookie,
    source_of,
    visitor,
)
from parcours.web.security.bodies import content_type, read_at_most

router = APIRouter(include_in_schema=False)

HOME = "/campaigns"
BUSY_SECONDS = 5
BUSY = marked("Too many sign-ins at the moment. Try again in a few seconds.")
# Bytes of a form that is kept while its sender signs in again.
MOST_HELD = 500_000
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
    # What was typed when a session ended goes along until somebody is in.
    kept = {"held": form.text("held"), "held_to": form.text("held_to")}
    source = source_of(request, email)
    with site.engine.begin() as conn:
        now = database_now(conn)
        attempt = users.begin(conn, email, source, now=now)
    if isinstance(attempt, Throttled):
        wait = (attempt.until - now).total_seconds()
        return _later(request, goal, email, too_many(attempt, now), math.ceil(wait), **kept)
    try:
        right = passwords.is_right(attempt.password_hash, form.text("password"))
    except passwords.BusyError:
        with site.engine.begin() as conn:
            users.withdraw(conn, attempt)
        return _later(request, goal, email, _(BUSY), BUSY_SECONDS, **kept)
    if not right or attempt.user is None or attempt.password_hash is None:
        said = _("The address or the password is wrong.")
        return _page(request, goal, email=email, error=said, status=401, **kept)
    renewed = _renewed(attempt.password_hash, form.text("password"))
    with site.engine.begin() as conn:
        users.succeed(conn, email, source)
        if renewed is not None:
            users.renew_hash(conn, attempt.user, before=attempt.password_hash, password_hash=renewed)
        agent = request.headers.get("user-agent", "")
        secret = users.sign_in(conn, attempt.user, now=now, address=client_address(request), agent=agent)
    if kept["held"] and is_ours(kept["held_to"]):
        answer = _resumed(request, attempt.user, kept["held"], kept["held_to"])
    else:
        answer = redirect(request, goal if is_ours(goal) else HOME)
    set_cookie(request, answer, SIGN_IN_COOKIE, secret, seconds=int(users.SIGNED_IN_FOR.total_seconds()))
    remember_device(request, answer, attempt.user.email)
    return answer


def too_many(attempt: Throttled, now: datetime) -> str:
    """Return when somebody who failed too often may try again."""
    return _n(
        "Too many failed sign-ins. Try again in {n} minute.",
        "Too many failed sign-ins. Try again in {n} minutes.",
        max(1, math.ceil((attempt.until - now).total_seconds() / 60)),
    )


def _renewed(password_hash: str, password: str) -> str | None:
    """Return a new hash of a password whose own is outdated. None when it is not, or when there is no time now."""
    if not passwords.is_outdated(password_hash):
        return None
    with contextlib.suppress(passwords.BusyError):
        return passwords.hashed(password)
    return None


async def held_form(request: Request) -> str | None:
    """Return what somebody typed into a form of ours when their session had ended, as JSON; None for anything else."""
    if content_type(request) != "application/x-www-form-urlencoded":
        return None
    try:
        raw = await read_at_most(request, MOST_HELD)
        pairs = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except (ProblemError, ClientDisconnect, ValueError):
        return None
    token = next((value for name, value in reversed(pairs) if name == CSRF_FIELD), "")
    owner = site_of(request).tokens.read("csrf", request.headers.get(CSRF_HEADER) or token)
    # Of this browser, whoever was signed in there.
    if not isinstance(owner, list) or not owner or owner[0] != request.cookies.get(BROWSER_COOKIE):
        return None
    return json.dumps([pair for pair in pairs if pair[0] != CSRF_FIELD])


def ask_again(request: Request, held: str) -> Response:
    """Ask for a sign-in, and keep what was typed meanwhile."""
    if request.headers.get("hx-request"):
        # A part of a page: the page itself still has what was typed, and must not be left.
        return problem(401, "the session has ended; sign in again")
    said = _("Your session has ended. Sign in again; what you entered is kept.")
    return _page(request, HOME, error=said, status=401, held=held, held_to=_path(request))


def _path(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _resumed(request: Request, user: users.User, held: str, to: str) -> Response:
    """Return a page that sends what was typed, once somebody says so."""
    try:
        pairs = [(str(name), str(value)) for name, value in json.loads(held)]
    except (ValueError, TypeError):
        return redirect(request, HOME)
    request.state.visitor = Visitor(user.email, user.role, user)
    show_times_in(user.timezone, site_of(request).zone)
    return render(request, "resume.html", pairs=pairs[:MOST_FIELDS], to=to)


def _later(request: Request, goal: str, email: str, sentence: str, seconds: int, **kept: str) -> Response:
    answer = _page(request, goal, email=email, error=sentence, status=429, **kept)
    answer.headers["Retry-After"] = str(max(1, seconds))
    return answer


def _page(
    request: Request,
    goal: str,
    *,
    email: str = "",
    error: str | None = None,
    status: int = 200,
    held: str = "",
    held_to: str = "",
) -> Response:
    goal = goal if is_ours(goal) else HOME
    values = {"next": goal, "email": email, "error": error, "held": held, "held_to": held_to}
    return render(request, "sign_in.html", status, **values)


def maybe_visitor(request: Request, site: SiteOf) -> None:
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
    """Return the way to the sign-in page, with nothing left in the browser of who was in.

    The name of the browser stays: it says nothing, and forms in other tabs are sent by it after the next sign-in.
    """
    answer = redirect(request, "/sign-in")
    answer.delete_cookie(SIGN_IN_COOKIE, path="/")
    return answer


@router.post("/language", dependencies=[Depends(maybe_visitor)])
def choose_language(request: Request, form: OpenFormOf) -> Response:
    goal, language = form.text("next"), form.text("language")
    answer = redirect(request, goal if is_ours(goal) else HOME)
    if language in LANGUAGES:
        set_cookie(request, answer, LANGUAGE_COOKIE, language, seconds=A_YEAR_SECONDS)
    return answer
