"""What a new campaign may begin with does what it says, and its review says it in words of people."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from parcours.web.pages.campaign_templates import TEMPLATES, file_of
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import START, World, at, event

NAMES = {"en": "Birthday email", "fr": "E-mail d’anniversaire"}
BY_KEY = {each.key: each for each in TEMPLATES}


def with_emails(world: World, chosen: str) -> dict[str, Any]:
    """Return the file of a template, whose emails are all there."""
    file = file_of(BY_KEY[chosen], key="c", name="C")
    for step in file["steps"]:
        world.email(step["step"])
        step["with"] = {**step.get("with", {}), "email": step["step"]}
    return file


def applied(world: World, file: dict[str, Any], **settings: Any) -> list[str]:
    """Apply the file of a template and return the notes of its plan."""
    sources = file["sources"]
    plan = world.campaign(
        json.dumps(file["steps"]),
        segments=(),
        dates=sources.get("dates", ()),
        events=sources.get("events", ()),
        **{name: file[name] for name in ("reentry", "exit") if name in file},
        **settings,
    )
    return plan.warnings


def test_the_birthday_email_of_the_template_goes_each_year(world: World) -> None:
    world.contacts("ann", birthday="1990-06-12")
    assert applied(world, with_emails(world, "birthday")) == []
    world.update()
    for year in range(3):
        world.run(at(12 + 365 * year + 1))
    assert world.outbox() == ["ann birthday"] * 3


def test_each_cart_of_the_template_gets_its_reminder(world: World) -> None:
    world.contacts("ann")
    assert applied(world, with_emails(world, "cart")) == []
    world.run()
    for day, cart in enumerate(("one", "two")):
        world.tell(event("cart.updated", "ann", at(2 + day), cart_id=cart))
        world.run(at(2 + day, "12:00"))
        world.run(at(2 + day, "15:00"))
    assert world.outbox() == ["ann cart-reminder"] * 2


def test_the_list_of_campaigns_says_its_sources_by_name(http: TestClient, world: World) -> None:
    applied(world, with_emails(world, "cart"))
    applied(world, {**with_emails(world, "birthday"), "key": "d"}, key="d")
    shown = text_of(http.get("/campaigns").text)
    assert "Event Changed a cart" in shown
    assert "Date Birthday" in shown
    assert "cart.updated" not in shown


@pytest.mark.parametrize("chosen", ["birthday", "cart"])
def test_an_email_that_goes_once_in_a_campaign_entered_again_is_noted(world: World, chosen: str) -> None:
    file = with_emails(world, chosen)
    (step,) = file["steps"]
    del step["with"]["again"]
    world.contacts("ann", birthday="1990-06-12")
    said = f"step {step['step']}: a contact gets this email only once, although it enters again"
    assert [each.split(";")[0] for each in applied(world, file)] == [said]
    step["with"]["email_type"] = "transactional"
    assert applied(world, file, when=START) == []


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            [
                "Contacts will enter by a date: on the date in “Birthday” at 09:00, every year.",
                "1 contact has something in “Birthday” that is not a date; it does not enter by it.",
                "“Birthday email”: a contact gets this email only once, although it enters the campaign again.",
            ],
        ),
        (
            "fr",
            [
                "Des contacts entreront par une date : à la date du champ « Anniversaire » à 09:00, chaque année.",
                "1 contact a dans « Anniversaire » autre chose qu’une date ; il n’entre pas par ce champ.",
                "« E-mail d’anniversaire » : un contact ne reçoit cet e-mail qu’une fois",
            ],
        ),
    ],
)
def test_the_review_of_a_birthday_says_its_date_and_its_field_by_name(
    http: TestClient, world: World, language: str, said: list[str]
) -> None:
    world.contacts("ann", birthday="1990-06-12")
    world.contacts("bob", birthday="12-05")
    world.email("hello")
    http.headers["accept-language"] = language
    token = token_of(http.get("/drafts/+new"))
    draft = http.post("/drafts", data={"csrf": token, "name": "B", "template": "birthday"}).url.path
    page = http.get(draft, params={"step": "birthday"}).text
    revision = re.search(r'name="revision" value="(\d+)"', page)
    assert revision is not None
    step = {"do": "set", "step": "birthday", "name": NAMES[language], "when": "now"}
    # With “Send again” left empty.
    http.post(draft, data={"csrf": token, "revision": revision[1], **step, "with-email": "hello"})
    for address in (draft, f"{draft}/review"):
        shown = text_of(http.get(address).text)
        assert [each for each in said if each not in shown] == []
