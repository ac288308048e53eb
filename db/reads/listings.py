"""Lists of contacts, a page at a time: newest contact first, each page from where the last one ended.

A page costs the same wherever it is in a list of a million. Where that would take reading on for
long, such as for a result that hardly anybody had, a page may come out short, and `after` says where
to read on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from sqlalchemy import Connection, Row

from parcours.db.patterns import beginning
from parcours.db.statements import statements
from parcours.domain.gate import clean

sql = statements(__file__)

# More than any id.
FIRST = 2**62
# Contacts that a search finds at most.
FOUND_AT_MOST = 2_000
# A search by the value of a field, which no index serves, looks at so many of the newest contacts.
LOOKED_AT_MOST = 200_000
# FIELD=VALUE, or FIELD: VALUE.
_OF_FIELD = re.compile(r"([^\s=:@]+)\s*[=:]\s*(\S.*)")
# Members whose history one page reads at most.
READ_AT_MOST = 20_000
# So few of a result are sorted rather than sought in the order of contacts.
FEW = 50_000

State = Literal["active", "left"]
# Where contacts are at a step, or what became of them there.
At = Literal["waiting", "retrying", "queued", "undelivered", "done", "skipped", "failed", "yes", "no", "cancelled"]

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Rows, and the contact before which the next page begins; None: there is no more.

    `short`: the page stopped before it was full, because it read enough.
    """

    rows: list[T]
    after: int | None = None
    short: bool = False


class Search(NamedTuple):
    """The contacts that a search found; `more`: there are more than it looks for.

    `newest`: it looked at the newest contacts only, as so many there are.
    """

    ids: list[int]
    more: bool
    newest: bool = False


@dataclass(frozen=True)
class ContactLine:
    """A contact as it is listed, with at most ten of its tags."""

    id: int
    key: str
    email: str | None
    timezone: str | None
    points: int
    stage: str | None
    created_at: datetime
    last_active_at: datetime | None
    tags: list[str]
    # First and last name, as far as the fields of these names are there.
    name: str | None


@dataclass(frozen=True)
class WaitingCount:
    """A step that a member stands at; no `due_at`: until the event happens."""

    step_id: int
    reason: str
    attempt: int
    anchor_at: datetime
    due_at: datetime | None
    # Why the last attempt failed.
    error: str | None = None
    # The key of the run that waits, where the contact may have several.
    run: str | None = None


@dataclass(frozen=True)
class MemberLine:
    """A contact of a campaign as it is listed. Who was erased from it meanwhile has no rotation.

    `at` and `why` say when and why the contact had the result that was asked for.
    """

    id: int
    key: str
    email: str | None
    timezone: str | None
    rotation: int | None
    added_at: datetime | None
    arrival: str | None
    left_at: datetime | None
    departure: str | None
    name: str | None
    waits: list[WaitingCount] = field(default_factory=list)
    at: datetime | None = None
    why: str | None = None


@dataclass(frozen=True)
class Asked:
    """Which contacts of a campaign. `why` narrows down who failed or was skipped at a step."""

    step_id: int | None = None
    at: At = "waiting"
    why: str | None = None
    state: State | None = None


class SegmentMember(NamedTuple):
    id: int
    key: str
    email: str | None
    manually_added: bool
    changed_at: datetime
    name: str | None


class SubmissionPlace(NamedTuple):
    """Where a page of submissions begins: before this one."""

    at: datetime
    id: int


def search(conn: Connection, wanted: str) -> Search | None:
    """Return the contacts whose key, email address, first or last name begins so; None when nothing is sought.

    Two words are a first and a last name, in any order. `FIELD=VALUE` finds those whose custom field has the value,
    among the newest `LOOKED_AT_MOST` contacts. Capitals matter in keys alone.
    """
    wanted = clean(wanted).strip()
    if not wanted:
        return None
    found = _OF_FIELD.fullmatch(wanted)
    if found is not None:
        return _by_field(conn, found[1], found[2].strip())
    first, _sign, last = wanted.partition(" ")
    given = {"prefix": beginning(wanted), "first": beginning(first), "last": beginning(last.strip())}
    ids = list(conn.execute(sql["by_prefix"], {**given, "two": bool(last), "limit": FOUND_AT_MOST}).scalars())
    return Search(ids[:FOUND_AT_MOST], len(ids) >= FOUND_AT_MOST)


def _by_field(conn: Connection, field: str, value: str) -> Search:
    given = {"field": field, "value": value, "limit": FOUND_AT_MOST, "looked_at": LOOKED_AT_MOST}
    rows = conn.execute(sql["by_field"], given).all()
    ids = [row.id for row in rows if row.id is not None]
    return Search(ids, len(ids) >= FOUND_AT_MOST, newest=any(row.newest for row in rows))


