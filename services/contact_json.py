"""A contact as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parcours.domain.messages.policy import as_data
from parcours.domain.time.text import iso

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from parcours.db.reads.listings import ContactLine
    from parcours.db.tables.contacts import ContactStanding, Shown


def contact_line(line: ContactLine) -> dict[str, Any]:
    """Return a contact as the command and the REST interface list it."""
    return {
        "key": line.key,
        "email": line.email,
        "name": line.name,
        "timezone": line.timezone,
        "points": line.points,
        "stage": line.stage,
        "created_at": iso(line.created_at),
        "last_active_at": iso(line.last_active_at),
        "tags": line.tags,
    }


def contact_json(contact: Shown, zone: ZoneInfo) -> dict[str, Any]:
    """Return a contact as `contacts show --json` has it; `zone` is that of its local times."""
    return {
        "key": contact.key,
        "email": contact.email,
        "timezone": contact.timezone,
        "points": contact.points,
        "stage": contact.stage,
        "owner": contact.owner,
        "scores": contact.scores,
        "utm": contact.utm,
        "fields": contact.fields,
        "tags": contact.tags,
        "segments": contact.segments,
        "aliases": contact.aliases,
        "companies": contact.companies,
        "channels": {channel: as_data(rule) for channel, rule in contact.rules.items()},
        "refusals": [
            {
                "channel": each.channel,
                "address": each.address,
                "reason": each.reason,
                "comment": each.comment,
                "since": iso(each.at),
            }
            for each in contact.refusals
        ],
        "campaigns": [
            {
                "campaign": standing.campaign,
                **membership_json(standing),
                "outcomes": outcomes_json(standing),
                "waits": waits_json(standing, zone),
            }
            for standing in contact.campaigns
        ],
        "point_log": [{**each._asdict(), "at": iso(each.at)} for each in contact.point_log],
        "stage_log": [
            {
                "at": iso(each.at),
                "campaign": each.campaign,
                "step": each.step,
                "source": each.source,
                "from": each.before,
                "to": each.after,
            }
            for each in contact.stage_log
        ],
    }


def membership_json(standing: ContactStanding) -> dict[str, Any]:
    """Return how a contact stands in a campaign."""
    return {
        "rotation": standing.rotation,
        "added_at": iso(standing.added_at),
        "left_at": iso(standing.left_at),
        "departure": standing.departure,
        "reason": standing.reason,
        "control": standing.control,
        "goal": {
            "reached_at": iso(standing.goal_reached_at),
            "until": iso(standing.goal_until),
            "value": None if standing.goal_value is None else str(standing.goal_value),
        },
        "runs": [
            {
                "run": run.key,
                "rotation": run.rotation,
                "began_at": iso(run.began_at),
                "left_at": iso(run.left_at),
                "departure": run.departure,
                "reason": run.reason,
                "entry": run.entry,
            }
            for run in standing.runs
        ],
    }


def outcomes_json(standing: ContactStanding) -> list[dict[str, Any]]:
    """Return what became of a contact at the steps of a campaign."""
    return [
        {
            "step": passed.step,
            "rotation": passed.rotation,
            "run": passed.run,
            "result": passed.result,
            "at": iso(passed.at),
            "detail": passed.detail,
        }
        for passed in standing.outcomes
    ]


def waits_json(standing: ContactStanding, zone: ZoneInfo) -> list[dict[str, Any]]:
    """Return where a contact waits in a campaign; `zone` is that of its local times."""
    return [
        {
            "step": wait.step,
            "run": wait.run,
            "waiting": wait.waiting,
            "due_at": iso(wait.due_at),
            "due_local": wait.due_at and wait.due_at.astimezone(zone).isoformat(),
            "error": wait.error,
        }
        for wait in standing.waits
    ]
