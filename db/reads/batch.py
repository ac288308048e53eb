"""What a batch knows of its contacts: loaded once by need, written back once by difference."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db import touched
from parcours.db.adapters import column
from parcours.db.installation_settings import settings_of
from parcours.db.statements import like, statements
from parcours.db.tables import campaigns, companies, events, outcomes, policies, refusals, runs, scores
from parcours.db.tables import contacts as contacts_table
from parcours.domain.campaign import Campaign, Step
from parcours.domain.contacts.contact import CHANGEABLE, COLUMNS, Contact, states
from parcours.domain.events.facts import as_facts
from parcours.domain.events.table import EVENT_TYPES
from parcours.domain.messages.policy import LONGEST, Policy
from parcours.domain.segments.rule import Rule, conditions
from parcours.domain.steps.batch import (
    EmailFacts,
    Fact,
    Knowledge,
    Mailing,
    StageFacts,
    Submission,
    TemplateFacts,
    Visit,
)
from parcours.domain.steps.types import MOST_LOOKED_AT, Kind, Look, Need, Properties, RefersTo, StepType
from parcours.domain.time.intervals import Interval
from parcours.domain.walk.rows import Claim, Member, Message
from parcours.domain.walk.walk import looks_back

sql = statements(__file__)
_REFUSALS = CHANGEABLE.index("do_not_contact")
# What steps change of contacts and the outbox says by itself, once their messages are in it.
_OF_MESSAGES = frozenset({"received", "received_at", "sent"})


class Facts(NamedTuple):
    """The contacts of a batch, and what each looked like when it was loaded."""

    contacts: dict[int, Contact]
    members: dict[int, Member]
    world: Knowledge
    before: dict[int, tuple[Any, ...]]


class SegmentChanges(NamedTuple):
    """(contact id, segment key) pairs that steps put in and took out."""

    added: list[tuple[int, str]]
    removed: list[tuple[int, str]]


def lock(conn: Connection, contact_ids: Iterable[int]) -> list[int]:
    """Take the locks of contacts, in id order; return those that exist."""
    return list(conn.execute(sql["lock"], {"ids": list(contact_ids)}).scalars())


def load(
    conn: Connection, campaign: Campaign, contact_ids: Sequence[int], needs: frozenset[Need], *, now: datetime
) -> Facts:
    """Return what the steps ahead need of contacts that the caller has locked: one statement a need."""
    steps = campaign.steps.values()
    asked = [(step.type, step.properties) for step in steps if step.kind is Kind.CONDITION]
    asked += [(each.type, each.properties) for step in steps if step.rule is not None for each in conditions(step.rule)]
    facts = _loaded(conn, campaign.id, asked, contact_ids, needs, now=now)
    passes: dict[tuple[int, int], int] = {}
    if Need.RECENT_PASSES in needs:
        counted = [step.id for step in steps if Need.RECENT_PASSES in step.needs]
        passes = outcomes.recent_passes(conn, contact_ids, counted, now=now)
    ids = list(contact_ids)
    world = replace(
        facts.world,
        recent_passes=passes,
        policies=policies.by_channel(conn) if Need.POLICIES in needs else {},
        already_passed=_already_passed(conn, campaign, ids),
        companies=companies.known(conn, ids, _companies_named(campaign)) if Need.COMPANIES in needs else {},
        set_aside=campaigns.why_not_readable(conn, campaign.joined),
        holders=None if settings_of(conn).shared_addresses else partial(_holders, conn),
    )
    if Need.POLICIES in needs:
        _bind(conn, facts.contacts, world.policies, now=now)
    return facts._replace(world=world, before=_states(facts))


def load_rules(conn: Connection, rules: Iterable[Rule], contact_ids: Sequence[int], *, now: datetime) -> Facts:
    """Return what several rules ask of contacts, all together: one statement a need, one more a set of event types.

    The caller has locked the contacts, or takes what it finds. Those that are gone are left out. An event that is being
    acted on is not there yet; `with_event` adds it.
    """
    asked = [(each.type, each.properties) for rule in rules for each in conditions(rule)]
    needs = frozenset(need for type_, properties in asked for need in type_.needs_of(properties))
    facts = _loaded(conn, _NO_CAMPAIGN, asked, contact_ids, needs, now=now)
    if Need.COMPANIES in needs:
        world = replace(facts.world, companies=companies.known(conn, list(contact_ids), ()))
        facts = facts._replace(world=world)
    return facts._replace(before=_states(facts))


def _states(facts: Facts) -> dict[int, tuple[Any, ...]]:
    return dict(zip(facts.contacts, states(facts.contacts.values()), strict=True))


# No campaign has this id, and nobody is a member of it.
_NO_CAMPAIGN = 0

_Asked = Sequence[tuple[StepType, Properties]]


def _loaded(
    conn: Connection,
    campaign_id: int,
    asked: _Asked,
    contact_ids: Sequence[int],
    needs: frozenset[Need],
    *,
    now: datetime,
) -> Facts:
    """Return what conditions and actions want of contacts; `asked` are the conditions."""
    ids = {"ids": list(contact_ids)}
    contacts: dict[int, Contact] = {}
    members: dict[int, Member] = {}
    in_runs: dict[int, Member] = {}
    parameters = {**ids, "campaign_id": campaign_id, "fields": Need.FIELDS in needs}
    for row in conn.execute(sql["contacts"], parameters).all():
        (
            id_,
            key,
            email,
            timezone,
            points,
            stage,
            owner,
            fields,
            last_active_at,
            created_at,
            rotation,
            active,
            several,
        ) = row
        contacts[id_] = Contact(
            id_, key, email, timezone, points, stage, owner, fields or {}, last_active_at, created_at
        )
        if rotation is not None:
            members[id_] = Member(rotation, active)
            if several:
                in_runs[id_] = members[id_]
    if in_runs:
        runs.open_of(conn, campaign_id, in_runs)
    if Need.TAGS in needs:
        for contact_id, tags in conn.execute(sql["tags"], ids).all():
            contacts[contact_id].tags = frozenset(tags)
    if Need.SEGMENTS in needs:
        for contact_id, keys in conn.execute(sql["segments"], ids).all():
            contacts[contact_id].segments = frozenset(keys)
    if Need.COMPANIES in needs:
        for contact_id, standing in companies.of_contacts(conn, contacts).items():
            contacts[contact_id].companies, contacts[contact_id].company = standing
    if Need.SCORES in needs:
        for contact_id, scored in scores.of_contacts(conn, contacts).items():
            contacts[contact_id].scores = scored
    if Need.UTM in needs:
        for contact_id, utm in scores.utm(conn, contacts).items():
            contacts[contact_id].utm = utm
    if Need.DO_NOT_CONTACT in needs:
        for contact_id, reasons in refusals.of_contacts(conn, contacts).items():
            contacts[contact_id].do_not_contact = reasons
    if Need.RECEIVED in needs:
        for contact_id, templates, ats in conn.execute(sql["received"], ids).all():
            contacts[contact_id].received = frozenset(templates)
            contacts[contact_id].received_at = dict(zip(templates, ats, strict=True))
    return Facts(contacts, members, _world(conn, asked, contact_ids, needs, now=now), {})


def _world(
    conn: Connection, asked: _Asked, contact_ids: Sequence[int], needs: frozenset[Need], *, now: datetime
) -> Knowledge:
    emails: dict[str, EmailFacts] = {}
    stages: dict[str, StageFacts] = {}
    if Need.EMAILS in needs:
        emails = {row.key: EmailFacts(*row) for row in conn.execute(sql["emails"])}
    if Need.STAGES in needs:
        stages = {row.key: StageFacts(row.key, row.weight, row.published) for row in conn.execute(sql["stages"])}
    campaigns: dict[int, dict[str, datetime]] = {}
    if Need.CAMPAIGNS in needs:
        for contact_id, key, added_at in conn.execute(sql["campaigns"], {"ids": list(contact_ids)}).all():
            campaigns.setdefault(contact_id, {})[key] = added_at
    ids = list(contact_ids)
    looks = [look for type_, properties in asked for look in type_.looks_of(properties) if look.need in needs]
    return Knowledge(
        emails,
        stages,
        campaigns=campaigns,
        devices=_devices(conn, ids) if Need.DEVICES in needs else {},
        submissions=_submissions(conn, ids) if Need.SUBMISSIONS in needs else {},
        visits=_visits(conn, looks, ids, now=now),
        events=_events(conn, looks, ids, now=now),
        mailings=_mailings(conn, looks, ids, now=now),
        templates=_templates(conn) if Need.TEMPLATES in needs else {},
    )


def _holders(conn: Connection, addresses: Collection[str]) -> dict[str, list[tuple[int, str]]]:
    events.lock_addresses(conn, addresses)
    found = contacts_table.holders(conn, addresses)
    return {address: [(each.id, each.key) for each in holders] for address, holders in found.items()}


def _companies_named(campaign: Campaign) -> set[str]:
    steps = campaign.steps.values()
    # By its key, or by the name that a step gives the contact's company.
    called = {getattr(step.properties, "company_name", None) for step in steps}
    return {each for each in called if each is not None} | {
        key for step in steps for key in step.keys_of(RefersTo.COMPANY)
    }


def _templates(conn: Connection) -> dict[tuple[str, str], TemplateFacts]:
    return {
        (kind, key): TemplateFacts(key, published, channels or {})
        for kind, key, published, channels in conn.execute(sql["templates"]).all()
    }


def _bind(conn: Connection, contacts: Mapping[int, Contact], bound: Mapping[str, Policy], *, now: datetime) -> None:
    """Load what contacts want of channels and, for channels that anything caps, what was sent on them lately."""
    named = sorted({policy.holidays for policy in bound.values() if policy.holidays is not None})
    if named:
        for contact_id, countries in conn.execute(sql["countries"], {"ids": list(contacts), "fields": named}).all():
            contacts[contact_id].countries = countries
    caps = {channel: [policy.cap.period] for channel, policy in bound.items() if policy.cap is not None}
    for contact_id, found in policies.rules(conn, contacts).items():
        contacts[contact_id].rules = found
        for channel, rule in found.items():
            if rule.cap is not None:
                caps.setdefault(channel, []).append(rule.cap.period)
    if not caps:
        return
    longest = max(LONGEST[period] for periods in caps.values() for period in periods)
    parameters = {"ids": list(contacts), "channels": sorted(caps), "since": now - longest}
    for contact_id, channel, sent in conn.execute(sql["sent"], parameters).all():
        contacts[contact_id].sent = {**contacts[contact_id].sent, channel: tuple(sent)}


def _already_passed(conn: Connection, campaign: Campaign, ids: list[int]) -> set[tuple[int, int, int]]:
    moved = [step.id for step in campaign.steps.values() if step.moved]
    if not moved:
        return set()
    rows = conn.execute(sql["already_passed"], {"ids": ids, "step_ids": moved})
    return {(row.contact_id, row.step_id, row.passage) for row in rows}


def _devices(conn: Connection, ids: list[int]) -> dict[int, list[Mapping[str, str | None]]]:
    found: dict[int, list[Mapping[str, str | None]]] = {}
    for contact_id, type_, brand, os in conn.execute(sql["devices"], {"ids": ids}).all():
        found.setdefault(contact_id, []).append({"type": type_, "brand": brand, "os": os})
    return found


def _submissions(conn: Connection, ids: list[int]) -> dict[int, list[Submission]]:
    found: dict[int, list[Submission]] = {}
    parameters = {"ids": ids, "most": MOST_LOOKED_AT}
    for contact_id, form, fields, at in conn.execute(sql["submissions"], parameters).all():
        found.setdefault(contact_id, []).append(Submission(form, fields, at))
    return found


def _visits(conn: Connection, looks: Iterable[Look], ids: list[int], *, now: datetime) -> dict[int, list[Visit]]:
    """Return the visits that conditions may ask for: only as far back, and as many of one page, as they look."""
    asked = [look for look in looks if look.need is Need.VISITS]
    if not asked:
        return {}
    parameters = {"ids": ids, "since": _since(asked, now), "latest": not any(look.every for look in asked)}
    found: dict[int, list[Visit]] = {}
    for contact_id, url, page, at in conn.execute(sql["visits"], parameters).all():
        found.setdefault(contact_id, []).append(Visit(url, page, at))
    return found


def _events(conn: Connection, looks: Iterable[Look], ids: list[int], *, now: datetime) -> dict[int, list[Fact]]:
    """Return the events that conditions may ask for, latest first: of each type as many, and as far back, as needed."""
    asked: dict[frozenset[str], list[Look]] = {}
    for look in looks:
        if look.need is Need.EVENTS:
            asked.setdefault(look.types, []).append(look)
    # Several may ask for the same ones.
    rows: dict[tuple[int, datetime, str, str], Any] = {}
    for types, alike in asked.items():
        parameters = {
            "ids": ids,
            "types": [like(each) for each in sorted(types)],
            "since": _since(alike, now),
            "most": max(look.most for look in alike),
            "by_machines": [name for name, each in EVENT_TYPES.items() if each.by_machines],
        }
        for row in conn.execute(sql["events"], parameters):
            rows[row.contact_id, row.received_at, row.source, row.id] = row
    if not rows:
        return {}
    templates = events.templates_named(conn, [row.data for row in rows.values()])
    found: dict[int, list[Fact]] = {}
    for row in rows.values():
        found.setdefault(row.contact_id, []).extend(as_facts(row.type, row.data, row.at, templates))
    for facts in found.values():
        facts.sort(key=lambda fact: fact.at, reverse=True)
    return found


def _mailings(conn: Connection, looks: Iterable[Look], ids: list[int], *, now: datetime) -> dict[int, list[Mailing]]:
    asked = [look for look in looks if look.need is Need.MAILINGS]
    if not asked:
        return {}
    parameters = {"ids": ids, "since": _since(asked, now), "most": max(look.most for look in asked)}
    found: dict[int, list[Mailing]] = {}
    for contact_id, activity, email, at in conn.execute(sql["mailings"], parameters).all():
        found.setdefault(contact_id, []).append(Mailing(activity, email, at))
    return found


def _since(looks: Iterable[Look], now: datetime) -> datetime | None:
    """Return from when on something may be asked for; None: from the beginning."""
    found = []
    for look in looks:
        edges = [look.since, None if look.within is None else begins(look.within, now)]
        known = [each for each in edges if each is not None]
        if not known:
            return None
        found.append(max(known))
    return min(found, default=None)


def with_event(facts: Facts, contact_id: int, type_: str, data: Mapping[str, Any], at: datetime) -> Facts:
    """Return facts that know an event which is being acted on, and is not in the history yet."""
    world = facts.world
    new = as_facts(type_, dict(data), at, {})
    if not new:
        return facts
    happened = {**world.events, contact_id: [*new, *world.events.get(contact_id, ())]}
    activity = _ACTIVITIES.get(type_)
    mailings = world.mailings
    if activity is not None and isinstance(data.get("email"), str):
        mailings = {
            **mailings,
            contact_id: [*mailings.get(contact_id, ()), *(Mailing(each, data["email"], at) for each in activity)],
        }
    visits = world.visits
    if type_ == "page.hit":
        visits = {**visits, contact_id: [*visits.get(contact_id, ()), Visit(data.get("url"), data.get("page"), at)]}
    return facts._replace(world=replace(world, events=happened, mailings=mailings, visits=visits))


_ACTIVITIES: Mapping[str, tuple[Literal["opened", "clicked", "bounced"], ...]] = {
    "email.opened": ("opened",),
    "email.clicked": ("opened", "clicked"),
    "email.bounced": ("bounced",),
}


def look_back(conn: Connection, known: Facts, claimed: Sequence[tuple[Step, Sequence[Claim]]]) -> Facts:
    """Add what contacts did before they arrived at decisions that look back; nothing is read without one."""
    found: dict[int, list[Fact]] = {}
    answered: set[tuple[int, int | None, int, str, str]] = set()
    for step, claims in claimed:
        if step.look_back is None:
            continue
        arrivals = [claim for claim in claims if looks_back(step, claim)]
        if not arrivals:
            continue
        since = begins(step.look_back, min(claim.anchor_at for claim in arrivals))
        ids = [claim.contact_id for claim in arrivals]
        answered |= outcomes.answered(conn, step.id, [claim.contact_id for claim in arrivals if claim.passage > 1])
        # A click is an opening too.
        types = step.events | {
            name for name, each in EVENT_TYPES.items() if each.counts_as and step.looks_at(each.counts_as)
        }
        happened = events.recent(conn, ids, types, since=since)
        templates = events.templates_named(conn, [each.data for each in happened])
        texted = events.texted(conn, {each.contact_id for each in happened if each.type == "sms.replied"})
        for contact_id, type_, at, data in happened:
            found.setdefault(contact_id, []).extend(as_facts(type_, data, at, templates, texted.get(contact_id)))
    return known._replace(world=replace(known.world, past=found, answered=answered)) if found else known


def begins(interval: Interval, at: datetime) -> datetime:
    """Return an instant at least an interval before another, in whatever timezone."""
    try:
        # A day more than the longest the interval can be: months differ in length.
        return at - timedelta(days=interval.months * 31 + interval.days + 1) - interval.exact
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def save(conn: Connection, facts: Facts, *, now: datetime) -> SegmentChanges:
    """Write what steps changed in the contacts: seven statements at most, five more where companies change.

    None when nothing changed.
    Segment changes are returned, since memberships of campaigns may follow from them.
    """
    changed = _changed(facts)
    was, is_ = facts.before, facts.contacts
    own = [name for name in CHANGEABLE[:COLUMNS] if name in changed]
    if own == ["points"]:
        # What most batches change; the other columns need not be sent.
        points = [(id_, after) for id_, _, after in changed["points"]]
        _write(conn, "save_points", ("ids", "points"), points, now=now)
    else:
        columns = [(id_, *is_[id_].state()[:COLUMNS]) for id_ in _ids(changed, *own)]
        _write(conn, "save_columns", ("ids", "emails", "timezones", "points", "stages", "owners"), columns, now=now)
    fields = [(id_, json.dumps(after, default=str)) for id_, _, after in changed["fields"]]
    scored = [
        (id_, group, points)
        for id_, before, after in changed["scores"]
        for group, points in after.items()
        if before.get(group) != points
    ]
    tags_added = [(id_, tag) for id_, before, after in changed["tags"] for tag in after - before]
    tags_removed = [(id_, tag) for id_, before, after in changed["tags"] for tag in before - after]
    refused: list[tuple[int, str, str, str | None]] = []
    allowed: list[tuple[int, str]] = []
    for id_ in _ids(changed, "do_not_contact", "refusal_comments", "refused_by_hand"):
        before: Mapping[str, str] = was[id_][_REFUSALS]
        after, comments, by_hand = is_[id_].do_not_contact, is_[id_].refusal_comments, is_[id_].refused_by_hand
        refused += [
            (id_, channel, "manual" if channel in by_hand else reason, comments.get(channel))
            for channel, reason in after.items()
            if before.get(channel) != reason or channel in comments or (channel in by_hand and reason != "manual")
        ]
        # One that a weaker reason took the place of was taken back before.
        allowed += [(id_, channel) for channel in before if _weakened(before[channel], after.get(channel))]
    _write(conn, "save_fields", ("ids", "fields"), fields, now=now)
    _write(conn, "save_scores", ("ids", "groups", "points"), scored)
    _write(conn, "add_tags", ("ids", "tags"), sorted(tags_added))
    _write(conn, "remove_tags", ("ids", "tags"), tags_removed)
    _write(conn, "allow", ("ids", "channels"), allowed)
    if allowed:
        refusals.allow(conn, allowed, now=now)
    _write(conn, "refuse", ("ids", "channels", "reasons", "comments"), sorted(refused, key=itemgetter(0, 1)), now=now)
    if refused:
        refusals.refused_by_hand(conn, refused, now=now)
    companies.join(conn, [(id_, key) for id_, before, after in changed["companies"] for key in after - before])
    companies.set_primary(conn, {id_: after for id_, _, after in changed["company"]})
    for name in own:
        touched.note(conn, name, map(itemgetter(0), changed[name]))
    touched.note_fields(conn, changed["fields"])
    touched.note_named(conn, "tags", [*tags_added, *tags_removed])
    touched.note_named(conn, "scores", ((id_, group) for id_, group, _ in scored))
    if refused or allowed:
        touched.note(conn, "do_not_contact", [*(id_ for id_, *_ in refused), *(id_ for id_, _ in allowed)])
    return SegmentChanges(
        [(id_, key) for id_, before, after in changed["segments"] for key in sorted(after - before)],
        [(id_, key) for id_, before, after in changed["segments"] for key in sorted(before - after)],
    )


def _weakened(before: str, after: str | None) -> bool:
    order = refusals.STRENGTH
    return after is None or (before in order and after in order and order.index(after) > order.index(before))


def _changed(facts: Facts) -> Mapping[str, list[tuple[int, Any, Any]]]:
    """Return (contact id, before, after) of those who changed, by what changed.

    Attribute by attribute: of most, nothing changed in the whole batch, and one comparison says so.
    """
    found: defaultdict[str, list[tuple[int, Any, Any]]] = defaultdict(list)
    befores = zip(*facts.before.values(), strict=True)
    afters = zip(*states(facts.contacts[id_] for id_ in facts.before), strict=True)
    for name, before, after in zip(CHANGEABLE, befores, afters, strict=False):
        if name not in _OF_MESSAGES and before != after:
            found[name] = [each for each in zip(facts.before, before, after, strict=True) if each[1] != each[2]]
    return found


def _ids(changed: Mapping[str, list[tuple[int, Any, Any]]], *names: str) -> Iterable[int]:
    """Return the contacts of whom any of these changed."""
    return dict.fromkeys(id_ for name in names for id_, _, _ in changed[name])


def change_tags(conn: Connection, *, added: Sequence[tuple[int, str]], removed: Sequence[tuple[int, str]]) -> None:
    """Give contacts tags, and take tags from them."""
    _write(conn, "add_tags", ("ids", "tags"), sorted(set(added)))
    _write(conn, "remove_tags", ("ids", "tags"), sorted(set(removed)))
    touched.note_named(conn, "tags", [*added, *removed])


def send(conn: Connection, campaign_id: int, messages: Sequence[Message], *, now: datetime) -> None:
    """Write messages to the outbox."""
    written: dict[int, str] = {}

    def payload(value: Mapping[str, Any]) -> str:
        return written.get(id(value)) or written.setdefault(id(value), json.dumps(dict(value), default=str))

    rows = [
        (
            each.contact_id,
            each.key,
            each.step_id,
            each.rotation,
            out.channel,
            out.template,
            out.address,
            payload(out.payload),
            out.marketing,
            out.priority,
            out.not_before,
            out.held,
        )
        for each in messages
        for out in (each.outbound,)
    ]
    names = (
        *("contact_ids", "keys", "step_ids", "rotations", "channels", "templates", "addresses", "payloads"),
        *("marketings", "priorities", "not_befores", "helds"),
    )
    _write(conn, "send", names, rows, campaign_id=campaign_id, now=now)


def _write(conn: Connection, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], **more: Any) -> None:
    if rows:
        values = map(column, map(list, zip(*rows, strict=True)))
        conn.execute(sql[name], {**dict(zip(columns, values, strict=True)), **more})
