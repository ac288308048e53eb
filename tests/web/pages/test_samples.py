"""The panel of a step shows what its texts say and when it is due, for one contact."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from parcours.domain.events.parsing import ContactEvent
from tests.web.conftest import Client
from tests.web.pages.test_builder import Builder
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import START, World, at, event

STEPS = """
- {step: text, name: Say it, action: sms.send, with: {text: "Hi {{ contact.first_name }}, {{ entry.total }} €"}}
- {step: wait, action: contact.points, with: {points: 1}, after: 1 day, hour: "09:00"}
- {step: born, action: contact.points, with: {points: 1}, at: {field: birthday, hour: "09:00"}}
- {step: hook, action: webhook.send, with: {url: "https://e.org/{{ contact.key }}", headers: {x: "Hi"}}}
- step: asked
  decision: page.hit
  with: {url: "*"}
  within: 3 days
"""
LEAP = "2400-02-29"


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    made = World(engine, tmp_path)
    made.contacts("ann", first_name="Ann", timezone="Europe/Paris", birthday=LEAP, phone="+331")
    made.contacts("ben", first_name="Ben", timezone="America/New_York", birthday="1990-01-01")
    made.contacts("zoe")
    made.campaign(STEPS, segments=(), events=[{"type": "order.placed", "key": "order"}], name="First steps")
    return made


@pytest.fixture
def builder(client: Client, world: World) -> Builder:
    return Builder(client(), "/campaigns/c/build")


def shown(builder: Builder, step: str, sample: str, **fields: Any) -> str:
    page = builder.http.get(builder.base, params={"step": step})
    data = {"csrf": token_of(page), "step": step, "sample": sample, **fields}
    answer = builder.http.post(f"{builder.base}/preview", data=data)
    assert answer.status_code == 200, answer.text
    return text_of(answer.text)


def test_a_text_is_shown_for_the_chosen_contact_and_its_last_run(builder: Builder, world: World) -> None:
    placed: ContactEvent = event("order.placed", "ann", at(1), order="o1", total=12)
    world.tell(placed)
    typed = {"with-text": "Hi {{ contact.first_name }}, {{ entry.total }} €", "when": "now"}
    assert "For Ann: Hi Ann, 12 €" in shown(builder, "text", "ann", **typed)
    # Whom one chose is remembered from step to step.
    page = text_of(builder.page(step="text"))
    assert "Hi Ann, 12 €" in page
    assert "Hi Ben" in shown(builder, "text", "ben@example.com", **typed)
    assert "No contact has the key nobody." in shown(builder, "text", "nobody", **typed)
    # Nothing was written for that.
    assert "Your first change begins a draft" in text_of(builder.page())


def test_without_a_choice_the_newest_contact_is_shown(builder: Builder) -> None:
    assert 'placeholder="zoe"' in builder.page(step="text")


def test_a_text_that_cannot_be_filled_in_says_why_in_a_sentence(builder: Builder) -> None:
    for text, said in (
        (
            "{{ contact.first_name | divided_by: 0 }}",
            "the template cannot be filled in: the filter 'divided_by' cannot",
        ),
        ("{{ contact.first_name", "The template cannot be filled in"),
        ("{% for a in (1..999999) %}{% for b in (1..999999) %}x{% endfor %}{% endfor %}", "The template cannot be"),
    ):
        found = shown(builder, "text", "ann", **{"with-text": text, "when": "now"})
        assert said.lower() in found.lower(), found
    assert "Hi 👩" in shown(builder, "text", "ann", **{"with-text": "Hi 👩{{ contact.nothing }}", "when": "now"})


def test_a_value_of_a_contact_is_never_html(builder: Builder, world: World) -> None:
    world.contacts("eve", first_name="<script>alert(1)</script>")
    page = builder.http.get(builder.base, params={"step": "text"})
    data = {"csrf": token_of(page), "step": "text", "sample": "eve", "with-text": "{{ contact.first_name }}"}
    assert "<script>alert" not in builder.http.post(f"{builder.base}/preview", data=data).text


def test_web_addresses_and_headers_are_shown_too(builder: Builder) -> None:
    typed = {
        "with-url": "https://e.org/{{ contact.key }}",
        "with-headers": 'x: "{{ contact.first_name }}"',
        "when": "now",
    }
    found = shown(builder, "hook", "ann", **typed)
    assert "https://e.org/ann" in found
    assert "x: Ann" in found


def test_fields_to_insert_are_those_of_contacts_and_of_the_event(builder: Builder) -> None:
    page = builder.page(step="text")
    options = re.findall(r'<option value="(\{\{[^"]+)">', page)
    for name in ("contact.first_name", "contact.email", "contact.company.name", "entry.order", "campaign.name"):
        assert f"{{{{ {name} }}}}" in options
    assert 'data-insert="with-text"' in page
    # By what people call them.
    assert '">First name</option>' in page
    # Not where a text is not filled in.
    assert "data-insert" not in builder.page(step="wait")


@pytest.mark.parametrize(
    ("sample", "typed", "said"),
    [
        (
            "ann",
            {"when": "after", "after": "1", "after-unit": "days", "hour": "09:00"},
            r"For Ann: \w{3} .*, 09:00 in Paris",
        ),
        (
            "ben",
            {"when": "after", "after": "1", "after-unit": "days", "hour": "09:00"},
            r"For Ben: .*, 09:00 in New York",
        ),
        ("zoe", {"when": "now", "start": "00:00", "end": "23:59"}, r"For zoe: at once|For zoe: .*, 00:00 in UTC"),
        ("ann", {"when": "now"}, "For Ann: at once"),
        ("ann", {"when": "now", "days": ["mon"], "hour": "10:00"}, r"For Ann: Mon .*, 10:00 in Paris"),
        ("ann", {"when": "on", "at": "2400-01-01 08:00"}, r"For Ann: Sat 1 Jan 2400, 09:00 in Paris"),
        ("ann", {"when": "on", "at": "soon"}, None),
        ("ann", {"when": "after", "after": "900000", "after-unit": "years"}, None),
        (
            "ann",
            {"when": "date", "date-field": "birthday", "hour": "09:00"},
            "For Ann: Tue 29 Feb 2400, 09:00 in Paris",
        ),
        (
            "ben",
            {"when": "date", "date-field": "birthday"},
            r"For Ben: skipped, since Mon 1 Jan 1990, 00:00 in New York",
        ),
        ("ben", {"when": "date", "date-field": "birthday", "late": "run"}, r"For Ben: at once, since Mon 1 Jan 1990"),
        (
            "zoe",
            {"when": "date", "date-field": "birthday"},
            "For zoe: never, as long as the field “Birthday” has no date",
        ),
    ],
)
def test_timing_is_said_for_the_contact(builder: Builder, sample: str, typed: dict[str, Any], said: str | None) -> None:
    found = shown(builder, "wait", sample, **{"with-points": "1", **typed})
    assert re.search(said, found) if said is not None else "For " not in found, found


def test_a_decision_says_when_it_closes_for_the_contact(builder: Builder) -> None:
    found = shown(builder, "asked", "ann", **{"with-url": "*", "within": "3", "within-unit": "days"})
    assert re.search(r"For Ann: no from \w{3} .* in Paris on", found), found


def test_the_panel_and_its_form_say_the_same_without_a_script(builder: Builder) -> None:
    fields = {"with-text": "Hi {{ contact.first_name }}", "when": "after", "after": "2", "after-unit": "days"}
    page = builder.does("set", step="text", sample="ben", **fields)
    said = text_of(page.text)
    assert "Hi Ben" in said
    assert re.search(r"For Ben: \w{3} .* in New York", said)
    french = builder.http.get(builder.base, params={"step": "text"}, headers={"accept-language": "fr"}).text
    assert re.search(r"Pour Ben : .* à New York", text_of(french))
