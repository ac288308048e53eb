"""Conditions on what is known of a contact."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from fractions import Fraction
from hashlib import sha256
from typing import Any, Literal

from pydantic import AliasChoices, Field, ValidationInfo, model_validator

from parcours.domain import operators
from parcours.domain.contacts import touched
from parcours.domain.contacts.contact import ATTRIBUTES, ENTRY, Contact
from parcours.domain.contacts.identity import is_address
from parcours.domain.contacts.touched import Reads
from parcours.domain.events.utm import NAMES as UTM_NAMES
from parcours.domain.steps.batch import Batch, Company, by_zone
from parcours.domain.steps.period import Lately
from parcours.domain.steps.properties import (
    Channel,
    Json,
    Moment,
    Name,
    Names,
    Percent,
    PointGroup,
    WholeNumber,
    as_shown,
    check_test,
    reads_of_test,
)
from parcours.domain.steps.registry import condition
from parcours.domain.steps.types import Failed, Need, NoProperties, Properties, RefersTo
from parcours.domain.steps.words import listed, one_of, tested
from parcours.domain.time.text import iso
from parcours.domain.time.zones import zone_of


class FieldTest(Properties):
    field: Name = Field(
        description="Name of a custom field, or one of key, email, timezone, points, stage, owner, "
        "last_active_at, tags, "
        + ", ".join(UTM_NAMES)
        + "; `company.NAME` is the key, name, points or a field of the primary company, `entry.NAME` a property of the "
        "event that began the run."
    )
    operator: str = Field(description="One of " + ", ".join(operators.OPERATORS) + "; also >, >=, < and <=.")
    value: Json = Field(
        default=None,
        description="Value to compare with. For in and !in: a list. For date: `anniversary`, a duration from today "
        "such as +P0D or -P1D, or a day such as 2026-12-24. For within (up to now), older_than and "
        "in_next: an interval such as 30 days. For =, !=, gt, gte, lt and lte: {field: NAME} compares "
        "two fields. For empty and !empty: omit it.",
    )

    @model_validator(mode="after")
    def _makes_sense(self, info: ValidationInfo) -> FieldTest:
        if self.field == "company.":
            raise ValueError("which field of the company? Write `company.NAME`, such as company.city")
        if self.field == ENTRY:
            raise ValueError("which property of the event? Write `entry.NAME`, such as entry.total")
        if isinstance(self.value, Mapping):
            operators.check_other(self.operator, self.value)
        else:
            check_test(self.operator, self.value, info)
        return self

    @property
    def other(self) -> str | None:
        """The field that this one is compared with, if it is not compared with a value."""
        return self.value["field"] if isinstance(self.value, Mapping) else None


def _where_fields_are(asked: FieldTest) -> frozenset[Need]:
    return frozenset(need for name in (asked.field, asked.other) if name for need in _where_field_is(name))


def _where_field_is(name: str) -> frozenset[Need]:
    if name == "tags":
        return frozenset([Need.TAGS])
    if name in UTM_NAMES:
        return frozenset([Need.UTM])
    if name.startswith("company."):
        return frozenset([Need.COMPANIES])
    return frozenset() if name in ATTRIBUTES or name.startswith(ENTRY) else frozenset([Need.FIELDS])


def _value(batch: Batch[FieldTest], contact: Contact, name: str) -> Any:
    """Return what a contact has under a name.

    Source: Mautic 5 asks every company of the contact, so that what it does not have in one is
    found in another; the primary one is what people mean.
    """
    if not name.startswith("company."):
        return contact.value(name)
    company = batch.world.companies.get(contact.company or "")
    return None if company is None else _company_value(company, name.removeprefix("company."))


def _company_value(company: Company, name: str) -> Any:
    return getattr(company, name) if name in ("key", "name", "points") else company.fields.get(name)


def _token(name: str) -> str:
    """Return what is touched when what a name means changes."""
    if name in UTM_NAMES:
        return touched.UTM
    if name.startswith("company."):
        return touched.COMPANIES
    if name.startswith(ENTRY):
        return touched.RUN
    return name if name in ATTRIBUTES else f"{touched.FIELDS}.{name}"


def _reads_fields(asked: FieldTest) -> Reads:
    if asked.other is not None:
        return frozenset([_token(asked.field), _token(asked.other), touched.TIMEZONE])
    return frozenset([_token(asked.field)]) | reads_of_test(asked.operator, asked.value)


def _field_flips(batch: Batch[FieldTest]) -> list[datetime | None]:
    asked = batch.properties
    flip = by_zone(batch, lambda zone: operators.flips(asked.operator, asked.value, zone))
    return [flip(each)(_value(batch, each, asked.field), batch.now) for each in batch.contacts]


def _shows_fields(batch: Batch[FieldTest]) -> list[Any]:
    asked = batch.properties
    names = [asked.field, *filter(None, [asked.other])]
    return [as_shown({name: _value(batch, each, name) for name in names}) for each in batch.contacts]


@condition(
    "contact.field",
    properties=FieldTest,
    needs=_where_fields_are,
    reads=_reads_fields,
    flips=_field_flips,
    says=lambda asked: tested(asked.field, asked.operator, asked.value),
    shows=_shows_fields,
    reference="lead.field_value",
)
def field(batch: Batch[FieldTest]) -> list[bool | Failed]:
    """True if a field passes the test. Case is ignored, and days are in the contact's timezone.

    A contact without a value satisfies only empty, !=, !in, !like and !regexp. The utm_ fields are those of the latest
    visit or form submission that had any of them. The step fails for a contact when the regular expression takes too
    long.
    """
    name, sign, value = batch.properties.field, batch.properties.operator, batch.properties.value
    other = batch.properties.other
    if other is not None:
        return [
            operators.compare(
                sign,
                _value(batch, contact, name),
                _value(batch, contact, other),
                zone_of(contact.timezone, batch.zone),
                batch.now,
            )
            for contact in batch.contacts
        ]
    if name == "tags":
        passes = operators.test_tags(sign, value)
        return [passes(contact.tags) for contact in batch.contacts]
    test = by_zone(batch, lambda zone: operators.test(sign, value, zone))
    answers: list[bool | Failed] = []
    for contact in batch.contacts:
        try:
            answers.append(test(contact)(_value(batch, contact, name), batch.now))
        except operators.TooSlowError as error:
            answers.append(Failed(str(error)))
    return answers


class HasTags(Properties):
    tags: Names = Field(description="Tag names, at least one; one match is enough.")


@condition(
    "contact.tags",
    properties=HasTags,
    needs=[Need.TAGS],
    reads=lambda asked: touched.of(touched.TAGS, asked.tags),
    says=lambda asked: f"the contact has {one_of('tag', 'tags', asked.tags)}",
    shows=lambda batch: [sorted(each.tags) for each in batch.contacts],
    reference="lead.tags",
)
def has_tags(batch: Batch[HasTags]) -> list[bool]:
    """True if the contact has at least one of the tags. Case matters."""
    disjoint = frozenset(batch.properties.tags).isdisjoint
    return [not disjoint(contact.tags) for contact in batch.contacts]


class InSegments(Properties):
    segments: Names = Field(description="Segment keys, at least one; one match is enough.")


@condition(
    "contact.segments",
    properties=InSegments,
    needs=[Need.SEGMENTS],
    refers_to={"segments": RefersTo.SEGMENT},
    reads=lambda asked: touched.of(touched.SEGMENTS, asked.segments),
    says=lambda asked: f"the contact is in {one_of('segment', 'segments', asked.segments)}",
    shows=lambda batch: [sorted(each.segments) for each in batch.contacts],
    reference="lead.segments",
)
def in_segments(batch: Batch[InSegments]) -> list[bool]:
    """True if the contact is an active member of at least one of the segments, published or not."""
    disjoint = frozenset(batch.properties.segments).isdisjoint
    return [not disjoint(contact.segments) for contact in batch.contacts]


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "gt": operator.gt,
    ">": operator.gt,
    "gte": operator.ge,
    ">=": operator.ge,
    "lt": operator.lt,
    "<": operator.lt,
    "lte": operator.le,
    "<=": operator.le,
}


class PointsTest(Properties):
    operator: Literal["=", "!=", "gt", "gte", "lt", "lte", ">", ">=", "<", "<="] = Field(
        description="Operator for comparing the contact's points with the number."
    )
    points: WholeNumber = Field(
        validation_alias=AliasChoices("points", "score", "value"),
        description="Number to compare with. `score` and `value` are aliases.",
    )
    group: PointGroup | None = Field(
        default=None, description="Key of the point group. Default: the contact's own points."
    )


def _scores(asked: PointsTest) -> frozenset[Need]:
    return frozenset() if asked.group is None else frozenset([Need.SCORES])


def _reads_points(asked: PointsTest) -> Reads:
    return frozenset([touched.POINTS]) if asked.group is None else touched.of(touched.SCORES, [asked.group])


def _points_of(batch: Batch[PointsTest], contact: Contact) -> int | None:
    group = batch.properties.group
    return contact.points if group is None else contact.scores.get(group)


@condition(
    "contact.points",
    properties=PointsTest,
    needs=_scores,
    refers_to={"group": RefersTo.POINT_GROUP},
    reads=_reads_points,
    says=lambda asked: (
        (f"in the point group {asked.group}, " if asked.group is not None else "")
        + tested("the number of points", asked.operator, asked.points)
    ),
    shows=lambda batch: [_points_of(batch, each) for each in batch.contacts],
    reference="lead.points",
)
def points(batch: Batch[PointsTest]) -> list[bool]:
    """True if the contact's points, in total or in a group, compare as given with a number.

    False, whatever the operator, for contacts who never had points in the group.
    """
    compare, number, group = _COMPARE[batch.properties.operator], batch.properties.points, batch.properties.group
    if group is None:
        return [compare(contact.points, number) for contact in batch.contacts]
    return [group in contact.scores and compare(contact.scores[group], number) for contact in batch.contacts]


class InStage(Properties):
    stages: Names = Field(description="Keys of stages, at least one; one match is enough.")


@condition(
    "contact.stage",
    properties=InStage,
    reads=[touched.STAGE],
    says=lambda asked: f"the contact is in {one_of('stage', 'stages', asked.stages)}",
    shows=lambda batch: [each.stage for each in batch.contacts],
    reference="lead.stages",
)
def in_stage(batch: Batch[InStage]) -> list[bool]:
    """True if the contact's stage is one of these, published or not."""
    stages = frozenset(batch.properties.stages)
    return [contact.stage in stages for contact in batch.contacts]


