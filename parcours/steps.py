"""Everything that a package needs to define step types.

A step type is a decorated function. The package names it in an entry point of the group `parcours.steps` as KIND.TYPE,
for example `action.loyalty.reward`. An action receives a batch and returns one result per contact. A condition returns
one bool per contact. A decision receives one event and returns whether it is the expected one.
"""

from __future__ import annotations

from parcours.domain.contacts.contact import Contact
from parcours.domain.steps.batch import (
    Batch,
    Company,
    EmailFacts,
    Fact,
    Knowledge,
    Mailing,
    StageFacts,
    Standing,
    Submission,
    TemplateFacts,
    Visit,
)
from parcours.domain.steps.registry import action, condition, decision
from parcours.domain.steps.types import (
    DONE,
    ChangeCompany,
    Done,
    Effect,
    Erase,
    Failed,
    Join,
    Jump,
    Kind,
    Leave,
    Look,
    Need,
    NoProperties,
    Outbound,
    Postponed,
    Properties,
    RefersTo,
    Result,
    Skipped,
    StepType,
)

__all__ = [
    "DONE",
    "Batch",
    "ChangeCompany",
    "Company",
    "Contact",
    "Done",
    "Effect",
    "EmailFacts",
    "Erase",
    "Fact",
    "Failed",
    "Join",
    "Jump",
    "Kind",
    "Knowledge",
    "Leave",
    "Look",
    "Mailing",
    "Need",
    "NoProperties",
    "Outbound",
    "Postponed",
    "Properties",
    "RefersTo",
    "Result",
    "Skipped",
    "StageFacts",
    "Standing",
    "StepType",
    "Submission",
    "TemplateFacts",
    "Visit",
    "action",
    "condition",
    "decision",
]
