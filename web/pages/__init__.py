"""Pages for people: HTML made on the server, a little HTMX, everything served by us.

A module of pages makes its router with `pages_router()`, takes `SiteOf`, `VisitorOf` and `FormOf` as arguments of
its routes, and answers with `render` or `redirect`; its router is named in `web.pages.routes`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from parcours.web.context import Site, site_of
from parcours.web.security.access import FormBody, Visitor, guard, may_edit, posted, visitor

SiteOf = Annotated[Site, Depends(site_of)]
VisitorOf = Annotated[Visitor, Depends(visitor)]
# Of a POST; that it comes from a page of ours is already checked.
FormOf = Annotated[FormBody, Depends(posted)]


def _may_edit(found: VisitorOf) -> None:
    may_edit(found)


# Of a GET that asks for what only an editor can send: nobody fills in a form that is then refused.
FOR_EDITORS = [Depends(_may_edit)]


def pages_router() -> APIRouter:
    """Return a router for pages: one has to be signed in, and an editor for every POST, which carries a token."""
    return APIRouter(include_in_schema=False, dependencies=[Depends(guard)])
