"""Parcours from Python: the client, and what tests of other packages use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from parcours.client import CampaignError, Client, Settings
from parcours.steps import Batch, NoProperties, Result, action, decision
from parcours.testing import START, Contact, run_action, run_condition, run_decision, sandbox
from parcours.workers import sweeps
from tests.workers.worlds import World

FILE = """
campaign: welcome
published: true
sources: {segments: [everyone]}
steps: [{step: tag, action: contact.tags, with: {add: [new]}}]
"""


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    return World(engine, tmp_path)


@pytest.fixture
def client(engine: Engine, tmp_path: Path) -> Iterator[Client]:
    url = engine.url.render_as_string(hide_password=False)
    with Client(Settings(database_url=url, broker_url=None, events_url=None, home=tmp_path)) as made:
        yield made


def test_events_are_stored_once_where_there_is_no_queue(client: Client, world: World) -> None:
    assert client.publish("order.paid", "ann", {"total": 20}, id="o-1") == "o-1"
    client.publish("order.paid", "ann", {"total": 20}, id="o-1")
    (row,) = world.read("SELECT type, source, data FROM inbox")
    assert (row.type, row.source, row.data) == ("order.paid", "python", {"total": 20})


def test_of_several_events_none_is_published_when_one_is_wrong(client: Client, world: World) -> None:
    good = {"specversion": "1.0", "id": "1", "source": "x", "type": "order.paid", "subject": "ann"}
    with pytest.raises(CampaignError, match=r"^event 2: .*; no event was published$"):
        client.publish_all([good, {**good, "id": "2", "type": ""}])
    assert world.read("SELECT FROM inbox") == []


def test_a_campaign_is_applied_and_swept(client: Client, world: World) -> None:
    world.contacts("ann", segment="everyone")
    done = client.apply(FILE)
    assert (done.campaign, done.version, done.changed) == ("welcome", 1, True)
    again = client.apply(FILE)
    assert (again.version, again.changed) == (1, False)
    sweep = client.update("welcome")
    with pytest.raises(TimeoutError, match="check that workers are running"):
        client.wait(sweep, seconds=0)
    assert sweeps.run_sweep(world.engine, sweep, 0, zone=world.zone)
    while sweeps.sync_members(world.engine, sweep, zone=world.zone) >= 0:
        pass
    assert client.wait(sweep)["welcome"]["added"] == 1
    with pytest.raises(CampaignError, match="welcom"):
        client.trigger("welcom")


def test_what_is_wrong_with_a_campaign_is_said(client: Client) -> None:
    with pytest.raises(CampaignError, match="everyone"):
        client.apply(FILE)
    with pytest.raises(CampaignError, match=r"unknown action 'contact\.tag'"):
        client.apply(FILE.replace("contact.tags", "contact.tag"))


def test_a_step_type_that_forgets_a_contact_is_told() -> None:
    @action("test.forgetful", properties=NoProperties)
    def forgetful(batch: Batch[NoProperties]) -> list[Result]:
        """Forgets."""
        return []

    @decision("test.wise", properties=NoProperties, events=["a.happened"])
    def wise(properties: object, fact: object, standing: object) -> bool:
        """Takes everything."""
        return True

    with pytest.raises(AssertionError, match="returned 0 results for 1"):
        run_action(forgetful, [Contact(1, "ann")])
    with pytest.raises(AssertionError, match="is an action, not a condition"):
        run_condition(forgetful, [Contact(1, "ann")])
    assert run_decision(wise, "a.happened")
    assert not run_decision(wise, "b.happened")


def test_sandboxes_of_one_database_know_nothing_of_each_other(engine: Engine, world: World) -> None:
    url = engine.url.render_as_string(hide_password=False)
    for _ in range(2):
        with sandbox(url) as made:
            made.campaign(
                FILE.replace(
                    "contact.tags, with: {add: [new]}", "contact.update, with: {fields: {a: b}}, after: 2 days"
                )
            )
            made.contact("ann", segment="everyone", known={"timezone": "Asia/Tokyo"})
            made.advance(days=1)
            assert made.results("ann") == []
            made.advance(to=START + timedelta(days=2))
            ((_, step, result, at),) = made.outcomes()
            assert (step, result, at) == ("tag", "done", START + timedelta(days=2))
            assert made.fields("ann") == {"a": "b"}
            with pytest.raises(CampaignError, match="no contact 'ben'"):
                made.fields("ben")
    assert world.read("SELECT FROM contact") == []
