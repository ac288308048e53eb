"""The decision `contact.matches`: until a rule is true, by change or by time, or the deadline is over."""

from __future__ import annotations

from typing import Any

import pytest

from parcours.db.tables import companies
from parcours.domain.campaign_file.check import check
from parcours.domain.contacts.contact import Contact
from parcours.producers.files.campaigns import CampaignFileError
from parcours.services import campaign_plan
from parcours.workers import watching
from tests.workers.test_rules import install_condition
from tests.workers.worlds import World, at, event, statements_counted

FRENCH = "{condition: contact.field, with: {field: country, operator: '=', value: FR}}"
PAID_LATELY = "{condition: event.count, with: {type: order.paid, at_least: 1, within: 7 days}}"


def waits_for(rule: str, within: str | None = "30 days") -> str:
    deadline = "" if within is None else f"\n  within: {within}"
    no = "" if within is None else "\n  no: [{step: never, action: contact.tags, with: {add: [never]}}]"
    return (
        f"- step: until\n  decision: contact.matches\n  with: {{rule: {rule}}}{deadline}\n"
        f"  yes: [{{step: then, action: contact.tags, with: {{add: [yes]}}}}]{no}"
    )


def passed(world: World, key: str) -> list[str]:
    return [f"{each.step} {each.result}" for each in world.passed() if each.contact == key]


def test_who_matches_already_goes_on_at_once(world: World) -> None:
    world.contacts("ann", segment="everyone", country="FR")
    world.contacts("ben", segment="everyone", country="BE")
    world.campaign(waits_for(FRENCH))
    world.run()
    assert passed(world, "ann") == ["until yes", "then done"]
    assert passed(world, "ben") == []
    assert [each.due_at for each in world.waits("ben")] == [at(31)]
    world.check()


