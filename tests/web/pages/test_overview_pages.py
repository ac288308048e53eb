"""The overview of a campaign and what it leads to, over HTTP."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from html import escape, unescape
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.tables import companies, contacts, emails, outcomes
from parcours.db.tables.emails import Email
from parcours.domain.steps.types import Failed
from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.pages.test_sign_in import given_user, sign_in, token_of
from tests.workers.worlds import START, Moody, World, at, event, statements_counted

TREE = """
- step: hello
  name: Say hello
  action: contact.points
  with: {points: 1}
  after: 1 day
  hour: "09:00"
  then:
    - step: visited
      decision: page.hit
      with: {url: "*"}
      within: 3 days
      yes: [{step: hot, action: contact.tags, with: {add: [hot]}}]
      no: [{step: cold, action: contact.tags, with: {add: [cold]}}]
- step: known
  condition: contact.field
  with: {field: country, operator: "=", value: FR}
  yes: [{step: french, action: contact.points, with: {points: 2}}]
"""
SCRIPT = "<script>alert(1)</script>"


def text_of(page: str) -> str:
    """Return the words of a page, as a reader gets them."""
    body = re.sub(r"(?s)<(script|style|svg)\b.*?</\1>", " ", page)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def listed(page: str) -> list[str]:
    """Return the contacts of a page's table."""
    return re.findall(r'<td class="main">\s*<a href="/contacts/([^"]+)"', page)


def tile(page: str, name: str) -> str:
    found = re.search(rf'(?s)id="tile-{name}".*?</dd>', page)
    assert found, page
    return text_of(found[0]).split(">")[-1].strip()


def step_row(page: str, world: World, step: str, *, campaign: str = "c") -> str:
    """Return the words of a step's figures in the tree."""
    id_ = world.step_id(step, campaign=campaign)
    found = re.search(rf'(?s)<div class="step-figures" id="step-{id_}".*?</ul>', page)
    assert found, page
    return text_of(found[0])


def travelled(world: World) -> None:
    """Seven contacts joined; on the fourth day one visits, and when the time of the others is over one leaves."""
    world.crowd(6, segment="everyone", country="FR", timezone="Europe/Paris")
    world.contacts("abroad", segment="everyone", country="DE")
    world.campaign(TREE)
    world.run()
    world.run(at(3, "10:00"))
    world.tell(event("page.hit", "c1", at(4), url="https://example.com/"))
    world.run(at(7, "12:00"))
    world.remove("c6", at(7, "13:00"))


def test_the_page_shows_the_figures_that_the_command_prints(client: Client, world: World, run: Run) -> None:
    travelled(world)
    printed = json.loads(run("overview", "c", "--json").stdout)
    page = client().get("/campaigns/c").text
    assert tile(page, "added") == str(printed["contacts"]["added"]) == "7"
    assert tile(page, "active") == str(printed["contacts"]["active"]) == "6"
    assert tile(page, "left") == str(printed["contacts"]["left"]) == "1"
    assert tile(page, "emails") == str(printed["emails_sent"])
    assert tile(page, "views") == str(printed["page_views"])
    assert tile(page, "waiting") == str(sum(step["waiting"] for step in printed["steps"]))
    for step in printed["steps"]:
        row = step_row(page, world, step["step"])
        assert row.split()[0] == str(step["reached"])
        for result in ("waiting", "done", "skipped", "failed", "yes", "no", "cancelled"):
            assert (f"{result} {step[result]}" in row) == bool(step[result]), (step, row)


def test_percentages_are_of_those_who_reached_the_step(client: Client, world: World) -> None:
    travelled(world)
    page = text_of(client().get("/campaigns/c").text)
    # One of seven visited; six did not; all of them were added.
    assert "yes 14.3% 1" in page
    assert "no 85.7% 6" in page
    assert "after 1 day at 09:00" in page
    assert "within 3 days" in page


