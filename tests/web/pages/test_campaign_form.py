"""Making a campaign and changing one on its page, over HTTP."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import Engine

from parcours.db.tables import campaigns
from parcours.domain.keys import slug
from parcours.services import removal
from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import SCRIPT, text_of
from tests.web.pages.test_sign_in import given_user, sign_in, token_of
from tests.workers.test_races import after_statement
from tests.workers.worlds import START, World

STEPS = "- step: tag\n  action: contact.tags\n  with: {add: [new]}\n"
LATER = STEPS + "- step: warm\n  action: contact.points\n  with: {points: 5}\n  after: 1 day\n"


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    made = World(engine, tmp_path)
    made.segment("everyone")
    made.segment("secret", public=False)
    return made


def filled(**fields: Any) -> dict[str, Any]:
    return {
        "name": "First steps",
        "segments": ["everyone"],
        "reentry": "never",
        "catch_up": "run",
        "exit_on_leave": "1",
        "steps": STEPS,
        **fields,
    }


def posted(http: TestClient, path: str, **fields: Any) -> Response:
    data = {"csrf": token_of(http.get("/campaigns/+new")), **fields}
    answer: Response = http.post(path, data=data, follow_redirects=False)
    return answer


def hidden(page: str) -> dict[str, list[str]]:
    """Return the fields that a page of the plan hands on."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'(?s)<textarea name="([^"]+)" hidden>\n(.*?)</textarea>', page):
        found.setdefault(name, []).append(unescape(value))
    (seen,) = re.findall(r'name="seen" value="([^"]+)"', page)
    return {**found, "seen": [seen]}


def stamp(page: str) -> str:
    (found,) = re.findall(r'name="stamp" value="([^"]+)"', page)
    return str(found)


def applied(http: TestClient, path: str, **fields: Any) -> Response:
    """Review, then apply what the review says."""
    review = posted(http, path, **filled(**fields), do="review")
    assert review.status_code == 200, text_of(review.text)
    chosen = {name: fields[name] for name in ("backfill", "reschedule") if name in fields}
    return posted(http, path, **hidden(review.text), **chosen, do="apply")


def test_a_campaign_is_reviewed_and_then_made(client: Client, world: World) -> None:
    http = client()
    review = posted(http, "/campaigns/+new", **filled(published="1", description="For all"), do="review")
    assert "The campaign will be created with 1 step." in text_of(review.text)
    assert "The campaign will be switched on" in text_of(review.text)
    with world.engine.connect() as conn:
        assert campaigns.listing(conn) == []
    done = posted(http, "/campaigns/+new", **hidden(review.text), do="apply")
    assert (done.status_code, done.headers["location"]) == (303, "/campaigns/first-steps")
    with world.engine.connect() as conn:
        found = campaigns.find(conn, "first-steps")
        file = campaigns.definition(conn, found.id, found.version)
        assert campaigns.listing(conn)[0].published
    assert (file.name, file.description, file.sources.segments) == ("First steps", "For all", ("everyone",))
    assert [step.step for step in file.walk()] == ["tag"]
    assert world.audit(campaign="first-steps")[0].endswith("created")


def test_a_campaign_may_have_the_key_new(client: Client, world: World) -> None:
    http = client()
    guessed = http.get("/campaigns/new", follow_redirects=False)
    assert (guessed.status_code, guessed.headers["location"]) == (303, "/campaigns/+new")
    assert applied(http, "/campaigns/+new", key="new").headers["location"] == "/campaigns/new"
    assert "First steps" in text_of(http.get("/campaigns/new", follow_redirects=False).text)
    assert 'name="key"' in http.get("/campaigns/+new").text


def test_every_setting_comes_back_in_the_form(client: Client, world: World) -> None:
    http = client()
    given = {
        "key": "k",
        "category": "onboarding",
        "publish_from": "2026-06-01T09:00",
        "publish_until": "2026-07-01T09:00",
        "timezone": "Europe/Paris",
        "reentry": "after_exit",
        "cooldown": "30 days",
        "grace": "2 hours",
        "catch_up": "skip",
        "catch_up_skip": "1 day",
        "priority": "high",
        "rate": "100 per minute",
    }
    assert applied(http, "/campaigns/+new", **given).status_code == 303
    page = http.get("/campaigns/k/edit").text
    for name, value in given.items():
        if name != "key":
            chosen = rf'(?s)name="{name}".*?(?:value="{re.escape(value)}"(?: selected)?)'
            assert re.search(chosen, page), name
    # Nothing changes when nothing was changed, seconds and offsets of dates included.
    again = posted(http, "/campaigns/k/edit", **filled(**given), stamp=stamp(page), do="review")
    assert "No changes." in text_of(again.text)


def test_dates_of_contacts_are_sources_that_the_form_keeps(client: Client, world: World) -> None:
    http = client()
    dates = '- {field: birthday, every: year, before: 7 days, hour: "09:00"}'
    review = posted(http, "/campaigns/+new", **filled(key="k", segments=[], dates=dates), do="review")
    said = "Contacts will enter by a date: 1 week before the date in “Birthday” at 09:00, every year."
    assert said in text_of(review.text)
    assert posted(http, "/campaigns/+new", **hidden(review.text), do="apply").status_code == 303
    page = http.get("/campaigns/k/edit").text
    assert "field: birthday" in page
    assert "Date Birthday" in text_of(http.get("/campaigns").text)
    wrong = posted(http, "/campaigns/+new", **filled(dates="- {field: birthday, every: day}"), do="review")
    assert wrong.status_code == 422
    assert "Must be 'year', 'month' or 'week', not 'day'" in unescape(text_of(wrong.text))
    broken = posted(http, "/campaigns/+new", **filled(dates="- {field: [}"), do="review")
    assert "Must be a list of dates of contacts, not text" in text_of(broken.text)


def test_errors_are_shown_at_their_line_and_field_and_nothing_is_made(client: Client, world: World) -> None:
    http = client()
    wrong = filled(steps="- step: tag\n  action: contact.tags\n  with: {ad: [new]}\n", cooldown="soon", name="")
    page = posted(http, "/campaigns/+new", **wrong, do="review")
    assert page.status_code == 422
    words = text_of(page.text)
    assert "Line 3" in words
    assert "Unknown property 'ad'; did you mean 'add'?" in words
    assert "Enter a name." in words
    assert 'data-line="3"' in page.text
    # What was written is still there.
    assert "with: {ad: [new]}" in unescape(page.text)
    typing = posted(http, "/campaigns/+new/check", **wrong)
    assert (typing.status_code, "Line 3" in text_of(typing.text)) == (200, True)
    assert "No errors." in text_of(posted(http, "/campaigns/+new/check", **filled(key="x")).text)
    with world.engine.connect() as conn:
        assert campaigns.listing(conn) == []


def test_only_public_published_segments_are_offered_and_taken(client: Client, world: World) -> None:
    http = client()
    offered = http.get("/campaigns/+new").text
    assert 'value="everyone"' in offered
    assert 'value="secret"' not in offered
    page = posted(http, "/campaigns/+new", **filled(segments=["secret"]), do="review")
    assert page.status_code == 422
    assert "Segment 'secret' is private; only public segments can be sources." in text_of(page.text)


def test_the_second_of_two_is_told_and_nothing_is_overwritten(client: Client, world: World) -> None:
    http = client()
    applied(http, "/campaigns/+new", key="k")
    both = stamp(http.get("/campaigns/k/edit").text)
    assert applied(http, "/campaigns/k/edit", stamp=both, description="by one").status_code == 303
    second = posted(http, "/campaigns/k/edit", **filled(stamp=both, description="by two"), do="review")
    assert second.status_code == 409
    words = text_of(second.text)
    assert "Someone else changed this campaign while you were editing it." in words
    assert "+ description: by one" in words
    assert "by two</textarea>" in second.text
    with world.engine.connect() as conn:
        found = campaigns.find(conn, "k")
        assert campaigns.definition(conn, found.id, found.version).description == "by one"
    # Who has seen it may go on.
    assert applied(http, "/campaigns/k/edit", stamp=stamp(second.text), description="by two").status_code == 303


def test_a_plan_that_says_something_else_by_now_is_shown_again(client: Client, world: World) -> None:
    http = client()
    review = posted(http, "/campaigns/+new", **filled(key="k"), do="review")
    kept = hidden(review.text)
    kept["steps"] = [LATER]
    again = posted(http, "/campaigns/+new", **kept, do="apply")
    assert again.status_code == 200
    assert "The campaign changed after your review" in text_of(again.text)
    taken = posted(http, "/campaigns/+new", **filled(key="k"), do="review")
    assert applied(http, "/campaigns/+new", key="k").status_code == 303
    late = posted(http, "/campaigns/+new", **hidden(taken.text), do="apply")
    assert late.status_code == 409
    assert "A campaign with the key “k” already exists." in text_of(late.text)


def test_a_campaign_that_was_deleted_meanwhile_does_not_come_back_unasked(client: Client, world: World) -> None:
    http = client()
    applied(http, "/campaigns/+new", key="k")
    page = http.get("/campaigns/k/edit").text
    review = posted(http, "/campaigns/k/edit", **filled(stamp=stamp(page), description="more"), do="review")
    world.write("UPDATE campaign SET deleted_at = now() WHERE key = 'k'")
    assert posted(http, "/campaigns/k/edit", **hidden(review.text), do="apply").status_code == 404
    again = posted(http, "/campaigns/+new", **filled(key="k"), do="review")
    assert "A deleted campaign has this key. It will be restored with its history." in text_of(again.text)


def test_who_waits_is_moved_and_new_first_steps_begin_for_all_if_one_says_so(client: Client, world: World) -> None:
    http = client()
    world.contacts("ann", segment="everyone")
    world.campaign("- {step: warm, action: contact.points, with: {points: 5}, after: 9 days}", name="First steps")
    world.update()
    page = http.get("/campaigns/c/edit").text
    given = {"steps": LATER, "stamp": stamp(page), "published": "1"}
    review = posted(http, "/campaigns/c/edit", **filled(**given), do="review")
    words = text_of(review.text)
    assert "Reschedule 1 waiting contact" in words
    assert "Start the new first steps for 1 active contact" in words
    done = applied(http, "/campaigns/c/edit", **given, backfill="1", reschedule="1")
    assert done.status_code == 303
    assert world.standing("ann") == ["warm", "tag"]
    due = world.due("ann", "warm")
    assert due is not None
    assert (due - START).days == 1


def test_script_in_a_name_is_shown_and_never_run(client: Client, world: World) -> None:
    http = client()
    given = {"key": "k", "name": SCRIPT, "description": SCRIPT, "category": SCRIPT}
    review = posted(http, "/campaigns/+new", **filled(**given), do="review")
    done = posted(http, "/campaigns/+new", **hidden(review.text), do="apply")
    assert done.status_code == 303
    for page in (review, http.get("/campaigns"), http.get("/campaigns/k/edit"), http.get("/campaigns/k")):
        assert SCRIPT not in page.text
        assert "alert(1)" in page.text


def test_a_viewer_may_not_change_anything(client: Client, world: World) -> None:
    http = client(open_to_all=False)
    given_user(world.engine, role="viewer")
    sign_in(http)
    token = token_of(http.get("/campaigns"))
    assert http.post("/campaigns/+new", data={"csrf": token, **filled(), "do": "review"}).status_code == 403
    refused = http.get("/campaigns/+new?as=yaml", headers={"accept": "text/html"})
    assert refused.status_code == 403
    assert "You have read-only access" in refused.text


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Série d’été 2026", "serie-d-ete-2026"),
        ("Grüße aus Łódź, Œuvre", "grusse-aus-lodz-oeuvre"),
        ("  A & B  ", "a-b"),
        ("…", ""),
        ("x" * 99, "x" * 80),
    ],
)
def test_a_key_is_made_of_a_name(name: str, key: str) -> None:
    assert slug(name) == key


