"""The campaign builder over HTTP, as it works without a script."""

from __future__ import annotations

import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import Engine

from parcours.db.tables import campaigns, drafts, waits
from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.build import to_data
from parcours.domain.steps.registry import all_types
from parcours.producers.files.campaigns import write
from parcours.services import drafts as drafts_service
from parcours.web.pages.rendering import TEMPLATES
from parcours.web.security.access import NEIGHBOUR
from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import World

STEPS = """
- step: hello
  name: Say hello
  action: contact.points
  with: {points: 1}
  after: 1 day
  then:
    - {step: visited, decision: page.hit, with: {url: "*"}, within: 3 days}
"""


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    made = World(engine, tmp_path)
    made.contacts("anna", "berta", segment="everyone")
    made.campaign(STEPS, name="First steps")
    return made


class Builder:
    """Somebody who works with the builder, by its forms."""

    def __init__(self, http: TestClient, base: str) -> None:
        self.http = http
        self.base = base

    def page(self, **asked: Any) -> str:
        return str(self._get(**asked).text)

    def _get(self, **asked: Any) -> Response:
        answer: Response = self.http.get(self.base, params=asked)
        assert answer.status_code == 200, answer.text
        return answer

    def does(self, do: str, revision: Any = None, **fields: Any) -> Response:
        page = self._get()
        (seen,) = set(re.findall(r'data-revision="(\d+)"', page.text))
        data = {"csrf": token_of(page), "revision": revision or seen, "do": do, **fields}
        answer: Response = self.http.post(self.base, data=data)
        assert answer.status_code in (200, 422), answer.text
        return answer

    def add(self, type_: str, parent: str = "", branch: str = "", nth: int = 0, around: str = "") -> Response:
        return self.does("insert", type=type_, parent=parent, branch=branch, nth=nth, around=around)

    def review(self) -> Response:
        answer: Response = self.http.get(f"{self.base}/review")
        return answer

    def apply(self, **chosen: str) -> Response:
        page = self.review()
        seen = re.findall(r'name="seen" value="([^"]+)"', page.text)
        data = {"csrf": token_of(page), "seen": seen[0] if seen else "", **chosen}
        answer: Response = self.http.post(f"{self.base}/review", data=data)
        return answer


@pytest.fixture
def builder(client: Client, world: World) -> Builder:
    return Builder(client(), "/campaigns/c/build")


def file_of(world: World, who: str = NEIGHBOUR.who) -> dict[str, Any]:
    with world.engine.connect() as conn:
        known = drafts.of_campaign(conn, campaigns.find(conn, "c").id, who)
        assert known is not None
        draft = drafts.read(conn, known, who)
        assert draft is not None
        return draft.file


def test_the_tree_says_what_each_step_does_and_when(builder: Builder) -> None:
    said = text_of(builder.page())
    assert "Say hello" in said
    assert "+1 point" in said
    assert "after 1 day" in said
    assert "Visits *" in said
    assert "The campaign as it is. Your first change begins a draft." in said


def test_what_few_need_stands_behind_the_rest_until_it_is_set(builder: Builder) -> None:
    builder.add("action email.send", "visited", "yes")
    asked = {"step": "email-send", "when": "now", "with-email": "hello", "with-attempts": "3"}

    def order(page: str) -> list[tuple[str, str]]:
        return re.findall(r"id=\"with-(email|attempts)\"|<summary>(More settings)", page)

    plain = [name or more for name, more in order(builder.does("set", **asked).text)]
    assert plain == ["email", "More settings", "attempts"]
    tried = [name or more for name, more in order(builder.does("set", **{**asked, "with-attempts": "5"}).text)]
    assert tried == ["email", "attempts", "More settings"]


