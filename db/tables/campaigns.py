"""Campaigns: their definition, whether they run, and what changed in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row

from parcours.db.statements import like, statements
from parcours.db.tables import dates, waits
from parcours.domain.campaign import Campaign, Status
from parcours.domain.errors import CampaignError, NotFoundError, UnreadableCampaignError
from parcours.domain.walk.catch_up import Pause, pause_after, runs_from, shift_between

if TYPE_CHECKING:
    from parcours.domain.campaign_file.model import CampaignFile, Problem

# What reads campaign files is loaded with the first of them: most commands read none.
sql = statements(__file__)
# Whether a campaign can be read does not depend on the zone of dates without an offset.
_ANY_ZONE = ZoneInfo("UTC")

# (database, id, version, default timezone) to campaign: a version never changes, so it is read once
# a process.
_loaded: dict[tuple[str, int, int, str], Campaign] = {}


class Found(NamedTuple):
    id: int
    key: str
    name: str
    version: int
    deleted: bool


class Source(NamedTuple):
    id: int
    key: str
    published: bool
    # Only who entered a segment later than this number joins; None: everybody.
    after: int | None = None


class StoredStep(NamedTuple):
    id: int
    key: str
    kind: str
    type: str
    removed_at: datetime | None
    moved: bool
    # Since when those who came before may wait by an earlier timing.
    retimed_at: datetime | None


Role = Literal["source", "exit", "segment", "goal"]


class SourceOf(NamedTuple):
    """What feeds a campaign: a segment or form, an event (`key` is its type) or a date (`key` is the custom field)."""

    campaign_id: int
    kind: str
    key: str
    # What people call it; of an event or a date, its key.
    name: str


class Overdue(NamedTuple):
    """Waits whose time has passed; without any there is no oldest."""

    waits: int
    oldest_at: datetime | None


class Version(NamedTuple):
    """A stored version: its file and data, or what can be understood of one that this process cannot read, and why."""

    file: CampaignFile
    data: Any
    unreadable: UnreadableCampaignError | None

    def problems(self) -> list[Problem]:
        """Return what is wrong with a version that cannot be read."""
        if self.unreadable is None:
            return []
        from parcours.domain.campaign_file import check
        from parcours.domain.campaign_file.model import Problem

        found: list[Problem] = []
        # As for whoever reads it: the code of another package may raise anything.
        with suppress(Exception):
            found = check.check(self.data, default_zone=_ANY_ZONE, stored=True).problems
        return found or [Problem((), self.unreadable.why)]


class VersionLine(NamedTuple):
    """A version of a campaign: when it was made, by whom and why, as far as that is known."""

    version: int
    at: datetime
    who: str | None
    message: str | None


class _Standing(NamedTuple):
    status: Status
    last: Pause | None
    shifts: bool


def find(conn: Connection, key: str) -> Found:
    """Return the campaign of a key or an id. Raises NotFoundError."""
    found = stored(conn, key)
    if found is None or found.deleted:
        raise NotFoundError("campaign", key, "run `parcours campaigns list` to see all campaigns")
    return found


def stored(conn: Connection, key: str) -> Found | None:
    """Return the campaign of a key or an id, deleted ones included, or None."""
    row = conn.execute(sql["find"], {"key": key}).first()
    return None if row is None else Found(row.id, row.key, row.name, row.version, row.deleted_at is not None)


def listing(conn: Connection, ids: Sequence[int] | None = None) -> Sequence[Row[Any]]:
    """Return the campaigns that are not deleted, newest first."""
    return conn.execute(sql["list"], {"ids": None if ids is None else list(ids)}).all()


def status_of(row: Row[Any], unreadable: UnreadableCampaignError | None = None) -> Status:
    """Return whether a campaign runs, from a row that has its columns, and from why it cannot be read, if so."""
    why = None if unreadable is None else str(unreadable)
    return Status(row.published, row.publish_from, row.publish_until, row.category_published, row.deleted, why)


def enter(conn: Connection, campaign_id: int, zone: ZoneInfo) -> tuple[Campaign, Status]:
    """Return a campaign's present version and status, and keep both as they are until the transaction ends."""
    conn.execute(sql["open"], {"campaign_id": campaign_id})
    row = conn.execute(sql["status"], {"campaign_id": campaign_id}).first()
    if row is None:
        raise NotFoundError("campaign", str(campaign_id))
    try:
        return load(conn, campaign_id, row.version, zone), status_of(row)
    except UnreadableCampaignError as error:
        # Without a tree, and so without a step: it does not run here, and keeps all that waits.
        return Campaign(campaign_id, "", row.version, {}), replace(status_of(row), unreadable=str(error))


