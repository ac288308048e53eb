"""Use Parcours from Python: publish events, request updates and triggers, apply campaigns.

```python
from parcours.client import Client

with Client() as parcours:
    parcours.publish("order.paid", "ann", {"total": 20}, id="order-4711")
```

Settings are read from the environment and `.env`, as the command does.
"""

from __future__ import annotations

import time as clock
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from kombu.exceptions import OperationalError
from sqlalchemy import Engine

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, sweeps
from parcours.domain.errors import CampaignError
from parcours.domain.events.parsing import ContactEvent, EventError, parse
from parcours.ops.settings import Settings, read_settings
from parcours.producers import event_queue
from parcours.producers.files import campaigns as campaign_files
from parcours.services import apply_campaign, campaign_plan
from parcours.services.ask_sweep import ask_sweep
from parcours.services.open_database import open_database
from parcours.workers import intake
from parcours.workers.sweeps import finish_if_done

__all__ = ["Applied", "CampaignError", "Client", "Settings", "read_settings"]

# Events of one message, or of one transaction.
BATCH = 100
LOOK_SECONDS = 0.2


class Applied(NamedTuple):
    """The result of applying a campaign file. `lines` describe the changes in English."""

    campaign: str
    version: int
    changed: bool
    lines: list[str]


class Client:
    """An installation of Parcours. Threads can share it. Close it at the end, or use `with`."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Use the given settings, or read the environment and `.env`. Connections are opened on first use."""
        self.settings = settings or read_settings()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        engine: Engine | None = self.__dict__.pop("engine", None)
        if engine is not None:
            engine.dispose()

    @cached_property
    def engine(self) -> Engine:
        """The database, opened on first use. Raises CampaignError if its schema does not fit this version."""
        return open_database(self.settings)

    def publish(
        self,
        type: str,  # noqa: A002
        contact: str,
        data: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,  # noqa: A002
        source: str = "python",
        time: datetime | None = None,
    ) -> str:
        """Publish one event of a contact and return its id. If you give the `id`, repeating the call changes nothing.

        Raises CampaignError if the event is invalid or the queue is unavailable.
        """
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": id or str(uuid4()),
            "source": source,
            "type": type,
            "subject": contact,
            "data": dict(data or {}),
        }
        self.publish_all([event | ({} if time is None else {"time": time.isoformat()})])
        return str(event["id"])

    def publish_all(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Publish CloudEvents and return their number. All are validated first; if one is invalid, none is published.

        Without a queue in the settings, they are stored in the database, where `parcours up` finds them. Raises
        CampaignError if an event is invalid or the queue is unavailable.
        """
        given = [dict(each) for each in events]
        now = datetime.now().astimezone()
        parsed = [_understood(nth, each, now) for nth, each in enumerate(given)]
        url = self.settings.events_broker_url
        if url is None:
            for first in range(0, len(parsed), BATCH):
                self._store(parsed[first : first + BATCH], first)
            return len(parsed)
        try:
            with event_queue.publisher(url) as send:
                for first in range(0, len(given), BATCH):
                    send(given[first : first + BATCH])
        except (OperationalError, OSError) as error:
            raise CampaignError(
                f"the events queue does not respond ({error.__class__.__name__}); publish the events again with the "
                "same ids"
            ) from error
        return len(given)

    def update(self, campaign: str | None = None) -> int:
        """Request an update of one campaign or all: add and remove members. Return the number of the sweep."""
        return self._ask("update", campaign)

    def trigger(self, campaign: str | None = None) -> int:
        """Request a trigger of one campaign or all: run due steps. Return the number of the sweep."""
        return self._ask("trigger", campaign)

    def wait(self, sweep: int, *, seconds: float = 60) -> dict[str, dict[str, int]]:
        """Wait until workers have finished a sweep; return its counts by campaign.

        Raises TimeoutError after `seconds`; the sweep continues.
        """
        end = clock.monotonic() + seconds
        while True:
            with self.engine.begin() as conn:
                found = sweeps.find(conn, sweep)
                done = found is None or finish_if_done(conn, found)
                counts = sweeps.counts(conn, sweep)
            if done:
                return {campaign: dict(each) for campaign, each in counts.items()}
            if clock.monotonic() > end:
                raise TimeoutError(
                    f"sweep {sweep} did not finish within {seconds:g} seconds; check that workers are running"
                )
            clock.sleep(LOOK_SECONDS)

    def apply(
        self,
        file: Path | str,
        *,
        backfill: bool = False,
        reschedule: bool = False,
        who: str = "python",
        message: str | None = None,
    ) -> Applied:
        """Create or update a campaign from a file or its text. `who` is recorded in the campaign's history, and
        `message` says why.

        `backfill` also starts new first steps for existing members. `reschedule` applies changed delays and dates to
        waiting contacts. Raises CampaignError, which lists all problems.
        """
        name = file if isinstance(file, Path) else Path("campaign.yaml")
        if isinstance(file, Path):
            read = campaign_files.read(file, default_zone=self.settings.zone)
        else:
            read = campaign_files.read_text(file, name=name, default_zone=self.settings.zone)
        now = partitions.begin(self.engine)
        with self.engine.begin() as conn:
            problems = campaign_plan.check_references(conn, read)
            if problems:
                raise CampaignError("\n".join(f"{name}: {each.sentence}" for each in problems))
            plan = campaign_plan.plan(conn, read, zone=self.settings.zone)
            apply_campaign.apply(
                conn,
                plan,
                backfill=backfill,
                reschedule=reschedule,
                who=who,
                now=now,
                zone=self.settings.zone,
                message=message,
            )
        version = plan.version - 1 if plan.unchanged else plan.version
        return Applied(read.campaign, version, not plan.unchanged, list(plan.lines()))

    def _store(self, batch: list[ContactEvent], first: int) -> None:
        now = partitions.begin(self.engine)
        with self.engine.begin() as conn:
            done = intake.accept(conn, batch, now=now, unknown_contacts=self.settings.unknown_contacts)
            if done.rejected:
                index, why = done.rejected[0]
                # The transaction is rolled back, so none of these is stored.
                raise CampaignError(
                    f"event {first + index + 1}: {why}; none of the {len(batch)} events in this batch was stored"
                )

    def _ask(self, kind: sweeps.Kind, campaign: str | None) -> int:
        with self.engine.connect() as conn:
            found = None if campaign is None else (campaigns.find(conn, campaign).id,)
            at = database_now(conn)
        sweep_id, _ = ask_sweep(self.engine, self.settings.broker_url, kind, Scope(campaign_ids=found), at=at)
        return sweep_id


def _understood(nth: int, event: Mapping[str, Any], now: datetime) -> ContactEvent:
    try:
        return parse(event, now=now)
    except EventError as error:
        raise CampaignError(f"event {nth + 1}: {error}; no event was published") from None