def test_shares_of_first_steps_are_of_contacts_who_are_not_erased(client: Client, world: World, run: Run) -> None:
    travelled(world)
    world.tell(event("contact.deleted", "c2", at(7, "14:00")))
    # Whoever comes back was added twice, and is erased as often.
    world.campaign("- {step: only, action: contact.points, with: {points: 1}}", key="twice", reentry="after_exit")
    world.run()
    world.remove("c3", at(8), campaign="twice")
    world.add("c3", at(8, "10:00"), campaign="twice")
    world.tell(event("contact.deleted", "c3", at(9)))
    http = client()
    page = http.get("/campaigns/c").text
    assert "5 100%" in step_row(page, world, "hello")
    assert tile(page, "added") == "7 including 2 erased contacts"
    assert "Visits a page · within 3 days · after Say hello 5 100%" in text_of(http.get("/campaigns/c/decisions").text)
    assert "Field of the contact 5 100%" in text_of(http.get("/campaigns/c/conditions").text)
    counted = {"added": 7, "active": 4, "left": 3, "erased": 2}
    assert json.loads(run("overview", "c", "--json").stdout)["contacts"] == counted
    assert http.get("/api/campaigns/c/overview").json()["contacts"] == counted
    assert "7 contacts added, 4 active, 3 left, 2 erased;" in run("overview", "c").stdout
    assert tile(http.get("/campaigns/twice").text, "added") == "7 including 2 erased contacts"
    assert "5 100%" in step_row(http.get("/campaigns/twice").text, world, "only", campaign="twice")


def test_tables_of_each_kind_have_their_steps_and_figures(client: Client, world: World) -> None:
    travelled(world)
    http = client()
    decisions = text_of(http.get("/campaigns/c/decisions").text)
    assert "Visits * Visits a page · within 3 days · after Say hello 7 100% 0 1 14.3% 6 85.7%" in decisions
    assert "Country is FR Field of the contact 7 100% 0 6 85.7% 1 14.3%" in text_of(
        http.get("/campaigns/c/conditions").text
    )
    actions = text_of(http.get("/campaigns/c/actions").text)
    assert "Add the tags cold Add or remove tags · after Visits * (no) 6 85.7%" in actions


def test_an_htmx_request_gets_the_part_that_changes_and_the_address_alone_the_page(
    client: Client, world: World
) -> None:
    world.campaign(TREE)
    http = client()
    for tab in ("", "/decisions", "/actions", "/conditions", "/contacts", "/failures"):
        whole = http.get(f"/campaigns/c{tab}")
        part = http.get(f"/campaigns/c{tab}", headers={"HX-Request": "true", "HX-Target": "tabs"})
        assert whole.text.startswith("<!doctype html>")
        assert part.status_code == 200
        assert "<html" not in part.text
        assert 'aria-current="page"' in part.text


def test_the_number_of_failures_and_the_range_move_with_the_page(client: Client, world: World) -> None:
    travelled(world)
    http = client()
    for tab in ("path", "actions", "contacts", "failures"):
        live = http.get(f"/campaigns/c/live?tab={tab}").text
        (number,) = re.findall(r'<span class="count bad" id="trouble" data-live[^>]*>[^<]*</span>', live)
        assert number in http.get(f"/campaigns/c/{tab}" if tab != "path" else "/campaigns/c").text
    live = http.get("/campaigns/c/live?tab=path").text
    assert {"ranges", "first-day", "last-day"} <= set(re.findall(r'id="([^"]+)" data-live', live))


def test_live_parts_are_those_of_the_page(client: Client, world: World) -> None:
    travelled(world)
    http = client()
    page = http.get("/campaigns/c").text
    live = http.get("/campaigns/c/live?tab=path").text
    ids = re.findall(r'id="([^"]+)" data-live', live)
    assert len(ids) == len(set(ids)) > 15
    assert set(ids) <= set(re.findall(r'id="([^"]+)"', page))
    assert http.get("/campaigns/c/live?tab=nonsense").status_code == 404
    # A list that somebody reads stays still.
    assert "<table" not in http.get("/campaigns/c/live?tab=contacts").text


def test_contacts_are_found_by_step_result_state_and_beginning(client: Client, world: World) -> None:
    travelled(world)
    http = client()

    def shown(query: str) -> list[str]:
        return listed(http.get(f"/campaigns/c/contacts?{query}").text)

    assert shown("") == ["abroad", "c6", "c5", "c4", "c3", "c2", "c1"]
    assert shown("state=left") == ["c6"]
    assert shown("q=ab") == ["abroad"]
    assert shown("step=visited&at=yes") == ["c1"]
    assert shown("step=known&at=no") == ["abroad"]
    assert shown("step=known") == []
    # What is none of ours is the beginning.
    assert len(shown("before=x&state=y&at=z")) == 7
    assert http.get("/campaigns/c/contacts?step=nowhere").status_code == 404


