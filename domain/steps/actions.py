"""Actions on the contact itself: points, tags, fields, segments, stage, owner and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from parcours.domain.contacts.contact import Contact
from parcours.domain.contacts.identity import is_address, timezone
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


class ChangePoints(Properties):
    points: PointsAdded = Field(description="How many points to add; a negative number takes points away. Not 0.")
    group: PointGroup | None = Field(
        default=None, description="Key of the point group whose points change; none: the contact's own points."
    )


def _scores(asked: ChangePoints) -> frozenset[Need]:
    return frozenset() if asked.group is None else frozenset([Need.SCORES])


@action(
    "contact.points",
    properties=ChangePoints,
    needs=_scores,
    refers_to={"group": RefersTo.POINT_GROUP},
    reference="lead.changepoints",
)
def change_points(batch: Batch[ChangePoints]) -> list[Result]:
    """Adds points to the contact, or takes some away; with a group, to its points there, which begin at 0.

    Skipped when the total would not fit a 32-bit whole number.
    """
    points, group = batch.properties.points, batch.properties.group
    results: list[Result] = [DONE] * len(batch.contacts)
    for place, contact in enumerate(batch.contacts):
        before = contact.points if group is None else contact.scores.get(group, 0)
        total = before + points
        if not -POINTS_LIMIT <= total <= POINTS_LIMIT:
            # Written as it is, it would make the statement fail for the whole batch.
            results[place] = Skipped(f"{before} and {points} points are more than can be kept")
        elif group is None:
            contact.points = total
        else:
            contact.scores = {**contact.scores, group: total}
    return results


class ChangeTags(Properties):
    add: list[Name] = Field(
        default=[],
        description="Tags to add; new ones are created. A name that starts with `-` is removed instead.",
    )
    remove: list[Name] = Field(default=[], description="Tags to remove; what is in both lists is removed.")

    @field_validator("add")
    @classmethod
    def _no_bare_minus(cls, add: list[str]) -> list[str]:
        if any(not name.removeprefix("-").strip() for name in add):
            raise ValueError("`-` removes the tag named after it, and no name follows")
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
            raise ValueError("name at least one tag in add or remove")
        return self


@action("contact.tags", properties=ChangeTags, needs=[Need.TAGS], reference="lead.changetags")
def change_tags(batch: Batch[ChangeTags]) -> list[Result]:
    """Adds tags to the contact and removes others.

    Never skips: adding a tag that is there, or removing one that is not, is no error.
    """
    add = frozenset(name for name in batch.properties.add if not name.startswith("-"))
    minus = (name[1:].strip() for name in batch.properties.add if name.startswith("-"))
    remove = frozenset((*batch.properties.remove, *minus))
    for contact in batch.contacts:
        contact.tags = (contact.tags | add) - remove
    return [DONE] * len(batch.contacts)


# Attributes of a contact that `contact.update` does not set, and what to do instead.
_ELSEWHERE = {
    "key": "a contact's key is its identity and no step changes it; use a field of another name",
    "points": "points are changed by the action contact.points",
    "stage": "the stage is changed by the action contact.stage",
    "tags": "tags are changed by the action contact.tags",
    "last_active_at": "last_active_at follows what the contact does and no step changes it",
}
_ATTRIBUTES = frozenset({"email", "timezone", "owner"})


class ContactUpdate(Properties):
    fields: dict[Name, Json] = Field(
        description="Values by field name, at least one. `email`, `timezone` and `owner` are the contact's "
        "own; other names are custom fields. Texts are Liquid, such as {{ contact.country }}, filled in for each "
        "contact. A blank value leaves the field as it is."
    )

    @field_validator("fields")
    @classmethod
    def _can_be_set(cls, fields: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        if not fields:
            raise ValueError("name at least one field and its value")
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
    if name == "email" and not is_address(value):
        raise ValueError(f"{value!r} is not an email address")
    return timezone(value) if name == "timezone" else value.strip()


def _what_update_needs(asked: ContactUpdate) -> frozenset[Need]:
    return frozenset([Need.FIELDS]) | templated.needs(asked.fields)


@action("contact.update", properties=ContactUpdate, needs=_what_update_needs, reference="lead.updatelead")
def update(batch: Batch[ContactUpdate]) -> list[Result]:
    """Sets fields of the contact. Blank values leave what is there, also where a template comes to nothing.

    Skipped for whom a template does not make an email address or a timezone where one is needed, and for whom the
    email address is that of another contact, unless contacts may share addresses; failed for whom it cannot be
    filled in.
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
    add: list[Name] = Field(default=[], description="Keys of the segments to add the contact to.")
    remove: list[Name] = Field(
        default=[], description="Keys of the segments to remove it from; what is in both lists is removed."
    )

    @model_validator(mode="after")
    def _names_a_segment(self) -> ChangeSegments:
        if not self.add and not self.remove:
            raise ValueError("name at least one segment in add or remove")
        return self