class HasOwner(Properties):
    owners: Names = Field(description="Owners, at least one; one match is enough.")


@condition(
    "contact.owner",
    properties=HasOwner,
    reads=[touched.OWNER],
    says=lambda asked: f"the contact has {one_of('owner', 'owners', asked.owners)}",
    shows=lambda batch: [each.owner for each in batch.contacts],
    reference="lead.owner",
)
def has_owner(batch: Batch[HasOwner]) -> list[bool]:
    """True if the contact's owner is one of these. Case matters."""
    # Source: Mautic 5 recognises the first of several only; here all count.
    owners = frozenset(batch.properties.owners)
    return [contact.owner in owners for contact in batch.contacts]


class DoNotContact(Properties):
    channels: list[Channel] = Field(min_length=1, description="Channels, such as email or sms; at least one.")
    reason: Literal["unsubscribed", "bounced", "manual"] | None = Field(
        default=None, description="Only entries with this reason count. Default: any reason."
    )
    match: Literal["any", "all"] = Field(
        default="any", description="Whether one channel with an entry is enough (any), or all must have one (all)."
    )


def _says_refused(asked: DoNotContact) -> str:
    every = " all of" if asked.match == "all" and len(asked.channels) > 1 else ""
    why = "" if asked.reason is None else f", because of: {asked.reason}"
    return f'the contact is marked as "do not contact" on{every} {listed(asked.channels)}{why}'