def enter_readable(conn: Connection, campaign_id: int, zone: ZoneInfo) -> tuple[Campaign, Status]:
    """Enter a campaign whose tree is needed. Raises UnreadableCampaignError."""
    campaign, status = enter(conn, campaign_id, zone)
    if status.unreadable is not None:
        raise UnreadableCampaignError(status.unreadable)
    return campaign, status


def is_readable(conn: Connection, campaign_id: int) -> bool:
    """Return whether this process can read a campaign's present version."""
    row = conn.execute(sql["status"], {"campaign_id": campaign_id}).first()
    return row is None or _why_unreadable(conn, campaign_id, row.version) is None


def unreadable(conn: Connection, rows: Iterable[Row[Any]]) -> dict[int, UnreadableCampaignError]:
    """Return why this process cannot read campaigns of `listing`, by id; those that it can read are left out."""
    found = {row.id: _why_unreadable(conn, row.id, row.version) for row in rows}
    return {id_: why for id_, why in found.items() if why is not None}


def why_not_readable(conn: Connection, keys: Iterable[str]) -> dict[str, str]:
    """Return why this process cannot read campaigns that are not deleted, by key; all others are left out."""
    known = {key: found for key in keys if (found := stored(conn, key)) is not None and not found.deleted}
    why = {key: _why_unreadable(conn, found.id, found.version) for key, found in known.items()}
    return {key: error.why for key, error in why.items() if error is not None}


def set_aside(conn: Connection) -> dict[str, str]:
    """Return the published campaigns that this process cannot read, by key, and why."""
    rows = [row for row in listing(conn) if row.published]
    why = unreadable(conn, rows)
    return {row.key: str(why[row.id]) for row in rows if row.id in why}


def _why_unreadable(conn: Connection, campaign_id: int, version: int) -> UnreadableCampaignError | None:
    try:
        load(conn, campaign_id, version, _ANY_ZONE)
    except UnreadableCampaignError as error:
        return error
    return None


def read_by_index(conn: Connection, *, in_order: bool = False) -> None:
    """Let nothing in this transaction read a table, or an index, as a whole because of what statistics say.

    `in_order`: nor sort what an index has in its order. Where statistics say that there is nothing, that seems as good.
    """
    conn.execute(sql["read_by_index"], {"sort": "off" if in_order else "on"})


def close(conn: Connection, campaign_id: int) -> None:
    """Wait until no batch is at work in a campaign, and keep new ones out until the transaction ends."""
    conn.execute(sql["close"], {"campaign_id": campaign_id})


def of_step(conn: Connection, step_id: int) -> int:
    """Return the campaign of a step. Raises CampaignError for a step that is gone."""
    found = conn.execute(sql["of_step"], {"step_id": step_id}).scalar()
    if found is None:
        raise CampaignError(f"there is no step with the id {step_id}; its campaign was deleted")
    return int(found)


def event_sources(conn: Connection, *, limit: int) -> list[Any]:
    """Return the events that begin runs, as the files of the newest such campaigns name them."""
    lists = conn.execute(sql["event_sources"], {"limit": limit}).scalars()
    return [each for events in lists if isinstance(events, list) for each in events]


def of_events(conn: Connection, role: Role, names: Iterable[str]) -> list[int]:
    """Return the campaigns to which events of these types, or segments of these keys, mean something."""
    return list(conn.execute(sql["of_events"], {"role": role, "names": sorted(set(names))}).scalars())


def of_form(conn: Connection, form_id: int) -> list[int]:
    """Return the campaigns that a form feeds."""
    return list(conn.execute(sql["of_form"], {"form_id": form_id}).scalars())


def load(conn: Connection, campaign_id: int, version: int, zone: ZoneInfo) -> Campaign:
    """Return one version of a campaign; `zone` is that of dates without an offset."""
    place = (str(conn.engine.url), campaign_id, version, zone.key)
    if place not in _loaded:
        from parcours.domain.campaign_file import build

        if len(_loaded) > 1000:
            _loaded.clear()
        stored_steps = steps(conn, campaign_id)
        file = definition(conn, campaign_id, version)
        with _reading(campaign_id, version):
            _loaded[place] = build.build(
                file,
                campaign_id=campaign_id,
                version=version,
                step_ids={step.key: step.id for step in stored_steps},
                moved={step.key for step in stored_steps if step.moved},
                zone=zone,
            )
    return _loaded[place]


