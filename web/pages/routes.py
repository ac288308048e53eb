"""All pages there are."""

from __future__ import annotations

from fastapi import APIRouter

from web import assets
from web.pages import campaign_list, sign_in

ROUTERS: tuple[APIRouter, ...] = (
    assets.router,
    sign_in.router,
    campaign_list.router,
)
