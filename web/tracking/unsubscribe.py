"""Leaving a channel, and coming back. The token of the link is all the authority there is, and all that is needed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import parse_qs
from uuid import uuid4

from fastapi import Depends, FastAPI, Request, Response
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from parcours.db.tables import tracking
from parcours.domain.events.parsing import ContactEvent, channel_of, is_channel
from parcours.domain.steps.email import category_channel
from parcours.web.i18n.language import preferred
from parcours.web.i18n.plain_pages import Button, Choice, notice
from parcours.web.inbox import AWAY, Inbox, Offered
from parcours.web.security.bodies import read_at_most
from parcours.web.security.tokens import Signed
from parcours.web.tracking.tracking_events import SOURCE

Action = Literal["unsubscribe", "resubscribe"]
MAX_BYTES = 16_384
# Names a category of emails in what the page posts.
CATEGORY = "category"
AWAY_RETRY_SECONDS = 5

_CHANNELS = {
    "en": {"email": "emails", "sms": "text messages", "push": "notifications"},
    "fr": {"email": "e-mails", "sms": "SMS", "push": "notifications"},
}
# Some languages shorten a word before a vowel.
_NONE_OF = {"e-mails": "d’e-mails"}
_WORDS = {
    "en": {
        "ask": ("Unsubscribe?", "You will no longer receive {what} from us."),
        "gone": ("You are unsubscribed", "You will no longer receive {what} from us."),
        "choose": ("Your emails", "Choose which emails you want to receive. Each button takes effect immediately."),
        "back": ("You are subscribed again", "You will receive {what} from us again."),
        "nobody": ("You are unsubscribed", "Your contact data is no longer stored here."),
        "wrong": (
            "This link does not work",
            "The link is incomplete or invalid. Open the link in the message again.",
        ),
        "away": ("Please try again", "Your choice cannot be saved at the moment. Nothing was changed."),
        "unsubscribe": "Unsubscribe",
        "resubscribe": "Subscribe again",
        "all": "Unsubscribe from all emails",
        "gets": "You receive these emails.",
        "refuses": "You do not receive these emails.",
        "other": "messages",
    },
    "fr": {
        "ask": ("Se désabonner ?", "Vous ne recevrez plus {of_what} de notre part."),
        "gone": ("Vous êtes désabonné", "Vous ne recevrez plus {of_what} de notre part."),
        "choose": (
            "Vos e-mails",
            "Choisissez les e-mails que vous voulez recevoir. Chaque bouton prend effet aussitôt.",
        ),
        "back": ("Vous êtes de nouveau abonné", "Vous recevrez de nouveau nos {what}."),
        "nobody": ("Vous êtes désabonné", "Vos données de contact ne sont plus enregistrées ici."),
        "wrong": (
            "Ce lien ne fonctionne pas",
            "Le lien est incomplet ou non valide. Ouvrez de nouveau celui du message.",
        ),
        "away": ("Veuillez réessayer", "Votre choix ne peut pas être enregistré pour le moment. Rien n’a été changé."),
        "unsubscribe": "Se désabonner",
        "resubscribe": "Se réabonner",
        "all": "Se désabonner de tous les e-mails",
        "gets": "Vous recevez ces e-mails.",
        "refuses": "Vous ne recevez pas ces e-mails.",
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
                        CATEGORY: {"type": "string", "description": "Only emails of this category; else all."},
                    },
                }
            }
        }
    }
}
_PAGE: dict[int | str, dict[str, Any]] = {404: {"description": "The token is not valid.", "content": {"text/html": {}}}}


async def _body(request: Request) -> bytes:
    return await read_at_most(request, MAX_BYTES)


def add_unsubscribing(app: FastAPI, inbox: Inbox, signed: Signed) -> None:
    """Add the routes of /unsubscribe to an app."""

    async def answer(request: Request, token: str, action: Action | None, category: str | None = None) -> Response:
        language = preferred(request.headers.get("accept-language", ""))
        try:
            pair = await signed.pair("unsubscribe", token)
            if pair is None or not is_channel(pair[1]):
                return _page("wrong", language, status=404)
            message, channel = pair[0], channel_of({"channel": pair[1]})
            wishes = await run_in_threadpool(_settle, inbox, message, channel, action, category)
        except AWAY:
            return _page("away", language, status=503, headers={"Retry-After": str(AWAY_RETRY_SECONDS)})
        if wishes is None:
            return _page("nobody", language)
        if wishes.refuses:
            return _page("gone", language, channel, "resubscribe")
        if wishes.categories and (action is None or category is not None):
            return _page("choose", language, channel, "unsubscribe", wishes.categories)
        return _page("ask" if action is None else "back", language, channel, "unsubscribe", wishes.categories)

    # Whatever fetches links ahead of people changes nothing by it.
    @app.head("/unsubscribe/{token}", include_in_schema=False)
    @app.get("/unsubscribe/{token}", summary="Show the unsubscribe page", responses=_PAGE)
    async def show(request: Request, token: str) -> Response:
        """A page with a button, and one for each category of emails, in French or English; it runs no script."""
        return await answer(request, token, None)

    @app.post("/unsubscribe/{token}", summary="Unsubscribe from a channel", responses=_PAGE, openapi_extra=_BODY)
    async def leave(request: Request, token: str, raw: Annotated[bytes, Depends(_body)]) -> Response:
        """One click (RFC 8058), or the button of the page. `action=resubscribe` reverses it. Repeats have no effect."""
        sent = parse_qs(raw.decode("utf-8", "replace"))
        wanted = sent.get("action", [""])[0]
        # In doubt nobody is written to.
        action: Action = "resubscribe" if wanted == "resubscribe" else "unsubscribe"
        return await answer(request, token, action, sent.get(CATEGORY, [None])[0])


class Wishes(NamedTuple):
    """Whether a contact refuses a channel, and of emails, which categories: by name, whether they refuse it."""

    refuses: bool
    categories: dict[str, bool]


def _settle(inbox: Inbox, message: str, channel: str, action: Action | None, category: str | None) -> Wishes | None:
    """Store what is wanted of a channel or a category, unless it is so already; return what the contact wants then.

    None when the contact is gone. A category that there is not changes nothing.
    """
    wishes: Wishes | None = None

    def offer(conn: Connection, now: datetime) -> Offered:
        nonlocal wishes
        wishes = None
        origin = tracking.origins(conn, [message]).get(message)
        if origin is None:
            return Offered()
        names = tracking.categories(conn, message) if channel == "email" else {}
        refused = tracking.refused(conn, origin.contact_id, [channel, *names])
        target = channel if category is None else category_channel(category)
        offered = Offered()
        if action is not None and target in {channel, *names} and (target in refused) != (action == "unsubscribe"):
            refused ^= {target}
            data = {"message": message, "channel": target}
            event = ContactEvent(SOURCE, str(uuid4()), f"email.{action}d", origin.contact, now, data)
            offered = Offered([(0, event)])
        wishes = Wishes(channel in refused, {name: each in refused for each, name in names.items()})
        return offered

    inbox.put(offer, limited=False)
    return wishes


def _page(
    what: str,
    language: str,
    channel: str = "",
    action: Action | None = None,
    categories: Mapping[str, bool] | None = None,
    status: int = 200,
    headers: Any = None,
) -> Response:
    words: dict[str, Any] = _WORDS[language]
    title, line = words[what]
    button = None if action is None else Button(action, words["all" if categories else action])
    called = _CHANNELS[language].get(channel, words["other"])
    said = line.format(what=called, of_what=_NONE_OF.get(called, f"de {called}"))
    choices = [_choice(words, name, refused) for name, refused in (categories or {}).items()]
    return notice(title, said, language=language, status=status, button=button, choices=choices, headers=headers)


def _choice(words: Mapping[str, str], name: str, refused: bool) -> Choice:
    action = "resubscribe" if refused else "unsubscribe"
    return Choice(CATEGORY, name, words["refuses" if refused else "gets"], Button(action, words[action]))
