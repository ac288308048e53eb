"""`parcours explain`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Connection

from parcours.cli.instants import Now, given, instant
from parcours.cli.session import session
from parcours.db.tables import campaigns, contacts, entrants, membership
from parcours.db.tables import dates as dates_table
from parcours.db.tables.campaigns import Found
from parcours.db.tables.contacts import ContactRun, ContactStanding, ContactWait, Passed
from parcours.db.tables.dates import DateOfContact
from parcours.db.tables.entrants import HeldBack
from parcours.domain.campaign import Campaign
from parcours.domain.errors import NotFoundError, UnreadableCampaignError
from parcours.domain.events.parsing import claim_of
from parcours.domain.time import schedule
from parcours.domain.time.dates import moment
from parcours.domain.time.text import iso, shown
from parcours.domain.time.zones import zone_of
from parcours.domain.walk.walk import deadline
from parcours.services import entry_explained
from parcours.services.contact_json import membership_json, outcomes_json, waits_json

app = typer.Typer()


def _never(contact: str, campaign: str, inside: list[str], *, segments: bool, kept_out: bool) -> str:
    """Return why a contact is not in a campaign that it never was in."""
    if not inside:
        nowhere = " and is in none of its segments" if segments else ""
        return f"{contact} was never in {campaign}{nowhere}."
    named = ", ".join(inside)
    if kept_out:
        return f"{contact} was never in {campaign}. It is in its source segment {named}, but an exit keeps it out."
    return (
        f"{contact} was never in {campaign} but is in its source segment {named}; `parcours update` adds it while "
        "the campaign is running."
    )


def may_come_back(campaign: Campaign, standing: ContactStanding, *, now: datetime, zone: ZoneInfo) -> str | None:
    """Return whether a contact that left may come back, in a sentence; None when nothing is in the way."""
    if standing.departure == "manual":
        return "It was removed manually. Only `parcours campaigns add` adds it again."
    if campaign.reentry == "never":
        return "Re-entry is `never`: the contact does not return automatically. Use `reentry: after_exit` to allow it."
    if campaign.cooldown is not None:
        ends = schedule.add(campaign.cooldown, standing.left_at or standing.added_at, zone)
        if ends > now:
            return f"Re-entry is blocked until the cooldown ends at {shown(ends, zone)}."
    return None


def by_date(each: DateOfContact, *, inside: bool, now: datetime, zone: ZoneInfo) -> str:
    """Return when a contact enters by a date of its own, or why it does not."""
    again = " again" if inside or each.turn is not None else ""
    if each.pending:
        return f"The entry {each.rule} is not up to date yet; `parcours update` or tick updates it."
    if each.due_at is not None and each.due_at > now:
        return f"Enters{again} on {shown(each.due_at, zone)} ({each.rule})."
    if each.due_at is not None:
        since = shown(each.due_at, zone)
        return f"Has been due to enter{again} since {since} ({each.rule}); it enters when the campaign runs."
    if moment(each.value) is None:
        has = "the field is empty" if each.value is None else f"{each.value!r} is not a date"
        return f"Does not enter {each.rule}: {has}."
    entered = f"already entered ({each.turn})" if each.turn is not None else "that time has passed"
    return f"Does not enter{again} {each.rule}: {entered}."


def until(wait: ContactWait, campaign: Campaign | None, zone: ZoneInfo) -> str:
    """Return until when a contact waits at a step, in its own time."""
    step = None if campaign is None else campaign.by_key.get(wait.step)
    date = None if step is None else step.timing.date
    if step is not None and campaign is not None and step.rule is not None:
        ends = deadline(campaign, step, since=wait.anchor_at, zone=zone) if wait.anchor_at is not None else None
        last = "" if ends is None else f", until {shown(ends, zone)} at the latest"
        return f"until its rule is true{last}"
    if wait.due_at is None:
        return "until the event happens" if date is None else f"until the field {date.field!r} contains a date"
    return f"until {shown(wait.due_at, zone)}" + ("" if date is None or wait.held else f" ({date})")


_MESSAGES = {
    "queued": "message in the outbox",
    "sending": "message being sent",
    "sent": "message delivered",
    "failed": "message not delivered",
    "cancelled": "message withdrawn",
}
RULES = {
    "cap": "cap",
    "quiet_hours": "quiet hours",
    "paused": "pause",
    "blackout": "blackout day",
    "holiday": "public holiday",
}


def run_sentence(run: ContactRun, zone: ZoneInfo) -> str:
    """Return when a run began, and when and why it ended."""
    name = "The run without a key" if run.key is None else f"Run {run.key}"
    if run.left_at is None:
        return f"{name}: began {shown(run.began_at, zone)}, rotation {run.rotation}."
    why = f"{run.departure}: {run.reason}" if run.reason else run.departure
    return f"{name}: began {shown(run.began_at, zone)}, ended {shown(run.left_at, zone)} ({why})."


def group_sentences(standing: ContactStanding, zone: ZoneInfo) -> list[str]:
    """Return that a contact is in the control group, and whether it reached the goal."""
    found = ["In the control group: no steps run for this contact."] if standing.control else []
    if standing.goal_reached_at is not None:
        worth = "" if standing.goal_value is None else f", value {standing.goal_value.normalize():f}"
        found.append(f"Reached the goal {shown(standing.goal_reached_at, zone)}{worth}.")
    return found


def because(detail: Mapping[str, Any]) -> str | None:
    """Return why a contact got the result that it has at a step, from the details of the outcome."""
    claimed = claim_of(detail)
    if claimed is not None:
        return f"the event stated the future time {claimed}; its arrival time is used"
    reason: str | None = detail.get("reason") or detail.get("error") or message_sentence(detail.get("message"))
    return reason


def passed_sentence(passed: Passed, zone: ZoneInfo) -> str:
    """Return what became of a contact at a step, and why."""
    why = because(passed.detail or {})
    result = f"{passed.result} ({why})" if why else passed.result
    return f"{shown(passed.at, zone)}  {passed.step}{_of(passed.run)}: {result}"


def held_sentence(held: HeldBack, zone: ZoneInfo) -> str:
    """Return since when a limit holds a contact back."""
    run = "" if held.key is None else f" with run {held.key}"
    return f"Held back{run} since {shown(held.came_at, zone)} by the campaign's limit; {held.before:,} come before."


def grace_sentence(ends: datetime, *, now: datetime, zone: ZoneInfo) -> str:
    """Return until when a contact that is in none of the sources any more stays."""
    if ends <= now:
        return f"Is in none of its sources any more; the grace ended {shown(ends, zone)}, and it leaves shortly."
    return f"Is in none of its sources any more. It leaves on {shown(ends, zone)}, unless it comes back before (grace)."


def _of(run: str | None) -> str:
    return "" if run is None else f" of run {run}"


def message_sentence(message: dict[str, Any] | None) -> str | None:
    """Return what became of the message that a step wrote, with the reason where it did not arrive."""
    if not message:
        return None
    error = message.get("error") if message["state"] != "sent" else None
    return _MESSAGES[message["state"]] + (f": {error}" if error else "")


def _tree(conn: Connection, found: Found, zone: ZoneInfo) -> tuple[Campaign | None, str | None]:
    """Return a campaign's tree, or why this process cannot read it."""
    try:
        return campaigns.load(conn, found.id, found.version, zone), None
    except UnreadableCampaignError as error:
        return None, str(error)


