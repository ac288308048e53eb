"""Something new for a draft: the form that makes it leads back to the draft, where it is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.edit import EditError
from parcours.domain.errors import CampaignError
from parcours.domain.steps.registry import step_type
from parcours.services import drafts as service
from parcours.web.i18n.language import _
from parcours.web.pages import panels
from parcours.web.pages.draft_bench import bench_of
from parcours.web.security.access import Visitor

# A place in a draft, to which one goes back. Nothing else, so that no link can lead anywhere.
_PLACE = re.compile(
    r"(?P<at>/drafts/(?P<draft>\d{1,19})|/campaigns/(?P<key>[a-z0-9-]+)/build)"
    r"\?(?:step=(?P<step>[A-Za-z0-9_.-]{1,255})|settings=1)(?:&pick=(?P<pick>[a-z0-9_.]{1,80}))?"
)


_REVIEW = re.compile(r"(/drafts/\d{1,19}|/campaigns/[a-z0-9-]+/build)/review")


def review(text: str) -> str:
    """Return the address of the review of a draft, if it is one."""
    return text if _REVIEW.fullmatch(text) else ""


def place(text: str) -> str:
    """Return the address of a place in a draft, if it is one."""
    return text if _PLACE.fullmatch(text) else ""


def data_at(conn: Connection, back: str, visitor: Visitor) -> Mapping[str, Any]:
    """Return the draft to which a place leads; empty where it leads to none."""
    found = _PLACE.fullmatch(back)
    if found is None:
        return {}
    try:
        draft_id = int(found["draft"]) if found["draft"] else None
        return bench_of(conn, visitor, key=found["key"], draft_id=draft_id).draft.file
    except CampaignError:
        return {}


def choose(conn: Connection, back: str, key: str, visitor: Visitor, *, now: datetime) -> str:
    """Put the key of something new where the draft asked for it, as one change; return where to go on.

    A draft that is gone, or has no such place any more, stays as it is.
    """
    found = _PLACE.fullmatch(back)
    if found is None or not found["pick"]:
        return back
    draft_id = int(found["draft"]) if found["draft"] else None
    try:
        bench = bench_of(conn, visitor, key=found["key"], draft_id=draft_id)
        draft = bench.draft
        if draft.id == 0 and bench.found is not None:
            draft = service.begin(conn, bench.found, visitor.who, now=now)
        changed = _chosen(draft.file, found["step"], found["pick"].split("."), key)
        service.change(conn, draft, draft.revision, lambda _data: changed, said=_("Chosen: {what}", what=key), now=now)
    except CampaignError:
        pass
    return back.partition("&pick=")[0]


def _chosen(data: dict[str, Any], step: str | None, pick: list[str], key: str) -> dict[str, Any]:
    match pick:
        case [("segments" | "forms") as name] if step is None:
            sources = data["sources"] if isinstance(data.get("sources"), Mapping) else {}
            return edit.change(data, None, {"sources": {**sources, name: _with(sources.get(name), key)}})
        case ["exit", n, "segment"] if step is None and n.isdigit():
            exits = list(data["exit"]) if isinstance(data.get("exit"), list) else []
            if int(n) < len(exits) and isinstance(exits[int(n)], Mapping):
                exits[int(n)] = {**exits[int(n)], "segment": key}
                return edit.change(data, None, {"exit": exits})
        case ["with", name] if step is not None:
            own = edit.find(data, step).step
            kind = edit.kind_of(own)
            if kind is not None:
                several = panels.is_several(step_type(kind, str(own[kind.value])), name)
                given = own["with"] if isinstance(own.get("with"), Mapping) else {}
                value = _with(given.get(name), key) if several else key
                return edit.change(data, step, {"with": {**given, name: value}})
    raise EditError("the draft does not ask for this any more")


def _with(keys: Any, key: str) -> list[Any]:
    several = list(keys) if isinstance(keys, list) else [] if keys is None else [keys]
    return several if key in several else [*several, key]