def read_version(conn: Connection, key: str, campaign_id: int, version: int) -> Version:
    """Return a version of the campaign of a key as far as this process can read it; raises nothing."""
    data = conn.execute(sql["definition"], {"campaign_id": campaign_id, "version": version}).scalar()
    why = _why_unreadable(conn, campaign_id, version)
    try:
        file = definition(conn, campaign_id, version)
    except UnreadableCampaignError as error:
        from parcours.domain.campaign_file import check

        # An earlier version need not have all its steps any more; its file can be shown all the same.
        return Version(check.outline(data, key), data, why or error)
    return Version(file, data, why)


def raw_definition(conn: Connection, campaign_id: int, version: int) -> Any:
    """Return a version as it is stored, whether or not this process can read it; None if it is not there."""
    return conn.execute(sql["definition"], {"campaign_id": campaign_id, "version": version}).scalar()


def definition(conn: Connection, campaign_id: int, version: int) -> CampaignFile:
    """Return the campaign file of a version. Raises UnreadableCampaignError."""
    from parcours.domain.campaign_file import build

    data = conn.execute(sql["definition"], {"campaign_id": campaign_id, "version": version}).scalar()
    with _reading(campaign_id, version):
        if data is None:
            raise CampaignError("it is not stored")
        return build.stored(data)


@contextmanager
def _reading(campaign_id: int, version: int) -> Iterator[None]:
    try:
        yield
    # Whatever it is, it is this campaign's alone: a type that is not installed, the code of another package that
    # cannot be imported or refuses its properties, a definition that is damaged.
    except Exception as error:
        why = str(error) if isinstance(error, CampaignError) else f"{type(error).__name__}: {error}"
        why = (why.splitlines() or [""])[0][:300]
        raise UnreadableCampaignError(
            f"this process cannot read version {version} of campaign {campaign_id} ({why}); install the "
            "missing packages or apply its file again; until then, contacts keep their places",
            why,
        ) from error


def steps(conn: Connection, campaign_id: int) -> list[StoredStep]:
    """Return every step that the campaign ever had, the removed ones included."""
    return [StoredStep(*row) for row in conn.execute(sql["steps"], {"campaign_id": campaign_id})]


def sources(conn: Connection, campaign_id: int) -> list[Source]:
    """Return the segments that feed a campaign."""
    return [Source(*row) for row in conn.execute(sql["sources"], {"campaign_id": campaign_id})]


def forms_of(conn: Connection, campaign_id: int) -> list[str]:
    """Return the keys of the forms that feed a campaign."""
    return list(conn.execute(sql["forms_of"], {"campaign_id": campaign_id}).scalars())


def segments_of(conn: Connection, campaign_ids: Iterable[int]) -> set[int]:
    """Return the segments that feed campaigns, and those that are exits of them."""
    return set(conn.execute(sql["segments_of"], {"ids": list(campaign_ids)}).scalars())


def every_source(conn: Connection) -> list[SourceOf]:
    """Return what feeds each campaign that is not deleted: segments, then forms, then events, then dates, by key."""
    return [SourceOf(*row) for row in conn.execute(sql["every_source"])]


def versions(conn: Connection, campaign_id: int, *, limit: int | None = None) -> list[VersionLine]:
    """Return the versions of a campaign, newest first: as many as `limit`, or all."""
    rows = conn.execute(sql["versions"], {"campaign_id": campaign_id, "limit": limit})
    return [VersionLine(*row) for row in rows]


def categories(conn: Connection) -> list[str]:
    """Return the keys of all categories."""
    return list(conn.execute(sql["categories"]).scalars())


def inside(conn: Connection, campaign_ids: Iterable[int]) -> dict[int, int]:
    """Return how many contacts are in campaigns now; zeros may be left out."""
    return {row.campaign_id: row.n for row in conn.execute(sql["inside"], {"campaign_ids": list(campaign_ids)})}


def overdue(conn: Connection, campaign_id: int, *, now: datetime) -> Overdue:
    """Return what is due in a campaign and not done."""
    return Overdue(*conn.execute(sql["overdue"], {"campaign_id": campaign_id, "now": now}).one())


def create(conn: Connection, key: str, *, now: datetime) -> int:
    """Return the id of a campaign's row, made when the key is new."""
    made = conn.execute(sql["create"], {"key": key, "now": now}).scalar()
    return int(made) if made is not None else int(conn.execute(sql["find"], {"key": key}).one().id)


def version_of(conn: Connection, campaign_id: int) -> int:
    """Return the present version of a campaign's row; 0 when none was ever applied."""
    return int(conn.execute(sql["version_of"], {"id": campaign_id}).scalar_one())


