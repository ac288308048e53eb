"""Contacts: found by the beginning of their key or address, and one with all that is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.db.installation_settings import settings_of
from parcours.db.reads import listings, timeline
from parcours.db.reads.listings import FIRST
from parcours.db.reads.timeline import Place, TimelineEntry, What
from parcours.db.tables import campaigns, contacts, emails, forms, segments
from parcours.db.tables.campaigns import Found
from parcours.db.tables.contacts import ContactStanding, Shown
from parcours.db.tables.refusals import Refusal
from parcours.domain.campaign import Step
from parcours.domain.contacts.membership import Arrival, Departure
from parcours.domain.contacts.names import full_name
from parcours.domain.errors import NotFoundError, UnreadableCampaignError
from parcours.domain.events.parsing import CLAIMED, claim_of, claimed_by
from parcours.domain.time.zones import zone_of
from parcours.web.context import Site
from parcours.web.i18n import labels
from parcours.web.i18n.field_words import value_text
from parcours.web.i18n.language import _, _n, marked
from parcours.web.i18n.sentences import told
from parcours.web.pages import FOR_EDITORS, FormOf, SiteOf, pages_router
from parcours.web.pages.campaign_list import line_of
from parcours.web.pages.kept_titles import titles_of
from parcours.web.pages.rendering import redirect, render
from parcours.web.pages.step_titles import titled
from parcours.web.paging import address, before_of, instant_of, next_address, written
from parcours.workers import membership, rules

router = pages_router()

# Of a contact, before one asks for the rest.
MOST_TAGS = 30

A_PAGE = 50
# Contacts that a field offers.
OFFERED = 20
ENTRIES_A_PAGE = 40
# What of the history can be shown alone: what that is called, and the entries it has.
KINDS: Mapping[str, tuple[str, Sequence[What]]] = {
    "steps": (marked("Steps"), ("outcome",)),
    "messages": (marked("Messages"), ("message",)),
    "events": (marked("Events"), ("event",)),
    "campaigns": (marked("Joined and left"), ("joined", "left")),
}
# What an event brought is shown up to here.
MOST_TEXT = 300
# Of a result's detail: what the page says in other words, or need not.
UNTOLD = ("event", "at", "attempts", "looked_back", "run", "message_state")
# What only a technician looks for; it is shown when asked for.
TECHNICAL = ("message", "message_id", "id")
LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Stay:
    """A contact's membership of a campaign, with the campaign's own words for its steps."""

    standing: ContactStanding
    name: str
    steps: Mapping[str, Step]
    # The campaign is there to be looked at.
    exists: bool
    # Why this process cannot read it, and so knows no step of it.
    unreadable: str | None = None


@router.get("/contacts")
def find(request: Request, site: SiteOf) -> Response:
    """All contacts, newest first, or those that a search finds."""
    search = request.query_params.get("q", "").strip()
    with site.engine.connect() as conn:
        found = listings.search(conn, search)
        page = listings.contacts(conn, found=found, before=before_of(request), limit=A_PAGE)
    return render(
        request,
        "contacts/list.html",
        page=page,
        search=search,
        found=found,
        next=next_address("/contacts", page.after, q=search),
        begun="before" in request.query_params,
    )


@router.get("/contacts/+found")
def offer(request: Request, site: SiteOf) -> Response:
    """The first contacts that a search finds, as choices of a field; what is chosen is an address, or else a key."""
    with site.engine.connect() as conn:
        found = listings.search(conn, request.query_params.get("q", ""))
        page = None if found is None else listings.contacts(conn, found=found, before=FIRST, limit=OFFERED)
        by_address = not settings_of(conn).shared_addresses
    return render(request, "contacts/found.html", rows=page.rows if page else (), by_address=by_address)


@router.get("/contacts/{key:path}/leave", dependencies=FOR_EDITORS)
def ask_to_leave(request: Request, site: SiteOf, key: str) -> Response:
    """Say what taking a contact out of a campaign means."""
    with site.engine.connect() as conn:
        contact = _contact(conn, key)
        found = campaigns.find(conn, request.query_params.get("campaign", ""))
    standing = next((each for each in contact.campaigns if each.campaign == found.key), None)
    waits = 0 if standing is None else len(standing.waits)
    return render(
        request,
        "confirm.html",
        question=_("Remove {contact} from “{campaign}”?", contact=contact.key, campaign=found.name),
        consequences=[
            _n("{n} waiting step will be cancelled.", "{n} waiting steps will be cancelled.", waits),
            _("Segments and forms will not add the contact again; only a user can."),
        ],
        action=f"{address('contacts', contact.key)}/leave?{urlencode({'campaign': found.key})}",
        back=address("contacts", contact.key),
        label=_("Remove"),
        dangerous=True,
    )


@router.post("/contacts/{key:path}/leave")
def leave(request: Request, site: SiteOf, key: str) -> Response:
    """Take a contact out of a campaign by hand."""
    now = partitions.begin(site.engine)
    with site.engine.begin() as conn:
        contact = _contact(conn, key)
        found = campaigns.find(conn, request.query_params.get("campaign", ""))
        campaigns.enter(conn, found.id, site.zone)
        gone = membership.depart(conn, found.id, [contact.id], Departure.MANUAL, now=now)
        rules.follow(conn, now=now, zone=site.zone)
    said = (
        _("{contact} was removed from “{campaign}”.", contact=contact.key, campaign=found.name)
        if gone
        else _("{contact} was not in “{campaign}”.", contact=contact.key, campaign=found.name)
    )
    return redirect(request, address("contacts", contact.key), flash=said, kind="done" if gone else "warning")


@router.post("/contacts/{key:path}/join")
def join(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """Let a contact into a campaign by hand; its first steps are done as soon as they are due."""
    now = partitions.begin(site.engine)
    with site.engine.begin() as conn:
        contact = _contact(conn, key)
        found = campaigns.find(conn, form.text("campaign"))
        try:
            campaign, status = campaigns.enter_readable(conn, found.id, site.zone)
        except UnreadableCampaignError:
            said = _("“{campaign}” cannot be read, so contacts cannot join it.", campaign=found.name)
            return redirect(request, f"/campaigns/{quote(found.key)}", flash=said, kind="error")
        done = membership.arrive(conn, campaign, [contact.id], Arrival.MANUAL, now=now, zone=site.zone)
        rules.follow(conn, now=now, zone=site.zone)
    said, kind = _("{contact} is already in “{campaign}”.", contact=contact.key, campaign=found.name), "warning"
    if done:
        said, kind = _("{contact} was added to “{campaign}”.", contact=contact.key, campaign=found.name), "done"
        if status.why_not(now) is not None:
            said += " " + _("The campaign is not running, so no steps run yet.")
            kind = "warning"
    return redirect(request, address("contacts", contact.key), flash=said, kind=kind)


@router.get("/contacts/{key:path}")
def show(request: Request, site: SiteOf, key: str) -> Response:
    """A contact: attributes, where they stand, and what happened."""
    with site.engine.connect() as conn:
        contact = _contact(conn, key)
        place = Place(*(instant_of(request) or (LATEST, 0)))
        kind, campaign = request.query_params.get("show", ""), request.query_params.get("campaign", "")
        # What nobody can choose, as in an old address, is no filter.
        kind, whats = (kind, KINDS[kind][1]) if kind in KINDS else ("", None)
        campaign = campaign if any(each.campaign == campaign for each in contact.campaigns) else ""
        entries, older = timeline.page(
            conn, contact.id, place, limit=ENTRIES_A_PAGE, whats=whats, campaign=campaign or None
        )
        rows = campaigns.listing(conn)
        names = {row.key: row.name for row in rows}
        now = database_now(conn)
        called = _called(conn, entries)
        email_names = called["email"]
        part = request.headers.get("hx-target") == "older"
        stays = [_stay(conn, site, standing) for standing in contact.campaigns]
        segment_names = segments.names(conn, contact.segments)
        steps = _step_names(conn, stays, entries)
    inside = {each.campaign for each in contact.campaigns if each.left_at is None}
    return render(
        request,
        "contacts/timeline.html" if part else "contacts/show.html",
        contact=contact,
        name=full_name(contact.fields),
        refusals=told_once(contact.refusals),
        segment_names=segment_names,
        most_tags=MOST_TAGS,
        address=address("contacts", contact.key),
        stays=sorted(stays, key=lambda stay: stay.standing.left_at is not None),
        # What does not run, of the campaigns that the contact is in.
        still={row.key: line for row in rows if row.key in inside and (line := line_of(row, [], now, None)).reason},
        joinable=[(campaign, name) for campaign, name in names.items() if campaign not in inside],
        zone=zone_of(contact.timezone, site.zone),
        entries=entries,
        kinds=KINDS,
        kind=kind,
        campaign=campaign,
        chosen=urlencode({name: each for name, each in (("show", kind), ("campaign", campaign)) if each}),
        names=names,
        email_names=email_names,
        steps=steps,
        older=written(older),
        words=labels,
        brief=lambda entry: brief(entry, called),
        technical=technical,
        text_of=text_of,
    )


def _step_names(
    conn: Connection, stays: Sequence[Stay], entries: Sequence[TimelineEntry]
) -> dict[tuple[str, str], str]:
    """Return what steps are called, by campaign and key: those of now, and those of entries that are removed since."""
    made = {(each.standing.campaign, key): step.name for each in stays for key, step in each.steps.items()}
    gone: dict[str, set[str]] = {}
    for each in entries:
        if each.campaign and each.step and (each.campaign, each.step) not in made:
            gone.setdefault(each.campaign, set()).add(each.step)
    for campaign, keys in gone.items():
        made |= {(campaign, key): title for key, title in titles_of(conn, campaign, keys).items()}
    return made


def _called(conn: Connection, entries: Sequence[TimelineEntry]) -> dict[str, dict[str, str]]:
    """Return what people call the things that entries name: emails, segments, forms and campaigns, by key."""

    def named(*names: str) -> set[str]:
        values = (each.detail.get(name) for each in entries if isinstance(each.detail, dict) for name in names)
        return {each for each in values if isinstance(each, str)}

    return {
        "email": emails.titles(conn, named("template", "email")),
        "segment": segments.names(conn, named("segment")),
        "form": forms.names(conn, named("form")),
    }


def technical(entry: TimelineEntry) -> str:
    """Return the ids in an entry, which say nothing to most people."""
    detail = entry.detail if isinstance(entry.detail, dict) else {}
    if entry.what not in ("outcome", "event"):
        return ""
    return ", ".join(f"{name}{_(': ')}{detail[name]}" for name in TECHNICAL if isinstance(detail.get(name), str | int))


def brief(entry: TimelineEntry, called: Mapping[str, Mapping[str, str]]) -> str:
    """Return what is to know of an entry beside its name: a reason, or what an event brought.

    `called` has the names of things by their kind and key.
    """
    detail = entry.detail or {}
    if entry.what == "outcome":
        told = detail.get("error") or detail.get("reason")
        if told:
            return labels.why(str(told))
        happened = detail.get("event")
        claimed = claim_of(detail)
        untold = UNTOLD if claimed is None else (*UNTOLD, CLAIMED)
        rest = _named({name: each for name, each in detail.items() if name not in untold}, called)
        told = ", ".join(filter(None, (labels.word(labels.EVENT_TYPES, happened), text_of(rest))))
        return _with_claim(told, claimed)
    if entry.what in ("joined", "left"):
        # The run has its place beside the campaign.
        return labels.why(detail.get("reason"))
    if entry.what == "message":
        error = labels.why(str(detail["error"])) if detail.get("error") else ""
        return text_of(": ".join(filter(None, (str(detail.get("address") or ""), error))))
    claimed = claimed_by(detail, entry.at) if entry.what == "event" else None
    rest = {name: detail[name] for name in detail if name != CLAIMED or not claimed}
    return _with_claim(text_of(_named(rest, called)), claimed)


def _named(detail: Mapping[str, Any], called: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return what an entry brought, without ids, and with what people call the things that it names."""
    return {
        name: called[name].get(each, each) if name in called and isinstance(each, str) else each
        for name, each in detail.items()
        if name not in TECHNICAL or not isinstance(each, str | int)
    }


