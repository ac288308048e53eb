"""Which emails of a campaign do worse than its others, with their figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from parcours.db.reads import campaign_emails
from parcours.db.reads.campaign_emails import EmailOfCampaign
from parcours.domain.campaign import Campaign
from parcours.domain.messages.weak import LEAST_DELIVERED, Comparison, EmailTried, Weak, compare

# The lowest ones are enough to begin with.
MOST_NAMED = 3


@dataclass(frozen=True)
class WeakEmails:
    """The emails of a campaign by key, and how they compare."""

    emails: dict[str, EmailOfCampaign]
    comparison: Comparison

    @property
    def named(self) -> list[tuple[Weak, EmailOfCampaign]]:
        """The emails that do worse than the others, the worst first, three at most."""
        return [(each, self.emails[each.email]) for each in self.comparison.weak[:MOST_NAMED]]


def weak_emails(conn: Connection, campaign: Campaign, *, now: datetime) -> WeakEmails:
    """Return which emails do worse than the others; the cost does not depend on the campaign's contacts."""
    emails = {each.email: each for each in campaign_emails.of(conn, campaign, now=now)}
    return WeakEmails(emails, compare(list(map(_tried, emails.values()))))


def _tried(email: EmailOfCampaign) -> EmailTried:
    figures = email.figures
    return EmailTried(
        email.email,
        figures.delivered,
        figures.opened,
        figures.clicked,
        links=email.links,
        pixel=email.pixel,
        new=2 * email.lately > figures.sent,
    )


def said(found: WeakEmails) -> str:
    """Return in a sentence which email does worst, or why none is named."""
    if not found.comparison.weak:
        return {
            "one": "The campaign does not send two emails that could be compared.",
            "few": f"Not enough data yet: fewer than two emails were delivered {LEAST_DELIVERED} times.",
            "new": "Too early to tell: most of the emails that could be compared went out since yesterday.",
            "same": "No email does clearly worse than the others.",
        }[found.comparison.why_none or "same"]
    worst = found.comparison.weak[0]
    return (
        f"{worst.email}: {found.comparison.by} by {100 * worst.rate:.1f} % of {worst.delivered:,}, "
        f"the others by {100 * worst.others:.1f} %."
    )


def weak_emails_json(found: WeakEmails) -> dict[str, Any]:
    """Return the comparison as `overview --json` has it; rates are from 0 to 1."""
    return {
        "compared_by": found.comparison.by,
        "worst": [
            {
                "email": weak.email,
                "steps": list(email.steps),
                **{name: getattr(email.figures, name) for name in ("sent", "delivered", "opened", "clicked")},
                "bounced": email.figures.bounced,
                "unsubscribed": email.figures.unsubscribed,
                "rate": weak.rate,
                "others_rate": weak.others,
            }
            for weak, email in found.named
        ],
        "says": said(found),
    }
