"""How the installation does, for operators, with dead letters to process again or discard."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import Request, Response

from parcours.db.tables import campaigns
from parcours.db.tables import events as events_table
from parcours.services import dead_letters, installation_status
from parcours.web.i18n import labels
from parcours.web.i18n.language import _, _n
from parcours.web.i18n.sentences import told
from parcours.web.pages import FormOf, SiteOf, pages_router
from parcours.web.pages.rendering import redirect, render
from parcours.workers.delivery import registry

router = pages_router()

LISTED = 50
# Characters of an event that the page shows.
SHOWN = 2_000
# Seconds of lag from which on something is wrong.
LATE_SECONDS = 300
# What the engine says of events that name what is not there, and of those that may be tried again.
_MISSING = re.compile(
    r"there is no (?P<what>segment|form) ['\"](?P<key>.*)['\"]; create it with `parcours \w+ create`", re.DOTALL
)
_COMMAND = re.compile(
    r"; (?:fix the cause, then run|after fixing the cause, send it again or replay its dead letter with) "
    r"`parcours dead-letters replay`$"
)


@router.get("/status")
def show(request: Request, site: SiteOf) -> Response:
    """Lag, queues, providers, campaigns that cannot run, and dead letters."""
    found = installation_status.status(site.engine, site.settings)
    with site.engine.connect() as conn:
        letters = events_table.dead_letters(conn, limit=LISTED)
        names = {row.key: row.name for row in campaigns.listing(conn)}
        segment_names = {key: row.name for key, row in campaigns.named(conn, "segments", _segments_of(found)).items()}
    return render(
        request,
        "status.html",
        found=found,
        letters=letters,
        names=names,
        segment_names=segment_names,
        about=about,
        lease=site.settings.delivery_lease_seconds,
        providers=[(name, registry.chosen(site.settings, name)) for name in registry.CHANNELS],
        late=LATE_SECONDS,
        lasted=lasted,
        words=labels,
        moment=datetime.fromisoformat,
        told=told,
        remedy=remedy,
        queues_of=queues_of,
    )


@router.post("/status/dead-letters")
def act(request: Request, site: SiteOf, form: FormOf) -> Response:
    """Process dead letters again, or discard them: those that are ticked, or all."""
    ids = [int(each) for each in form.all("id") if each.isascii() and each.isdigit() and len(each) < 19]
    wanted = None if "all" in form else ids
    if wanted == []:
        return redirect(request, "/status", flash=_("Select at least one event."), kind="error")
    if "discard" in form:
        if "sure" not in form:
            return _ask(request, wanted or [])
        with site.engine.begin() as conn:
            gone = events_table.take_dead_letters(conn, wanted)
        return redirect(request, "/status", flash=_n("{n} event discarded.", "{n} events discarded.", len(gone)))
    done = dead_letters.replay(site.engine, site.settings, wanted)
    said = _n("{n} event processed.", "{n} events processed.", done.accepted + done.asked)
    if done.failing:
        said += " " + _n("{n} event still fails.", "{n} events still fail.", done.failing)
    return redirect(request, "/status", flash=said, kind="warning" if done.failing else "done")


def _ask(request: Request, ids: Sequence[int]) -> Response:
    return render(
        request,
        "confirm.html",
        question=_n("Discard {n} event?", "Discard {n} events?", len(ids)),
        consequences=[_("Discarded events are deleted for good and are never processed.")],
        action="/status/dead-letters",
        hidden=[("discard", "1"), ("sure", "1"), *(("id", id_) for id_ in ids)],
        back="/status",
        label=_("Discard"),
        dangerous=True,
    )


class About(NamedTuple):
    """What a dead letter is about, as far as it can be read: type and contact; and its text, up to a limit."""

    type: str
    contact: str
    text: str
    is_cut: bool


def about(body: str) -> About:
    """Return what a dead letter is about."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    told = {}
    if isinstance(event, dict):
        told = {name: event[name][:200] for name in ("type", "subject") if isinstance(event.get(name), str)}
    return About(told.get("type", ""), told.get("subject", ""), body[:SHOWN], len(body) > SHOWN)


def _segments_of(found: Mapping[str, Any]) -> list[str]:
    return [each["segment"] for each in found["rules"]["set_aside"]]


class Remedy(NamedTuple):
    """Why an event could not be processed, and the page on which that can be mended, if there is one."""

    reason: str
    address: str | None = None
    label: str = ""


def remedy(reason: str) -> Remedy:
    """Return the reason of a dead letter with what to do on pages, where it names a command."""
    missing = _MISSING.fullmatch(reason)
    if missing is None:
        alone = _COMMAND.sub("", reason)
        said = told(alone)
        return Remedy(said if alone == reason else f"{said}. {_('Fix the cause, then process the event again.')}")
    key = missing["key"]
    if missing["what"] == "segment":
        said = _("There is no segment “{key}”. Create it with this key, then process the event again.", key=key)
        return Remedy(said, f"/segments/+new?{urlencode({'key': key})}", _("New segment"))
    said = _("There is no form “{key}”. Create it with this key, then process the event again.", key=key)
    return Remedy(said, f"/forms?{urlencode({'key': key})}#new", _("New form"))


def queues_of(names: Sequence[str]) -> str:
    """Return in words what a worker takes its work from. A queue and what is delayed of it are one to people."""
    return ", ".join(dict.fromkeys(labels.word(labels.QUEUES, each.removesuffix(".DQ")) for each in names))


def lasted(seconds: float | None) -> str:
    """Return a length of time in words, or a dash."""
    if seconds is None:
        return "–"
    length = timedelta(seconds=round(max(0.0, seconds)))
    if length < timedelta(minutes=2):
        return _n("{n} second", "{n} seconds", int(length.total_seconds()))
    if length < timedelta(hours=2):
        return _n("{n} minute", "{n} minutes", int(length.total_seconds() // 60))
    if length < timedelta(days=2):
        return _n("{n} hour", "{n} hours", int(length.total_seconds() // 3600))
    return _n("{n} day", "{n} days", length.days)