def _with_claim(told: str, claimed: str | None) -> str:
    if claimed is None:
        return told
    sentence = _("The event was dated {time}, in the future; its arrival time is used instead.", time=claimed)
    return f"{told}. {sentence}" if told else sentence


def told_once(refusals: Sequence[Refusal]) -> list[tuple[str, list[Refusal]]]:
    """Return what is refused by channel, the strongest reason first.

    Whoever is refused by hand is so at any address and at the one they have: that is one word, and told once.
    """
    anywhere = {(each.channel, each.reason, each.comment) for each in refusals if each.address is None}
    by_channel: dict[str, list[Refusal]] = {}
    for each in refusals:
        if each.address is None or (each.channel, each.reason, each.comment) not in anywhere:
            by_channel.setdefault(each.channel, []).append(each)
    return list(by_channel.items())


def text_of(value: Any, name: str = "") -> str:
    """Return a value that came from outside on one line of limited length, as the reader's language writes it."""
    text = value_text(value, name)
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"


def _contact(conn: Connection, key: str) -> Shown:
    contact = contacts.show(conn, key)
    if contact is None:
        raise NotFoundError("contact", key)
    return contact


def _stay(conn: Connection, site: Site, standing: ContactStanding) -> Stay:
    found: Found | None = campaigns.stored(conn, standing.campaign)
    if found is None or found.deleted:
        return Stay(standing, standing.campaign, {}, exists=False)
    try:
        steps = titled(conn, campaigns.load(conn, found.id, found.version, site.zone))[0].by_key
    except UnreadableCampaignError as error:
        return Stay(standing, found.name, {}, exists=True, unreadable=told(error.why))
    return Stay(standing, found.name, steps, exists=True)