def test_a_step_is_added_filled_in_moved_and_deleted_and_all_of_it_undone(builder: Builder, world: World) -> None:
    added = builder.add("action contact.tags", "visited", "yes")
    assert "Enter at least one tag." in text_of(added.text)
    shown = builder.does("set", step="contact-tags", name="Mark as warm", when="now", **{"with-add": "warm\nhot"})
    said = text_of(shown.text)
    assert "Mark as warm" in said
    assert "Add the tags warm, hot" in said
    # Nobody waits at a step that is new, so that its key follows its first name.
    assert edit.find(file_of(world), "mark-as-warm").step["with"] == {"add": ["warm", "hot"]}
    builder.does("move", step="mark-as-warm", parent="visited", branch="no", nth="0")
    assert edit.find(file_of(world), "mark-as-warm").place.branch == "no"
    builder.does("copy", step="mark-as-warm")
    assert edit.keys(file_of(world)) == ["hello", "visited", "mark-as-warm", "mark-as-warm-2"]
    builder.does("up", step="mark-as-warm-2")
    assert edit.keys(file_of(world)) == ["hello", "visited", "mark-as-warm-2", "mark-as-warm"]
    builder.does("remove", step="visited")
    assert edit.keys(file_of(world)) == ["hello"]
    while "Undone" in text_of(builder.does("undo").text):
        pass
    assert edit.keys(file_of(world)) == ["hello", "visited"]
    for _each in range(6):
        builder.does("redo")
    assert edit.keys(file_of(world)) == ["hello"]
    with world.engine.connect() as conn:
        assert campaigns.find(conn, "c").version == 1


def test_a_step_comes_between_two_others(builder: Builder, world: World) -> None:
    builder.add("action contact.tags", "hello", "then", around="1")
    assert edit.find(file_of(world), "visited").place.parent == "contact-tags"
    builder.does("lift", step="contact-tags")
    assert edit.find(file_of(world), "visited").place.parent == "hello"


def test_what_does_not_fit_is_not_added_and_says_why(builder: Builder) -> None:
    page = text_of(builder.page(add="1", parent="", branch="steps", nth="0"))
    assert "Send an email" in page
    assert "Opens the email: It is about a message of the channel email" in page
    said = text_of(builder.add("decision email.open", "visited", "yes").text)
    assert "A decision cannot directly follow a decision" in said


def test_an_unknown_email_is_an_error_at_its_step_and_its_field(builder: Builder, world: World) -> None:
    builder.add("action email.send", "visited", "yes")
    page = builder.does("set", step="email-send", when="now", **{"with-email": "nowhere"}).text
    said = text_of(page)
    assert "There is no email 'nowhere'; choose another or create it." in said
    assert "1 error to fix first" in said
    assert 'id="with-email-errors"' in page
    assert "Not ready yet" in text_of(builder.review().text)
    world.email("nowhere")
    assert "1 error to fix first" not in text_of(builder.page())


def test_timing_is_written_in_fields_and_said_in_words(builder: Builder, world: World) -> None:
    fields = {"with-points": "1", "name": "Say hello"}
    timed = {"when": "after", "after": "2", "after-unit": "days", "hour": "09:00", "days": ["mon", "tue"]}
    page = text_of(builder.does("set", step="hello", **fields, **timed).text)
    assert "After 2 days at 09:00, on Mon and Tue." in page
    step = edit.find(file_of(world), "hello").step
    assert (step["after"], step["hour"], step["days"]) == ("2 days", "09:00", ["mon", "tue"])
    dated = {"when": "date", "date-field": "birthday", "offset": "1", "offset-unit": "weeks", "side": "before"}
    page = text_of(builder.does("set", step="hello", **fields, **dated).text)
    assert "1 week before the date in “Birthday”" in page
    assert edit.find(file_of(world), "hello").step["at"] == {"field": "birthday", "before": "1 week"}


def test_a_draft_is_applied_after_a_review_and_is_gone(builder: Builder, world: World) -> None:
    builder.does("set", step="hello", name="Say hello", when="now", **{"with-points": "7"})
    assert "Version 2 will be created." in text_of(builder.review().text)
    answer = builder.apply()
    assert "“First steps” was changed." in text_of(answer.text)
    with world.engine.connect() as conn:
        assert campaigns.find(conn, "c").version == 2
        assert drafts.listed(conn, NEIGHBOUR.who) == []
    assert "+7 points" in text_of(builder.page())


def test_where_contacts_of_a_removed_step_go_is_chosen_beside_the_tree(builder: Builder, world: World) -> None:
    world.run()
    builder.does("remove", step="visited")
    builder.add("action contact.tags")
    builder.does("set", step="contact-tags", when="now", **{"with-add": "x"})
    page = text_of(builder.does("remove", step="hello").text)
    assert "2 contacts wait at “Say hello”, which is removed." in page
    builder.does("redirect", **{"from": "hello", "to": "contact-tags"})
    assert file_of(world)["redirect"] == {"hello": "contact-tags"}
    builder.apply()
    with world.engine.connect() as conn:
        assert waits.count_at(conn, [world.step_id("contact-tags")]) == {world.step_id("contact-tags"): 2}


