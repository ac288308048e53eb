"""What became of the emails that a campaign sends, from counters; the cost does not depend on its contacts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.reads.email_figures import EmailFigures, figures_of
from parcours.db.statements import statements
from parcours.domain.campaign import Campaign
from parcours.domain.steps.types import RefersTo

sql = statements(__file__)

# Other emails go to colleagues.
_TO_CONTACTS = "email.send"


class EmailOfCampaign(NamedTuple):
    """An email, the keys of the steps that send it, and what became of what they sent.

    `links` and `pixel`: whether clicks and openings are counted. `lately`: how many steps were done since yesterday
    (UTC); the messages of these may still be answered.
    """

    email: str
    steps: Sequence[str]
    figures: EmailFigures
    links: bool
    pixel: bool
    lately: int


def of(conn: Connection, campaign: Campaign, *, now: datetime) -> list[EmailOfCampaign]:
    """Return the emails that the present steps of a campaign send to contacts, in their order."""
    senders: dict[str, list[int]] = {}
    for step in campaign.steps.values():
        if step.type.name == _TO_CONTACTS:
            for key in step.keys_of(RefersTo.EMAIL):
                senders.setdefault(key, []).append(step.id)
    if not senders:
        return []
    given = {"keys": list(senders), "step_ids": [id_ for ids in senders.values() for id_ in ids]}
    counted: dict[str, dict[str, int]] = {key: {} for key in senders}
    for row in conn.execute(sql["counted"], {**given, "campaign_id": campaign.id}):
        counted[row.template][row.what] = row.n
    told = {row.key: row for row in conn.execute(sql["counted_as"], given)}
    since = now.astimezone(UTC).date() - timedelta(days=1)
    lately = Counter({row.step_id: row.n for row in conn.execute(sql["lately"], {**given, "since": since})})
    return [
        EmailOfCampaign(
            key,
            [campaign.steps[id_].key for id_ in ids],
            figures_of(counted[key]),
            _counts(counted[key], "clicked", key in told and told[key].links),
            _counts(counted[key], "opened", key in told and told[key].pixel),
            sum(lately[id_] for id_ in ids),
        )
        for key, ids in senders.items()
    ]


def _counts(counted: Mapping[str, int], what: str, present: bool) -> bool:
    return present or counted.get(what, 0) > 0
