"""The figures of an email as JSON."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from parcours.db.reads import email_figures as reads
from parcours.db.reads.email_figures import EmailFigures
from parcours.db.tables import emails
from parcours.domain.errors import NotFoundError


def figures_json(conn: Connection, key: str) -> dict[str, Any]:
    """Return the figures of an email as REST and `emails show --json` have them, also of one that was deleted.

    Raises NotFoundError where there are neither figures nor an email.
    """
    found = emails.listed(conn, [key])
    total = reads.totals(conn, [key]).get(key)
    if not found and total is None:
        raise NotFoundError("email", key)
    winner = found[0].winner if found else None
    return {
        "email": key,
        "total": reads.as_json(total or EmailFigures()),
        "parts": [
            {"campaign": each.campaign, "step": each.step, "variant": each.variant, **reads.as_json(each.figures)}
            for each in reads.parts(conn, key)
        ],
        "winners": [
            {
                "campaign": each.campaign,
                "step": each.step,
                "started_at": each.started_at.isoformat(),
                "ends_at": None if winner is None else winner.ends_at(each.started_at).isoformat(),
                "decided_at": None if each.decided_at is None else each.decided_at.isoformat(),
                "variant": each.variant,
            }
            for each in reads.tests(conn, key)
        ],
        "links": [each._asdict() for each in reads.links(conn, key)],
    }