def test_a_place_to_go_says_that_the_step_is_done_even_if_it_was_done_before(builder: Builder, world: World) -> None:
    world.run()
    builder.does("remove", step="visited")
    builder.add("action contact.tags")
    builder.does("set", step="contact-tags", when="now", **{"with-add": "x"})
    builder.does("remove", step="hello")
    said = "They do that step and those below it, even if they did them before."
    assert said in text_of(builder.page())
    assert said in text_of(builder.review().text)


def test_a_step_put_between_moves_one_branch_and_who_leaves_is_told_first(builder: Builder, world: World) -> None:
    world.run()
    world.segment("others")
    builder.add("action contact.points", around="1")
    builder.does("set", step="contact-points", when="now", **{"with-points": "5"})
    builder.does("settings", name="First steps", segments="others", exit_on_leave="1", existing="1")
    effects = text_of(builder.page()).partition("When you apply")[2]
    assert "Step “Say hello” will be moved with 1 step below it. Contacts waiting there stay." in effects
    assert effects.count("will be moved") == 1
    leave = "2 contacts will leave, because they are in none of the segments."
    assert -1 < effects.find(leave) < effects.find("Version 2 will be created.")


def test_one_value_that_the_panel_shows_as_a_list_is_no_change(builder: Builder) -> None:
    fields = {"with-url": "*", "within": "3", "within-unit": "days", "name": "Was here"}
    text = text_of(builder.does("set", step="visited", **fields).text)
    assert "Step “Was here” will be changed: Name: none → Was here." in text


def test_the_panel_of_a_step_says_how_many_wait_there(builder: Builder, world: World) -> None:
    said = "waiting at this step now."
    assert said not in text_of(builder.page(step="hello"))
    world.run()
    assert f"2 contacts are {said}" in text_of(builder.page(step="hello"))
    assert said not in text_of(builder.page(step="visited"))


def test_the_second_of_two_sees_what_the_first_changed_and_overwrites_nothing(builder: Builder, world: World) -> None:
    builder.does("set", step="hello", name="Say hello", when="now", **{"with-points": "7"})
    world.campaign(STEPS.replace("points: 1}", "points: 3}"), name="First steps")
    page = builder.review()
    said = text_of(page.text)
    assert "The campaign was changed since you began this draft." in said
    assert "Changes made meanwhile" in said
    assert "+3 points" in said
    assert builder.apply().status_code == 409
    with world.engine.connect() as conn:
        assert campaigns.find(conn, "c").version == 2
    builder.does("rebase")
    assert "“First steps” was changed." in text_of(builder.apply().text)
    with world.engine.connect() as conn:
        assert campaigns.find(conn, "c").version == 3


def test_an_older_tab_changes_nothing(builder: Builder, world: World) -> None:
    builder.add("action contact.tags")
    said = text_of(builder.does("remove", revision=1, step="hello").text)
    assert "The draft was changed in another tab; this is how it is now." in said
    assert "hello" in edit.keys(file_of(world))


def test_yaml_is_taken_as_one_change_and_what_is_none_is_refused(builder: Builder, world: World) -> None:
    page = builder.page(yaml="1")
    text = unescape(re.findall(r'(?s)name="text"[^>]*>\n(.*?)</textarea>', page)[0])
    builder.does("yaml", text=text.replace("points: 1", "points: 9"))
    assert edit.find(file_of(world), "hello").step["with"] == {"points": 9}
    said = text_of(builder.does("yaml", text="steps: [").text)
    assert "The file is not valid YAML" in said or "not valid YAML" in said
    said = text_of(builder.does("undo").text)
    assert "Undone: YAML accepted." in said
    assert edit.find(file_of(world), "hello").step["with"] == {"points": 1}


