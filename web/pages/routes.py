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
    contact_form,
    contact_import,
    contacts,
    draft_panels,
    draft_review,
    drafts,
    email_form,
    emails,
    forms,
    overview,
    segment_form,
    segments,
    sign_in,
    start,
    status,
    users,
)

ROUTERS: tuple[APIRouter, ...] = (
    assets.router,
    sign_in.router,
    account.router,
    start.router,
    status.router,
    users.router,
    users.invitations,
    # Before what has the key of a campaign in this place.
    campaign_form.router,
    # A new draft before what has the number of one in this place.
    drafts.router,
    builder.router,
    draft_panels.router,
    draft_review.router,
    campaign_list.router,
    campaign_versions.router,
    ahead.router,
    # After all that has a name of its own below a campaign.
    overview.router,
    # Before what has the key of a contact in this place.
    contact_import.uploads,
    contact_import.router,
    contact_form.router,
    contacts.router,
    # Before what has the key of a segment in this place.
    segment_form.router,
    segments.router,
    forms.router,
    # Before what has the key of an email in this place.
    email_form.router,
    emails.router,
)
