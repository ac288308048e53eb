"""A draft that somebody works on: where its pages are, and what their addresses say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, quote_plus, urlencode

from fastapi import Depends, Request
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns, drafts
from parcours.db.tables.campaigns import Found
from parcours.db.tables.drafts import StoredDraft
from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.edit import StepPlace
from parcours.domain.errors import NotFoundError
from parcours.services import drafts as service
from parcours.web.i18n.language import _
from parcours.web.security.access import Visitor

# What has the focus after a change of a panel: what had it before.
SAME = "same"
# Letters of the name of a campaign or a step.
MOST_OF_NAME = 200
# Settings of a campaign that a form has as text, and as a length of time.
SETTINGS = ("name", "description", "category", "timezone", "reentry", "priority")
LENGTHS = ("cooldown", "grace")


@dataclass(frozen=True)
class Bench:
    """A draft that is worked on: where its pages are, and the campaign that it changes, if there is one."""

    base: str
    draft: StoredDraft
    found: Found | None
    who: str
    # The step whose branch is looked at alone.
    only: str | None = None

    @property
    def file(self) -> dict[str, Any]:
        return self.draft.file

    @property
    def is_left(self) -> bool:
        """Whether the campaign that it changes was deleted."""
        return self.draft.campaign_id is not None and self.found is None

    @property
    def name(self) -> str:
        return str(self.file.get("name") or self.file.get("campaign") or _("New campaign"))

    def url(self, **asked: object) -> str:
        """Return the address of the builder with something open, and with the branch that is looked at alone."""
        named = {"only": self.only, **asked}.items()
        said = "&".join([f"{name}={quote_plus(str(value))}" for name, value in named if value is not None])
        return f"{self.base}?{said}"

    def new(self, what: str, pick: str, step: str | None = None) -> str:
        """Return the address of the form of a new thing, which comes back with it chosen at `pick`."""
        back = f"{self.base}?{'settings=1' if step is None else f'step={step}'}&pick={pick}"
        path, end = ("/forms", "#new") if what == "forms" else (f"/{what}/+new", "")
        return f"{path}?{urlencode({'back': back})}{end}"


class DraftAddress(NamedTuple):
    """What the address of a page of the builder names: a campaign by its key, or a draft of a new one."""

    key: str | None
    draft_id: int | None


def address_of(request: Request) -> DraftAddress:
    """Return what the address of a request names. Each page of the builder has both addresses."""
    given = request.path_params
    draft_id = str(given.get("draft_id", ""))
    number = int(draft_id) if draft_id.isascii() and draft_id.isdigit() and len(draft_id) < 19 else 0
    return DraftAddress(given.get("key"), None if "key" in given else number)


AddressOf = Annotated[DraftAddress, Depends(address_of)]


def bench_at(conn: Connection, visitor: Visitor, address: DraftAddress) -> Bench:
    """Return the bench that an address names; otherwise as `bench_of`."""
    return bench_of(conn, visitor, key=address.key, draft_id=address.draft_id)


def bench_of(conn: Connection, visitor: Visitor, *, key: str | None, draft_id: int | None) -> Bench:
    """Return the bench of a campaign's key or of a draft. Without a draft yet, it shows the campaign as it is.

    The draft of a campaign that was deleted stays: it is worked on as one of a new campaign.
    """
    if key is not None:
        found = campaigns.stored(conn, key)
        known = None if found is None else drafts.of_campaign(conn, found.id, visitor.who)
        draft = None if known is None else drafts.read(conn, known, visitor.who)
        if draft is not None and found is not None and found.deleted:
            return Bench(f"/drafts/{draft.id}", draft, None, visitor.who)
        found = campaigns.find(conn, key)
        if draft is None:
            now, file = database_now(conn), service.data_of(conn, found)
            draft = StoredDraft(0, found.id, visitor.who, found.version, 1, 1, now, file, False, False)
        return Bench(f"/campaigns/{quote(found.key)}/build", draft, found, visitor.who)
    draft = None if draft_id is None or not 0 < draft_id < 2**63 else drafts.read(conn, draft_id, visitor.who)
    if draft is None:
        raise NotFoundError("draft", str(draft_id))
    row = [] if draft.campaign_id is None else campaigns.listing(conn, [draft.campaign_id])
    if row:
        return bench_of(conn, visitor, key=row[0].key, draft_id=None)
    return Bench(f"/drafts/{draft.id}", draft, None, visitor.who)


def place_of(given: Mapping[str, str]) -> tuple[StepPlace, bool]:
    """Return the place that a form or an address names, and whether what is there comes below what is put in."""
    parent = given.get("parent") or None
    nth = given.get("nth", "0")
    branch = given.get("branch", "") if parent is not None else edit.ROOT
    number = int(nth) if nth.isascii() and nth.isdigit() and len(nth) < 6 else 0
    return StepPlace(parent, branch, number), given.get("around") == "1"


def anew_of(asked: Mapping[str, str]) -> str:
    """Return what tells a panel from one that had other fields; the script keeps one of the same as it is."""
    text = asked.get("anew", "")
    return text if text.isascii() and text.isdigit() and len(text) < 7 else ""
