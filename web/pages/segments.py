"""Segments: who is in them, and adding and taking out contacts by hand."""

from __future__ import annotations

from itertools import chain
from urllib.parse import urlencode

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.db.reads import listings
from parcours.db.tables import campaigns, contacts, rebuilds, rules, segments
from parcours.db.tables.segments import COUNTED, Segment
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.gate import clean
from parcours.domain.keys import KEY_LENGTH, checked_key, slug
from parcours.domain.segments.rule import Rule, conditions
from parcours.services import manual_changes
from parcours.services.segment_explained import in_words
from parcours.web.i18n import rule_words
from parcours.web.i18n.language import _, _n, marked
from parcours.web.pages import FOR_EDITORS, FormOf, SiteOf, VisitorOf, draft_choice, pages_router
from parcours.web.pages.contacts import A_PAGE
from parcours.web.pages.rendering import redirect, render
from parcours.web.pages.step_titles import names_of
from parcours.web.paging import address, before_of, next_address, page_of

router = pages_router()

# Contacts of one form, whose locks one transaction takes.
MOST_AT_ONCE = 500


@router.get("/segments")
def show_all(request: Request, site: SiteOf) -> Response:
    """Segments, with their members and the campaigns that they feed."""
    search = request.query_params.get("q", "").strip()
    page = page_of(request)
    with site.engine.connect() as conn:
        lines = segments.listed(
            conn, most=segments.counted_of(A_PAGE), search=clean(search), limit=A_PAGE + 1, offset=(page - 1) * A_PAGE
        )
        names = {row.key: row.name for row in campaigns.listing(conn)}

    def at(number: int) -> str:
        return "/segments?" + urlencode({**({"q": search} if search else {}), "page": number})

    return render(
        request,
        "segments/list.html",
        lines=lines[:A_PAGE],
        names=names,
        counted=segments.counted_of(A_PAGE),
        search=search,
        previous=at(page - 1) if page > 1 else None,
        next=at(page + 1) if len(lines) > A_PAGE else None,
    )


@router.get("/segments/+new", dependencies=FOR_EDITORS)
def ask_new(request: Request, site: SiteOf) -> Response:
    """The form of a new segment."""
    asked = request.query_params
    # Some event may name a segment that is not there.
    key = asked.get("key", "")[:KEY_LENGTH]
    return _new(request, {"key": key, "name": "", "draft": draft_choice.place(asked.get("back", ""))})


@router.post("/segments")
def create(request: Request, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    """Make a segment."""
    given = {name: form.text(name).strip() for name in ("key", "name")}
    given["draft"] = draft_choice.place(form.text("draft"))
    if len(given["name"]) > KEY_LENGTH:
        return _new(request, given, name_error=_("Enter at most {n} characters.", n=KEY_LENGTH))
    try:
        key = checked_key("segment", given["key"] or slug(given["name"]))
    except CampaignError:
        return _new(request, given, _("Enter a key of at most {n} characters.", n=KEY_LENGTH))
    with site.engine.begin() as conn:
        if segments.find(conn, key) is not None:
            return _new(request, given, _("A segment with this key already exists. Choose another key."))
        segments.save(conn, key, name=given["name"] or None, public="private" not in form, published=True)
        back = draft_choice.choose(conn, given["draft"], key, who, now=database_now(conn))
    said = _("Segment {key} was created.", key=given["name"] or key)
    own = address("segments", key)
    if "by_rule" in form:
        return redirect(
            request, f"{own}/edit" + (f"?{urlencode({'rule': 'yes', 'back': back})}" if back else ""), flash=said
        )
    return redirect(request, back or own, flash=said)


@router.post("/segments/{key:path}/members")
def change(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """Add or take out contacts by hand, with all that follows for campaigns."""
    own = address("segments", key)
    wanted = list(dict.fromkeys(each for line in form.all("contacts") for each in line.replace(",", "\n").split("\n")))
    wanted = [each.strip() for each in wanted if each.strip()]
    if not wanted:
        return redirect(request, own, flash=_("Enter the key of at least one contact."), kind="error")
    if len(wanted) > MOST_AT_ONCE:
        said = _("Too many contacts at once. Upload a file instead.")
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
        wrong = _("No contact has the key {keys}. Nothing was changed.", keys=few)
        return _page(request, site, key, typed="\n".join(wanted), wrong=wrong)
    said = (
        _n("{n} contact removed.", "{n} contacts removed.", moved)
        if "remove" in form
        else _n("{n} contact added.", "{n} contacts added.", moved)
    )
    return redirect(request, own, flash=said, kind="done" if moved else "warning")


@router.get("/segments/{key:path}")
def show(request: Request, site: SiteOf, key: str) -> Response:
    """A segment and its members."""
    return _page(request, site, key)


def _page(request: Request, site: SiteOf, key: str, *, typed: str = "", wrong: str | None = None) -> Response:
    """Show a segment; `typed` is what could not be done with its members, for the reason `wrong`."""
    search = request.query_params.get("q", "").strip()
    with site.engine.connect() as conn:
        segment = _segment(conn, key)
        found = listings.search(conn, search)
        page = listings.segment_members(conn, segment.id, found=found, before=before_of(request), limit=A_PAGE)
        (line,) = segments.listed(conn, key=key, most=COUNTED)
        names = {row.key: row.name for row in campaigns.listing(conn)}
        known = rules.book(conn).rules.get(segment.id)
        rule = [] if known is None else _rule_lines(conn, known.rule)
        aside = rules.set_aside(conn).get(key)
        ranges = sum(each.chunks for each in rebuilds.left(conn, [segment.id]))
    return render(
        request,
        "segments/show.html",
        200 if wrong is None else 400,
        typed=typed,
        wrong=wrong,
        segment=segment,
        line=line,
        names=names,
        rule=rule,
        aside=aside,
        ranges=ranges,
        counted=COUNTED,
        page=page,
        search=search,
        found=found,
        address=address("segments", key),
        next=next_address(address("segments", key), page.after, q=search),
        begun="before" in request.query_params,
    )


def _new(
    request: Request, given: dict[str, str], error: str | None = None, *, name_error: str | None = None
) -> Response:
    return render(
        request,
        "segments/new.html",
        400 if error or name_error else 200,
        given=given,
        error=error,
        name_error=name_error,
    )


# How the parts of a rule are called.
_PARTS = {"all": marked("all of"), "any": marked("any of"), "not": marked("not")}


def _rule_lines(conn: Connection, rule: Rule) -> list[tuple[int, bool, str]]:
    """Return a rule as lines: how deep each stands, whether it is a condition, and its words."""
    named = chain.from_iterable(each.type.references(vars(each.properties)) for each in conditions(rule))
    names = names_of(conn, named)
    return [
        (depth, kind is None, words if kind is None else _(_PARTS[kind]))
        for depth, kind, words in in_words(rule, lambda asked: rule_words.said(asked, names))
    ]


def _segment(conn: Connection, key: str) -> Segment:
    found = segments.find(conn, key)
    if found is None:
        raise NotFoundError("segment", key)
    return found
