"""Drafts: begun, changed, undone, redone, and the campaign untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from parcours.db.tables import campaigns, drafts
from parcours.db.tables.drafts import StoredDraft
from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.edit import EditError, StepPlace
from parcours.services import drafts as service
from parcours.services.drafts import OvertakenError
from tests.workers.worlds import START, World

FILE: dict[str, Any] = {"campaign": "c", "sources": {"segments": ["everyone"]}, "steps": []}


def given_draft(conn: Connection, owner: str = "ann@example.com") -> StoredDraft:
    found = drafts.read(conn, service.begin_new(conn, FILE, owner, now=START), owner)
    assert found is not None
    return found


def added(conn: Connection, draft: StoredDraft, key: str) -> StoredDraft:
    step = {"step": key, "action": "contact.points", "with": {"points": 1}}
    return service.change(
        conn,
        draft,
        draft.revision,
        lambda data: edit.insert(data, StepPlace(None, "steps", 99), step),
        said=f"added {key}",
        now=START,
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(done=st.lists(st.sampled_from(["add", "undo", "redo"]), max_size=25))
def test_undo_and_redo_go_the_same_way_back_and_forth(conn: Connection, done: list[str]) -> None:
    draft = given_draft(conn)
    past, future = [draft.file], list[dict[str, Any]]()
    for number, what in enumerate(done):
        if what == "add":
            draft = added(conn, draft, f"s{number}")
            past, future = [*past, draft.file], []
        elif what == "undo" and len(past) > 1:
            draft, _ = service.step_back(conn, draft, draft.revision, now=START)
            future = [past.pop(), *future]
        elif what == "redo" and future:
            draft, _ = service.step_forward(conn, draft, draft.revision, now=START)
            past.append(future.pop(0))
        else:
            continue
        assert draft.file == past[-1]
        assert (draft.undo, draft.redo) == (len(past) > 1, bool(future))


def test_a_hundred_changes_can_be_undone_and_older_ones_are_forgotten(conn: Connection) -> None:
    draft = given_draft(conn)
    for number in range(drafts.MOST_SNAPSHOTS + 20):
        draft = added(conn, draft, f"s{number}")
    undone = 0
    while draft.undo:
        draft, said = service.step_back(conn, draft, draft.revision, now=START)
        undone += 1
    assert undone == drafts.MOST_SNAPSHOTS - 1
    assert said == "added s21"
    with pytest.raises(EditError, match="nothing to undo"):
        service.step_back(conn, draft, draft.revision, now=START)


def test_who_looks_at_an_older_draft_changes_nothing(conn: Connection) -> None:
    draft = given_draft(conn)
    added(conn, draft, "a")
    with pytest.raises(OvertakenError, match="in another tab"):
        added(conn, draft, "b")
    found = drafts.read(conn, draft.id, draft.owner)
    assert found is not None
    assert edit.keys(found.file) == ["a"]
    assert drafts.read(conn, draft.id, "bob@example.com") is None


def test_a_text_that_cannot_be_stored_is_refused_with_a_sentence(conn: Connection) -> None:
    draft = given_draft(conn)
    for text in ("half \ud83d", "nul \0"):
        with pytest.raises(EditError, match="cannot be stored"):
            service.change(conn, draft, 1, lambda data, name=text: {**data, "name": name}, said="", now=START)  # type: ignore[misc]
    with pytest.raises(EditError, match="characters"):
        service.change(conn, draft, 1, lambda data: {**data, "name": "x" * 1_000_001}, said="", now=START)


def test_each_person_has_a_draft_of_a_campaign_that_stays_as_it_is(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path)
    world.segment("everyone")
    world.campaign("- {step: one, action: contact.points, with: {points: 1}}", name="First steps")
    with engine.begin() as conn:
        found = campaigns.find(conn, "c")
        anns, bobs = (service.begin(conn, found, who, now=START) for who in ("ann", "bob"))
        assert anns.id != bobs.id
        assert anns.id == service.begin(conn, found, "ann", now=START).id
        added(conn, anns, "two")
        assert drafts.others(conn, found.id, "ann") == ["bob"]
        (line,) = drafts.listed(conn, "ann")
        assert (line.name, line.campaign, line.steps, line.version) == ("First steps", "c", 2, 1)
        assert campaigns.find(conn, "c").version == 1
        assert drafts.delete(conn, anns.id, "bob") is False
        assert drafts.delete(conn, anns.id, "ann") is True
        assert [each.id for each in drafts.listed(conn, "bob")] == [bobs.id]