def test_a_contacts_next_due_time_is_in_their_own_timezone(client: Client, world: World) -> None:
    world.contacts("anna", segment="everyone", timezone="Asia/Tokyo")
    world.campaign(TREE)
    world.run()
    page = text_of(client().get("/campaigns/c/contacts?step=hello").text)
    # A day after nine in the morning UTC it is six in the evening there; the next nine is a day later.
    assert "Wed 3 Jun 2026, 09:00" in page
    assert "Wed 3 Jun 2026, 09:00" in text_of(client().get("/contacts/anna").text)


def test_long_lists_come_in_pages(client: Client, world: World) -> None:
    crowd = world.crowd(120, segment="everyone")
    world.campaign("- {step: a, action: contact.points, with: {points: 1}}")
    world.run()
    http, address, found = client(), "/campaigns/c/contacts", []
    for _ in range(3):
        page = http.get(address).text
        found += listed(page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        address = unescape(following[1]) if following else ""
    assert found == crowd[::-1]
    assert address == ""


def test_failures_lead_to_their_contacts(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    moody = Moody()
    moody.install(monkeypatch)
    moody.moods = {"c2": Failed("no such <b>page</b>", retry=False)}
    world.crowd(3, segment="everyone")
    world.campaign("- {step: act, action: test.moody}")
    world.run()
    http = client()
    page = http.get("/campaigns/c/failures").text
    assert "no such &lt;b&gt;page&lt;/b&gt;" in page
    (link,) = re.findall(r'<a href="(/campaigns/c/contacts\?[^"]*at=failed[^"]*)"', page)
    contacts = http.get(unescape(link)).text
    assert listed(contacts) == ["c2"]


def test_steps_that_failed_are_tried_again_from_the_page(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    moody = Moody()
    moody.install(monkeypatch)
    moody.otherwise = Failed("no such <b>page</b>", retry=False)
    world.crowd(3, segment="everyone")
    world.campaign("- {step: act, action: test.moody}")
    world.run()
    world.remove("c3")
    http = client()
    page = http.get("/campaigns/c/failures")
    given = {"csrf": token_of(page), "what": "failed", "step": "act", "why": "no such <b>page</b>"}
    assert page.text.count(">Try again<") == 1
    assert f'name="why" value="{escape(given["why"])}"' in page.text
    answer = text_of(http.post("/campaigns/c/failures", data=given).text)
    assert "2 contacts are tried again. 1 contact has left the campaign" in answer
    assert "tried again for 2 contacts" in answer
    assert [world.standing(key) for key in ("c1", "c2", "c3")] == [["act"], ["act"], []]
    assert http.post("/campaigns/c/failures", data={**given, "step": "nowhere"}).status_code == 404
    guarded = client(open_to_all=False)
    given_user(world.engine, role="viewer")
    sign_in(guarded)
    assert "Try again" not in guarded.get("/campaigns/c/failures").text


def test_messages_that_were_not_delivered_are_sent_again_from_the_page(client: Client, world: World) -> None:
    world.email("hello")
    world.crowd(3, segment="everyone")
    world.campaign("- {step: hello, action: email.send, with: {email: hello}}")
    world.run()
    failed = (
        "UPDATE message SET state = 'failed', error = :why WHERE contact_id = (SELECT id FROM contact WHERE key = :key)"
    )
    world.write(failed, why="no such <mailbox>", key="c2")
    world.write(failed, why="another reason", key="c3")
    http = client()
    page = http.get("/campaigns/c/failures")
    assert page.text.count(">Send again<") == 2
    given = {"csrf": token_of(page), "step": "hello", "why": "no such <mailbox>"}
    assert f'name="why" value="{escape(given["why"])}"' in page.text
    answer = http.post("/campaigns/c/failures", data=given)
    assert "1 message will be sent again." in text_of(answer.text)
    assert answer.text.count(">Send again<") == 1
    # The activity tells it.
    assert "1 message of Send “hello” sent again" in text_of(answer.text)
    assert "0 messages will be sent again." in text_of(http.post("/campaigns/c/failures", data=given).text)
    assert http.post("/campaigns/c/failures", data={**given, "step": "nowhere"}).status_code == 404
    guarded = client(open_to_all=False)
    given_user(world.engine, role="viewer")
    sign_in(guarded)
    seen = guarded.get("/campaigns/c/failures").text
    assert "another reason" in seen
    assert "Send again" not in seen
    forbidden = {**given, "why": "another reason", "csrf": token_of(guarded.get("/campaigns"))}
    assert guarded.post("/campaigns/c/failures", data=forbidden).status_code == 403


def test_events_that_a_decision_could_not_check_are_said_to_be_dead_letters(client: Client, world: World) -> None:
    world.crowd(1, segment="everyone")
    world.campaign(
        "- {step: seen, decision: page.hit, within: 3 days, yes: [{action: contact.tags, with: {add: [x]}}]}"
    )
    world.run()
    world.write(
        "INSERT INTO failure (contact_id, step_id, attempts, error, at) "
        "SELECT contact_id, step_id, 1, 'KeyError: nope', anchor_at FROM wait"
    )
    page = text_of(client().get("/campaigns/c/failures").text)
    assert "KeyError: nope The contacts still wait at the step. The events that could not be checked are dead" in page


def test_messages_that_are_tried_again_say_why_they_wait(client: Client, world: World) -> None:
    world.email("hello")
    world.crowd(4, segment="everyone")
    hook = "{action: webhook.send, with: {url: 'http://crm.example/x'}}"
    world.campaign(f"- {{step: hello, action: email.send, with: {{email: hello}}}}\n- {{step: hook, {hook[1:]}")
    world.run()
    tried = "UPDATE message SET state = 'queued', error = :why, due_at = '2030-01-02 10:00Z' WHERE channel = :channel"
    world.write(tried, why="it answered 500: <b>", channel="webhook")
    world.write(f"{tried} AND contact_id = (SELECT min(id) FROM contact)", why="the mailbox is full", channel="email")
    http = client()
    page = http.get("/campaigns/c/failures").text
    said = text_of(page)
    assert "Messages that wait" in said
    assert re.search(r"it answered 500: <b> Call http://crm.example/x 4 2 Jan 2030, 10:00", unescape(said))
    assert "the mailbox is full Send “hello” 1 2 Jan 2030, 10:00" in said
    (link, *_) = re.findall(r'<a href="(/campaigns/c/contacts\?[^"]*at=queued[^"]*)"', page)
    assert len(listed(http.get(unescape(link)).text)) == 4
    # In the history, when it is tried next is no time at which something happened.
    assert "webhook queued due Wed 2 Jan 2030, 10:00" in text_of(http.get("/contacts/c1").text)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("from=2026-06-31&to=2026-07-01", "The first day is not a date"),
        ("from=2026-06-02&to=2026-06-01", "The last day is before the first day"),
        ("from=2026-06-02", "The last day is not a date"),
        ("from=9999-12-31&to=9999-12-31", "Choose days between 2000 and 2199."),
        ("from=0001-01-01&to=0001-01-01", "Choose days between 2000 and 2199."),
    ],
)
def test_a_range_that_is_none_is_said_and_the_usual_one_shown(
    client: Client, world: World, query: str, sentence: str
) -> None:
    world.campaign(TREE)
    page = client().get(f"/campaigns/c?{query}")
    assert page.status_code == 200
    assert sentence in page.text


def test_the_graph_counts_what_the_range_holds_and_has_a_table(client: Client, world: World) -> None:
    travelled(world)
    http = client()
    week = http.get("/campaigns/c?from=2026-05-30&to=2026-06-05").text
    assert len(re.findall('class="column"', week)) == 7
    assert "Contacts added 7" in text_of(week)
    assert re.search(r"Mon 1 Jun 2026\s*</td><td[^>]*>7</td>", week)
    hours = http.get("/campaigns/c?from=2026-06-01&to=2026-06-01").text
    assert len(re.findall('class="column"', hours)) == 24
    assert re.search(r"1 Jun 2026, 09:00\s*</td><td[^>]*>7</td>", hours)
    before = text_of(http.get("/campaigns/c?from=2026-05-01&to=2026-05-30").text)
    assert "No activity in this period." in before
    # Long over, the campaign is shown as a whole when nobody says otherwise.
    assert "Contacts added 7" in text_of(http.get("/campaigns/c").text)


def test_the_graph_counts_the_days_of_the_reader(client: Client, world: World) -> None:
    world.campaign(TREE)
    with world.engine.begin() as conn:
        late = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)
        outcomes.count_campaign(conn, Counter({(world.found(conn).id, late, "added"): 3}))
    http = client(default_timezone="Europe/Paris")
    days = http.get("/campaigns/c?from=2026-05-30&to=2026-06-05").text
    assert re.search(r"Tue 2 Jun 2026\s*</td><td[^>]*>3</td>", days)
    assert "Times in Europe/Paris" in text_of(days)
    assert "Time (Europe/Paris)" in text_of(days)
    hours = http.get("/campaigns/c?from=2026-06-02&to=2026-06-02").text
    assert re.search(r"2 Jun 2026, 00:00\s*</td><td[^>]*>3</td>", hours)
    # Weeks are counted in UTC, and so are days whose hours nobody counted.
    assert "Times in UTC" in text_of(http.get("/campaigns/c?from=2025-06-02&to=2026-06-02").text)
    world.write("DELETE FROM campaign_hour_count")
    before = http.get("/campaigns/c?from=2026-05-30&to=2026-06-05").text
    assert "Times in UTC" in text_of(before)
    assert re.search(r"Mon 1 Jun 2026\s*</td><td[^>]*>3</td>", before)