_Rules = Mapping[tuple[str, str | None], list[str]]


def _reasons(
    conn: Connection,
    loaded: Campaign | None,
    standing: ContactStanding | None,
    contact: str,
    contact_id: int,
    *,
    now: datetime,
    zone: ZoneInfo,
) -> tuple[list[str], _Rules]:
    """Return why a contact is not in, source by source, and what the rules that it waits for say, by step and run."""
    if loaded is None:
        return [], {}
    by_source: list[str] = []
    if standing is None or standing.left_at is not None:
        by_source = list(entry_explained.sources(conn, loaded, contact, contact_id, now=now, zone=zone))
    rules: dict[tuple[str, str | None], list[str]] = {}
    for wait in [] if standing is None else standing.waits:
        runs = [] if standing is None else [run for run in standing.runs if run.key == wait.run]
        entry = runs[0].entry if runs else {}
        rules[wait.step, wait.run] = entry_explained.waited_for(
            conn, loaded, wait.step, contact_id, entry, now=now, zone=zone
        )
    return by_source, rules


def _of_member(
    standing: ContactStanding,
    loaded: Campaign | None,
    by_source: list[str],
    rules: _Rules,
    *,
    now: datetime,
    zone: ZoneInfo,
) -> list[str]:
    """Return what became of a contact that is, or was, in a campaign."""
    sentences = [f"Joined {shown(standing.added_at, zone)}, rotation {standing.rotation}."]
    if standing.left_at is not None:
        why = f"{standing.departure}: {standing.reason}" if standing.reason else standing.departure
        sentences.append(f"Left {shown(standing.left_at, zone)} ({why}).")
        back = may_come_back(loaded, standing, now=now, zone=zone) if loaded is not None else None
        sentences += [back] if back else []
        sentences += by_source
    sentences += group_sentences(standing, zone)
    sentences += [run_sentence(run, zone) for run in standing.runs]
    sentences += [passed_sentence(passed, zone) for passed in standing.outcomes]
    for wait in standing.waits:
        policy = (wait.held or {}).get("policy")
        held = f", held back by {RULES[policy['rule']]} ({policy['channel']})" if policy else ""
        if because := (wait.held or {}).get("held_because"):
            held = f", because {because}"
        failed = f"; the last attempt failed: {wait.error}" if wait.error else ""
        sentences.append(
            f"waits at {wait.step}{_of(wait.run)} ({wait.waiting}) {until(wait, loaded, zone)}{held}{failed}"
        )
        sentences += rules.get((wait.step, wait.run), [])
    if standing.left_at is None and not standing.waits and not standing.control:
        sentences.append("No open waits: all paths are complete.")
    return sentences


