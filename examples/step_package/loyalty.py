"""Step types of another package: an action, a condition and a decision of a loyalty programme."""

from __future__ import annotations

from pydantic import Field

from parcours.steps import (
    Batch,
    Done,
    Fact,
    Need,
    Properties,
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
