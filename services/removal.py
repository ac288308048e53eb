"""Deleting an email, a form or a segment, when nothing uses it.

The figures of an email and what was sent stay, and so do the contacts of a segment; the submissions of a form are
deleted with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db.reads import mentions
from parcours.db.tables import campaigns, emails, events, forms, named, rebuilds, rules, segments
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.segments import parsing
from parcours.domain.segments import rule as tree
from parcours.domain.steps.types import RefersTo
from parcours.services import drafts
from parcours.services.draft_check import names_in

_CALLED = {RefersTo.EMAIL: "email", RefersTo.FORM: "form", RefersTo.SEGMENT: "segment"}


class Use(NamedTuple):
    """One thing that uses something. A draft has its owner, and the key of its campaign unless that is new."""

    key: str
    name: str
    id: int = 0
    owner: str = ""


@dataclass
class Uses:
    """What uses an email, a form or a segment."""

    campaigns: list[Use] = field(default_factory=list)
    drafts: list[Use] = field(default_factory=list)
    segments: list[Use] = field(default_factory=list)
    messages: list[Use] = field(default_factory=list)
    # Campaigns that mention it and that this process cannot read, and why.
    unreadable: dict[str, str] = field(default_factory=dict)
    # Whether messages with it are still to be sent.
    is_waiting: bool = False

    def __bool__(self) -> bool:
        lists = (self.campaigns, self.drafts, self.segments, self.messages, self.unreadable)
        return any(lists) or self.is_waiting

    @property
    def sentence(self) -> str:
        """Why it cannot be deleted, and what to do."""
        by = [
            f"{what} {', '.join(each.key for each in users)}"
            for what, users in (
                ("campaigns", self.campaigns),
                ("rules of segments", self.segments),
                ("messages", self.messages),
            )
            if users
        ]
        if self.drafts:
            by.append(f"drafts of {', '.join(f'{each.name} ({each.owner})' for each in self.drafts)}")
        said = [f"it is used by {' and by '.join(by)}; remove it there first"] if by else []
        if self.unreadable:
            which = ", ".join(f"{key} ({why})" for key, why in self.unreadable.items())
            said.append(
                f"whether it is used cannot be checked in campaigns that cannot be read: {which}; install the missing "
                "packages, correct and apply the campaign files, or delete these campaigns, and then try again"
            )
        if self.is_waiting:
            said.append("messages with it wait to be sent; try again when they are sent")
        return "; ".join(said)


def users_of(conn: Connection, what: RefersTo, key: str) -> Uses:
    """Return what names an email, a form or a segment, or is fed by it. Raises NotFoundError."""
    found = Uses()
    fed = _fed(conn, what, key)
    for each in mentions.mentions(conn, key, fed):
        user = Use(each.key, each.name or each.key, each.id, each.owner or "")
        if each.kind == "campaign":
            stored = campaigns.find(conn, each.key)
            why = campaigns.read_version(conn, stored.key, stored.id, stored.version).unreadable
            if each.id in fed or _names(drafts.data_of(conn, stored), what, key):
                found.campaigns.append(user)
            elif why is not None:
                found.unreadable[each.key] = why.why
        elif each.kind == "draft":
            if isinstance(each.content, Mapping) and _names(each.content, what, key):
                found.drafts.append(user)
        elif each.kind == "segment":
            if _asks(each.content, what, key):
                found.segments.append(user)
        elif what is RefersTo.EMAIL:
            found.messages.append(user)
    found.is_waiting = what is RefersTo.EMAIL and mentions.is_waiting(conn, key)
    return found


def _fed(conn: Connection, what: RefersTo, key: str) -> set[int]:
    """Return the campaigns that contacts enter or leave by a segment or a form, whether they can be read or not."""
    if what is RefersTo.SEGMENT and (segment := segments.find(conn, key)):
        return {id_ for id_, _ in events.campaigns_of_segment(conn, segment.id)}
    if what is RefersTo.FORM and (form := forms.find(conn, key)):
        return set(campaigns.of_form(conn, form.id))
    if what is RefersTo.EMAIL and emails.listed(conn, [key]):
        return set()
    raise NotFoundError(_CALLED[what], key)


def delete_email(conn: Connection, key: str) -> None:
    """Delete an email. Raises CampaignError when something uses it, saying what."""
    rules.begin_to_change(conn)
    _refuse_used(conn, RefersTo.EMAIL, key)
    emails.delete(conn, key)


def delete_form(conn: Connection, key: str) -> None:
    """Delete a form with its submissions. Raises CampaignError when something uses it, saying what."""
    rules.begin_to_change(conn)
    _refuse_used(conn, RefersTo.FORM, key)
    campaigns.read_by_index(conn)
    forms.delete(conn, key)


def delete_segment(conn: Connection, key: str) -> None:
    """Delete a segment and its memberships. Raises CampaignError when something uses it or may, saying what."""
    rules.begin_to_change(conn)
    _refuse_used(conn, RefersTo.SEGMENT, key)
    segment = segments.find(conn, key)
    assert segment is not None
    rebuilds.stop(conn, [segment.id])
    rules.save(conn, segment.id, None, digest=None, reads=())
    segments.delete(conn, segment.id)


def _refuse_used(conn: Connection, what: RefersTo, key: str) -> None:
    # Whoever is storing a campaign that names it is waited for, and seen.
    named.take(conn, what, key)
    used = users_of(conn, what, key)
    if used:
        raise CampaignError(f"{_CALLED[what]} {key!r} cannot be deleted: {used.sentence}")


def _names(data: Mapping[str, Any], what: RefersTo, key: str) -> bool:
    return any(each.what is what and each.key == key for each in names_in(data))


def _asks(stored: Any, what: RefersTo, key: str) -> bool:
    """Return whether the stored rule of a segment names something; one that cannot be read may."""
    rule, _problems = parsing.parse(stored.get("rule") if isinstance(stored, Mapping) else None)
    return rule is None or any(refers is what and found == key for _place, refers, found in tree.references(rule))
