"""The campaign in simulated time: several carts at once, and a purchase that ends one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from parcours.testing import Sandbox, sandbox, server

HERE = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with server() as url:
        yield url


@pytest.fixture
def shop(database: str) -> Iterator[Sandbox]:
    with sandbox(database) as made:
        for email in yaml.safe_load((HERE / "emails.yaml").read_text(encoding="utf-8")):
            made.email(email["key"], subject=email["subject"], text=email["text"])
        made.campaign(HERE / "campaign.yaml")
        made.contact("ann", first_name="Ann")
        yield made


def cart(shop: Sandbox, id_: str, total: int, *lines: str) -> None:
    shop.event("cart.updated", "ann", cart_id=id_, total=total, lines=[{"name": name} for name in lines])


def subjects(shop: Sandbox) -> list[str]:
    return [each.content.subject for each in shop.sent("ann")]


def test_each_cart_has_its_own_reminder(shop: Sandbox) -> None:
    cart(shop, "17", 45, "Lamp")
    shop.advance(hours=1)
    cart(shop, "18", 120, "Table", "Chair")
    shop.advance(hours=1)
    assert subjects(shop) == ["Your cart of 45 € is waiting"]
    shop.advance(hours=1)
    assert subjects(shop) == ["Your cart of 45 € is waiting", "Your cart of 120 € is waiting"]
    reminder = shop.sent("ann")[1].content.text
    assert "Hello Ann," in reminder
    assert "- Table\n- Chair\n" in reminder
    assert "Lamp" not in reminder
    shop.advance(days=1)
    assert subjects(shop)[2:] == ["Free delivery for your cart"]
    assert "carts/18" in shop.sent("ann")[2].content.text


def test_a_purchase_ends_the_reminders_of_its_cart_alone(shop: Sandbox) -> None:
    cart(shop, "17", 45, "Lamp")
    cart(shop, "18", 120, "Table")
    shop.advance(hours=1)
    shop.event("order.paid", "ann", cart_id="17")
    shop.advance(hours=1)
    assert subjects(shop) == ["Your cart of 120 € is waiting"]
    shop.event("order.paid", "ann", cart_id="18")
    shop.advance(days=3)
    assert len(subjects(shop)) == 1


def test_a_cart_that_changes_waits_anew_and_an_empty_one_does_not_wait(shop: Sandbox) -> None:
    cart(shop, "17", 45, "Lamp")
    shop.advance(hours=1.5)
    cart(shop, "17", 60, "Lamp", "Bulb")
    shop.advance(hours=1.5)
    assert subjects(shop) == []
    shop.advance(hours=0.5)
    assert subjects(shop) == ["Your cart of 60 € is waiting"]
    cart(shop, "19", 30, "Vase")
    cart(shop, "19", 0)
    shop.advance(days=3)
    assert len(subjects(shop)) == 1