def test_a_note_is_kept_with_its_step_and_its_campaign(builder: Builder, world: World) -> None:
    builder.does("set", step="hello", name="Say hello", when="now", note="Ask sales\r\nfirst", **{"with-points": "1"})
    assert edit.find(file_of(world), "hello").step["note"] == "Ask sales\nfirst"
    # A form without the field leaves it.
    builder.does("set", step="hello", name="Say hello", when="now", **{"with-points": "2"})
    builder.does("settings", name="First steps", segments=["everyone"], existing="1", exit_on_leave="1", note="For May")
    assert 'class="step-note"' in builder.page()
    assert "Note: none → Ask sales first" in text_of(builder.review().text).replace("\n", " ")
    builder.apply()
    with world.engine.connect() as conn:
        found = campaigns.find(conn, "c")
        data = to_data(campaigns.read_version(conn, "c", found.id, found.version).file)
    assert (data["format"], data["note"], data["steps"][0]["note"]) == (2, "For May", "Ask sales\nfirst")


def test_what_does_not_fit_is_not_moved_or_pasted_either(builder: Builder, world: World) -> None:
    builder.add("decision page.hit")
    for does in ("move", "copy"):
        said = text_of(builder.does(does, step="page-hit", parent="visited", branch="yes", nth=0, around="").text)
        assert "A decision cannot directly follow a decision" in said
    assert edit.find(file_of(world), "page-hit").place.parent is None


def test_what_is_chosen_for_contacts_inside_is_no_part_of_the_file_and_can_be_undone(
    builder: Builder, world: World
) -> None:
    world.run()
    fields = {"with-points": "1", "name": "Say hello", "when": "after", "after-unit": "days"}
    builder.does("set", step="hello", after="5", **fields)
    assert "Reschedule 2 waiting contacts" in text_of(builder.does("choose", choice="reschedule", reschedule="1").text)
    assert drafts_service.choices(file_of(world)) == {"reschedule": True, "backfill": False}
    assert "choices" not in builder.page(yaml="1")
    assert re.search(r'name="reschedule" value="1" checked', builder.review().text)
    builder.does("undo")
    assert drafts_service.choices(file_of(world)) == {"reschedule": False, "backfill": False}


def test_a_step_is_moved_by_choosing_a_place(builder: Builder) -> None:
    page = builder.page(moving="visited")
    assert "Choose where “Visits *” goes." in text_of(page)
    assert "Here: Add a step at the beginning" in unescape(page)
    # Not below itself.
    assert "Here: Add a step after Visits *, if yes" not in unescape(page)


def test_a_branch_is_looked_at_alone_and_a_step_is_found(builder: Builder) -> None:
    page = text_of(builder.page(only="visited"))
    assert "All steps" in page
    assert "1 step found" in text_of(builder.page(q="HELLO"))
    assert "0 steps found" in text_of(builder.page(q="nothing like it"))


@pytest.mark.parametrize("chosen", ["empty", "welcome", "win-back", "birthday", "webinar", "cart"])
def test_a_new_campaign_begins_with_its_name_and_a_template(client: Client, world: World, chosen: str) -> None:
    http = client()
    world.email("hello")
    page = http.get("/drafts/+new")
    answer = http.post("/drafts", data={"csrf": token_of(page), "name": "Été à Paris", "template": chosen})
    assert answer.status_code == 200
    builder = Builder(http, answer.url.path)
    assert "Été à Paris" in text_of(http.get("/drafts").text)
    builder.does(
        "settings", name="Été à Paris", segments=["everyone"], reentry="always", existing="1", exit_on_leave="1"
    )
    with world.engine.connect() as conn:
        draft = drafts.read(conn, int(builder.base.rsplit("/", 1)[1]), NEIGHBOUR.who)
    assert draft is not None
    for each in edit.walk(draft.file):
        if each.step.get("action") == "email.send":
            shown = text_of(builder.page(step=each.step["step"]))
            assert "Send an email" in shown
    if chosen == "empty":
        builder.add("action contact.points")
        builder.does("set", step="contact-points", when="now", **{"with-points": "5"})
        said = text_of(builder.apply(published="1").text)
        assert "“Été à Paris” was created." in said
        with world.engine.connect() as conn:
            assert campaigns.find(conn, "ete-a-paris").version == 1


def test_a_new_campaign_needs_a_name(client: Client, world: World) -> None:
    http = client()
    token = token_of(http.get("/drafts/+new"))
    for name in ("", "x" * 10_000):
        answer = http.post("/drafts", data={"csrf": token, "name": name, "template": "empty"})
        assert answer.status_code == 422


