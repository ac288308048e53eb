"""The figures of an email as JSON."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from parcours.db.reads import email_figures as reads
from parcours.db.reads.email_figures import EmailFigures


def figures_json(conn: Connection, key: str) -> dict[str, Any]:
    """Return the figures of an email as REST and `emails show --json` have them."""
    return {
        "email": key,
        "total": reads.as_json(reads.totals(conn, [key]).get(key, EmailFigures())),
        "parts": [
            {"campaign": each.campaign, "step": each.step, "variant": each.variant, **reads.as_json(each.figures)}
            for each in reads.parts(conn, key)
        ],
        "links": [each._asdict() for each in reads.links(conn, key)],
    }
