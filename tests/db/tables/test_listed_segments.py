"""A list of segments costs what it counts, however many contacts there are."""

from __future__ import annotations

from sqlalchemy import Connection, text

from parcours.db.tables import segments
from tests.workers.worlds import World

SCANS = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'segment_member'"


def one_full_and_many_empty(world: World) -> None:
    """Make a segment that statistics take for what each of them is."""
    world.segment("everybody")
    world.crowd(600, segment="everybody")
    for n in range(12):
        world.segment(f"empty-{n}")
    with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("VACUUM ANALYZE segment_member"))


def scans(conn: Connection) -> int:
    return int(conn.execute(text(SCANS)).scalar_one())


def test_empty_segments_are_not_looked_for_in_the_whole_table(world: World) -> None:
    one_full_and_many_empty(world)
    with world.engine.connect() as conn:
        before = scans(conn)
        lines = {each.key: each.members for each in segments.listed(conn, most=1)}
        assert scans(conn) == before
    assert (lines["everybody"], lines["empty-3"]) == (1, 0)


def test_members_are_counted_of_those_that_are_asked_for(world: World) -> None:
    one_full_and_many_empty(world)
    with world.engine.connect() as conn:
        for counted, members in ((["everybody"], 600), (["empty-1"], 0), ([], 0), (None, 600)):
            lines = {each.key: each.members for each in segments.listed(conn, counted=counted)}
            assert (len(lines), lines["everybody"]) == (13, members)


def test_the_more_segments_a_page_shows_the_fewer_members_of_each_it_counts() -> None:
    assert [segments.counted_of(n) for n in (0, 1, 20, 50, 500)] == [100_000, 100_000, 100_000, 40_000, 4_000]