@action(
    "contact.segments",
    properties=ChangeSegments,
    needs=[Need.SEGMENTS],
    refers_to={"add": RefersTo.SEGMENT, "remove": RefersTo.SEGMENT},
    reference="lead.changelist",
)
def change_segments(batch: Batch[ChangeSegments]) -> list[Result]:
    """Adds the contact to segments and removes it from others, as if by hand. Never skips."""
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
)
def change_stage(batch: Batch[ChangeStage]) -> list[Result]:
    """Moves the contact forward to a stage.

    Skipped when the stage does not exist or is not published, when the contact is already there,
    and when its present stage has a higher weight.
    """
    key, stages = batch.properties.stage, batch.world.stages
    stage = stages.get(key)
    if stage is None or not stage.published:
        state = "does not exist" if stage is None else "is not published"
        return [Skipped(f"the stage {key!r} {state}")] * len(batch.contacts)
    # Without a weight a stage has no order, and nothing is ahead of it.
    ahead = {
        other.key: Skipped(f"its stage {other.key!r} is ahead of {key!r}")
        for other in stages.values()
        if other.weight is not None and stage.weight is not None and other.weight > stage.weight
    }
    already = Skipped(f"it is already in the stage {key!r}")
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


@action("contact.owner", properties=ChangeOwner, reference="lead.changeowner")
def change_owner(batch: Batch[ChangeOwner]) -> list[Result]:
    """Gives the contact an owner, in place of the one it may have. Never skips."""
    for contact in batch.contacts:
        contact.owner = batch.properties.owner
    return [DONE] * len(batch.contacts)


class AddDoNotContact(Properties):
    channels: list[Channel] = Field(min_length=1, description="Channels, such as email or sms; at least one.")
    reason: Plain = Field(default="", description="Why, in your own words; kept as a comment.")


@action("contact.dnc_add", properties=AddDoNotContact, needs=[Need.DO_NOT_CONTACT], reference="lead.adddnc")
def add_do_not_contact(batch: Batch[AddDoNotContact]) -> list[Result]:
    """Marks the contact as "do not contact" on channels, by hand's reason. Never skips.

    An entry of another reason is replaced, except "unsubscribed": nothing outranks a person's word. The entry counts
    once that word is taken back.
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


@action("contact.dnc_remove", properties=RemoveDoNotContact, needs=[Need.DO_NOT_CONTACT], reference="lead.removednc")
def remove_do_not_contact(batch: Batch[RemoveDoNotContact]) -> list[Result]:
    """Removes the "do not contact" of channels, whatever its reason, also "unsubscribed". Never skips."""
    gone = frozenset(batch.properties.channels)
    for contact in batch.contacts:
        if not gone.isdisjoint(contact.do_not_contact):
            contact.do_not_contact = _without(contact.do_not_contact, gone)
            contact.refusal_comments = _without(contact.refusal_comments, gone)
            contact.refused_by_hand -= gone
    return [DONE] * len(batch.contacts)


def _without(entries: Mapping[str, str], gone: frozenset[str]) -> dict[str, str]:
    return {channel: text for channel, text in entries.items() if channel not in gone}


@action("contact.delete", properties=NoProperties, last=True, reference="lead.deletecontact")
def delete(batch: Batch[NoProperties]) -> list[Result]:
    """Deletes the contact for good, from every campaign; nothing may follow it.

    All that is known of the contact goes with it: its history, so that the campaign keeps no trace, and its
    messages, also those that were not sent yet. Only a hash of its key stays, so that events from before do
    not bring it back.
    """
    return [Done(effects=(Erase(),))] * len(batch.contacts)
