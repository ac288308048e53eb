"""The page of a contact who is in a campaign several times at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.workers.worlds import START, World, at, event


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    made = World(engine, tmp_path)
    made.contacts("ann")
    made.campaign(
        "- {step: remind, action: contact.tags, with: {add: [x]}, after: 1 hour}",
        key="carts",
        segments=(),
        events=[{"type": "cart.updated", "key": "cart_id"}],
        exit=[{"event": "order.paid", "key": "cart_id"}],
    )
    for cart in ("c17", "c18"):
        made.tell(event("cart.updated", "ann", START, cart_id=cart))
    made.tell(event("order.paid", "ann", at(1, "09:10"), cart_id="c17"))
    return made


def test_runs_their_waits_and_their_ends_are_shown(client: Client, world: World) -> None:
    page = text_of(client().get("/contacts/ann").text)
    assert "Run c18, since" in page
    assert "Run c17, since" not in page, "it ended"
    assert "run c18" in page
    assert "by an event · run c17" in page
    assert "by an exit of the campaign · run c17" in page
    assert "event order.paid with cart_id c17" in page
    french = text_of(client().get("/contacts/ann", headers={"accept-language": "fr"}).text)
    assert "Passage c18, depuis" in french
    assert "événement order.paid avec cart_id c17" in french


def test_the_list_of_campaigns_names_the_event_that_feeds_one(client: Client, world: World) -> None:
    page = client().get("/campaigns").text
    assert 'title="Event">Changed a cart</span>' in page
