"""The first steps of a new installation, from contacts to a campaign that runs."""

from __future__ import annotations

from fastapi import Request, Response

from parcours.db.reads import listings
from parcours.db.tables import campaigns, emails, segments
from parcours.web.pages import SiteOf, pages_router
from parcours.web.pages.rendering import render

router = pages_router()


@router.get("/start")
def show(request: Request, site: SiteOf) -> Response:
    """What there is already, and what comes next."""
    with site.engine.connect() as conn:
        done = {
            "contacts": bool(listings.contacts(conn, found=None, before=listings.FIRST, limit=1).rows),
            "segments": bool(segments.titles(conn)),
            "emails": bool(emails.listed(conn)),
        }
        rows = campaigns.listing(conn)
    done |= {"campaigns": bool(rows), "launched": any(row.published for row in rows)}
    return render(request, "start.html", done=done, first=rows[0].key if rows else None)
