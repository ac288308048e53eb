"""All pages there are."""

from __future__ import annotations

from fastapi import APIRouter

from parcours.web.pages import (
    account,
    ahead,
    assets,
    builder,
    campaign_form,
    campaign_list,
    campaign_versions,
    contacts,
    drafts,
    emails,
    forms,
    overview,
    segments,
    sign_in,
)

ROUTERS: tuple[APIRouter, ...] = (
    assets.router,
    sign_in.router,
    account.router,
    # Before what has the key of a campaign in this place.
    campaign_form.router,
    # A new draft before what has the number of one in this place.
    drafts.router,
    builder.router,
    campaign_list.router,
    campaign_versions.router,
    ahead.router,
    # After all that has a name of its own below a campaign.
    overview.router,
    contacts.router,
    segments.router,
    forms.router,
    emails.router,
)
