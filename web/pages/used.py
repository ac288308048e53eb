"""The page that says why something cannot be deleted: what uses it."""

from __future__ import annotations

from fastapi import Request, Response

from parcours.services.removal import Use, Uses
from parcours.web.i18n.language import _
from parcours.web.i18n.sentences import told
from parcours.web.pages.rendering import person, render
from parcours.web.paging import address
from parcours.web.security.access import Visitor


def used_page(request: Request, used: Uses, who: Visitor, *, name: str, listed: tuple[str, str], back: str) -> Response:
    """Return the page about something of a name; `listed` is where it is listed, and what that list is called."""
    return render(
        request,
        "used.html",
        name=name,
        all=listed,
        users=[
            *((_("Campaign"), each.name, address("campaigns", each.key)) for each in used.campaigns),
            *(_draft_line(each, who) for each in used.drafts),
            *((_("Rule of the segment"), each.name, address("segments", each.key)) for each in used.segments),
            *((_("Message"), each.name, "") for each in used.messages),
        ],
        unreadable=[(each, each, told(why)) for each, why in used.unreadable.items()],
        others=[_("Messages with this email wait to be sent. Try again when they are sent.")]
        if used.is_waiting
        else [],
        back=back,
    )


def _draft_line(draft: Use, who: Visitor) -> tuple[str, str, str]:
    """Return a draft as one of the things that use it. Nobody can open the draft of somebody else."""
    if draft.owner != who.who:
        return _("Draft of {person}", person=person(draft.owner)), draft.name, ""
    return _("Draft"), draft.name, f"{address('campaigns', draft.key)}/build" if draft.key else f"/drafts/{draft.id}"
