"""Leaving a channel, and coming back. The token of the link is all the authority there is, and all that is needed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs
from uuid import uuid4

from fastapi import Depends, FastAPI, Request, Response
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from db import tracking
from domain.events import ContactEvent, channel_of, is_channel
from web.bodies import read_at_most
from web.inbox import AWAY, Inbox, Offered
from web.language import preferred
from web.notices import Button, notice
from web.sightings import SOURCE
from web.signed import Signed

Action = Literal["unsubscribe", "resubscribe"]
MAX_BYTES = 16_384
AWAY_RETRY_SECONDS = 5

_CHANNELS = {
    "en": {"email": "emails", "sms": "text messages", "push": "notifications"},
    "fr": {"email": "e-mails", "sms": "SMS", "push": "notifications"},
}
_WORDS = {
    "en": {
        "ask": ("Unsubscribe?", "You will get no more {what} from us."),
        "gone": ("You are unsubscribed", "You will get no more {what} from us."),
        "back": ("You are subscribed again", "You will get {what} from us as before."),
        "nobody": ("You are unsubscribed", "We do not know you any more."),
        "wrong": (
            "This link does not work",
            "It is incomplete, or not ours. Use the link of the message.",
        ),
        "away": ("Please try again", "This cannot be stored at the moment; nothing is changed."),
        "unsubscribe": "Unsubscribe",
        "resubscribe": "Subscribe again",
        "other": "messages",
    },
    "fr": {
        "ask": ("Se désabonner ?", "Vous ne recevrez plus de {what} de notre part."),
        "gone": ("Vous êtes désabonné", "Vous ne recevrez plus de {what} de notre part."),
        "back": ("Vous êtes de nouveau abonné", "Vous recevrez nos {what} comme avant."),
        "nobody": ("Vous êtes désabonné", "Nous ne vous connaissons plus."),
        "wrong": (
            "Ce lien ne fonctionne pas",
            "Il est incomplet, ou pas de nous. Utilisez celui du message.",
        ),
        "away": ("Veuillez réessayer", "Ce choix ne peut pas être enregistré pour le moment ; rien n’est changé."),
        "unsubscribe": "Se désabonner",
        "resubscribe": "Se réabonner",
        "other": "messages",
    },
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "List-Unsubscribe": {"const": "One-Click"},
                        "action": {"enum": ["unsubscribe", "resubscribe"], "default": "unsubscribe"},
                    },
                }
            }
        }
    }
}
_PAGE: dict[int | str, dict[str, Any]] = {404: {"description": "Not a token of ours.", "content": {"text/html": {}}}}


async def _body(request: Request) -> bytes:
    return await read_at_most(request, MAX_BYTES)


def add_unsubscribing(app: FastAPI, inbox: Inbox, signed: Signed) -> None:
    """Add the routes of /unsubscribe to an app."""

    async def answer(request: Request, token: str, action: Action | None) -> Response:
        language = preferred(request.headers.get("accept-language", ""))
        try:
            pair = await signed.pair("unsubscribe", token)
            if pair is None or not is_channel(pair[1]):
                return _page("wrong", language, status=404)
            message, channel = pair[0], channel_of({"channel": pair[1]})
            refuses = await run_in_threadpool(_settle, inbox, message, channel, action)
        except AWAY:
            return _page("away", language, status=503, headers={"Retry-After": str(AWAY_RETRY_SECONDS)})
        if refuses is None:
            return _page("nobody", language)
        if refuses:
            return _page("gone", language, channel, "resubscribe")
        return _page("ask" if action is None else "back", language, channel, "unsubscribe")

    # Whatever fetches links ahead of people changes nothing by it.
    @app.head("/unsubscribe/{token}", include_in_schema=False)
    @app.get("/unsubscribe/{token}", summary="A page to leave a channel", responses=_PAGE)
    async def show(request: Request, token: str) -> Response:
        """A page with one button, in French or English."""
        return await answer(request, token, None)

    @app.post("/unsubscribe/{token}", summary="Leave a channel", responses=_PAGE, openapi_extra=_BODY)
    async def leave(request: Request, token: str, raw: Annotated[bytes, Depends(_body)]) -> Response:
        """One click (RFC 8058), or the button of the page; `action=resubscribe` takes it back. Twice is once."""
        wanted = parse_qs(raw.decode("utf-8", "replace")).get("action", [""])[0]
        # In doubt nobody is written to.
        return await answer(request, token, "resubscribe" if wanted == "resubscribe" else "unsubscribe")


def _settle(inbox: Inbox, message: str, channel: str, action: Action | None) -> bool | None:
    """Store what is wanted, unless it is so already; return whether the contact refuses the channel then.

    None when the contact is gone.
    """
    refuses: bool | None = None

    def offer(conn: Connection, now: datetime) -> Offered:
        nonlocal refuses
        origin = tracking.origins(conn, [message]).get(message)
        if origin is None:
            return Offered()
        refuses = tracking.refuses(conn, origin.contact_id, channel)
        if action is None or refuses == (action == "unsubscribe"):
            return Offered()
        refuses = not refuses
        data = {"message": message, "channel": channel}
        event = ContactEvent(SOURCE, str(uuid4()), f"email.{action}d", origin.contact, now, data)
        return Offered([(0, event)])

    inbox.put(offer, limited=False)
    return refuses


def _page(
    what: str, language: str, channel: str = "", action: Action | None = None, status: int = 200, headers: Any = None
) -> Response:
    words: dict[str, Any] = _WORDS[language]
    title, line = words[what]
    button = None if action is None else Button(action, words[action])
    said = line.format(what=_CHANNELS[language].get(channel, words["other"]))
    return notice(title, said, language=language, status=status, button=button, headers=headers)
