"""Actions on a contact's way through campaigns: joining, leaving and jumping."""

from __future__ import annotations

from pydantic import Field, model_validator

from parcours.domain.contacts.contact import Contact
from parcours.domain.steps.batch import Batch
from parcours.domain.steps.properties import Name
from parcours.domain.steps.registry import action
from parcours.domain.steps.types import (
    DONE,
    Done,
    Effect,
    Join,
    Jump,
    Leave,
    Need,
    Properties,
    RefersTo,
    Result,
    Skipped,
)
from parcours.domain.steps.words import in_and_out

# How often a contact may pass a step that sends it round again, within a day.
MOST_PASSES = 100
_TOO_OFTEN = Skipped(f"the contact passed here more than {MOST_PASSES} times within a day")


class ChangeCampaigns(Properties):
    add: list[Name] = Field(
        default=[],
        description="Keys of campaigns to join. `this` restarts the present campaign, if its reentry allows it.",
    )
    remove: list[Name] = Field(
        default=[],
        description="Keys of campaigns to leave, after joining others. `this` is the present campaign.",
    )

    @model_validator(mode="after")
    def _names_a_campaign(self) -> ChangeCampaigns:
        if not self.add and not self.remove:
            raise ValueError("give at least one campaign, or `this`, in add or remove")
        return self


@action(
    "campaign.change",
    properties=ChangeCampaigns,
    needs=[Need.RECENT_PASSES],
    refers_to={"add": RefersTo.CAMPAIGN, "remove": RefersTo.CAMPAIGN},
    joins="add",
    reference="campaign.addremovelead",
    summary=lambda asked: in_and_out("campaign", "campaigns", asked.add, asked.remove),
)
def change(batch: Batch[ChangeCampaigns]) -> list[Result]:
    """Adds the contact to campaigns, then removes it from others.

    Skipped when it would add the contact and the contact already passed here 100 times within a day.
    """

    def keys(names: list[str]) -> list[str]:
        return list(dict.fromkeys(batch.campaign.key if name == "this" else name for name in names))

    joins = [Join(key) for key in keys(batch.properties.add)]
    effects: tuple[Effect, ...] = (*joins, *(Leave(key) for key in keys(batch.properties.remove)))
    done = Done(effects=effects) if effects else DONE
    if not joins:
        return [done] * len(batch.contacts)
    return _guarded(batch.contacts, batch.step.id, batch.world.recent_passes, done)


class JumpTo(Properties):
    to: Name = Field(description="Key of the step in this campaign to continue from.")


@action(
    "campaign.jump",
    properties=JumpTo,
    needs=[Need.RECENT_PASSES],
    refers_to={"to": RefersTo.STEP},
    last=True,
    reference="campaign.jump_to_event",
    summary=lambda asked: f"jump to {asked.to}",
)
def jump(batch: Batch[JumpTo]) -> list[Result]:
    """Continues from another step of this campaign. No step can follow it.

    Skipped when that step was removed, and when the contact already passed here 100 times within a day.
    """
    to = batch.properties.to
    if to not in batch.campaign.by_key:
        return [Skipped(f"the campaign no longer has the step {to!r}")] * len(batch.contacts)
    return _guarded(batch.contacts, batch.step.id, batch.world.recent_passes, Done(effects=(Jump(to),)))


def _guarded(contacts: list[Contact], step_id: int, passes: dict[tuple[int, int], int], done: Done) -> list[Result]:
    if not passes:
        return [done] * len(contacts)
    return [_TOO_OFTEN if passes.get((contact.id, step_id), 0) >= MOST_PASSES else done for contact in contacts]
