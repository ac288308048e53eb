"""Actions on the contact itself: points, tags, fields, segments, stage, owner and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from parcours.domain.contacts.contact import Contact
from parcours.domain.contacts.identity import IdentityError, address, timezone
from parcours.domain.contacts.tags import why_not_one
from parcours.domain.messages import templates
from parcours.domain.steps import templated
from parcours.domain.steps.batch import Batch
from parcours.domain.steps.properties import (
    POINTS_LIMIT,
    Channel,
    Json,
    Name,
    Plain,
    PointGroup,
    PointsAdded,
    is_applied,
    is_blank,
)
from parcours.domain.steps.registry import action
from parcours.domain.steps.types import (
    DONE,
    Done,
    Erase,
    Failed,
    Need,
    NoProperties,
    Properties,
    RefersTo,
    Result,
    Skipped,
)
from parcours.domain.steps.words import in_and_out, listed


class ChangePoints(Properties):
    points: PointsAdded = Field(description="Number of points to add; a negative number subtracts. Not 0.")
    group: PointGroup | None = Field(
        default=None, description="Key of the point group to change. Default: the contact's own points."
    )


def _scores(asked: ChangePoints) -> frozenset[Need]:
    return frozenset() if asked.group is None else frozenset([Need.SCORES])


@action(
    "contact.points",
    properties=ChangePoints,
    needs=_scores,
    refers_to={"group": RefersTo.POINT_GROUP},
    reference="lead.changepoints",
    summary=lambda asked: (
        f"{asked.points:+,} {'point' if abs(asked.points) == 1 else 'points'}"
        + (f" in the group {asked.group}" if asked.group else "")
    ),
)
def change_points(batch: Batch[ChangePoints]) -> list[Result]:
    """Adds points to the contact or subtracts them.

    With a group, changes the contact's points in that group, which start at 0.

    Skipped when the total would not fit in a 32-bit integer.
    """
    points, group = batch.properties.points, batch.properties.group
    results: list[Result] = [DONE] * len(batch.contacts)
    for place, contact in enumerate(batch.contacts):
        before = contact.points if group is None else contact.scores.get(group, 0)
        total = before + points
        if not -POINTS_LIMIT <= total <= POINTS_LIMIT:
            # Written as it is, it would make the statement fail for the whole batch.
            results[place] = Skipped(f"the total of {before} and {points} points is too large to store")
        elif group is None:
            contact.points = total
        else:
            contact.scores = {**contact.scores, group: total}
    return results


class ChangeTags(Properties):
    add: list[Name] = Field(
        default=[],
        description="Tags to add; new tags are created. A tag name with a leading `-` is removed instead.",
    )
    remove: list[Name] = Field(default=[], description="Tags to remove. A tag in both lists is removed.")

    @field_validator("add")
    @classmethod
    def _no_bare_minus(cls, add: list[str]) -> list[str]:
        if any(not name.removeprefix("-").strip() for name in add):
            raise ValueError("`-` must be followed by the name of the tag to remove")
        return add

    @field_validator("add")
    @classmethod
    def _are_single_tags(cls, add: list[str], info: ValidationInfo) -> list[str]:
        for name in add:
            # A stored campaign may be from before this was a rule, and so may a tag that is removed.
            if info.context and not name.startswith("-") and (why := why_not_one(name)):
                raise ValueError(why)
        return add

    @model_validator(mode="after")
    def _names_a_tag(self) -> ChangeTags:
        if not self.add and not self.remove:
            raise ValueError("give at least one tag in add or remove")
        return self


def _says_tags(add: list[str], remove: list[str]) -> str:
    parts = [f"add the tags {listed(add)}"] if add else []
    return "; ".join(parts + ([f"remove the tags {listed(remove)}"] if remove else [])) or "nothing"


@action(
    "contact.tags",
    properties=ChangeTags,
    needs=[Need.TAGS],
    reference="lead.changetags",
    summary=lambda asked: _says_tags(asked.add, asked.remove),
)
def change_tags(batch: Batch[ChangeTags]) -> list[Result]:
    """Adds and removes tags of the contact.

    Never skipped. Adding an existing tag or removing a missing tag is not an error.
    """
    add = frozenset(name for name in batch.properties.add if not name.startswith("-"))
    minus = (name[1:].strip() for name in batch.properties.add if name.startswith("-"))
    remove = frozenset((*batch.properties.remove, *minus))
    for contact in batch.contacts:
        contact.tags = (contact.tags | add) - remove
    return [DONE] * len(batch.contacts)


# Attributes of a contact that `contact.update` does not set, and what to do instead.
_ELSEWHERE = {
    "key": "steps cannot change a contact's key; use a field with another name",
    "points": "to change points, use the action contact.points",
    "stage": "to change the stage, use the action contact.stage",
    "tags": "to change tags, use the action contact.tags",
    "last_active_at": "steps cannot change last_active_at, which records the contact's activity",
}
_ATTRIBUTES = frozenset({"email", "timezone", "owner"})


class ContactUpdate(Properties):
    fields: dict[Name, Json] = Field(
        description="Values by field name, at least one. `email`, `timezone` and `owner` are built-in attributes; "
        "other names are custom fields. Texts can contain Liquid, such as {{ contact.country }}. A blank "
        "value does not change the field."
    )

    @field_validator("fields")
    @classmethod
    def _can_be_set(cls, fields: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        if not fields:
            raise ValueError("give at least one field and its value")
        if is_applied(info):
            templated.check(fields)
        for name, value in fields.items():
            if name in _ELSEWHERE:
                raise ValueError(_ELSEWHERE[name])
            if name not in _ATTRIBUTES or is_blank(value):
                continue
            if not isinstance(value, str):
                raise ValueError(f"{name} must be a text")
            if templates.is_fixed(value):
                _own(name, value)
        return fields


def _own(name: str, value: str) -> str:
    """Return an attribute as it is kept. Raises ValueError for what is no address or timezone."""
    if name == "email":
        try:
            return address(value)
        except IdentityError:
            raise ValueError(f"{value!r} is not an email address") from None
    return timezone(value) if name == "timezone" else value.strip()


def _what_update_needs(asked: ContactUpdate) -> frozenset[Need]:
    return frozenset([Need.FIELDS]) | templated.needs(asked.fields)


@action(
    "contact.update",
    properties=ContactUpdate,
    needs=_what_update_needs,
    reference="lead.updatelead",
    summary=lambda asked: f"set fields: {listed(asked.fields)}",
)
def update(batch: Batch[ContactUpdate]) -> list[Result]:
    """Sets fields of the contact. Blank values, and templates that produce a blank, change nothing.

    Skipped when a template does not produce a valid email address or timezone where one is needed, and when the
    email address belongs to another contact, unless contacts may share addresses. Fails when a template cannot be
    rendered.
    """
    given = batch.properties.fields
    if not templated.is_template(given):
        same = _values(given)
        return [_set(contact, *same) for contact in batch.contacts]
    results: list[Result] = []
    for contact in batch.contacts:
        try:
            results.append(_set(contact, *_values(templated.fill_in(given, batch, contact))))
        except templates.RenderError as error:
            results.append(Failed(str(error), retry=False))
        except ValueError as error:
            results.append(Skipped(str(error)))
    return results


def _values(fields: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the contact's own attributes, and custom fields, without blanks. Raises ValueError as `_own` does."""
    given = {name: value for name, value in fields.items() if not is_blank(value)}
    return {name: _own(name, given.pop(name)) for name in _ATTRIBUTES & given.keys()}, given


