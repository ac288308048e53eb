"""Step types of another package: an action, a condition and a decision of a loyalty programme."""

from __future__ import annotations

from pydantic import Field

from parcours.steps import (
    DONE,
    Batch,
    Done,
    Fact,
    Jump,
    Need,
    Outbound,
    Properties,
    RefersTo,
    Result,
    Skipped,
    Standing,
    action,
    condition,
    decision,
)


class Reward(Properties):
    level: str = Field(description="The level that the contact gets.")


@action("loyalty.reward", properties=Reward, needs=[Need.FIELDS])
def reward(batch: Batch[Reward]) -> list[Result]:
    """Gives the contact a level; skipped for who has it already."""
    level, results = batch.properties.level, list[Result]()
    for contact in batch.contacts:
        before = contact.fields.get("level")
        contact.fields = {**contact.fields, "level": level}
        results.append(Skipped("it has that level already") if before == level else Done({"before": before}))
    return results


class Gift(Properties):
    letter: str = Field(description="Key of the email that tells of the gift.")
    club: str = Field(description="Key of the segment of contacts who have had one.")


@action(
    "loyalty.gift",
    properties=Gift,
    needs=[Need.EMAILS, Need.SEGMENTS],
    refers_to={"letter": RefersTo.EMAIL, "club": RefersTo.SEGMENT},
    sends=["email"],
)
def give(batch: Batch[Gift]) -> list[Result]:
    """Sends the contact an email about a gift, and adds it to a segment; skipped for who is there already."""
    letter, club, results = batch.properties.letter, batch.properties.club, list[Result]()
    for contact in batch.contacts:
        if letter not in batch.world.emails:
            results.append(Skipped(f"the email {letter!r} does not exist"))
        elif club in contact.segments:
            results.append(Skipped("it has had a gift"))
        else:
            contact.segments = contact.segments | {club}
            results.append(Done(effects=(Outbound("email", letter, contact.email),)))
    return results


class NextRound(Properties):
    step: str = Field(description="Key of the step where the next round begins.")


@action("loyalty.round", properties=NextRound, refers_to={"step": RefersTo.STEP}, last=True)
def next_round(batch: Batch[NextRound]) -> list[Result]:
    """Sends the contact on from another step of this campaign."""
    known = batch.properties.step in batch.campaign.by_key
    return [Done(effects=(Jump(batch.properties.step),)) if known else DONE] * len(batch.contacts)


class HasLevel(Properties):
    levels: list[str] = Field(min_length=1, description="One of them is enough.")


@condition("loyalty.level", properties=HasLevel, needs=[Need.FIELDS])
def has_level(batch: Batch[HasLevel]) -> list[bool]:
    """The contact has one of the levels."""
    return [contact.fields.get("level") in batch.properties.levels for contact in batch.contacts]


class Redeemed(Properties):
    at_least: float = Field(default=0, description="The voucher's least value.")


@decision("loyalty.redeem", properties=Redeemed, events=["voucher.redeemed"])
def redeemed(properties: Redeemed, fact: Fact, standing: Standing) -> bool:
    """The contact redeemed a voucher: the event `voucher.redeemed` with its `value`."""
    value = fact.data.get("value")
    return isinstance(value, int | float) and value >= properties.at_least
