"""Step types of other packages: everything that their module imports.

A step type is a function with a decorator, named by an entry point of the group `parcours.steps` as KIND.TYPE,
for example `action.loyalty.reward`. An action gets a batch and returns one result a contact, a condition one bool
a contact, a decision tells whether one fact is the one it waits for.
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