def test_every_type_of_step_has_a_panel_of_fields(builder: Builder, world: World) -> None:
    for each in all_types():
        if each.about is None and not each.name.startswith("test."):
            builder.add(f"{each.kind.value} {each.name}")
    page = text_of(builder.page())
    assert "Call a webhook" in page
    before = file_of(world)
    for key in edit.keys(before):
        shown = builder.page(step=key)
        assert 'id="panel-title"' in shown
        assert "Properties, as YAML" not in text_of(shown)


def test_a_goal_and_a_control_group_stay_when_the_settings_change_and_are_set_in_fields(
    builder: Builder, world: World
) -> None:
    page = builder.page(yaml="1")
    text = unescape(re.findall(r'(?s)name="text"[^>]*>\n(.*?)</textarea>', page)[0])
    where = [{"field": "total", "operator": ">", "value": 10}]
    goal = "goal: {event: order.paid, within: 14 days, where: [{field: total, operator: '>', value: 10}]}"
    builder.does("yaml", text=f"{text}{goal}\ncontrol: 10\n")
    kept = {"segments": ["everyone"], "existing": "1", "exit_on_leave": "1"}
    # A form without these fields leaves them.
    builder.does("settings", name="Other", **kept)
    assert file_of(world)["control"] == 10
    assert file_of(world)["goal"] == {"event": "order.paid", "within": "14 days", "where": where}
    shown = builder.page(settings="1")
    assert 'name="goal-event" value="order.paid"' in shown
    assert 'name="control" value="10"' in shown
    fields = {"goal-kind": "goal-event", "goal-event": "order.paid", "goal-within": "7", "goal-within-unit": "days"}
    fields |= {"goal-value": "total", "control": "20"}
    builder.does("settings", name="Other", **kept, **fields)
    assert file_of(world)["goal"] == {"event": "order.paid", "within": "7 days", "where": where, "value": "total"}
    assert file_of(world)["control"] == 20
    assert "1 error to fix first" not in text_of(builder.page())
    builder.does("settings", name="Other", **kept, **{"goal-kind": "", "control": ""})
    assert {"goal", "control"} & file_of(world).keys() == set()


def test_a_new_email_leads_back_to_the_step_that_needs_it_and_nowhere_else(builder: Builder, world: World) -> None:
    builder.add("action email.send", "visited", "yes")
    link = unescape(re.findall(r'href="(/emails/\+new[^"]*)"', builder.page(step="email-send"))[0])
    for ask, after in ((link, "/campaigns/c/build"), ("/emails/+new?back=//example.org", "/emails/second")):
        form = builder.http.get(ask)
        back = [unescape(each) for each in re.findall(r'name="back" value="([^"]*)"', form.text)]
        key = "first" if back else "second"
        data = {"csrf": token_of(form), "back": back[0] if back else "//example.org", "key": key, "v_variant": ""}
        data |= {"v_locale": "", "v_weight": "", "v_subject": "Hi", "v_html": "<p>Hi</p>", "v_text": ""}
        answer = builder.http.post("/emails/+new", data=data)
        assert answer.status_code == 200
        assert answer.url.path == after
    # It is chosen, as one change of the draft.
    assert '<option value="first" selected' in builder.page(step="email-send")
    assert edit.find(file_of(world), "email-send").step["with"] == {"email": "first"}
    assert "Undone: Chosen: first" in text_of(builder.does("undo").text)


