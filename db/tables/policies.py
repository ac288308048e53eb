"""What holds messages back: policies of channels, and contacts' own rules."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.db.stored import Stored
from parcours.domain.messages.policy import Cap, Policy, Rule, parse_policy

sql = statements(__file__)


def listed(conn: Connection) -> dict[str, dict[str, Any]]:
    """Return the policies as their files say them, by channel."""
    return {row.channel: row.rules for row in conn.execute(sql["listed"])}


def by_channel(conn: Connection) -> dict[str, Policy]:
    """Return the policies by channel."""
    return {channel: parse_policy(rules) for channel, rules in listed(conn).items()}


def save(conn: Connection, channel: str, rules: Mapping[str, Any], *, now: datetime) -> Stored:
    """Store a policy, as its file says it, in place of the one that its channel may have; say what that changed."""
    given = {"channel": channel, "rules": json.dumps(rules), "now": now}
    if conn.execute(sql["create"], given).first() is not None:
        return "created"
    return "unchanged" if conn.execute(sql["update"], given).first() is None else "updated"


def delete(conn: Connection, channel: str) -> bool:
    """Delete the policy of a channel; return whether there was one."""
    return conn.execute(sql["delete"], {"channel": channel}).first() is not None


def rules(conn: Connection, contact_ids: Iterable[int]) -> dict[int, dict[str, Rule]]:
    """Return what contacts want of channels; contacts without a word on any are left out."""
    found: dict[int, dict[str, Rule]] = {}
    for contact_id, channel, number, period, *more in conn.execute(sql["rules"], {"ids": list(contact_ids)}).all():
        cap = None if number is None else Cap(number, period)
        found.setdefault(contact_id, {})[channel] = Rule(cap, *more)
    return found


def save_rules(conn: Connection, said: Mapping[tuple[int, str], Rule | None]) -> None:
    """Write what contacts, whose locks the caller holds, want of channels; None: nothing particular.

    Keys are (contact id, channel).
    """
    kept = [(*place, rule) for place, rule in sorted(said.items(), key=lambda each: each[0]) if rule is not None]
    if kept:
        parameters = {
            "ids": [contact_id for contact_id, _, _ in kept],
            "channels": [channel for _, channel, _ in kept],
            "numbers": [rule.cap and rule.cap.number for *_, rule in kept],
            "periods": [rule.cap and rule.cap.period for *_, rule in kept],
            "preferreds": [rule.preferred for *_, rule in kept],
            "froms": [rule.paused_from for *_, rule in kept],
            "untils": [rule.paused_until for *_, rule in kept],
        }
        conn.execute(sql["save_rules"], parameters)
    gone = [place for place, rule in said.items() if rule is None]
    if gone:
        ids, channels = map(list, zip(*gone, strict=True))
        conn.execute(sql["clear_rules"], {"ids": ids, "channels": channels})


def set_rule(conn: Connection, contact_id: int, channel: str, rule: Rule | None, *, now: datetime) -> None:
    """Write what a contact, whose lock the caller holds, wants of a channel, as a word of this instant."""
    save_rules(conn, {(contact_id, channel): rule})
    conn.execute(
        sql["rule_said"], {"contact_id": contact_id, "channel": channel, "at": now.astimezone(UTC).isoformat()}
    )
