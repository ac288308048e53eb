"""A month of the campaign in simulated time, with the lift against the control group at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parcours.testing import Sandbox, sandbox, server

HERE = Path(__file__).parent.parent
CUSTOMERS = [f"c{number}" for number in range(1, 401)]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with server() as url:
        yield url


@pytest.fixture
def shop(database: str) -> Iterator[Sandbox]:
    with sandbox(database) as made:
        made.emails(HERE / "emails.yaml")
        made.campaign(HERE / "campaign.yaml")
        made.happen([("contact.changed", key, {"email": f"{key}@example.com"}) for key in CUSTOMERS])
        made.enter("quiet-customers", *CUSTOMERS)
        yield made


def test_the_lift_after_a_month(shop: Sandbox) -> None:
    shop.advance(hours=1)
    offered = {message.contact for message in shop.sent()}
    alone = set(CUSTOMERS) - offered
    assert 30 <= len(alone) <= 50
    shop.advance(days=1)
    shop.happen([("email.opened", key, {"email": "comeback-offer"}) for key in sorted(offered)[::2]])
    # One in ten buys anyway; of those who have the offer, one in four does because of it.
    anyway = set(CUSTOMERS[::10])
    shop.happen([("order.paid", key, {"total": 20}) for key in sorted(anyway)])
    shop.advance(days=9)
    because = set(sorted(offered - anyway)[::4])
    shop.happen([("order.paid", key, {"total": 30.5}) for key in sorted(because)])
    # Later than 14 days: no conversion of this campaign.
    shop.advance(days=10)
    shop.happen([("order.paid", key, {"total": 1000}) for key in CUSTOMERS])
    shop.advance(days=10)
    goal = shop.overview("comeback-offer")["goal"]
    control, treated = goal["control"], goal["treated"]
    assert (control["entered"], control["reached"]) == (len(alone), len(alone & anyway))
    assert (treated["entered"], treated["reached"]) == (len(offered), len((anyway & offered) | because))
    assert float(treated["value"]) == 20 * len(anyway & offered) + 30.5 * len(because)
    lift = goal["lift"]
    assert lift["low"] > 0
    assert lift["difference"] == pytest.approx(treated["rate"] - control["rate"])
    assert lift["says"] == "Contacts in the campaign reach the goal more often than the control group."
    branches = {each["branch"]: each["entered"] for each in goal["branches"]}
    assert set(branches) == {"yes", "no"}


def test_the_control_group_gets_nothing(shop: Sandbox) -> None:
    shop.advance(days=30)
    written = {message.contact for message in shop.sent()}
    passed = {outcome.contact for outcome in shop.outcomes()}
    assert passed == written
    assert len(set(CUSTOMERS) - written) == shop.overview("comeback-offer")["goal"]["control"]["entered"]