def test_a_new_segment_and_a_new_form_lead_back_to_the_settings_with_it_chosen(builder: Builder, world: World) -> None:
    page = builder.page(settings="1")
    links = [unescape(each) for each in re.findall(r'href="(/(?:segments|forms)[^"]*back=[^"]*)"', page)]
    for link, path in zip(links, ("/segments", "/forms"), strict=True):
        asked = builder.http.get(link)
        back = unescape(re.findall(r'name="draft" value="([^"]*)"', asked.text)[0])
        data = {"csrf": token_of(asked), "draft": back, "key": "fresh", "name": "Fresh"}
        answer = builder.http.post(path, data=data)
        assert answer.url.path == "/campaigns/c/build"
        assert 'value="fresh" checked' in answer.text
    assert file_of(world)["sources"] == {"segments": ["everyone", "fresh"], "forms": ["fresh"]}
    # With a rule first: its form leads back when it is applied.
    data = {"csrf": token_of(asked), "draft": back.replace("forms", "segments"), "name": "Ruled", "by_rule": "1"}
    asked = builder.http.post("/segments", data=data)
    assert asked.url.path == "/segments/ruled/edit"
    assert file_of(world)["sources"]["segments"] == ["everyone", "fresh", "ruled"]
    fields = {"csrf": token_of(asked), "name": "Ruled", "draft": back}
    review = builder.http.post("/segments/ruled/edit", data={**fields, "review": "1"})
    fields["stamp"] = unescape(re.findall(r'name="stamp" value="([^"]*)"', review.text)[0])
    assert builder.http.post("/segments/ruled/apply", data=fields).url.path == "/campaigns/c/build"
    # Nowhere else.
    assert "draft" not in re.findall(r'name="(\w+)"', builder.http.get("/segments/+new?back=//example.org").text)


