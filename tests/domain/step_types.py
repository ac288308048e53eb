"""A small catalogue of step types, so that the tests of files do not depend on the real one."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from parcours.domain.errors import CampaignError
from parcours.domain.steps.types import Kind, NoProperties, Properties, RefersTo, StepType


class Email(Properties):
    email: str


class Points(Properties):
    points: int


class Tags(Properties):
    add: list[str] = Field(default_factory=list)
    remove: list[str] = Field(default_factory=list)


class Webhook(Properties):
    url: str
    method: Literal["get", "post"] = "post"
    body: dict[str, Any] | str | None = None


class Owner(BaseModel):
    name: str


class Update(Properties):
    owner: Owner | None = None
    limit: int | bool = 1

    @field_validator("limit")
    @classmethod
    def _positive(cls, limit: int) -> int:
        if limit < 0:
            raise ValueError("the limit cannot be below zero")
        return limit


class JumpTo(Properties):
    to: str


class FieldTest(Properties):
    field: str
    operator: str = "="
    value: Any = None


def _type(kind: Kind, name: str, properties: type[Properties], **more: Any) -> StepType:
    return StepType(name, kind, properties, run=print, description=f"About {name}.", **more)


TYPES = [
    _type(Kind.ACTION, "campaign.change", Tags, joins="add"),
    _type(Kind.ACTION, "campaign.jump", JumpTo, refers_to={"to": RefersTo.STEP}, last=True),
    _type(Kind.ACTION, "contact.delete", NoProperties, last=True),
    _type(Kind.ACTION, "contact.points", Points),
    _type(Kind.ACTION, "contact.tags", Tags),
    _type(Kind.ACTION, "contact.update", Update),
    _type(Kind.ACTION, "email.send", Email, refers_to={"email": RefersTo.EMAIL}, sends=frozenset(["email"])),
    _type(Kind.ACTION, "message.send", NoProperties, sends=frozenset(["email", "sms", "push"])),
    _type(Kind.ACTION, "webhook.send", Webhook),
    _type(Kind.CONDITION, "contact.field", FieldTest),
    _type(Kind.CONDITION, "contact.tags", Tags),
    _type(Kind.DECISION, "email.open", NoProperties, about="email"),
    _type(Kind.DECISION, "page.hit", NoProperties),
]


def find(kind: Kind, name: str) -> StepType:
    """Answer as the registry does, from this catalogue."""
    known = {each.name: each for each in TYPES if each.kind is kind}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise CampaignError(f"unknown {kind} {name!r}{hint}")