def save(
    conn: Connection,
    campaign_id: int,
    file: CampaignFile,
    *,
    published: bool,
    version: int,
    segment_ids: Iterable[int],
    form_ids: Iterable[int],
    step_kinds: Iterable[tuple[str, str, str]],
    now: datetime,
    who: str | None = None,
    message: str | None = None,
) -> dict[str, int]:
    """Write a version as the present one; return the ids of its steps by key.

    `step_kinds` holds (key, kind, type) of each step in document order; `message` says why there is this version.
    """
    from parcours.domain.campaign_file import build

    here = {"campaign_id": campaign_id, "now": now}
    heeded = {("source", each.type) for each in file.sources.events}
    heeded |= {("exit", each.event) for each in file.exit if each.event is not None}
    heeded |= {("segment", each.segment) for each in file.exit if each.segment is not None}
    heeded |= {("goal", file.goal.event)} if file.goal is not None and file.goal.event is not None else set()
    before = _standing(conn, campaign_id)
    category_id = conn.execute(sql["category"], {"key": file.category}).scalar_one() if file.category else None
    conn.execute(
        sql["save_version"],
        {
            **here,
            "version": version,
            "definition": json.dumps({"format": file.format, **build.to_data(file)}),
            "who": who,
            "message": message,
        },
    )
    conn.execute(
        sql["save"],
        {
            **here,
            "name": file.name,
            "description": file.description or "",
            "category_id": category_id,
            "published": published,
            "publish_from": file.publish_from,
            "publish_until": file.publish_until,
            "version": version,
        },
    )
    _status_changed(conn, campaign_id, before, now=now)
    conn.execute(sql["clear_sources"], here)
    for kind, ids in (("segment", segment_ids), ("form", form_ids)):
        for source_id in ids:
            conn.execute(sql["save_source"], {**here, "kind": kind, "source_id": source_id})
    conn.execute(sql["clear_events"], here)
    for role, name in sorted(heeded):
        conn.execute(sql["save_event"], {**here, "role": role, "name": name})
    conn.execute(sql["mark_existing"], here)
    steps = list(step_kinds)
    keys, kinds, types = ([each[nth] for each in steps] for nth in range(3))
    saved = conn.execute(sql["save_steps"], {**here, "keys": keys, "kinds": kinds, "types": types})
    by_key = {row.key: int(row.id) for row in saved}
    return {key: by_key[key] for key in keys}


def save_dates(conn: Connection, campaign: Campaign, *, now: datetime) -> None:
    """Write which steps of a version go by dates of contacts, and by which dates they enter."""
    steps_by_date = {
        step.id: step.timing.date.field for step in campaign.steps.values() if step.timing.date is not None
    }
    dates.save_steps(conn, steps_by_date)
    dates.save(conn, campaign.id, campaign.dates, now=now)
    _begin(conn, campaign.id, _standing(conn, campaign.id).status, now=now)


def mark_moved(conn: Connection, step_ids: Sequence[int]) -> None:
    """Remember that steps stand elsewhere than they did."""
    if step_ids:
        conn.execute(sql["mark_moved"], {"step_ids": list(step_ids)})


def mark_retimed(conn: Connection, step_ids: Sequence[int], at: datetime | None) -> None:
    """Remember since when those who came to steps before may wait by an earlier timing; None: nobody does."""
    if step_ids:
        conn.execute(sql["mark_retimed"], {"step_ids": list(step_ids), "at": at})


def save_events(conn: Connection, step_id: int, patterns: Iterable[str]) -> None:
    """Write which events a decision looks at whose type leaves that to its properties."""
    conn.execute(sql["save_events"], {"step_id": step_id, "patterns": sorted(like(each) for each in patterns)})


def remove_steps(conn: Connection, campaign_id: int, step_ids: Sequence[int], *, now: datetime) -> None:
    """Mark steps as dropped by the present version; their history keeps its names."""
    conn.execute(sql["remove_steps"], {"campaign_id": campaign_id, "step_ids": list(step_ids), "now": now})


def set_published(conn: Connection, campaign_id: int, published: bool, *, now: datetime) -> bool:
    """Publish a campaign or off; return whether that changed anything.

    Who switches it on has closed it: what fell due meanwhile may move.
    """
    before = _standing(conn, campaign_id)
    parameters = {"campaign_id": campaign_id, "published": published, "now": now}
    changed = conn.execute(sql["publish"], parameters).first() is not None
    if changed:
        _status_changed(conn, campaign_id, before, now=now)
    if changed and published:
        conn.execute(sql["mark_existing"], parameters)
    return changed