def test_no_template_of_the_pages_is_left_out_of_the_repository() -> None:
    run = subprocess.run(
        ["git", "-C", str(TEMPLATES.resolve()), "check-ignore", "--no-index", "--stdin"],
        input="\n".join(str(each) for each in TEMPLATES.resolve().rglob("*.html")),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode > 1:
        pytest.skip("not in a clone")
    assert run.stdout == ""


@pytest.mark.parametrize("number", ["nonsense", "0", "-1", "9" * 30, "٣"])
def test_the_address_of_no_draft_is_not_found(http: TestClient, number: str) -> None:
    for path in ("", "/review"):
        assert http.get(f"/drafts/{number}{path}").status_code == 404


def test_a_review_says_which_source_segment_is_empty_and_leads_to_where_contacts_are_added(
    client: Client, world: World
) -> None:
    world.segment("nobody")
    world.campaign("- {step: hello, action: contact.points, with: {points: 1}}", key="d", segments=("nobody",))
    page = client().get("/campaigns/d/build/review").text
    assert "has no contacts yet: nobody enters from it now." in text_of(page)
    assert 'href="/contacts/+import?segment=nobody&amp;back=%2Fcampaigns%2Fd%2Fbuild%2Freview"' in page
    world.contacts("ann", segment="nobody")
    assert "has no contacts yet" not in text_of(client().get("/campaigns/d/build/review").text)


@pytest.mark.parametrize(
    ("do", "fields", "shown"),
    [
        ("set", {"step": "hello", "name": "Typed by hand", "with-points": "77", "when": "now"}, "Typed by hand"),
        ("settings", {"name": "Typed by hand", "existing": "1"}, "Typed by hand"),
    ],
)
def test_what_was_typed_while_another_tab_changed_the_draft_stands_in_the_panel(
    builder: Builder, world: World, do: str, fields: dict[str, str], shown: str
) -> None:
    builder.does("set", step="hello", name="Of the other tab", when="now", **{"with-points": "2"})
    before = file_of(world)
    answer = builder.does(do, revision=1, **fields)
    assert answer.status_code == 422
    page = answer.text
    assert "The draft was changed in another tab; this is how it is now." in text_of(page)
    assert "What you typed is below and not saved yet." in text_of(page)
    assert f'name="name" value="{shown}"' in page
    assert file_of(world) == before
    # It is saved with the revision that the page has now.
    (seen,) = set(re.findall(r'data-revision="(\d+)"', page))
    builder.does(do, revision=seen, **fields)
    assert "Typed by hand" in str(file_of(world))


def test_a_key_that_is_refused_stays_in_its_field(builder: Builder, world: World) -> None:
    answer = builder.does("rename", step="hello", key="Größe x")
    assert answer.status_code == 422
    assert "is not a valid key" in text_of(answer.text)
    assert 'id="key" name="key" value="Größe x"' in answer.text
    # Its own panel, open where the key is.
    assert 'data-focus="key"' in answer.text
    assert "<details open><summary>Advanced</summary>" in answer.text


def test_what_is_empty_in_the_settings_is_told_by_what_to_enter(builder: Builder, world: World) -> None:
    answer = builder.does("settings", name="x", existing="1", **{"goal-kind": "goal-event"})
    effects = answer.text[answer.text.index('id="effects"') :]
    assert "Enter the type of the event, such as order.paid." in text_of(effects)


def test_a_length_that_is_none_is_put_right_by_its_number_alone(builder: Builder, world: World) -> None:
    builder.does("set", step="visited", **{"with-url": "*", "within": "abc", "within-unit": "hours"})
    page = builder.page(step="visited")
    assert "Enter a whole number and a unit, such as 3 days." in text_of(page)
    (unit,) = re.findall(r'(?s)<select id="within-unit".*?<option value="(\w*)" selected', page)
    builder.does("set", step="visited", **{"with-url": "*", "within": "2", "within-unit": unit})
    assert file_of(world)["steps"][0]["then"][0]["within"] == "2 days"


def test_what_was_typed_at_a_step_that_another_tab_deleted_comes_back(builder: Builder, world: World) -> None:
    builder.does("remove", step="hello")
    before = file_of(world)
    typed = {"name": "Typed by hand", "note": "Two\r\nlines", "with-points": "77", "when": "now", "after-unit": "days"}
    typed |= {"with-rule_part": "0", "with-rule.0.with.value": ""}
    answer = builder.does("set", step="hello", **typed)
    assert answer.status_code == 422
    said = text_of(answer.text)
    assert "There is no step 'hello' in the draft any more." in said
    assert "What you typed is below and not saved." in said
    labels = re.findall(r'<label for="typed-\d">([^<]+)<', answer.text)
    texts = re.findall(r'<textarea id="typed-\d"[^>]*readonly>\n([^<]*)<', answer.text)
    assert list(zip(labels, texts, strict=True)) == [
        ("Name", "Typed by hand"),
        ("Note", "Two\r\nlines"),
        ("Points", "77"),
    ]
    assert file_of(world) == before


@pytest.mark.parametrize(("do", "step"), [("set", "hello"), ("settings", "")])
def test_a_name_that_no_page_could_show_is_refused_and_stays_in_the_panel(
    builder: Builder, world: World, do: str, step: str
) -> None:
    builder.does("set", step="hello", name="Hello", when="now", note="first", **{"with-points": "2"})
    before = file_of(world)
    answer = builder.does(do, step=step, name="x" * 10_000, note="typed", when="now", existing="1")
    assert answer.status_code == 422
    assert "The name is longer than 200 characters; shorten it." in text_of(answer.text)
    assert f'value="{"x" * 10_000}"' in answer.text
    assert "typed</textarea>" in answer.text
    assert file_of(world) == before


def test_the_settings_of_a_cart_say_what_their_events_do(client: Client, world: World) -> None:
    http = client()
    token = token_of(http.get("/drafts/+new"))
    answer = http.post("/drafts", data={"csrf": token, "name": "Carts", "template": "cart"})
    said = text_of(answer.text)
    assert "A contact enters when this happens: Changed a cart. Each “Cart number” is a run of its own." in said
    assert "A contact leaves when this happens: Paid an order. Only the run with the same “Cart number” ends." in said
    http.headers["accept-language"] = "fr"
    reviewed = text_of(http.get(f"{answer.url.path}/review").text)
    assert "cart_id" not in reviewed
    french = text_of(http.get(answer.url.path, params={"settings": "1"}).text)
    assert "Un contact entre quand ceci arrive : A modifié un panier." in french


def test_what_applying_does_is_read_before_what_can_be_chosen_about_it(builder: Builder, world: World) -> None:
    world.update()
    page = builder.does("lift", step="hello").text
    effects = page.split('id="effects"', 1)[1]
    line = "2 contacts wait at “Say hello”, which is removed."
    assert effects.count(line) == 1
    assert effects.index(line) < effects.index("Where those at “Say hello” go") < effects.index("Delete this draft")


@pytest.mark.parametrize("rate", ["5/hour", "500  PER HOUR", "5 par day"])
def test_a_limit_that_a_file_writes_in_its_own_way_stops_no_page(builder: Builder, world: World, rate: str) -> None:
    builder.does("choose", choice="backfill")
    builder.does("yaml", text=write({**file_of(world), "entry": {"most": 10, "rate": rate}}))
    for path in ("", "?settings=1", "/review"):
        page = builder.http.get(f"{builder.base}{path}")
        assert page.status_code == 200, path
    assert rate in page.text
