"""Templates to answers."""

from __future__ import annotations

import json
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.runtime import Macro
from markupsafe import Markup

from parcours.web.context import site_of
from parcours.web.i18n import field_words, language
from parcours.web.i18n.language import LANGUAGES, _, _n
from parcours.web.i18n.sentences import told
from parcours.web.pages.assets import asset
from parcours.web.pages.event_tests import REPORTED
from parcours.web.security import access

TEMPLATES = Path(__file__).parent.parent / "templates"
FLASH_COOKIE = "parcours_flash"
# What one cookie can hold, with room for its signature.
_MOST_FLASH = 1_500


@cache
def environment() -> Environment:
    """Return the templates; every value in them is escaped, and a name that was not given is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        _=_,
        _n=_n,
        asset=asset,
        number=language.number,
        percent=language.percent,
        day=language.day,
        field_name=field_words.field_name,
        reported_properties=REPORTED,
        once=once,
        value_text=field_words.value_text,
        instant=language.instant,
        languages=LANGUAGES,
        reader=language.reader,
        urlencode=urlencode,
    )
    made.filters["sentence"] = sentence
    made.filters["person"] = person
    # Choices of a select: a word that names itself, and one with a marked label.
    made.filters["pair"] = lambda word: (word, word)
    made.filters["said_pair"] = lambda pair: (pair[0], _(pair[1]))
    return made


_KEPT: dict[Hashable, Markup] = {}
# Of some hundred bytes each.
_MOST_KEPT = 10_000


def once(macro: Macro, *given: Hashable) -> Markup:
    """Return what a macro makes of what it is given, as it was made before where it was the same.

    The name of such a macro is unique, and it uses nothing but that, its imports, and the reader's language. For what
    stands in a page hundreds of times and hardly differs from one answer to the next.
    """
    key = (macro.name, language.reader().language, given)
    found = _KEPT.get(key)
    if found is None:
        found = Markup(macro(*given))
        if len(_KEPT) >= _MOST_KEPT:
            _KEPT.clear()
        _KEPT[key] = found
    return found


def person(who: str) -> str:
    """Return who did something: a name as it is, and whoever needs no sign-in in the reader's language."""
    return _("a user on this machine") if who == access.NEIGHBOUR.who else who


def sentence(text: str) -> str:
    """Return a sentence of the code in the reader's language, as one that stands alone.

    Elsewhere it also stands after a colon.
    """
    text = told(text)
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page. Templates get `values`, `request`, `visitor`, `csrf` and `flashes`.

    `_`, `_n`, `number`, `percent`, `day`, `instant` and `asset` are there in all templates and macros.
    """
    flashes = _flashes(request)
    answer = _page(
        template,
        status,
        request=request,
        visitor=getattr(request.state, "visitor", None),
        csrf=access.csrf_token(request),
        flashes=flashes,
        **values,
    )
    if access.BROWSER_COOKIE not in request.cookies:
        access.set_cookie(request, answer, access.BROWSER_COOKIE, access.browser(request))
    if flashes:
        answer.delete_cookie(FLASH_COOKIE, path="/")
    return answer


def ask_for_good(
    request: Request, own: str, verb: str, *, question: str, consequences: list[str], label: str
) -> Response:
    """Return the page that asks before something at an address of its own is gone for good."""
    return render(
        request,
        "confirm.html",
        question=question,
        consequences=consequences,
        action=f"{own}/{verb}",
        back=own,
        label=label,
        dangerous=True,
    )


def render_error(status: int, text: str) -> HTMLResponse:
    """Return the page of an error. Nothing but the template is needed for it, so it cannot fail in turn."""
    return _page("error.html", status, status=status, sentence=text)


def _page(template: str, code: int, **values: Any) -> HTMLResponse:
    return HTMLResponse(_whole(environment().get_template(template).render(**values)), status_code=code)


def _whole(text: str) -> str:
    """Return a text without halves of characters, which a form or another package may have brought."""
    return text.encode("utf-8", "replace").decode("utf-8")


def redirect(request: Request, url: str, *, flash: str | None = None, kind: str = "done") -> Response:
    """Send a browser to another page of ours; `flash` is said there once. Kinds: done, warning, error."""
    answer: Response = RedirectResponse(url, status_code=303)
    if request.headers.get("hx-request"):
        answer = Response(status_code=204, headers={"HX-Redirect": url})
    if flash:
        said = site_of(request).tokens.sign("flash", [kind, _whole(flash[:_MOST_FLASH])])
        access.set_cookie(request, answer, FLASH_COOKIE, said, seconds=60)
    return answer


def _flashes(request: Request) -> list[tuple[str, str]]:
    cookie = request.cookies.get(FLASH_COOKIE)
    # A part of a page has no place to say it.
    if not cookie or request.headers.get("hx-request"):
        return []
    found = site_of(request).tokens.read("flash", cookie)
    return [(str(found[0]), str(found[1]))] if isinstance(found, list) and len(found) == 2 else []


def base_address(request: Request) -> str:
    """Return the address of the installation, as people reach it, without a slash at its end.

    Where nobody set one, the address by which a person does is a better one than the default.
    """
    settings = site_of(request).settings
    is_set = "public_url" in settings.model_fields_set
    return (settings.public_url if is_set else str(request.base_url)).rstrip("/")


def is_ours(path: str) -> bool:
    """Return whether a path, which a form may have brought, leads to a page of ours."""
    return path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()


def to_json(value: Any) -> str:
    """Return JSON for an attribute of an element."""
    return json.dumps(value, ensure_ascii=False)