def test_sources_exits_and_limits_that_the_form_does_not_show_stay(client: Client, world: World) -> None:
    world.campaign(
        STEPS,
        key="carts",
        segments=(),
        events=[{"type": "cart.updated", "key": "cart_id"}],
        exit=[{"event": "order.paid", "key": "cart_id"}],
        entry={"most": 9},
        name="First steps",
    )
    http = client()
    page = http.get("/campaigns/carts/edit").text
    changed = filled(steps=LATER, segments=[], stamp=stamp(page))
    review = posted(http, "/campaigns/carts/edit", **changed, do="review")
    assert review.status_code == 200
    assert posted(http, "/campaigns/carts/edit", **hidden(review.text), do="apply").status_code == 303
    with world.engine.connect() as conn:
        found = campaigns.find(conn, "carts")
        file = campaigns.definition(conn, found.id, found.version)
    assert found.version == 2
    assert [each.type for each in file.sources.events] == ["cart.updated"]
    assert [each.event for each in file.exit] == ["order.paid"]
    assert file.entry is not None
    assert file.entry.most == 9


def test_a_source_that_is_unticked_says_in_both_languages_how_many_leave(client: Client, world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.contacts("cleo", segment="other")
    http = client()
    assert applied(http, "/campaigns/+new", key="k", published="1", segments=["everyone", "other"]).status_code == 303
    world.update()
    given = {"segments": ["other"], "published": "1", "reentry": "always"}
    stamped = stamp(http.get("/campaigns/k/edit").text)
    review = text_of(posted(http, "/campaigns/k/edit", **filled(**given, stamp=stamped), do="review").text)
    assert "2 contacts will leave, because they are in none of the segments." in review
    assert "Source segments: - everyone." in review
    assert "Re-entry: never → always." in review
    http.headers["accept-language"] = "fr"
    french = text_of(posted(http, "/campaigns/k/edit", **filled(**given, stamp=stamped), do="review").text)
    assert "2 contacts sortiront, car ils ne sont dans aucun des segments." in french
    changed = STEPS.replace("[new]", "[newer]")
    page = text_of(posted(http, "/campaigns/k/edit", **filled(steps=changed, stamp=stamped), do="review").text)
    assert "L’étape tag sera modifiée : add + newer, - new. 3 contacts y attendent." in page


def test_a_campaign_whose_segment_goes_while_it_is_stored_comes_back_with_what_is_wrong(
    client: Client, world: World
) -> None:
    http = client()
    review = posted(http, "/campaigns/+new", **filled(), do="review")

    def delete() -> None:
        with world.engine.begin() as conn:
            removal.delete_segment(conn, "everyone")

    with after_statement(world, "pg_advisory_xact_lock(7272687700000000", delete):
        answer = posted(http, "/campaigns/+new", **hidden(review.text), do="apply")
    assert answer.status_code == 422
    assert "everyone" in text_of(answer.text)
    assert "tag" in answer.text
    with world.engine.connect() as conn:
        assert campaigns.listing(conn) == []