@condition(
    "contact.dnc",
    properties=DoNotContact,
    needs=[Need.DO_NOT_CONTACT],
    # An address of which something was said is refused for all who have it.
    reads=lambda asked: touched.of(touched.DO_NOT_CONTACT, asked.channels) | {touched.EMAIL, touched.FIELDS},
    says=_says_refused,
    shows=lambda batch: [dict(each.do_not_contact) for each in batch.contacts],
    reference="lead.dnc",
)
def is_do_not_contact(batch: Batch[DoNotContact]) -> list[bool]:
    """True if the contact is marked as "do not contact" on any or all of the channels."""
    # Source: Mautic 5 keeps the answer of the last channel only; here `match` says any or all.
    wanted, channels = batch.properties.reason, frozenset(batch.properties.channels)
    enough = any if batch.properties.match == "any" else all

    def marked(contact: Contact, channel: str) -> bool:
        reason = contact.do_not_contact.get(channel)
        return reason is not None and wanted in (None, reason)

    return [enough(marked(contact, channel) for channel in channels) for contact in batch.contacts]


class AddedWhen(Lately):
    operator: Literal["before", "after"] | None = Field(
        default=None, description="Before or after the date; the date itself counts as after."
    )
    date: Moment | None = Field(
        default=None,
        description="Date (from midnight), or date and time; without an offset, in the contact's timezone.",
    )

    @model_validator(mode="after")
    def _says_when(self) -> AddedWhen:
        if (self.operator is None) != (self.date is None):
            raise ValueError("set both 'operator' and 'date', or neither")
        if self.date is None and not self.ends_or_begins_now:
            raise ValueError("set 'operator' and 'date', 'within' or 'older_than'")
        return self


