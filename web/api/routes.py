"""All resources there are."""

from __future__ import annotations

from fastapi import APIRouter

from parcours.web.api import campaigns, contacts, emails, forms, logs, members, segments, versions

ROUTERS: tuple[APIRouter, ...] = (
    campaigns.router,
    versions.router,
    members.router,
    logs.router,
    contacts.router,
    segments.router,
    forms.router,
    emails.router,
)