@app.command()
def explain(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Key or id of the campaign.")],
    contact: Annotated[str, typer.Argument(metavar="CONTACT", help="Key of the contact.")],
    now: Now = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where a contact is in a campaign and why: completed steps, skipped steps with reasons, and waits in local
    time."""
    here = session()
    given(now)
    with here.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        person = contacts.show(conn, contact)
        if person is None:
            raise NotFoundError("contact", contact)
        at = instant(conn, now)
        why_not = campaigns.status_of(campaigns.listing(conn, [found.id])[0]).why_not(at, here.zone)
        loaded, unreadable = _tree(conn, found, here.zone)
        why_not = unreadable or why_not
        segments = campaigns.sources(conn, found.id)
        sources = {source.key for source in segments if source.published}
        dates = dates_table.of_contact(conn, found.id, person.id)
        waiting_to_enter = entrants.of_contact(conn, found.id, person.id)
        standing = next((each for each in person.campaigns if each.campaign == found.key), None)
        grace = membership.grace_until(conn, found.id, person.id)
        by_source, rules = _reasons(conn, loaded, standing, contact, person.id, now=at, zone=here.zone)
    zone = zone_of(person.timezone, here.zone)
    sentences = []
    if why_not:
        places = "" if "contacts keep their places" in why_not else " Contacts keep their places."
        sentences.append(f"The campaign is not running: {why_not}.{places}")
    if standing is None:
        inside = sorted(sources.intersection(person.segments))
        kept_out = any(each.startswith(entry_explained.KEPT_OUT) for each in by_source)
        sentences.append(_never(contact, found.key, inside, segments=bool(segments), kept_out=kept_out))
        sentences += by_source
    else:
        sentences += _of_member(standing, loaded, by_source, rules, now=at, zone=zone)
    if grace is not None:
        sentences.append(grace_sentence(grace, now=at, zone=zone))
    sentences += [held_sentence(held, zone) for held in waiting_to_enter]
    sentences += [by_date(each, inside=standing is not None, now=at, zone=zone) for each in dates]
    if not as_json:
        for sentence in sentences:
            here.say(sentence)
        return
    here.print_json(
        {
            "campaign": found.key,
            "contact": contact,
            "running": why_not is None,
            "why_not": why_not,
            "timezone": zone.key,
            "membership": None if standing is None else membership_json(standing),
            "passed": []
            if standing is None
            else [{**each, "detail": each["detail"] or {}} for each in outcomes_json(standing)],
            "waits": []
            if standing is None
            else [
                {**each, "held": wait.held}
                for each, wait in zip(waits_json(standing, zone), standing.waits, strict=True)
            ],
            "grace_until": iso(grace),
            "dates": [
                {
                    "date": str(each.rule),
                    "field": each.rule.field,
                    "value": each.value,
                    "due_at": iso(each.due_at),
                    "due_local": each.due_at and each.due_at.astimezone(zone).isoformat(),
                    "entered": each.turn,
                }
                for each in dates
            ],
            "explanation": sentences,
        }
    )