class InCampaigns(Properties):
    campaigns: Names = Field(
        description="Campaign keys, or `this` for the present campaign, at least one; one match is enough."
    )
    added: AddedWhen | None = Field(
        default=None,
        description="When the contact was added to that campaign: an operator and a date, within or older_than.",
    )


def _reads_campaigns(asked: InCampaigns) -> Reads:
    campaigns = touched.of(touched.CAMPAIGNS, asked.campaigns)
    if asked.added is None:
        return campaigns
    return campaigns | {touched.TIMEZONE} | asked.added.reads_of_period()


def _added_by_date(batch: Batch[InCampaigns]) -> Callable[[Contact, datetime], bool]:
    """Return the test whether a contact was added before or after the date that is given, if one is."""
    added = batch.properties.added
    day = None if added is None else added.date
    sign = "lt" if added is not None and added.operator == "before" else "gte"
    test = by_zone(batch, lambda zone: None if day is None else operators.test(sign, day, zone))

    def passes(contact: Contact, at: datetime) -> bool:
        dated = test(contact)
        return dated is None or dated(at, batch.now)

    return passes


def _campaign_flips(batch: Batch[InCampaigns]) -> list[datetime | None]:
    keys, added, by_date = _keys(batch), batch.properties.added, _added_by_date(batch)
    present = batch.world.campaigns
    return [
        None
        if added is None
        # Of a campaign that fails the date, the answer does not depend, however long it lasts.
        else added.first_turn(
            [at for key, at in present.get(each.id, {}).items() if key in keys and by_date(each, at)],
            batch.now,
            zone_of(each.timezone, batch.zone),
        )
        for each in batch.contacts
    ]


def _says_campaigns(asked: InCampaigns) -> str:
    own = asked.campaigns == ["this"]
    inside = f"the contact is in {'this campaign' if own else one_of('campaign', 'campaigns', asked.campaigns)}"
    added = asked.added
    if added is None:
        return inside
    return f"{inside}, added" + (f" {added.operator} {added.date}" if added.date else "") + added.in_words()


def _keys(batch: Batch[InCampaigns]) -> set[str]:
    return {batch.campaign.key if key == "this" else key for key in batch.properties.campaigns}


@condition(
    "contact.campaigns",
    properties=InCampaigns,
    needs=[Need.CAMPAIGNS],
    refers_to={"campaigns": RefersTo.CAMPAIGN},
    reads=_reads_campaigns,
    flips=_campaign_flips,
    says=_says_campaigns,
    shows=lambda batch: [as_shown(dict(batch.world.campaigns.get(each.id, {}))) for each in batch.contacts],
    reference="lead.campaigns",
)
def in_campaigns(batch: Batch[InCampaigns]) -> list[bool]:
    """True if the contact is now in one of the campaigns and, if a date is given, was added before or after it.

    Contacts who left do not count. Changes that the step above makes to other campaigns are visible after the next
    wait.
    """
    # Source: Mautic 5 counts who was removed, and ignores timezones; here neither is so.
    keys, added, by_date = _keys(batch), batch.properties.added, _added_by_date(batch)

    def in_time(contact: Contact, at: datetime) -> bool:
        if added is None:
            return True
        return by_date(contact, at) and added.covers(at, batch.now, zone_of(contact.timezone, batch.zone))

    present = batch.world.campaigns
    return [
        any(key in keys and in_time(contact, at) for key, at in present.get(contact.id, {}).items())
        for contact in batch.contacts
    ]


class CreatedWhen(Lately):
    operator: str | None = Field(
        default=None,
        description="Operator, as in the condition contact.field: gt, gte, lt, lte, date, within and so on.",
    )
    value: Json = Field(default=None, description="Value to compare with, as in the condition contact.field.")

    @model_validator(mode="after")
    def _says_when(self, info: ValidationInfo) -> CreatedWhen:
        if self.operator is None and not self.ends_or_begins_now:
            raise ValueError("set 'within', 'older_than', or 'operator' and 'value'")
        if self.operator is None and self.value is not None:
            raise ValueError("the value needs an 'operator', such as gte")
        if self.operator is not None:
            check_test(self.operator, self.value, info)
        return self


