"""All resources there are."""

from __future__ import annotations

from fastapi import APIRouter

from parcours.web.api import campaigns, contacts, emails, forms, logs, members, segments

ROUTERS: tuple[APIRouter, ...] = (
    campaigns.router,
    members.router,
    logs.router,
    contacts.router,
    segments.router,
    forms.router,
    emails.router,
)