def test_an_empty_range_says_where_there_is_something(client: Client, world: World) -> None:
    travelled(world)
    page = client().get("/campaigns/c?range=7").text
    assert "No activity in this period. Show 1 Jun 2026 to" in text_of(page)
    link = re.search(r'href="(/campaigns/c[?]from=2026-06-01&amp;to=[0-9-]+)"', page)
    assert link
    assert "Contacts added 7" in text_of(client().get(unescape(link[1])).text)


def test_departures_alone_do_not_open_an_empty_range(client: Client, world: World) -> None:
    travelled(world)
    world.write(
        "INSERT INTO campaign_count (campaign_id, day, what, slot, n) "
        "SELECT id, current_date, 'left', 0, 1 FROM campaign"
    )
    assert "Contacts added 7" in text_of(client().get("/campaigns/c").text)


def test_the_history_is_told_in_words_and_goes_on_below(client: Client, world: World) -> None:
    world.campaign(TREE)
    for day in range(2, 20):
        world.publish(day % 2 == 1, at(day))
        world.write(
            "INSERT INTO audit (campaign_id, at, who, what) SELECT id, :at, 'ada', :what FROM campaign",
            at=at(day),
            what="published" if day % 2 else "paused",
        )
    http = client()
    page = http.get("/campaigns/c").text
    assert "Switched on 19 Jun 2026, 09:00 · ada" in text_of(page)
    older = re.search(r'id="older" href="([^"]+)"', page)
    assert older
    part = http.get(unescape(older[1]), headers={"HX-Request": "true"}).text
    assert "Created 1 Jun 2026, 09:00 · test" in text_of(part)
    assert "<html" not in part
    assert "Created" in http.get(unescape(older[1])).text
    assert http.get("/campaigns/c/activity?before=nonsense").status_code == 200