def _set(contact: Contact, own: Mapping[str, str], fields: Mapping[str, Any]) -> Result:
    for name, value in own.items():
        setattr(contact, name, value)
    if fields:
        contact.fields = {**contact.fields, **fields}
    return DONE


class ChangeSegments(Properties):
    add: list[Name] = Field(default=[], description="Keys of segments to add the contact to.")
    remove: list[Name] = Field(
        default=[], description="Keys of segments to remove the contact from. A segment in both lists is removed."
    )

    @model_validator(mode="after")
    def _names_a_segment(self) -> ChangeSegments:
        if not self.add and not self.remove:
            raise ValueError("give at least one segment in add or remove")
        return self


@action(
    "contact.segments",
    properties=ChangeSegments,
    needs=[Need.SEGMENTS],
    refers_to={"add": RefersTo.SEGMENT, "remove": RefersTo.SEGMENT},
    reference="lead.changelist",
    summary=lambda asked: in_and_out("segment", "segments", asked.add, asked.remove),
)
def change_segments(batch: Batch[ChangeSegments]) -> list[Result]:
    """Adds the contact to segments and removes it from others, as a manual change. Never skipped."""
    add, remove = frozenset(batch.properties.add), frozenset(batch.properties.remove)
    for contact in batch.contacts:
        contact.segments = (contact.segments | add) - remove
    return [DONE] * len(batch.contacts)


class ChangeStage(Properties):
    stage: Name = Field(description="Key of the stage to move the contact to.")


