"""Events as facts that decisions look at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from parcours.domain.events.table import event_type
from parcours.domain.events.visitors import is_automatic
from parcours.domain.steps.batch import Fact


def as_facts(
    type_: str,
    data: dict[str, Any],
    at: datetime,
    templates: Mapping[str, str],
    texted: Mapping[int, datetime] | None = None,
) -> list[Fact]:
    """Return what an event is to decisions: nothing, one fact, or, for a click, an opening as well.

    An event that is marked as a machine's is nothing. `templates` holds the email templates of our own
    messages, by message id. `texted` says which campaigns, by id, sent the contact a text message, and
    when first: a text that comes back says in `answers` which of them it may answer.
    """
    known = event_type(type_)
    if known.about_the_contact or is_automatic(type_, data):
        return []
    if type_ == "sms.replied":
        answers = [campaign for campaign, first_at in (texted or {}).items() if first_at <= at]
        return [Fact(type_, {**data, "answers": answers}, at)]
    template = templates.get(str(data.get("message")))
    if template is not None and "email" not in data:
        data = {**data, "email": template}
    facts = [Fact(type_, data, at)]
    if known.counts_as is not None:
        facts.append(Fact(known.counts_as, data, at))
    return facts
