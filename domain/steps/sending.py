"""What all steps that send have in common: who may be written to on a channel, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

from parcours.domain.campaign import Priority
from parcours.domain.contacts.contact import Contact
from parcours.domain.messages.policy import NO_POLICY, NO_RULE, Hold, Limits, Policy
from parcours.domain.steps.batch import Batch
from parcours.domain.steps.types import Done, Outbound, Postponed, Result, Skipped
from parcours.domain.time.zones import zone_of

# A campaign's messages in the outbox before those of another; a message's own priority counts within.
_RANK: Mapping[Priority, int] = {"high": 2, "normal": 0, "low": -2}
# A slot that becomes free goes to whoever asks first: what matters less asks later.
_LATER: Mapping[Priority, timedelta] = {
    "high": timedelta(0),
    "normal": timedelta(minutes=5),
    "low": timedelta(minutes=10),
}
_WORDS = {
    "paused": "sending is paused ({channel})",
    "cap": "frequency cap reached ({channel})",
    "quiet_hours": "quiet hours ({channel})",
    "blackout": "blackout day ({channel})",
    "holiday": "public holiday ({channel})",
}


class _Published(Protocol):
    @property
    def published(self) -> bool: ...


def rank(batch: Batch[Any], *, high: bool = False) -> int:
    """Return the priority of a step's messages in the outbox."""
    return _RANK[batch.campaign.priority] + high


def not_sendable(what: str, key: str, facts: _Published | None) -> str | None:
    """Return why a template cannot be sent to anybody, or None when it can."""
    if facts is None:
        return f"the {what} {key!r} does not exist"
    return None if facts.published else f"the {what} {key!r} is not published"


def refusal(contact: Contact, channel: str) -> str | None:
    """Return why a contact must not be contacted on a channel, or None."""
    reason = contact.do_not_contact.get(channel)
    return None if reason is None else f"do not contact ({channel}): {reason}"


def limits(batch: Batch[Any], contact: Contact, channel: str) -> Limits | None:
    """Return what binds marketing messages to a contact on a channel, or None when nothing does."""
    policy, rule = batch.world.policies.get(channel, NO_POLICY), contact.rules.get(channel, NO_RULE)
    if policy is NO_POLICY and rule is NO_RULE:
        return None
    country = contact.countries.get(policy.holidays or "")
    return Limits(policy, rule, contact.sent.get(channel, ()), zone_of(contact.timezone, batch.zone), country)


def hold(batch: Batch[Any], contact: Contact, bound: Limits | None) -> Hold | None:
    """Return what holds a marketing message back now, and until when, or None when it may go."""
    held = None if bound is None else bound.hold(batch.now)
    if bound is None or held is None:
        return None
    later = _LATER[batch.campaign.priority] + bound.policy.later(contact.id, held.rule)
    return bound.hold(batch.now, later=later) if later else held


def send(batch: Batch[Any], contact: Contact, outbound: Outbound, detail: Mapping[str, Any] | None = None) -> Result:
    """Return the result of sending a contact a message: it goes, waits its turn, or is left out.

    Only marketing messages are ever held back. `detail` is what to remember of one that goes.
    """
    bound = limits(batch, contact, outbound.channel) if outbound.marketing else None
    held = hold(batch, contact, bound)
    if bound is None or held is None:
        if bound is not None and bound.cap is not None:
            count(batch, contact, outbound)
        return Done(detail, (outbound,))
    return held_back(batch, contact, outbound, held, bound.policy, detail)


def held_back(
    batch: Batch[Any],
    contact: Contact,
    outbound: Outbound,
    held: Hold,
    policy: Policy,
    detail: Mapping[str, Any] | None = None,
) -> Result:
    """Return what becomes of a message that a policy holds back: left out, kept in the outbox, or tried again."""
    about = about_hold(outbound.channel, held, policy)
    if held.until is None or policy.over == "skip":
        return Skipped(sentence(outbound.channel, held.rule), {**(detail or {}), **about})
    if policy.over == "queue":
        queued = replace(outbound, not_before=held.until, held=held.rule)
        count(batch, contact, queued)
        return Done({**(detail or {}), **about}, (queued,))
    return Postponed(held.until, about)


def sentence(channel: str, rule: str) -> str:
    """Return in words why a rule holds a message back."""
    return _WORDS[rule].format(channel=channel)


def about_hold(channel: str, held: Hold, policy: Policy) -> dict[str, Any]:
    """Return what an outcome remembers of a message that was held back."""
    until = held.until and held.until.isoformat()
    return {"policy": {"channel": channel, "rule": held.rule, "over": policy.over, "until": until}}


def count(batch: Batch[Any], contact: Contact, outbound: Outbound) -> None:
    """Remember a marketing message, so that the next one in this batch knows of it."""
    before = contact.sent.get(outbound.channel, ())
    contact.sent = {**contact.sent, outbound.channel: (*before, outbound.not_before or batch.now)}