@action(
    "contact.stage",
    properties=ChangeStage,
    needs=[Need.STAGES],
    refers_to={"stage": RefersTo.STAGE},
    reference="stage.change",
    summary=lambda asked: f"move to the stage {asked.stage}",
)
def change_stage(batch: Batch[ChangeStage]) -> list[Result]:
    """Moves the contact forward to a stage.

    Skipped when the stage does not exist or is not published, when the contact is already in it, and when the
    contact's stage has a higher weight.
    """
    key, stages = batch.properties.stage, batch.world.stages
    stage = stages.get(key)
    if stage is None or not stage.published:
        state = "does not exist" if stage is None else "is not published"
        return [Skipped(f"the stage {key!r} {state}")] * len(batch.contacts)
    # Without a weight a stage has no order, and nothing is ahead of it.
    ahead = {
        other.key: Skipped(f"the contact's stage {other.key!r} is higher than {key!r}")
        for other in stages.values()
        if other.weight is not None and stage.weight is not None and other.weight > stage.weight
    }
    already = Skipped(f"the contact is already in the stage {key!r}")
    results: list[Result] = []
    for contact in batch.contacts:
        if contact.stage == key:
            results.append(already)
        elif contact.stage in ahead:
            results.append(ahead[contact.stage])
        else:
            contact.stage = key
            results.append(DONE)
    return results


class ChangeOwner(Properties):
    owner: Name = Field(description="The new owner.")


@action(
    "contact.owner",
    properties=ChangeOwner,
    reference="lead.changeowner",
    summary=lambda asked: f"set the owner to {asked.owner}",
)
def change_owner(batch: Batch[ChangeOwner]) -> list[Result]:
    """Sets the contact's owner and replaces any previous owner. Never skipped."""
    for contact in batch.contacts:
        contact.owner = batch.properties.owner
    return [DONE] * len(batch.contacts)


class AddDoNotContact(Properties):
    channels: list[Channel] = Field(min_length=1, description="Channels, such as email or sms; at least one.")
    reason: Plain = Field(default="", description="Reason, stored as a comment.")


@action(
    "contact.dnc_add",
    properties=AddDoNotContact,
    needs=[Need.DO_NOT_CONTACT],
    reference="lead.adddnc",
    summary=lambda asked: f"do not contact by {listed(asked.channels)}",
)
def add_do_not_contact(batch: Batch[AddDoNotContact]) -> list[Result]:
    """Marks the contact as "do not contact" on channels, with the reason "manual".

    Never skipped. Replaces entries with other reasons, except "unsubscribed", which has priority. Then the entry
    takes effect once the contact subscribes again.
    """
    channels, comment = frozenset(batch.properties.channels), batch.properties.reason.strip()
    for contact in batch.contacts:
        new = [channel for channel in channels if contact.do_not_contact.get(channel) != "unsubscribed"]
        contact.do_not_contact = {**contact.do_not_contact, **dict.fromkeys(new, "manual")}
        contact.refused_by_hand |= channels
        if comment:
            contact.refusal_comments = {**contact.refusal_comments, **dict.fromkeys(channels, comment)}
    return [DONE] * len(batch.contacts)


class RemoveDoNotContact(Properties):
    channels: list[Channel] = Field(min_length=1, description="Channels, such as email or sms; at least one.")


@action(
    "contact.dnc_remove",
    properties=RemoveDoNotContact,
    needs=[Need.DO_NOT_CONTACT],
    reference="lead.removednc",
    summary=lambda asked: f"allow contact by {listed(asked.channels)}",
)
def remove_do_not_contact(batch: Batch[RemoveDoNotContact]) -> list[Result]:
    """Removes "do not contact" entries of channels, whatever their reason, including "unsubscribed". Never skipped."""
    gone = frozenset(batch.properties.channels)
    for contact in batch.contacts:
        if not gone.isdisjoint(contact.do_not_contact):
            contact.do_not_contact = _without(contact.do_not_contact, gone)
            contact.refusal_comments = _without(contact.refusal_comments, gone)
            contact.refused_by_hand -= gone
    return [DONE] * len(batch.contacts)


def _without(entries: Mapping[str, str], gone: frozenset[str]) -> dict[str, str]:
    return {channel: text for channel, text in entries.items() if channel not in gone}


@action(
    "contact.delete",
    properties=NoProperties,
    last=True,
    reference="lead.deletecontact",
    summary=lambda asked: "delete the contact",
)
def delete(batch: Batch[NoProperties]) -> list[Result]:
    """Permanently deletes the contact from all campaigns. No step can follow it.

    All data about the contact is deleted, including its history in campaigns and its messages, sent or not. Only a
    hash of its key is kept, so that earlier events do not recreate it.
    """
    return [Done(effects=(Erase(),))] * len(batch.contacts)
