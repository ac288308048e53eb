"""Where an update looks: all that it would change stands in the chunks that it reads first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from parcours.db.tables import membership as memberships
from parcours.db.tables.membership import Chunk
from parcours.domain.campaign import Campaign
from parcours.workers.membership import reconcile

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ZONE = ZoneInfo("UTC")


@dataclass(frozen=True)
class Person:
    """A contact's place in two segments and one campaign."""

    in_first: bool
    in_second: bool
    member: bool
    manual: bool
    departure: Literal["segment", "action", "manual"] | None
    entered_since: bool


people = st.builds(
    Person,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, None, "segment", "action", "manual"]),
    st.booleans(),
)


def given_world(conn: Connection, crowd: list[Person], sources: int) -> None:
    conn.execute(text("INSERT INTO segment (key, name) VALUES ('one', 'One'), ('two', 'Two')"))
    first, second = conn.execute(text("SELECT id FROM segment ORDER BY id DESC LIMIT 2")).scalars().all()[::-1]
    conn.execute(
        text(
            "INSERT INTO campaign (id, key, name, created_at, changed_at) OVERRIDING SYSTEM VALUE "
            "VALUES (1, 'here', 'Here', :now, :now)"
        ),
        {"now": NOW},
    )
    for source in (first, second)[:sources]:
        conn.execute(text("INSERT INTO campaign_source VALUES (1, 'segment', :id)"), {"id": source})
    for number, person in enumerate(crowd, 1):
        here: dict[str, Any] = {"id": number, "now": NOW}
        conn.execute(text("INSERT INTO contact (id, key) VALUES (:id, 'c' || CAST(:id AS text))"), here)
        for segment_id, present in ((first, person.in_first), (second, person.in_second)):
            conn.execute(
                text(
                    "INSERT INTO segment_member (contact_id, segment_id, active, entry, changed_at) "
                    "VALUES (:id, :segment_id, :present, :entry, :now)"
                ),
                {**here, "segment_id": segment_id, "present": present, "entry": 9 if person.entered_since else 1},
            )
        if person.member:
            conn.execute(
                text(
                    "INSERT INTO membership (contact_id, campaign_id, added_at, arrival, manual, left_at, departure, "
                    "left_entry) VALUES (:id, 1, :now, 'segment', :manual, :left_at, CAST(:departure AS departure), 5)"
                ),
                {
                    **here,
                    "manual": person.manual and person.departure is None,
                    "left_at": NOW if person.departure else None,
                    "departure": person.departure,
                },
            )


def standings(conn: Connection) -> dict[int, Any]:
    rows = conn.execute(text("SELECT contact_id, rotation, left_at, departure FROM membership"))
    return {row.contact_id: tuple(row) for row in rows}


@pytest.mark.parametrize("sources", [0, 1, 2])
@pytest.mark.parametrize("reentry", ["never", "after_exit"])
@pytest.mark.parametrize("exit_on_leave", [True, False])
@given(crowd=st.lists(people, min_size=1, max_size=8))
def test_nobody_outside_the_chunks_would_have_moved(
    shared_engine: Engine, crowd: list[Person], sources: int, reentry: Any, exit_on_leave: bool
) -> None:
    campaign = Campaign(1, "here", 1, {}, reentry=reentry, exit_on_leave=exit_on_leave)
    whole = Chunk(1, len(crowd))
    with shared_engine.connect() as conn:  # rolled back after each example
        given_world(conn, crowd, sources)
        segment_ids = list(conn.execute(text("SELECT source_id FROM campaign_source")).scalars())

        def differing() -> list[Chunk]:
            return memberships.differing(
                conn,
                1,
                memberships.Sources(segment_ids),
                whole,
                width=1,
                leaving=exit_on_leave,
                returning=reentry != "never",
            )

        chunks, before = differing(), standings(conn)
        reconcile(conn, campaign, whole, now=NOW, zone=ZONE)
        after = standings(conn)
        moved = {id_ for id_ in after if after[id_] != before.get(id_)}
        assert moved <= {chunk.first_id for chunk in chunks}
        assert all(chunk.first_id == chunk.last_id for chunk in chunks)
