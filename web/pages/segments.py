"""Segments: who is in them, and adding and taking out contacts by hand."""

from __future__ import annotations

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db import partitions
from parcours.db.reads import listings
from parcours.db.tables import contacts, rebuilds, rules, segments
from parcours.db.tables.segments import COUNTED, Segment
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.keys import KEY_LENGTH, checked_key
from parcours.domain.segments.rule import Rule
from parcours.services import manual_changes
from parcours.services.segment_explained import in_words
from parcours.web.context import Site
from parcours.web.i18n.conditions import condition
from parcours.web.i18n.language import _, _n, marked
from parcours.web.pages import FormOf, SiteOf, pages_router
from parcours.web.pages.contacts import A_PAGE
from parcours.web.pages.rendering import redirect, render
from parcours.web.paging import address, before_of, next_address

router = pages_router()

# Contacts of one form, whose locks one transaction takes.
MOST_AT_ONCE = 500


@router.get("/segments")
def show_all(request: Request, site: SiteOf) -> Response:
    """All segments, with their members and the campaigns that they feed."""
    return _list(request, site)


@router.post("/segments")
def create(request: Request, site: SiteOf, form: FormOf) -> Response:
    """Make a segment."""
    given = {name: form.text(name).strip() for name in ("key", "name")}
    try:
        key = checked_key("segment", given["key"])
    except CampaignError:
        return _list(request, site, given, _("Enter a key of at most {n} characters.", n=KEY_LENGTH))
    with site.engine.begin() as conn:
        if segments.find(conn, key) is not None:
            return _list(request, site, given, _("A segment with this key already exists. Choose another key."))
        segments.save(conn, key, name=given["name"] or None, public="private" not in form, published=True)
    return redirect(request, address("segments", key), flash=_("Segment {key} was created.", key=key))


@router.post("/segments/{key:path}/members")
def change(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """Add or take out contacts by hand, with all that follows for campaigns."""
    own = address("segments", key)
    wanted = list(dict.fromkeys(each for line in form.all("contacts") for each in line.replace(",", "\n").split("\n")))
    wanted = [each.strip() for each in wanted if each.strip()]
    if not wanted:
        return redirect(request, own, flash=_("Enter the key of at least one contact."), kind="error")
    if len(wanted) > MOST_AT_ONCE:
        said = _("Too many contacts at once. Use `parcours segments import` for larger lists.")
        return redirect(request, own, flash=said, kind="error")
    now = partitions.begin(site.engine)
    with site.engine.begin() as conn:
        segment = _segment(conn, key)
        known = contacts.named(conn, wanted)
        unknown = [each for each in wanted if each not in known]
        if not unknown:
            inside = "remove" not in form
            moved = len(
                manual_changes.change_segment(
                    conn, segment.id, list(known.values()), inside=inside, now=now, zone=site.zone
                )
            )
    if unknown:
        few = ", ".join(unknown[:5])
        return redirect(
            request,
            own,
            flash=_("No contact has the key {keys}. Nothing was changed.", keys=few),
            kind="error",
        )
    said = (
        _n("{n} contact removed.", "{n} contacts removed.", moved)
        if "remove" in form
        else _n("{n} contact added.", "{n} contacts added.", moved)
    )
    return redirect(request, own, flash=said, kind="done" if moved else "warning")


@router.get("/segments/{key:path}")
def show(request: Request, site: SiteOf, key: str) -> Response:
    """A segment and its members."""
    search = request.query_params.get("q", "").strip()
    with site.engine.connect() as conn:
        segment = _segment(conn, key)
        found = listings.search(conn, search)
        page = listings.segment_members(conn, segment.id, found=found, before=before_of(request), limit=A_PAGE)
        (line,) = segments.listed(conn, key=key, most=COUNTED)
        known = rules.book(conn).rules.get(segment.id)
        aside = rules.set_aside(conn).get(key)
        ranges = sum(each.chunks for each in rebuilds.left(conn, [segment.id]))
    return render(
        request,
        "segments/show.html",
        segment=segment,
        line=line,
        rule=[] if known is None else _rule_lines(known.rule),
        aside=aside,
        ranges=ranges,
        counted=COUNTED,
        page=page,
        search=search,
        more=found is not None and found.more,
        address=address("segments", key),
        next=next_address(address("segments", key), page.after, q=search),
        begun="before" in request.query_params,
    )


def _list(request: Request, site: Site, given: dict[str, str] | None = None, error: str | None = None) -> Response:
    with site.engine.connect() as conn:
        lines = segments.listed(conn, most=COUNTED)
    return render(
        request,
        "segments/list.html",
        400 if error else 200,
        lines=lines,
        counted=COUNTED,
        given=given or {"key": "", "name": ""},
        error=error,
    )


# How the parts of a rule are called.
_PARTS = {"all": marked("all of"), "any": marked("any of"), "not": marked("not")}


def _rule_lines(rule: Rule) -> list[tuple[int, bool, str]]:
    """Return a rule as lines: how deep each stands, whether it is a condition, and its words."""
    return [
        (depth, kind is None, condition(words) if kind is None else _(_PARTS[kind]))
        for depth, kind, words in in_words(rule)
    ]


def _segment(conn: Connection, key: str) -> Segment:
    found = segments.find(conn, key)
    if found is None:
        raise NotFoundError("segment", key)
    return found