def contacts(
    conn: Connection,
    *,
    found: Search | None,
    before: int,
    limit: int,
    segment_id: int | None = None,
    campaign_id: int | None = None,
) -> Page[ContactLine]:
    """Return a page of all contacts, or of those found; only of a segment's active members, or of a campaign's."""
    if segment_id is not None:
        page = _page(conn, "segment_members", limit, before=before, found=found, segment_id=segment_id)
    elif campaign_id is not None:
        page = _members(conn, campaign_id, Asked(), found, before, limit)
    else:
        page = _page(conn, "contacts", limit, before=before, found=found)
    rows = conn.execute(sql["contacts_shown"], {"ids": page.rows})
    return Page([ContactLine(*row) for row in rows], page.after, page.short)


def members(
    conn: Connection, campaign_id: int, asked: Asked, *, found: Search | None, before: int, limit: int
) -> Page[MemberLine]:
    """Return a page of the contacts of a campaign, with all that each waits for."""
    page = _members(conn, campaign_id, asked, found, before, limit)
    given = {"ids": page.rows, "campaign_id": campaign_id}
    waits: dict[int, list[WaitingCount]] = {}
    for contact_id, *rest in conn.execute(sql["members_waits"], given):
        waits.setdefault(contact_id, []).append(WaitingCount(*rest))
    passed: dict[int, Row[Any]] = {}
    if asked.step_id is not None and asked.at not in ("waiting", "retrying", "queued", "undelivered"):
        about = {**given, "step_id": asked.step_id, "result": asked.at}
        passed = {row.contact_id: row for row in conn.execute(sql["members_results"], about)}
    lines = []
    for row in conn.execute(sql["members_shown"], given):
        outcome = passed.get(row.id)
        line = replace(MemberLine(*row), waits=waits.get(row.id, []))
        lines.append(line if outcome is None else replace(line, at=outcome.at, why=outcome.why))
    return Page(lines, page.after, page.short)


def segment_members(
    conn: Connection, segment_id: int, *, found: Search | None, before: int, limit: int
) -> Page[SegmentMember]:
    """Return a page of a segment's active members."""
    page = _page(conn, "segment_members", limit, before=before, found=found, segment_id=segment_id)
    rows = conn.execute(sql["segment_shown"], {"ids": page.rows, "segment_id": segment_id})
    return Page([SegmentMember(*row) for row in rows], page.after)


def submissions(
    conn: Connection, form_id: int, place: SubmissionPlace, *, limit: int
) -> tuple[Sequence[Row[Any]], SubmissionPlace | None]:
    """Return a page of a form's submissions, latest first: id, at, fields and contact; and where the next begins."""
    given = {"form_id": form_id, "before_at": place.at, "before_id": place.id, "limit": limit + 1}
    rows = conn.execute(sql["submissions"], given).all()
    shown = rows[:limit]
    return shown, SubmissionPlace(shown[-1].at, shown[-1].id) if len(rows) > limit else None


def _members(
    conn: Connection, campaign_id: int, asked: Asked, found: Search | None, before: int, limit: int
) -> Page[int]:
    given = {"campaign_id": campaign_id, "step_id": asked.step_id, "why": asked.why}
    if asked.step_id is None:
        active = None if asked.state is None else asked.state == "active"
        return _page(conn, "members", limit, before=before, found=found, campaign_id=campaign_id, active=active)
    if asked.at == "waiting":
        return _page(conn, "waiting", limit, before=before, found=found, step_id=asked.step_id)
    if asked.at in ("retrying", "undelivered"):
        return _page(conn, asked.at, limit, before=before, found=found, **given)
    lowest = 0
    if found is None and not _is_found_fast(conn, asked.step_id, asked.at):
        reach = {"campaign_id": campaign_id, "before": before, "limit": READ_AT_MOST}
        lowest = int(conn.execute(sql["reach"], reach).scalar_one())
    if asked.at == "queued":
        page = _page(conn, "queued", limit, before=before, found=found, **given, lowest=lowest)
    else:
        page = _page(conn, "passed", limit, before=before, found=found, **given, result=asked.at, lowest=lowest)
    if page.after is None and lowest:
        # Below the reach there may be more.
        return Page(page.rows, lowest, short=True)
    return page


def _is_found_fast(conn: Connection, step_id: int, result: str) -> bool:
    """Return whether an index has just those with a result, few enough to sort."""
    if result not in ("failed", "skipped"):
        return False
    counted = conn.execute(statements(__file__, "overview")["results"], {"step_ids": [step_id]})
    return bool(sum(row.n for row in counted if row.result == result) <= FEW)


def _page(conn: Connection, name: str, limit: int, *, before: int, found: Search | None, **given: Any) -> Page[int]:
    ids = None if found is None else found.ids
    rows = conn.execute(sql[name], {**given, "before": before, "limit": limit + 1, "ids": ids}).scalars().all()
    return Page(list(rows[:limit]), rows[limit - 1] if len(rows) > limit else None)
