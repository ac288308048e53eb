"""All resources there are."""

from __future__ import annotations

from fastapi import APIRouter

from web.api import campaigns

ROUTERS: tuple[APIRouter, ...] = (campaigns.router,)
