"""A form's settings on its page, and deleting it; the list of many forms."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest
from fastapi.testclient import TestClient

from parcours.db.tables import drafts, forms
from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import START, World, at

HTML = {"accept": "text/html"}
RULE = {"condition": "form.submitted", "with": {"forms": ["signup"]}}


@pytest.fixture
def http(client: Client, world: World) -> TestClient:
    world.contacts("ann")
    world.form("signup")
    return client()


def saved(http: TestClient, **given: str) -> str:
    """Save the settings of the form; return the page that comes of it."""
    token = token_of(http.get("/forms/signup", headers=HTML))
    done = http.post("/forms/signup/settings", data={"csrf": token, "name": "Sign up", **given}, headers=HTML)
    return str(done.text)


def form_of(world: World) -> forms.Form:
    with world.engine.connect() as conn:
        found = forms.find(conn, "signup")
    assert found is not None
    return found


def test_the_snippet_of_a_form_leads_to_where_the_page_was_opened_unless_an_address_is_set(
    http: TestClient, client: Client, world: World
) -> None:
    assert 'action="http://testserver/forms/signup"' in unescape(http.get("/forms/signup").text)
    behind = client(public_url="https://parcours.example/")
    assert 'action="https://parcours.example/forms/signup"' in unescape(behind.get("/forms/signup").text)


def test_all_settings_of_a_form_are_written_on_its_page(http: TestClient, world: World) -> None:
    sites = "https://Shop.example/\n\n http://localhost:8000\nhttps://shop.example"
    page = saved(http, published="1", redirect="https://example.com/thanks", sites=sites, names_contact="1")
    assert "The form was saved." in text_of(page)
    made = form_of(world)
    assert (made.name, made.published, made.redirect) == ("Sign up", True, "https://example.com/thanks")
    assert (made.allowed_origins, made.names_contact) == (("https://shop.example", "http://localhost:8000"), True)
    assert 'value="https://example.com/thanks"' in page
    # What is left empty is taken back.
    page = saved(http)
    made = form_of(world)
    assert (made.published, made.redirect, made.allowed_origins, made.names_contact) == (False, None, (), False)
    assert "This form is off: submissions are refused." in text_of(page)
    assert http.post("/forms/signup", json={"email": "ann@example.org"}).status_code == 404


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": ""}, "Enter a name of at most 255 characters."),
        ({"name": "x" * 256}, "Enter a name of at most 255 characters."),
        ({"redirect": "javascript:alert(1)"}, "Enter an address that begins with https://"),
        ({"redirect": "https://e.org/" + "x" * 2000}, "Enter an address that begins with https://"),
        ({"sites": "https://shop.example\nshop"}, "Enter one site per line"),
        ({"sites": "https://shop.example/page"}, "Enter one site per line"),
        ({"sites": "\n".join(f"https://s{n}.example" for n in range(51))}, "Enter one site per line"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_typed_is_lost(
    http: TestClient, world: World, given: dict[str, str], said: str
) -> None:
    before = form_of(world)
    typed = {"name": "Sign up", "redirect": "https://e.org/typed", "sites": "https://typed.example", **given}
    page = saved(http, **typed)
    assert said in text_of(page)
    assert form_of(world) == before
    for each in typed.values():
        assert each.split("\n", maxsplit=1)[0][:200] in page


def test_a_form_that_nothing_uses_is_deleted_with_its_submissions(http: TestClient, world: World, run: Run) -> None:
    world.form("other")
    world.submit("signup", "ann", at(1, "10:00"))
    world.submit("other", "ann", at(1, "11:00"))
    asked = http.get("/forms/signup/delete", headers=HTML)
    assert "Its submissions are deleted. The contacts and their history stay." in text_of(asked.text)
    gone = http.post("/forms/signup/delete", data={"csrf": token_of(asked)}, headers=HTML)
    assert "was deleted." in text_of(gone.text)
    assert http.get("/forms/signup", headers=HTML).status_code == 404
    assert http.delete("/api/forms/signup").status_code == 404
    assert len(world.read("SELECT FROM form_submission")) == 1
    assert "Submitted a form" in text_of(http.get("/contacts/ann", headers=HTML).text)
    assert run("forms", "delete", "other").stdout == "Form other is deleted.\n"
    assert world.read("SELECT FROM form_submission") == []
    assert run("forms", "delete", "other").returncode == 1


def test_campaigns_drafts_and_rules_that_use_it_are_named(http: TestClient, world: World, run: Run) -> None:
    world.campaign("- {action: contact.points, with: {points: 1}}", segments=[], forms=["signup"], name="Welcome")
    world.campaign("- {step: sent, decision: form.submit, within: 1 day, with: {forms: [signup]}}", key="d")
    # What only has the same name is no use of it.
    world.campaign("- {action: contact.tags, with: {add: [signup]}}", key="other")
    world.by_rule("sent", RULE)
    file = {"campaign": "spring", "name": "Spring", "sources": {"forms": ["signup"]}, "steps": []}
    with world.engine.begin() as conn:
        drafts.create(conn, campaign_id=None, owner="Bob", base_version=0, file=file, now=START)
    said = (
        "form 'signup' cannot be deleted: it is used by campaigns c, d and by rules of segments sent and by drafts of "
        "Spring (Bob); remove it there first"
    )
    answer = http.delete("/api/forms/signup")
    assert (answer.status_code, answer.json()["detail"]) == (409, said)
    done = run("forms", "delete", "signup", "--yes")
    assert (done.returncode, done.stderr.strip()) == (1, f"parcours: {said}")
    page = http.get("/forms/signup/delete", headers=HTML).text
    assert 'Campaign <a href="/campaigns/c">Welcome</a>' in page
    for line in ("Draft of Bob Spring", "Rule of the segment sent"):
        assert line in text_of(page)
    token = token_of(http.get("/forms", headers=HTML))
    again = http.post("/forms/signup/delete", data={"csrf": token}, headers=HTML)
    assert "cannot be deleted" in text_of(again.text)
    assert form_of(world).published


def test_a_deleted_campaign_keeps_no_form(http: TestClient, world: World, run: Run) -> None:
    world.campaign("- {action: contact.points, with: {points: 1}}", segments=[], forms=["signup"])
    assert run("campaigns", "delete", "c", "--yes").returncode == 0
    assert http.delete("/api/forms/signup").status_code == 204
    assert world.read("SELECT FROM campaign_source WHERE kind = 'form'") == []


def test_many_forms_are_searched_and_have_pages(http: TestClient, world: World) -> None:
    many = "SELECT 'f-' || to_char(n, 'FM000'), 'Form ' || n FROM generate_series(1, 120) n"
    world.write(f"INSERT INTO form (key, name) {many}")
    first = http.get("/forms", headers=HTML).text
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following
    assert "f-001" in first
    assert "f-120" not in first
    assert "f-001" not in http.get(following[1], headers=HTML).text
    found = text_of(http.get("/forms?q=orm 11", headers=HTML).text)
    assert "Form 11 f-011" in found
    assert "Form 119" in found
    assert "Form 12 " not in found
    assert "Nothing found" in text_of(http.get("/forms?q=%25", headers=HTML).text)
    listed = json.loads(http.get("/api/forms?limit=2").text)
    assert len(listed["items"]) == 2
