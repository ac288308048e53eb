"""The decision that waits until a rule is true of the contact."""

from __future__ import annotations

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from parcours.domain.campaign_file.model import ProblemsError
from parcours.domain.segments import parsing
from parcours.domain.segments import rule as rules
from parcours.domain.segments.rule import Rule
from parcours.domain.steps.batch import Fact, Standing
from parcours.domain.steps.properties import Json, is_applied
from parcours.domain.steps.registry import decision
from parcours.domain.steps.types import Need, Properties


class Matches(Properties):
    rule: Json = Field(
        description="One condition, or a combination with `all`, `any` and `not`, as in the file of a segment. "
        "`entry` is the data of the event that began the run.",
        json_schema_extra={"type": "object"},
    )
    _parsed: Rule = PrivateAttr()

    @model_validator(mode="after")
    def _is_a_rule(self, info: ValidationInfo) -> Matches:
        rule, problems = parsing.parse(self.rule, stored=not is_applied(info), of_campaign=True)
        if rule is None:
            raise ProblemsError(problems)
        self._parsed = rule
        return self


def _rule_of(properties: Matches) -> Rule:
    return properties._parsed


def _needs(properties: Matches) -> frozenset[Need]:
    return rules.needs(properties._parsed)


@decision(
    "contact.matches",
    properties=Matches,
    events=(),
    rule_of=_rule_of,
    needs=_needs,
    summary=lambda asked: "a rule becomes true of the contact",
)
def contact_matches(properties: Matches, fact: Fact, standing: Standing) -> bool:
    """Waits until a rule is true of the contact: at once if it already is, and otherwise when a change of the contact,
    or time alone, makes it true.

    The rule is evaluated when something that it depends on changes. It cannot be used with `look_back`. If a condition
    fails, the contact continues to wait, the failure is recorded, and the rule is evaluated again after an hour.
    """
    return False