def _reads_creation(asked: CreatedWhen) -> Reads:
    test = frozenset() if asked.operator is None else reads_of_test(asked.operator, asked.value)
    return frozenset([touched.CREATED_AT]) | test | asked.reads_of_period()


def _says_created(asked: CreatedWhen) -> str:
    period = f"the contact was created{asked.in_words()}" if asked.ends_or_begins_now else ""
    test = tested("the time of creation", asked.operator, asked.value) if asked.operator else ""
    return " and ".join(filter(None, [period, test]))


def _creation_flips(batch: Batch[CreatedWhen]) -> list[datetime | None]:
    asked, found = batch.properties, []
    sign, value = asked.operator, asked.value
    flip = by_zone(batch, lambda zone: None if sign is None else operators.flips(sign, value, zone))
    for contact in batch.contacts:
        at = contact.created_at
        turns = [] if at is None else asked.turns([at], batch.now, zone_of(contact.timezone, batch.zone))
        tested = flip(contact)
        found.append(min(filter(None, [*turns, tested and tested(at, batch.now)]), default=None))
    return found


@condition(
    "contact.created",
    properties=CreatedWhen,
    reads=_reads_creation,
    flips=_creation_flips,
    says=_says_created,
    shows=lambda batch: [iso(each.created_at) for each in batch.contacts],
)
def created(batch: Batch[CreatedWhen]) -> list[bool]:
    """True if the contact was created in Parcours at a matching time. Days are in the contact's timezone."""
    asked, answers = batch.properties, []
    sign, value = asked.operator, asked.value
    test = by_zone(batch, lambda zone: None if sign is None else operators.test(sign, value, zone))
    for contact in batch.contacts:
        at, tested = contact.created_at, test(contact)
        answers.append(
            at is not None
            and (tested is None or tested(at, batch.now))
            and asked.covers(at, batch.now, zone_of(contact.timezone, batch.zone))
        )
    return answers


class CompanyFieldTest(Properties):
    field: Name = Field(description="Name of a company field, or one of key, name and points.")
    operator: str = Field(description="One of " + ", ".join(operators.OPERATORS) + "; also >, >=, < and <=.")
    value: Json = Field(default=None, description="Value to compare with, as in the condition contact.field.")
    which: Literal["primary", "any"] = Field(
        default="primary",
        description="Test the contact's primary company, or any of its companies.",
    )

    @model_validator(mode="after")
    def _makes_sense(self, info: ValidationInfo) -> CompanyFieldTest:
        check_test(self.operator, self.value, info)
        return self


def _of_companies(batch: Batch[CompanyFieldTest], contact: Contact) -> list[Any]:
    """Return what the companies that are meant have in the field."""
    asked, companies = batch.properties, batch.world.companies
    keys = sorted(contact.companies) if asked.which == "any" else [contact.company or ""]
    return [_company_value(companies[key], asked.field) for key in keys if key in companies]


def _reads_companies(asked: CompanyFieldTest) -> Reads:
    return frozenset([touched.COMPANIES]) | reads_of_test(asked.operator, asked.value)


def _company_flips(batch: Batch[CompanyFieldTest]) -> list[datetime | None]:
    asked = batch.properties
    flip = by_zone(batch, lambda zone: operators.flips(asked.operator, asked.value, zone))
    return [
        min(filter(None, (flip(each)(value, batch.now) for value in _of_companies(batch, each))), default=None)
        for each in batch.contacts
    ]


@condition(
    "company.field",
    properties=CompanyFieldTest,
    needs=[Need.COMPANIES],
    reads=_reads_companies,
    flips=_company_flips,
    says=lambda asked: (
        f"of {'the primary' if asked.which == 'primary' else 'any'} company, "
        + tested(asked.field, asked.operator, asked.value)
    ),
    shows=lambda batch: [as_shown(_of_companies(batch, each)) for each in batch.contacts],
)
def company_field(batch: Batch[CompanyFieldTest]) -> list[bool | Failed]:
    """True if a field of the contact's primary company, or of any of its companies, passes the test.

    False, whatever the operator, for contacts without a (primary) company. The tests are those of contact.field.
    """
    asked = batch.properties
    test = by_zone(batch, lambda zone: operators.test(asked.operator, asked.value, zone))
    answers: list[bool | Failed] = []
    for contact in batch.contacts:
        try:
            answers.append(any(test(contact)(value, batch.now) for value in _of_companies(batch, contact)))
        except operators.TooSlowError as error:
            answers.append(Failed(str(error)))
    return answers