def test_a_change_answers_it_and_the_deadline_says_no(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone", country="BE")
    world.campaign(waits_for(FRENCH))
    world.run()
    world.tell(event("contact.changed", "ann", at(3), fields={"country": "FR"}))
    world.trigger(at(3))
    assert passed(world, "ann") == ["until yes", "then done"]
    assert world.passed()[0].at == at(3)
    world.trigger(at(30, "23:00"))
    assert passed(world, "ben") == []
    world.trigger(at(31))
    assert passed(world, "ben") == ["until no", "never done"]
    world.check()


def test_what_was_true_for_a_moment_counts(world: World) -> None:
    world.contacts("ann", segment="everyone", country="BE")
    world.campaign(waits_for(FRENCH))
    world.run()
    world.tell(
        event("contact.changed", "ann", at(3), fields={"country": "FR"}),
        event("contact.changed", "ann", at(3, "09:01"), fields={"country": "BE"}),
    )
    world.trigger(at(3, "09:02"))
    assert passed(world, "ann") == ["until yes", "then done"]


def test_time_alone_makes_it_true(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.tell(event("order.paid", "ann", at(1)))
    world.campaign(waits_for(f"{{not: {PAID_LATELY}}}"))
    world.run(at(2))
    assert [each.due_at for each in world.waits("ann")] < [at(9)]
    world.trigger(at(7))
    assert passed(world, "ann") == []
    # Another order moves it.
    world.tell(event("order.paid", "ann", at(7, "12:00")))
    world.trigger(at(9))
    assert passed(world, "ann") == []
    world.trigger(at(15))
    assert passed(world, "ann") == ["until yes", "then done"]


def test_a_decision_without_a_deadline_waits_for_ever(world: World) -> None:
    world.contacts("ann", segment="everyone", country="BE")
    world.campaign(waits_for(FRENCH, within=None))
    world.run()
    world.trigger(at(3000))
    assert [each.due_at for each in world.waits("ann")] == [None]
    world.tell(event("contact.changed", "ann", at(3001), fields={"country": "FR"}))
    world.trigger(at(3001))
    assert passed(world, "ann") == ["until yes", "then done"]


def test_below_a_step_it_sees_what_that_step_did(world: World) -> None:
    world.contacts("ann", segment="everyone")
    rule = "{condition: contact.tags, with: {tags: [vip]}}"
    below = "\n    ".join(waits_for(rule).splitlines())
    world.campaign(f"- step: tag\n  action: contact.tags\n  with: {{add: [vip]}}\n  then:\n    {below}")
    world.run()
    assert passed(world, "ann") == ["tag done", "until yes", "then done"]


def test_another_campaign_answers_it_in_the_same_sweep(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(waits_for("{condition: contact.points, with: {operator: gte, points: 50}}"))
    world.run()
    world.campaign("- {step: give, action: contact.points, with: {points: 60}}", key="giving")
    world.run(at(2))
    assert passed(world, "ann") == ["until yes", "then done"]


def test_a_segment_by_rule_answers_it(world: World) -> None:
    world.contacts("ann", segment="everyone", country="BE")
    world.by_rule(
        "french", {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
    )
    world.campaign(waits_for("{condition: contact.segments, with: {segments: [french]}}"))
    world.run()
    world.tell(event("contact.changed", "ann", at(2), fields={"country": "FR"}))
    world.trigger(at(2))
    assert passed(world, "ann") == ["until yes", "then done"]


def test_joining_another_campaign_and_a_company_answer_it(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.contacts("ben", segment="everyone")
    world.campaign("- {step: x, action: contact.points, with: {points: 1}}", key="other", segments=["few"])
    world.campaign(
        waits_for(
            "{any: [{condition: contact.campaigns, with: {campaigns: [other]}}, "
            "{condition: company.field, with: {field: plan, operator: '=', value: gold}}]}"
        )
    )
    with world.engine.begin() as conn:
        companies.join(conn, [(world.contact_id("ben"), "acme")])
    world.run()
    world.enter("few", "ann")
    world.update(at(2))
    world.tell(event("contact.changed", "ben", at(2), company="acme"))
    with world.engine.begin() as conn:
        companies.change(conn, {}, {"acme": {"plan": "gold"}})
    world.time_passes(at(2))
    world.trigger(at(2))
    assert passed(world, "ann")[-2:] == ["until yes", "then done"]
    assert passed(world, "ben") == ["until yes", "then done"]


def test_only_who_waits_is_asked_and_only_about_what_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.contacts("ann", segment="everyone", country="BE")
    world.contacts("eve", country="BE")
    world.campaign(waits_for(FRENCH))
    world.run()
    asked: list[int] = []
    real = watching._judge

    def judge(conn: Any, campaign: Any, found: Any, **more: Any) -> None:
        asked.extend(each.contact_id for each in found)
        real(conn, campaign, found, **more)

    monkeypatch.setattr(watching, "_judge", judge)
    world.tell(event("contact.changed", "eve", at(2), fields={"country": "FR"}))
    with statements_counted(world.engine) as sent:
        world.tell(event("contact.changed", "ann", at(2), fields={"city": "Paris"}))
        world.tell(event("page.hit", "ann", at(2), url="/"))
    assert asked == []
    assert not any("found.reason = 'decision' AND found.held IS NULL" in each for each in sent)
    world.tell(event("contact.changed", "ann", at(2), fields={"country": "DE"}))
    assert asked == [world.contact_id("ann")]


def test_a_paused_campaign_asks_when_it_runs_again(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone", country="BE")
    world.campaign(waits_for(FRENCH))
    world.run()
    world.pause(at(2))
    world.tell(event("contact.changed", "ann", at(3), fields={"country": "FR"}))
    world.tell(
        event("contact.changed", "ben", at(3), fields={"country": "FR"}),
        event("contact.changed", "ben", at(4), fields={"country": "BE"}),
    )
    world.trigger(at(5))
    assert passed(world, "ann") == []
    world.publish(now=at(6))
    world.trigger(at(6))
    assert passed(world, "ann") == ["until yes", "then done"]
    assert passed(world, "ben") == []
    world.trigger(at(31))
    assert passed(world, "ben") == ["until no", "never done"]


def test_a_pause_that_shifts_moves_the_deadline_and_not_the_time_of_the_rule(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.tell(event("order.paid", "ann", at(1)))
    world.tell(event("order.paid", "ben", at(1)))
    never = "{condition: contact.tags, with: {tags: [none]}}"
    world.campaign(waits_for(f"{{any: [{{not: {PAID_LATELY}}}, {never}]}}", within="20 days"), catch_up="shift")
    world.run(at(2))
    world.pause(at(3))
    world.tell(event("order.paid", "ben", at(5)))
    world.publish(now=at(7))
    world.trigger(at(7))
    world.trigger(at(8, "12:00"))
    assert passed(world, "ann") == ["until yes", "then done"]
    assert passed(world, "ben") == []


def test_a_condition_that_raises_leaves_it_armed_and_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(contact: Contact) -> bool:
        if contact.fields.get("mood") == "bad":
            raise RuntimeError("no idea")
        return contact.fields.get("mood") == "good"

    install_condition(monkeypatch, "test.mood", answer)
    world.contacts("ann", "ben", segment="everyone", mood="bad")
    world.campaign(waits_for("{condition: test.mood}"))
    world.run()
    assert [each.reason for each in world.waits("ann")] == ["decision"]
    failures = world.read("SELECT error FROM failure")
    assert [row.error for row in failures] == ["the condition test.mood failed (RuntimeError: no idea)"] * 2
    world.tell(event("contact.changed", "ben", at(1, "09:10"), fields={"mood": "good"}))
    world.trigger(at(1, "09:10"))
    assert passed(world, "ben") == ["until yes", "then done"]
    # It is asked again after an hour, and the deadline holds.
    world.trigger(at(1, "10:00"))
    assert [each.due_at for each in world.waits("ann")] == [at(1, "11:00")]
    world.trigger(at(40))
    assert passed(world, "ann") == ["until no", "never done"]


def test_runs_ask_for_their_own_data(world: World) -> None:
    world.contacts("ann")
    rule = (
        "{all: [{condition: contact.field, with: {field: entry.total, operator: gte, value: 100}}, "
        "{condition: contact.tags, with: {tags: [vip]}}]}"
    )
    world.campaign(waits_for(rule), segments=[], events=[{"type": "cart.updated", "key": "cart_id"}], reentry="always")
    world.tell(event("cart.updated", "ann", at(1), cart_id="a", total=50))
    world.tell(event("cart.updated", "ann", at(1), cart_id="b", total=150))
    world.trigger(at(1))
    world.tell(event("contact.changed", "ann", at(2), tags={"add": ["vip"]}))
    world.trigger(at(2))
    rows = world.read(
        "SELECT run.key, outcome.result::text AS result FROM outcome JOIN step ON step.id = step_id "
        "JOIN run ON run.contact_id = outcome.contact_id AND run.number = outcome.run WHERE step.key = 'until'"
    )
    assert [(row.key, row.result) for row in rows] == [("b", "yes")]
    world.trigger(at(40))
    assert passed(world, "ann").count("until no") == 1
    world.check()


def test_a_new_rule_is_asked_of_all_who_wait(world: World) -> None:
    keys = world.crowd(30, segment="everyone", country="BE")
    world.campaign(waits_for(FRENCH))
    world.run()
    plan = world.campaign(waits_for(FRENCH.replace("FR", "BE")), when=at(2))
    assert any("30 contacts wait at until, whose rule or deadline changes" in line for line in plan.lines())
    world.trigger(at(2))
    assert all(passed(world, key) == ["until yes", "then done"] for key in keys)


def test_a_decision_that_waits_for_an_event_from_now_on_keeps_its_deadline(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.tell(event("order.paid", "ann", at(1)))
    world.campaign(waits_for(f"{{not: {PAID_LATELY}}}"))
    world.run(at(2))
    after = waits_for(FRENCH).replace("contact.matches", "event.happened").replace(f"rule: {FRENCH}", "type: x.y")
    world.campaign(after, when=at(3))
    world.trigger(at(20))
    assert passed(world, "ann") == []
    world.trigger(at(32))
    assert passed(world, "ann") == ["until no", "never done"]


def test_what_a_rule_may_not_say_is_told_with_its_place(world: World) -> None:
    for rule, place, sentence in (
        ("{condition: contact.pints}", "with.rule.condition", "unknown condition 'contact.pints'"),
        ("[1]", "with.rule", "a rule is a mapping"),
        ("{all: [{condition: contact.points, with: {points: x}}]}", "with.rule.all[0].with.points", "whole number"),
        ("{condition: split.random, with: {percent: 5}}", "with.rule.condition", "works only as a step of a campaign"),
    ):
        with pytest.raises(CampaignFileError) as raised:
            world.campaign(waits_for(rule))
        assert place in str(raised.value), raised.value
        assert sentence in str(raised.value), raised.value
    with pytest.raises(CampaignFileError, match="needs no 'look_back'"):
        world.campaign(waits_for(FRENCH).replace("within: 30 days", "look_back: 2 days"))


@pytest.mark.parametrize("what", ["segment", "campaign"])
def test_what_a_rule_names_must_be_there(world: World, what: str) -> None:
    rule = {"condition": f"contact.{what}s", "with": {f"{what}s": ["nowhere"]}}
    step = {"step": "until", "decision": "contact.matches", "with": {"rule": rule}}
    data = {"campaign": "c", "sources": {"segments": ["everyone"]}, "steps": [step]}
    world.segment("everyone")
    file = check(data, default_zone=world.zone).file
    assert file is not None
    with world.engine.connect() as conn:
        (problem,) = campaign_plan.check_references(conn, file)
    assert problem.place == f"steps[0].with.rule.with.{what}s"
    assert problem.sentence.startswith(f"there is no {what} 'nowhere'")


def test_merged_contacts_are_asked_again(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.contacts("ben")
    world.campaign(waits_for("{condition: contact.tags, with: {tags: [vip]}}"))
    world.run()
    world.tell(event("contact.changed", "ben", at(2), tags={"add": ["vip"]}))
    world.tell(event("contact.merged", "ann", at(3), **{"from": "ben"}))
    world.time_passes(at(3))
    world.trigger(at(3))
    assert passed(world, "ann") == ["until yes", "then done"]