def test_an_automatic_stop_is_in_the_history(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    moody = Moody()
    moody.install(monkeypatch)
    moody.otherwise = Failed("broken", retry=False)
    world.crowd(120, segment="everyone")
    world.campaign("- {step: act, action: test.moody}")
    world.run()
    page = text_of(client().get("/campaigns/c").text)
    assert "Paused automatically: 120 contacts failed at Test.moody within an hour" in page
    assert "Paused" in page


def test_a_step_that_is_gone_keeps_its_figures_apart(client: Client, world: World) -> None:
    world.contacts("anna", segment="everyone")
    world.campaign("- {step: old, action: contact.points, with: {points: 1}}")
    world.run()
    world.campaign("- {step: new, action: contact.points, with: {points: 1}}", when=at(2))
    http = client()
    assert "1 removed step" in text_of(http.get("/campaigns/c").text)
    assert 'href="/contacts/anna"' in http.get("/campaigns/c/contacts?step=old&at=done").text


def test_what_people_wrote_is_shown_and_never_run(client: Client, world: World) -> None:
    evil = f"<b>{SCRIPT}"
    world.contacts(evil, segment="everyone", note=SCRIPT, email=f"{SCRIPT}@example.com")
    world.campaign(
        f"- {{step: a, name: {json.dumps(SCRIPT)}, action: contact.points, with: {{points: 1}}}}",
        name=SCRIPT,
        description=f"{SCRIPT} is how we begin",
    )
    world.run()
    world.tell(event("page.hit", evil, at(1, "10:00"), url=f"https://example.com/{SCRIPT}"))
    http = client()
    for address in (
        "/campaigns/c",
        "/campaigns/c/live",
        "/campaigns/c/actions",
        "/campaigns/c/contacts",
        "/campaigns/c/contacts?q=" + quote(SCRIPT) + "&step=a&at=done&why=" + quote(SCRIPT),
        "/contacts",
        f"/contacts?q={quote(SCRIPT)}",
        f"/contacts/{quote(evil, safe='')}",
        "/segments/everyone",
    ):
        page = http.get(address)
        assert page.status_code == 200, address
        assert "<script>alert" not in page.text, address
        assert "style=" not in page.text, address
    assert "&lt;script&gt;alert(1)&lt;/script&gt; is how we begin" in http.get("/campaigns/c").text


def test_pages_cost_the_same_statements_for_few_contacts_and_many(client: Client, world: World) -> None:
    world.contacts("anna", segment="everyone")
    world.campaign(TREE)
    world.run()
    http = client()
    counts = []
    for _ in range(2):
        sent = {}
        for address in ("/campaigns/c", "/campaigns/c/contacts", "/campaigns/c/failures", "/contacts"):
            http.get(address)
            with statements_counted(world.engine) as statements:
                http.get(address)
            sent[address] = len(statements)
        counts.append(sent)
        world.crowd(60, segment="everyone", prefix=f"more{len(counts)}-")
        world.run()
    assert counts[0] == counts[1]


# A contact.


def join(http: TestClient, key: str, campaign: str = "c") -> Any:
    page = http.get(f"/contacts/{key}")
    return http.post(f"/contacts/{key}/join", data={"csrf": token_of(page), "campaign": campaign})


def test_a_contact_is_added_to_a_campaign_and_taken_out_by_hand(client: Client, world: World) -> None:
    world.contacts("anna")
    world.campaign(TREE)
    http = client()
    assert "anna was added to “c”." in text_of(join(http, "anna").text)
    assert world.members() == {"anna": "in 1"}
    assert sorted(world.standing("anna")) == ["hello", "known"]
    assert "anna is already in “c”." in text_of(join(http, "anna").text)
    asked = http.get("/contacts/anna/leave?campaign=c")
    assert "2 waiting steps will be cancelled." in asked.text
    gone = http.post("/contacts/anna/leave?campaign=c", data={"csrf": token_of(asked)})
    assert "anna was removed from “c”." in text_of(gone.text)
    assert world.members() == {"anna": "manual 1"}
    assert world.standing("anna") == []
    # Only by hand somebody whom a person took out comes back.
    assert "anna was added to “c”." in text_of(join(http, "anna").text)


def test_only_an_editor_on_a_page_of_ours_may_add_a_contact(client: Client, world: World, engine: Engine) -> None:
    world.contacts("anna")
    world.campaign(TREE)
    given_user(engine, "viewer")
    http = client(open_to_all=False)
    assert http.get("/contacts/anna", follow_redirects=False).status_code in (303, 401)
    sign_in(http)
    page = http.get("/contacts/anna")
    assert "/join" not in page.text
    refused = http.post("/contacts/anna/join", data={"csrf": token_of(page), "campaign": "c"})
    assert refused.status_code == 403
    assert client().post("/contacts/anna/join", data={"campaign": "c"}).status_code == 403
    assert world.members() == {}


def test_a_contact_page_says_what_is_known_and_what_is_waited_for(client: Client, world: World) -> None:
    world.contacts("a/b c?", segment="everyone", timezone="Europe/Paris", points=12, city="Lyon")
    world.do_not_contact("a/b c?")
    world.campaign(TREE)
    world.run()
    world.run(at(3, "10:00"))
    page = client().get(f"/contacts/{quote('a/b c?', safe='')}")
    words = text_of(page.text)
    assert "do not contact by email: unsubscribed" in words
    assert "City Lyon" in words
    assert "Europe/Paris" in words
    # Armed on the third day at noon in Paris, for three days.
    assert "until Sat 6 Jun 2026, 12:00; then “no”" in words
    assert "Say hello done" in words
    assert "Joined c , from a segment" in words


def test_who_is_not_there_is_not_found(client: Client, world: World) -> None:
    http = client()
    for address in ("/campaigns/x", "/contacts/x", "/segments/x", "/forms/x", "/emails/x", "/emails/x/preview"):
        page = http.get(address, headers={"accept": "text/html"})
        assert page.status_code == 404, address
        assert "Traceback" not in page.text


def test_a_timeline_goes_on_from_where_it_ended(client: Client, world: World) -> None:
    world.contacts("anna", segment="everyone")
    world.campaign("- {step: a, action: contact.points, with: {points: 1}}")
    world.run()
    for minute in range(50):
        world.tell(event("order.paid", "anna", at(1, f"10:{minute:02}"), total=minute))
    http = client()
    page = http.get("/contacts/anna").text
    older = re.search(r'href="([^"]+before[^"]+)"', page)
    assert older
    rest = http.get(unescape(older[1]), headers={"HX-Request": "true", "HX-Target": "older"}).text
    totals = [int(n) for n in re.findall(r"Total: (\d+)", page + rest)]
    assert totals == list(range(49, -1, -1))
    assert "Joined" in text_of(rest)


def test_a_timeline_shows_one_kind_of_entries_or_one_campaign_alone(client: Client, world: World) -> None:
    world.contacts("anna", segment="everyone")
    world.campaign("- {step: a, name: First, action: contact.points, with: {points: 1}}")
    world.campaign("- {step: b, name: Second, action: contact.points, with: {points: 1}}", key="d", name="Other")
    world.run()
    for minute in range(50):
        world.tell(event("order.paid", "anna", at(1, f"10:{minute:02}"), total=minute))
    http = client()

    def shown(query: str) -> str:
        page = http.get(f"/contacts/anna?{query}").text
        return text_of(page[page.index('<ol class="timeline">') :])

    assert "Paid an order" in shown("")
    assert "First" not in shown("")
    assert "First done" in shown("show=steps")
    assert "Second done" in shown("show=steps")
    assert "Paid" not in shown("show=steps")
    assert "Joined" not in shown("show=steps")
    assert "Joined Other" in shown("campaign=d")
    assert "Second done" in shown("campaign=d")
    assert "First" not in shown("campaign=d")
    assert shown("show=campaigns&campaign=d").count("Joined") == 1
    assert "Nothing of that. Show all" in shown("show=messages")
    # What there is not is no filter.
    assert shown("show=nonsense&campaign=nothing") == shown("")
    older = re.search(r'href="([^"]+before[^"]+)"', http.get("/contacts/anna?show=events").text)
    assert older
    assert "show=events" in older[1]
    rest = http.get(unescape(older[1]), headers={"HX-Request": "true", "HX-Target": "older"}).text
    assert "Total: 0" in rest
    assert "Joined" not in text_of(rest)


# Segments, forms and emails.


def test_contacts_added_to_a_segment_by_hand_join_its_campaigns_at_once(client: Client, world: World) -> None:
    world.contacts("anna", "berta")
    http = client()
    page = http.get("/segments")
    made = http.post("/segments", data={"csrf": token_of(page), "key": "everyone", "name": "Everyone"})
    assert "Segment Everyone was created." in made.text
    world.campaign(TREE)
    given = {"csrf": token_of(made), "contacts": "anna, berta\nanna", "add": "1"}
    done = http.post("/segments/everyone/members", data=given)
    assert "2 contacts added." in done.text
    assert world.members() == {"anna": "in 1", "berta": "in 1"}
    given = {"csrf": token_of(done), "contacts": "berta", "remove": "1"}
    assert "1 contact removed." in http.post("/segments/everyone/members", data=given).text
    assert world.members() == {"anna": "in 1", "berta": "segment 1"}
    given = {"csrf": token_of(done), "contacts": "anna\nzoe", "remove": "1"}
    refused = http.post("/segments/everyone/members", data=given)
    assert "No contact has the key zoe. Nothing was changed." in refused.text
    assert world.members()["anna"] == "in 1"


def test_a_segment_or_form_needs_a_key_of_its_own(client: Client, world: World) -> None:
    http = client()
    for what in ("segments", "forms"):
        token = token_of(http.get(f"/{what}"))
        assert http.post(f"/{what}", data={"csrf": token, "key": " "}).status_code == 400
        assert http.post(f"/{what}", data={"csrf": token, "key": "a/b"}).status_code == 200
        again = http.post(f"/{what}", data={"csrf": token, "key": "a/b"})
        assert again.status_code == 400
        assert "with this key already exists" in again.text


def test_a_form_needs_a_name_alone(client: Client, world: World) -> None:
    http = client()
    page = http.get("/forms")
    assert page.text.index('id="name"') < page.text.index('id="key"')
    made = http.post("/forms", data={"csrf": token_of(page), "name": "Été à Paris"})
    assert made.status_code == 200
    assert "Form Été à Paris was created." in made.text
    assert made.url.path == "/forms/ete-a-paris"
    long = http.post("/forms", data={"csrf": token_of(page), "name": "x" * 1000})
    assert long.status_code == 400
    assert "Enter at most" in long.text


def test_a_form_shows_how_to_embed_it_and_what_came(client: Client, world: World) -> None:
    world.form("signup", standalone=True)
    world.contacts("anna")
    world.submit("signup", "anna", at(1), wish=SCRIPT)
    page = client(public_url="https://parcours.example").get("/forms/signup").text
    assert '&lt;form method="post" action="https://parcours.example/forms/signup"&gt;' in page
    assert "Wish: &lt;script&gt;" in page
    assert 'href="/contacts/anna"' in page


def test_an_email_is_shown_filled_in_within_a_frame_that_runs_nothing(client: Client, world: World) -> None:
    world.contacts("anna", first_name="<Anna>")
    html = f"<p style='color:red'>Hello {{{{ contact.first_name }}}}</p>{SCRIPT}"
    with world.engine.begin() as conn:
        emails.save(conn, Email("hello", "For {{ contact.first_name }}", html, None, None, True), now=START)
        emails.save(conn, Email("broken", "Oh", "{{ 1 | divided_by: 0 }}" + SCRIPT, None, None, True), now=START)
    http = client()
    page = http.get("/emails/hello?contact=anna").text
    assert re.search(r'<iframe class="preview" sandbox src="/emails/hello/preview\?contact=anna"', page)
    assert "For &lt;Anna&gt;" in page
    assert SCRIPT not in page
    frame = http.get("/emails/hello/preview?contact=anna")
    assert "Hello &lt;Anna&gt;" in frame.text
    policy = frame.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script" not in policy
    assert frame.headers["x-frame-options"] == "SAMEORIGIN"
    assert http.get("/emails/broken").status_code == 200
    assert "cannot be filled in" in http.get("/emails/broken/preview").text
    assert "No contact has the key zoe." in http.get("/emails/hello?contact=zoe").text


def test_an_email_is_shown_with_all_that_sending_knows_of_a_contact(client: Client, world: World) -> None:
    world.contacts("anna")
    with world.engine.begin() as conn:
        companies.save(conn, "acme", name="Acme", fields={"city": "Lyon"})
        companies.set_primary(conn, {contacts.named(conn, ["anna"])["anna"]: "acme"})
        said = "{{ contact.company.name }} of {{ contact.company.city }}"
        emails.save(conn, Email("hello", said, None, said, None, True), now=START)
    assert text_of(client().get("/emails/hello?contact=anna").text).count("Acme of Lyon") == 2


def test_every_page_is_there_in_french(client: Client, world: World, engine: Engine) -> None:
    travelled(world)
    http = client()
    http.headers["accept-language"] = "fr"
    assert "Parcours des contacts" in http.get("/campaigns/c").text
    page = text_of(http.get("/campaigns/c").text)
    assert "oui 14,3 % 1" in page
    assert "après 1 jour à 09:00" in page
    assert "Historique" in http.get("/contacts/c1").text


def test_the_goal_is_shown_with_its_control_group_in_both_languages(client: Client, world: World) -> None:
    world.crowd(100, segment="everyone", country="FR")
    goal = {"event": "order.paid", "within": "14 days", "value": "total"}
    world.campaign("- {step: hello, action: contact.points, with: {points: 1}}", goal=goal, control=50)
    world.run()
    page = text_of(client().get("/campaigns/c").text)
    assert "Not enough data yet to compare with the control group." in page
    (row,) = world.read(
        "SELECT array_agg(key) AS keys FROM contact JOIN membership ON id = contact_id WHERE NOT control"
    )
    world.tell(*(event("order.paid", key, at(2), total=2) for key in row.keys[:40]))
    page = text_of(client().get("/campaigns/c").text)
    assert "Contacts in the campaign reach the goal more often than the control group." in page
    french = text_of(client().get("/campaigns/c", headers={"accept-language": "fr"}).text)
    assert "plus souvent que le groupe témoin" in french
    assert "Goal" not in french
    (row,) = world.read("SELECT min(key) AS key FROM contact JOIN membership ON contact_id = id WHERE control")
    assert "in the control group" in text_of(client().get(f"/contacts/{row.key}").text)


def test_a_reason_names_an_email_by_its_subject(client: Client, world: World) -> None:
    with world.engine.begin() as conn:
        emails.save(conn, emails.Email("hello", "Good to see you", None, "Hello", None, True), now=START)
    world.contacts("ann", segment="everyone", email="ann@example.com")
    again = "{action: email.send, with: {email: hello}"
    world.campaign(f"- {{step: one, action: email.send, with: {{email: hello}}, then: [{{step: two, {again[1:]}}}]}}")
    world.run()
    page = text_of(client().get("/campaigns/c/failures").text)
    assert "The contact already received the email “Good to see you”" in page.replace("the contact", "The contact")
    assert "Send “Good to see you”" in page