def pauses(conn: Connection, campaign_id: int) -> list[Pause]:
    """Return when a campaign did not run, oldest first."""
    return [Pause(*row) for row in conn.execute(sql["pauses"], {"campaign_id": campaign_id})]


def _standing(conn: Connection, campaign_id: int) -> _Standing:
    row = conn.execute(sql["standing"], {"campaign_id": campaign_id}).one()
    last = None if row.paused_at is None else Pause(row.paused_at, row.resumed_at)
    return _Standing(status_of(row), last, row.shifts)


def _status_changed(conn: Connection, campaign_id: int, before: _Standing, *, now: datetime) -> None:
    """Write the pause that begins or ends with a change, and move the waits where the campaign says so."""
    after = _standing(conn, campaign_id)
    _begin(conn, campaign_id, after.status, now=now)
    pause = pause_after(before.status, after.status, before.last, now=now)
    if pause is None or pause == before.last:
        return
    conn.execute(sql["save_pause"], {"campaign_id": campaign_id, **pause._asdict()})
    moved = shift_between(before.last, pause)
    if after.shifts and moved is not None:
        waits.shift(conn, campaign_id, moved)


def _begin(conn: Connection, campaign_id: int, status: Status, *, now: datetime) -> None:
    start = runs_from(status, now)
    if start is not None:
        dates.begin(conn, campaign_id, start, now=now)


def delete(conn: Connection, campaign_id: int, *, now: datetime) -> bool:
    """Mark a campaign as deleted; return whether it was there."""
    before = _standing(conn, campaign_id)
    deleted = conn.execute(sql["delete"], {"campaign_id": campaign_id, "now": now}).first() is not None
    if deleted:
        _status_changed(conn, campaign_id, before, now=now)
        dates.save(conn, campaign_id, [], now=now)
    return deleted


def audit(
    conn: Connection, campaign_id: int, *, who: str, what: str, now: datetime, detail: Mapping[str, Any] | None = None
) -> int:
    """Write who changed what, for the recent activity of the overview; return the id of the entry."""
    parameters = {"campaign_id": campaign_id, "who": who, "what": what, "now": now, "detail": json.dumps(detail or {})}
    return int(conn.execute(sql["audit"], parameters).scalar_one())


def audit_more(conn: Connection, entry_id: int, detail: Mapping[str, Any]) -> None:
    """Write anew what an entry tells, when more of the same was done."""
    conn.execute(sql["audit_more"], {"id": entry_id, "detail": json.dumps(detail)})


def reasons(conn: Connection, campaign_id: int, *, limit: int = 200) -> Sequence[Row[Any]]:
    """Return the latest changes that made no version and say why, newest first, each with the version of then."""
    return conn.execute(sql["reasons"], {"campaign_id": campaign_id, "limit": limit}).all()


def activity(conn: Connection, campaign_id: int, *, limit: int = 10) -> Sequence[Row[Any]]:
    """Return the latest audit entries, newest first."""
    return conn.execute(sql["activity"], {"campaign_id": campaign_id, "limit": limit}).all()


def named(conn: Connection, what: str, keys: Iterable[str]) -> dict[str, Row[Any]]:
    """Return the segments, forms or emails (`what`, in the plural) of these keys, by key."""
    wanted = sorted(keys)
    return {row.key: row for row in conn.execute(sql[f"{what}_by_key"], {"keys": wanted})} if wanted else {}


def make_stages(conn: Connection, keys: Iterable[str]) -> list[str]:
    """Make the stages that do not exist yet, without a weight; return them."""
    return list(conn.execute(sql["make_stages"], {"keys": sorted(keys)}).scalars())


def waiting_at(conn: Connection, step_id: int, *, after: tuple[int, int], limit: int) -> Sequence[Row[Any]]:
    """Return contact, passage, anchor and timezone of waits at a step, in that order, past `after`; no retries."""
    parameters = {"step_id": step_id, "after": after[0], "after_passage": after[1], "limit": limit}
    return conn.execute(sql["due_at_steps"], parameters).all()


def reschedule(conn: Connection, step_id: int, due: Mapping[tuple[int, int], datetime | None]) -> None:
    """Move the waits at a step, named by (contact, passage)."""
    if due:
        parameters = {
            "step_id": step_id,
            "contact_ids": [contact_id for contact_id, _ in due],
            "passages": [passage for _, passage in due],
            "due": list(due.values()),
        }
        conn.execute(sql["reschedule"], parameters)
