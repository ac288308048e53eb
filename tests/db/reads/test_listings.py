"""Lists of contacts a page at a time, failures by their reason, and a contact's timeline."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from parcours.db.reads import failures, listings, timeline
from parcours.db.reads.listings import FIRST, Asked, MemberLine, Page, SubmissionPlace
from parcours.db.reads.timeline import Place, TimelineEntry
from parcours.db.tables import campaigns, forms
from parcours.domain.steps.types import Failed, Skipped
from tests.workers.worlds import START, Moody, World, at, event, statements_counted

TREE = """
- step: act
  action: test.moody
  max_attempts: 1
- step: visited
  decision: page.hit
  with: {url: "*"}
  yes: [{step: hot, action: contact.points, with: {points: 1}}]
"""


def page(world: World, limit: int = 50, before: int = FIRST, search: str = "", **asked: Any) -> Page[MemberLine]:
    step = asked.pop("step", None)
    with world.engine.connect() as conn:
        wanted = Asked(None if step is None else world.step_id(step), **asked)
        found = listings.search(conn, search)
        return listings.members(conn, world.found(conn).id, wanted, found=found, before=before, limit=limit)


def keys(world: World, **asked: Any) -> list[str]:
    """Return everybody, reading page after page of two."""
    found: list[str] = []
    before: int | None = FIRST
    while before is not None:
        shown = page(world, limit=2, before=before, **asked)
        found += [row.key for row in shown.rows]
        before = shown.after
    return found


def test_pages_follow_each_other_and_leave_nobody_out(world: World, moody: Moody) -> None:
    crowd = world.crowd(7, segment="everyone")
    world.campaign(TREE)
    world.run()
    world.remove("c3")
    newest_first = crowd[::-1]
    assert keys(world) == newest_first
    assert keys(world, state="left") == ["c3"]
    assert keys(world, state="active") == [key for key in newest_first if key != "c3"]
    assert keys(world, step="visited") == [key for key in newest_first if key != "c3"]
    assert keys(world, step="visited", at="cancelled") == ["c3"]
    assert keys(world, step="act", at="done") == newest_first
    assert keys(world, step="hot") == []


def test_a_member_is_shown_with_all_that_it_waits_for(world: World, moody: Moody) -> None:
    world.contacts("anna", segment="everyone", timezone="Europe/Paris")
    world.campaign(TREE)
    world.run()
    (anna,) = page(world).rows
    assert (anna.key, anna.rotation, anna.added_at, anna.arrival, anna.left_at) == ("anna", 1, START, "segment", None)
    assert [(wait.step_id, wait.reason, wait.due_at) for wait in anna.waits] == [
        (world.step_id("visited"), "decision", None)
    ]


def test_a_page_costs_the_same_statements_for_few_and_many(world: World, moody: Moody) -> None:
    world.crowd(60, segment="everyone")
    world.campaign(TREE)
    world.run()
    sent = {}
    for limit in (1, 50):
        with statements_counted(world.engine) as statements:
            page(world, limit=limit)
        sent[limit] = len(statements)
    assert sent[1] == sent[50]


def test_a_rare_result_is_read_in_bounded_parts(world: World, moody: Moody, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "READ_AT_MOST", 3)
    world.crowd(10, segment="everyone")
    world.campaign(TREE)
    world.run()
    world.tell(event("page.hit", "c2", at(1, "10:00"), url="https://example.com/"))
    first = page(world, step="hot", at="done")
    assert (first.rows, first.short) == ([], True)
    assert first.after is not None
    assert keys(world, step="hot", at="done") == ["c2"]
    # The last part is read to its end, and says so.
    assert page(world, before=first.after - 5, step="hot", at="done").after is None


def test_a_search_finds_beginnings_of_keys_and_addresses(world: World, moody: Moody) -> None:
    world.contacts("anna", "ann_a", "berta", segment="everyone")
    world.contacts("x1", email="Anna.Other@example.com", segment="everyone")
    world.contacts("annabel")
    world.campaign(TREE)
    world.run()
    assert keys(world, search="anna") == ["x1", "anna"]
    assert keys(world, search="ANNA") == ["x1", "anna"]
    # What a pattern would mean is meant as it is written.
    assert keys(world, search="ann_") == ["ann_a"]
    assert keys(world, search="%") == []
    assert keys(world, search="zoe") == []
    with world.engine.connect() as conn:
        found = listings.contacts(conn, found=listings.search(conn, "anna"), before=FIRST, limit=50)
        assert [line.key for line in found.rows] == ["annabel", "x1", "anna"]


def test_failures_and_skips_come_in_groups_whose_contacts_can_be_listed(world: World, moody: Moody) -> None:
    world.crowd(6, segment="everyone")
    moody.moods = {
        "c1": Failed("no such page", retry=False),
        "c2": Failed("no such page", retry=False),
        "c3": Failed("refused", retry=False),
        "c4": Skipped("has no address"),
    }
    world.campaign(TREE)
    world.run()
    with world.engine.connect() as conn:
        found = world.found(conn)
        campaign = campaigns.load(conn, found.id, found.version, world.zone)
        by_what = {each.what: each for each in failures.of(conn, campaign)}
    groups = {what: [(group.why, group.n) for group in each.groups] for what, each in by_what.items()}
    assert groups == {
        "failed": [("no such page", 2), ("refused", 1)],
        "retrying": [],
        "unsent": [],
        "undelivered": [],
        "skipped": [("has no address", 1)],
    }
    assert not any(each.partly for each in by_what.values())
    assert keys(world, step="act", at="failed") == ["c3", "c2", "c1"]
    assert keys(world, step="act", at="failed", why="no such page") == ["c2", "c1"]
    assert keys(world, step="act", at="skipped", why="has no address") == ["c4"]
    (line,) = page(world, step="act", at="failed", why="refused").rows
    assert (line.at, line.why) == (START, "refused")


def test_who_failed_and_is_tried_again_stands_apart(world: World, moody: Moody) -> None:
    world.crowd(3, segment="everyone")
    moody.moods = {"c2": Failed("busy")}
    world.campaign(TREE.replace("max_attempts: 1", "max_attempts: 2"))
    world.run()
    with world.engine.connect() as conn:
        found = world.found(conn)
        campaign = campaigns.load(conn, found.id, found.version, world.zone)
        by_what = {each.what: [(group.why, group.n) for group in each.groups] for each in failures.of(conn, campaign)}
    assert by_what["retrying"] == [("busy", 1)]
    assert by_what["failed"] == []
    assert keys(world, step="act", at="retrying", why="busy") == ["c2"]
    # Having worked at last, it is no trouble any more.
    moody.moods = {}
    world.trigger(at(1, "10:00"))
    assert keys(world, step="act", at="retrying") == []


def test_messages_that_could_not_be_delivered_are_troubles(world: World) -> None:
    world.email("hello")
    world.crowd(3, segment="everyone")
    world.campaign("- {step: hello, action: email.send, with: {email: hello}}")
    world.run()
    world.write(
        "UPDATE message SET state = 'failed', error = 'no such mailbox' "
        "WHERE contact_id = (SELECT id FROM contact WHERE key = 'c2')"
    )
    with world.engine.connect() as conn:
        found = world.found(conn)
        campaign = campaigns.load(conn, found.id, found.version, world.zone)
        by_what = {each.what: [(group.why, group.n) for group in each.groups] for each in failures.of(conn, campaign)}
    assert by_what["undelivered"] == [("no such mailbox", 1)]
    assert keys(world, step="hello", at="undelivered", why="no such mailbox") == ["c2"]


def test_too_many_groups_are_cut_and_said_to_be(world: World, moody: Moody) -> None:
    crowd = world.crowd(failures.GROUPS_OF_A_STEP + 1, segment="everyone")
    moody.moods = {key: Failed(f"cannot write {key}", retry=False) for key in crowd}
    world.campaign(TREE)
    world.run()
    with world.engine.connect() as conn:
        found = world.found(conn)
        campaign = campaigns.load(conn, found.id, found.version, world.zone)
        failed = failures.of(conn, campaign)[0]
    assert len(failed.groups) == failures.GROUPS_OF_A_STEP
    assert failed.partly


def timeline_of(world: World, key: str, limit: int, **only: Any) -> list[TimelineEntry]:
    """Return the whole timeline, or `only` a part of it, reading page after page."""
    found: list[TimelineEntry] = []
    place: Place | None = Place(START + timedelta(days=365))
    with world.engine.connect() as conn:
        while place is not None:
            shown, place = timeline.page(conn, world.contact_id(key), place, limit=limit, **only)
            found += shown
    return found


def test_a_timeline_is_the_same_whatever_the_size_of_its_pages(world: World) -> None:
    world.email("hello")
    world.contacts("anna", segment="everyone")
    steps = "\n".join(f"- {{step: s{n}, action: contact.points, with: {{points: 1}}}}" for n in range(7))
    world.campaign(steps + "\n- {step: hello, action: email.send, with: {email: hello}}\n")
    world.campaign("- {step: visited, decision: page.hit, with: {url: '*'}}", key="d")
    world.run()
    world.tell(event("page.hit", "anna", at(1, "10:00"), url="https://example.com/"))
    world.remove("anna", at(2))
    whole = timeline_of(world, "anna", 100)
    assert (whole[0].what, whole[0].result) == ("left", "manual")
    assert {(entry.what, entry.at) for entry in whole if entry.type == "page.hit" and entry.what == "event"} == {
        ("event", at(1, "10:00"))
    }
    assert len(whole) == len({(e.what, e.at, e.campaign, e.step, e.type, e.result) for e in whole})
    assert {entry.what for entry in whole} == {"outcome", "event", "message", "joined", "left"}
    for limit in (1, 2, 3, 5):
        assert timeline_of(world, "anna", limit) == whole
    # A part is what is so of the whole, on pages of any size.
    for limit in (2, 100):
        for kinds in (["outcome"], ["event"], ["message"], ["joined", "left"], []):
            of_kind = [entry for entry in whole if entry.what in kinds]
            assert timeline_of(world, "anna", limit, whats=kinds) == of_kind
        for campaign in ("c", "d", "unknown"):
            of_campaign = [entry for entry in whole if entry.campaign == campaign]
            assert timeline_of(world, "anna", limit, campaign=campaign) == of_campaign
            joined = [entry for entry in of_campaign if entry.what == "joined"]
            assert timeline_of(world, "anna", limit, campaign=campaign, whats=["joined"]) == joined


def test_submissions_come_latest_first_a_page_at_a_time(world: World) -> None:
    world.form("signup", standalone=True)
    world.contacts("anna", "berta")
    for hour, key in enumerate(("anna", "berta", "anna")):
        world.submit("signup", key, at(1, f"{10 + hour}:00"), n=hour)
    found = []
    place: SubmissionPlace | None = SubmissionPlace(at(9), FIRST)
    with world.engine.connect() as conn:
        form = forms.find(conn, "signup")
        assert form is not None
        while place is not None:
            rows, place = listings.submissions(conn, form.id, place, limit=2)
            found += [(row.contact, row.fields["n"]) for row in rows]
    assert found == [("anna", 2), ("berta", 1), ("anna", 0)]