class Split(Properties):
    percent: Percent | None = Field(
        default=None,
        description="Percentage of contacts that take the yes branch, 0 to 100. Alternatively, give `draw`, `shares` "
        "and `share`.",
    )
    draw: Name | None = Field(
        default=None,
        description="Name of a random draw shared by several steps of the campaign, which divide the contacts among "
        "them.",
    )
    shares: dict[Name, Percent] | None = Field(
        default=None,
        description="Names and percentages of the shares, the same in all steps of the draw, at most 100 in total; "
        "the remaining contacts are in no share. Contacts keep their share when a later share grows or "
        "is added at the end.",
    )
    share: Name | None = Field(default=None, description="Name of the share whose contacts take the yes branch.")

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Split:
        drawn = [name for name in ("draw", "shares", "share") if getattr(self, name) is not None]
        if self.percent is not None and drawn:
            raise ValueError(f"use 'percent' or {drawn[0]!r}, not both")
        if self.percent is None and len(drawn) < 3:
            raise ValueError("give 'percent', or 'draw', 'shares' and 'share'")
        if self.shares is not None:
            # As they were written: three times a third may be a little more than all.
            total = sum(Fraction(str(percent)) for percent in self.shares.values())
            if total > 100:
                raise ValueError(f"the shares add up to {float(total):g} percent; the maximum is 100")
            if self.share not in self.shares:
                raise ValueError(f"there is no share {self.share!r}; 'shares' has {', '.join(self.shares) or 'none'}")
        return self

    def bounds(self) -> tuple[int, int]:
        """Return between which numbers of 64 bits a draw means yes: the first one included, the last not."""
        if self.shares is None:
            return 0, split_threshold(Fraction(self.percent or 0))
        names = list(self.shares)
        before = sum((Fraction(str(self.shares[name])) for name in names[: names.index(self.share or "")]), Fraction(0))
        return split_threshold(before), split_threshold(before + Fraction(str(self.shares[self.share or ""])))


# Another salt would deal every contact anew.
_SPLIT_SALT = b"parcours split.random 1"
_DRAW_SALT = b"parcours split.random draw 1"


def split_threshold(percent: float | Fraction) -> int:
    """Return below which number of 64 bits a draw is within a percentage, exactly: nothing at 0, all at 100."""
    return int(Fraction(percent) * 2**64 / 100)


@condition(
    "split.random",
    properties=Split,
    alike={"draw": "shares"},
    only_in_campaigns="the draw belongs to a step",
    summary=lambda asked: (
        f"{asked.percent:g}% of contacts, at random"
        if asked.percent is not None
        else f"the share {asked.share} of a random draw"
    ),
)
def split(batch: Batch[Split]) -> list[bool]:
    """True for a random percentage of contacts, or for one share of a draw. Each contact is drawn once.

    A contact always gets the same answer at this step, also after re-entry and in later versions of the campaign. If
    the percentage is raised, every yes stays a yes. Steps with the same draw share it: a contact is in at most one of
    its shares. Other steps, and campaigns with other keys, draw independently. The draw is the first 8 bytes of the
    SHA-256 of a salt, the campaign's key, the key of the
    step or the name of the draw, and the contact's id, with zero bytes between them.
    """
    properties = batch.properties
    first, last = properties.bounds()
    salt, name = (_SPLIT_SALT, batch.step.key) if properties.draw is None else (_DRAW_SALT, properties.draw)
    prefix = sha256(b"\0".join([salt, batch.campaign.key.encode(), name.encode(), b""]))
    answers = []
    for contact in batch.contacts:
        drawn = prefix.copy()
        drawn.update(str(contact.id).encode())
        answers.append(first <= int.from_bytes(drawn.digest()[:8]) < last)
    return answers


@condition(
    "contact.email_valid",
    properties=NoProperties,
    reads=[touched.EMAIL],
    says=lambda asked: "the email address is written as an address is",
    shows=lambda batch: [each.email for each in batch.contacts],
    reference="email.validate.address",
)
def has_valid_email(batch: Batch[NoProperties]) -> list[bool]:
    """True if the contact's email address has valid syntax.

    The domain and the mailbox are not checked.
    """
    return [is_address((contact.email or "").strip()) for contact in batch.contacts]
