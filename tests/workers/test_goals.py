"""Goals and control groups: who reaches the goal, once, and to whom nothing happens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from sqlalchemy import text

from parcours.db.checks import invariants
from parcours.db.partitions import ensure_partitions
from parcours.db.tables import contacts, rebuilds, rules, segments, trials
from parcours.db.tables.contacts import Incoming
from parcours.domain.campaign_file.check import check
from parcours.domain.goal import draw
from parcours.services import campaign_changes, campaign_plan
from parcours.services.overview_json import overview_json
from parcours.workers import events, rebuilding
from tests.workers.worlds import START, World, at, event, statements_counted

GOAL = {"event": "order.paid", "within": "14 days", "value": "total"}
STEP = """
- step: hello
  action: contact.points
  with: {points: 1}
  after: 1 hour
"""
ASK = """
- step: french
  condition: contact.field
  with: {field: country, operator: "=", value: FR}
  yes: [{step: bonjour, action: contact.points, with: {points: 1}}]
  no: [{step: hello, action: contact.points, with: {points: 1}}]
"""


def counted(world: World, campaign: str = "c") -> dict[str, tuple[int, int, str]]:
    """Return the counters by part: entered, reached, value; parts of steps have the step's key."""
    with world.engine.connect() as conn:
        found = trials.figures(conn, world.found(conn, campaign).id)
    steps = {str(row.id): row.key for row in world.read("SELECT id, key FROM step")}

    def named(part: str) -> str:
        for mark in (":", "="):
            id_, there, rest = part.partition(mark)
            if there and id_ in steps:
                return f"{steps[id_]}{mark}{rest}"
        return part

    return {
        named(part): (each.entered, each.reached, f"{each.value.normalize():f}")
        for part, each in found.items()
        if each.entered or each.reached or each.value
    }


def holds(world: World) -> None:
    world.check()
    broken = {each.name: each.examples for each in invariants.run(world.engine) if each.violations}
    assert broken == {}


def paid(who: str, when: datetime, **data: Any) -> Any:
    return event("order.paid", who, when, **data)


def control_of(world: World) -> set[str]:
    rows = world.read("SELECT key FROM membership JOIN contact ON contact.id = contact_id WHERE control")
    return {row.key for row in rows}


def test_the_first_conversion_within_the_time_counts_with_its_value(world: World) -> None:
    world.contacts("ann", "ben", "cleo", segment="everyone")
    world.campaign(STEP, goal=GOAL)
    world.run()
    world.tell(paid("ann", at(2), total=19.99))
    world.tell(paid("ann", at(3), total=5))
    world.tell(paid("ben", at(15), total="0.01"))
    world.tell(paid("cleo", at(15, "09:00"), total=100))
    assert counted(world) == {"treated": (3, 1, "19.99")}
    holds(world)


def test_who_reaches_the_goal_stays_and_who_left_can_still_reach_it(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(STEP, goal=GOAL)
    world.run()
    world.tell(paid("ann", at(1, "09:30")))
    assert world.standing("ann") == ["hello"]
    world.remove("ben", at(1, "09:40"))
    world.tell(paid("ben", at(2), total=7))
    assert counted(world) == {"treated": (2, 2, "7")}
    holds(world)


def test_a_goal_that_is_an_exit_too_is_counted_before_the_contact_is_out(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(STEP, goal=GOAL, exit=[{"event": "order.paid"}])
    world.run()
    world.tell(paid("ann", at(1, "09:30"), total=3))
    assert counted(world) == {"treated": (1, 1, "3")}
    assert world.waits() == []
    holds(world)


def test_what_happened_before_the_contact_came_counts_nothing_however_late_it_is_heard(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(STEP, goal=GOAL)
    world.run(at(2))
    world.tell(paid("ann", at(1, "23:00"), total=3), now=at(3))
    assert counted(world) == {"treated": (1, 0, "0")}
    world.tell(paid("ann", at(3), total=4), now=at(30))
    assert counted(world) == {"treated": (1, 1, "4")}
    holds(world)


@pytest.mark.parametrize("total", [True, "much", None, 10**13, "1e999", "NaN", [1], "1_0", "9" * 100])
def test_a_value_that_is_no_amount_counts_a_conversion_worth_nothing(world: World, total: Any) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(STEP, goal=GOAL)
    world.run()
    world.tell(paid("ann", at(2), total=total))
    assert counted(world) == {"treated": (1, 1, "0")}


def test_who_comes_back_is_counted_again_and_an_event_counts_for_one_of_the_times(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.form("again")
    world.campaign(STEP, goal=GOAL, forms=["again"], reentry="always")
    world.run()
    world.tell(paid("ann", at(2), total=1))
    world.submit("again", "ann", at(3))
    assert counted(world) == {"treated": (2, 1, "1")}
    world.tell(paid("ann", at(2, "12:00"), total=8), now=at(4))
    assert counted(world) == {"treated": (2, 1, "1")}
    world.tell(paid("ann", at(4), total=2), paid("ann", at(5), total=2))
    assert counted(world) == {"treated": (2, 2, "3")}
    holds(world)


def test_a_run_is_reached_by_its_key_and_without_one_the_run_that_began_last(world: World) -> None:
    world.contacts("ann")
    cart = {"type": "cart.updated", "key": "cart_id"}
    world.campaign(STEP, key="keyed", segments=(), events=[cart], goal={**GOAL, "key": "cart_id"})
    world.campaign(STEP, key="any", segments=(), events=[cart], goal=GOAL)
    for nth, id_ in enumerate(("a", "b")):
        world.tell(event("cart.updated", "ann", at(1, f"09:0{nth}"), cart_id=id_))
    world.tell(paid("ann", at(2), cart_id="a", total=5))
    world.tell(paid("ann", at(3), cart_id="other", total=5))
    assert counted(world, "keyed") == {"treated": (2, 1, "5")}
    assert counted(world, "any") == {"treated": (2, 1, "5")}
    rows = world.read(
        "SELECT trial.key, campaign.key AS campaign FROM trial JOIN campaign ON campaign.id = campaign_id "
        "WHERE reached_at IS NOT NULL ORDER BY campaign.key"
    )
    assert [(row.campaign, row.key) for row in rows] == [("any", "b"), ("keyed", "a")]
    holds(world)


def test_a_paused_campaign_still_counts_and_a_deleted_one_does_not(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(STEP, goal=GOAL)
    world.run()
    world.pause(at(1, "10:00"))
    world.tell(paid("ann", at(2), total=1))
    assert counted(world) == {"treated": (2, 1, "1")}
    world.write("UPDATE campaign SET deleted_at = now()")
    world.tell(paid("ben", at(3), total=1))
    assert world.read("SELECT count(*) AS n FROM trial WHERE reached_at IS NOT NULL")[0].n == 1


def test_only_who_comes_after_the_goal_was_added_is_counted(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(STEP)
    world.run()
    world.campaign(STEP, goal=GOAL)
    world.contacts("ben", segment="everyone")
    world.run(at(2))
    world.tell(paid("ann", at(3)), paid("ben", at(3)))
    assert counted(world) == {"treated": (1, 1, "0")}
    world.campaign(STEP)
    world.tell(paid("ben", at(4)))
    holds(world)


def test_branches_count_whom_they_took_before_the_goal_was_reached(world: World) -> None:
    world.contacts("ann", "anton", country="FR", segment="everyone")
    world.contacts("ben", segment="everyone")
    world.campaign(ASK, goal=GOAL)
    world.update()
    world.tell(paid("anton", at(1, "09:10"), total=50))
    world.trigger(at(1, "09:30"))
    world.tell(paid("ann", at(2), total=10))
    assert counted(world) == {"treated": (3, 2, "60"), "french:yes": (1, 1, "10"), "french:no": (1, 0, "0")}
    holds(world)


def test_a_branch_taken_twice_in_a_loop_counts_once(world: World) -> None:
    world.contacts("ann", country="FR", segment="everyone")
    steps = """
    - step: french
      condition: contact.field
      with: {field: country, operator: "=", value: FR}
      yes: [{step: back, action: campaign.jump, with: {to: french}, after: 1 day}]
    """
    world.campaign(steps, goal=GOAL)
    world.run()
    for day in (2, 3, 4):
        world.trigger(at(day, "10:00"))
    assert len(world.log("ann")) >= 5
    world.tell(paid("ann", at(5), total=1))
    assert counted(world) == {"treated": (1, 1, "1"), "french:yes": (1, 1, "1")}
    holds(world)


# Control groups.


def test_nothing_happens_to_the_control_group_whichever_way_it_comes(world: World) -> None:
    world.form("signup")
    world.campaign(
        STEP,
        goal=GOAL,
        control=50,
        forms=["signup"],
        events=[{"type": "cart.updated", "key": "cart_id"}],
        dates=[{"field": "birthday", "every": "year"}],
        reentry="always",
    )
    ways = ("segment", "form", "event", "hand", "rejoin")
    keys = {way: world.crowd(12, prefix=way) for way in ways}
    world.enter("everyone", *keys["segment"], *keys["rejoin"])
    world.update()
    for key in keys["form"]:
        world.submit("signup", key)
    world.tell(*(event("cart.updated", key, START, cart_id="1") for key in keys["event"]))
    for key in keys["hand"]:
        world.add(key)
    for key in keys["rejoin"]:
        world.submit("signup", key, at(1, "10:00"))
    control = control_of(world)
    everybody = {key for some in keys.values() for key in some}
    assert all(control & set(some) and set(some) - control for some in keys.values())
    assert {wait.contact for wait in world.waits()} == everybody - control
    world.campaign(
        STEP + "- {step: more, action: contact.points, with: {points: 5}}",
        goal=GOAL,
        control=50,
        forms=["signup"],
        when=at(1, "11:00"),
        backfill=True,
    )
    world.run(at(2))
    assert {row.contact for row in world.passed()} == everybody - control
    assert dict(zip(sorted(control), world.points(*sorted(control)), strict=True)) == dict.fromkeys(control, 0)
    holds(world)


def test_the_group_stays_when_the_percentage_changes_and_when_somebody_comes_back(world: World) -> None:
    world.form("again")
    everybody = world.crowd(40, segment="everyone")
    world.campaign(STEP, control=20, forms=["again"], reentry="always")
    world.update()
    before = control_of(world)
    assert before
    for percent in (50, 0):
        world.campaign(STEP, control=percent, forms=["again"], reentry="always")
        for key in everybody:
            world.submit("again", key, at(2))
        assert control_of(world) == before
    world.campaign(STEP, forms=["again"], reentry="always")
    world.submit("again", sorted(before)[0], at(3))
    assert control_of(world) == before
    assert not before & {wait.contact for wait in world.waits()}
    holds(world)


def test_runs_of_a_contact_are_all_in_its_group(world: World) -> None:
    everybody = world.crowd(30)
    world.campaign(STEP, segments=(), events=[{"type": "cart.updated", "key": "cart_id"}], goal=GOAL, control=30)
    for cart in ("1", "2", "3"):
        world.tell(*(event("cart.updated", key, START, cart_id=cart) for key in everybody))
    control = control_of(world)
    assert counted(world) == {"control": (3 * len(control), 0, "0"), "treated": (3 * (30 - len(control)), 0, "0")}
    assert {wait.contact for wait in world.waits()} == set(everybody) - control
    world.tell(*(paid(key, at(2), total=1) for key in sorted(control)))
    assert counted(world)["control"] == (3 * len(control), len(control), str(len(control)))
    holds(world)


def test_the_draw_is_about_as_large_as_said_and_grows_by_itself(world: World) -> None:
    with world.engine.connect() as conn:
        asked = text("SELECT id FROM generate_series(1, 20000) AS id WHERE in_control_group(id, :prefix, :below)")

        def drawn(campaign: str, percent: float) -> set[int]:
            return set(conn.execute(asked, draw(campaign, percent)._asdict()).scalars())

        ten, twenty, other = drawn("c", 10), drawn("c", 20), drawn("d", 10)
    assert 1850 < len(ten) < 2150
    assert ten < twenty
    assert 130 < len(ten & other) < 270


def test_erased_and_merged_contacts_are_counted_no_more_and_to_the_control_group_nothing_happens(world: World) -> None:
    everybody = world.crowd(24, segment="everyone")
    world.campaign(ASK, goal=GOAL, control=50, events=[{"type": "cart.updated", "key": "cart_id"}])
    world.run()
    world.tell(*(paid(key, at(2), total=1) for key in everybody[::2]))
    world.tell(*(event("cart.updated", key, at(2), cart_id="1") for key in everybody[::3]))
    world.tell(event("contact.deleted", everybody[0], at(3)), event("contact.deleted", everybody[1], at(3)))
    assert sum(counted(world)[part][0] for part in ("treated", "control")) == 22 + len(everybody[3::3])
    holds(world)
    control = sorted(control_of(world))
    treated = sorted(set(everybody[2:]) - set(control))
    pairs = [(control[0], control[1]), (treated[0], treated[1]), (control[2], treated[2]), (treated[3], control[3])]
    for nth, (gone, into) in enumerate(pairs):
        world.tell(event("contact.merged", into, at(4, f"10:0{nth}"), **{"from": gone}))
        holds(world)
    assert not control_of(world) & {wait.contact for wait in world.waits()}


MOMENTS = st.integers(0, 40).map(lambda hours: START + timedelta(hours=12 * hours))


@with_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    acts=st.lists(st.tuples(MOMENTS, st.sampled_from(["enter", "pay", "leave"]), st.booleans()), max_size=12),
    percent=st.sampled_from([0, 50]),
)
def test_nobody_converts_twice_and_counters_are_what_can_be_counted(
    world: World, acts: list[tuple[datetime, str, bool]], percent: int
) -> None:
    world.clear()
    world.form("enter")
    world.contacts("ann", "ben")
    world.campaign(
        ASK, segments=(), forms=["enter"], goal={**GOAL, "within": "2 days"}, control=percent, reentry="always"
    )
    for when, what, who in sorted(acts):
        key = "ann" if who else "ben"
        if what == "enter":
            world.submit("enter", key, when)
        elif what == "leave":
            world.remove(key, when)
        else:
            one = paid(key, when, total=1)
            world.tell(one)
            world.accept(one, now=when)
            world.act(when)
        world.trigger(when)
    found = counted(world)
    conversions = sum(found.get(part, (0, 0, ""))[1] for part in ("treated", "control"))
    entries = sum(what == "enter" for _, what, _ in acts)
    assert conversions <= min(entries, sum(what == "pay" for _, what, _ in acts))
    assert all(reached <= entered for entered, reached, _ in found.values())
    holds(world)


@pytest.mark.parametrize("n", [10, 200])
def test_a_batch_with_a_goal_has_one_statement_more_and_one_without_none(world: World, n: int) -> None:
    world.crowd(n, segment="everyone")
    took = {}
    settings: dict[str, dict[str, Any]] = {"plain": {}, "goal": {"goal": GOAL, "control": 10}}
    for name, more in settings.items():
        world.campaign(ASK, key=name, **more)
        world.update()
        with statements_counted(world.engine) as sent:
            world.trigger(at(1, "09:30"))
        took[name] = sum("trial" not in each for each in sent), sum("INTO trial" in each for each in sent)
    assert took["plain"][1] == 0
    assert took["goal"] == (took["plain"][0], 1)


def test_the_value_is_kept_exactly(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(STEP, goal=GOAL)
    world.run()
    world.tell(paid("ann", at(2), total=0.1), paid("ben", at(2), total=0.2))
    with world.engine.connect() as conn:
        assert trials.figures(conn, world.found(conn).id)["treated"].value == Decimal("0.3")


def test_figures_compare_with_the_control_group_once_there_is_enough(world: World) -> None:
    everybody = world.crowd(200, segment="everyone", country="FR")
    world.campaign(ASK, goal=GOAL, control=50)
    world.run()
    control = control_of(world)
    treated = sorted(set(everybody) - control)
    shown = overview(world)
    assert (shown["control"]["entered"], shown["treated"]["entered"]) == (len(control), len(treated))
    assert shown["lift"]["says"] == "Not enough data yet to compare with the control group."
    assert shown["lift"]["difference"] is None
    world.tell(
        *(paid(key, at(2), total=2.5) for key in treated[:60]), *(paid(key, at(2)) for key in sorted(control)[:3])
    )
    shown = overview(world)
    assert shown["treated"] == {"entered": len(treated), "reached": 60, "rate": 60 / len(treated), "value": "150"}
    assert shown["total"]["reached"] == 63
    assert shown["lift"]["low"] > 0.3
    assert shown["lift"]["says"] == "Contacts in the campaign reach the goal more often than the control group."
    assert shown["branches"] == [
        {
            "step": "french",
            "branch": "yes",
            "entered": len(treated),
            "reached": 60,
            "rate": 60 / len(treated),
            "value": "150",
        }
    ]


def test_a_campaign_without_a_goal_shows_none(world: World) -> None:
    world.campaign(STEP)
    assert overview(world) is None


def overview(world: World) -> Any:
    with world.engine.connect() as conn:
        return overview_json(conn, "c", world.zone)["goal"]


# Goals by rule.

CUSTOMER = {"rule": {"condition": "contact.tags", "with": {"tags": ["customer"]}}, "within": "14 days"}


def tag(world: World, key: str, when: datetime, *, remove: bool = False) -> None:
    world.tell(event("contact.changed", key, when, tags={"remove" if remove else "add": ["customer"]}))


def by_rule(world: World, goal: dict[str, Any] = CUSTOMER, **settings: Any) -> None:
    world.campaign(STEP, goal=goal, **settings)
    assert rebuilding.work_all(world.engine, world.rules_there(), now=START, zone=world.zone)


def test_a_rule_that_becomes_true_after_the_contact_came_is_a_conversion_once(world: World) -> None:
    world.contacts("ann", "ben", "cleo", "dan", segment="everyone")
    tag(world, "ann", at(0))
    by_rule(world)
    world.run()
    tag(world, "ben", at(2))
    tag(world, "ben", at(3), remove=True)
    tag(world, "ben", at(4))
    tag(world, "cleo", at(20))
    assert counted(world) == {"treated": (4, 1, "0")}
    # Of whom it was true before, it may become true again.
    tag(world, "ann", at(5), remove=True)
    tag(world, "ann", at(6))
    assert counted(world) == {"treated": (4, 2, "0")}
    holds(world)


def test_a_rule_becomes_true_by_time_too(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.tell(event("seen", "ann", START))
    quiet = {"not": {"condition": "event.count", "with": {"type": "seen", "at_least": 1, "within": "7 days"}}}
    by_rule(world, {"rule": quiet})
    world.run()
    world.time_passes(at(7))
    assert counted(world) == {"treated": (1, 0, "0")}
    world.time_passes(at(9))
    assert counted(world) == {"treated": (1, 1, "0")}
    holds(world)


def test_the_segment_of_a_goal_is_seen_by_nobody_and_empty_when_the_goal_is_another(world: World) -> None:
    world.contacts("ann", segment="everyone")
    by_rule(world)
    world.run()
    tag(world, "ann", at(2))
    with world.engine.connect() as conn:
        assert [each.key for each in segments.listed(conn)] == ["everyone"]
        found = contacts.show(conn, "ann")
        assert found is not None
        assert found.segments == ["everyone"]
    world.campaign(STEP, goal=GOAL)
    assert world.rules_there() == []
    world.campaign(STEP, goal=CUSTOMER)
    assert len(world.rules_there()) == 1


def test_the_rule_of_a_goal_is_asked_no_more_once_the_campaign_is_deleted(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    by_rule(world)
    world.run()
    with world.engine.begin() as conn:
        campaign_changes.delete(conn, world.found(conn, "c"), who="test", now=at(1))
    assert world.rules_there() == []
    assert world.read("SELECT FROM rebuild") == []
    tag(world, "ann", at(2))
    # It comes back with the campaign. Of whom it became true meanwhile, it did not become true while it counted.
    by_rule(world)
    assert len(world.rules_there()) == 1
    assert counted(world) == {"treated": (2, 0, "0")}
    tag(world, "ben", at(3))
    assert counted(world) == {"treated": (2, 1, "0")}
    holds(world)


def test_what_makes_the_rule_of_a_goal_true_for_everybody_at_once_is_no_conversion(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    by_rule(world, {"rule": {"condition": "contact.tags", "with": {"tags": ["vip"]}}})
    world.run()
    tag(world, "ann", at(1))
    by_rule(world)
    assert counted(world) == {"treated": (2, 0, "0")}
    tag(world, "ben", at(2))
    assert counted(world) == {"treated": (2, 1, "0")}
    holds(world)


def test_what_only_a_rebuild_of_the_rule_of_a_goal_finds_is_no_conversion(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    by_rule(world, {"rule": {"condition": "contact.points", "with": {"operator": "gte", "points": 5}}})
    world.run()
    world.write("UPDATE contact SET points = 9 WHERE key = 'ann'")
    with world.engine.begin() as conn:
        rebuilds.ask(conn, world.rules_there(), now=at(1))
    assert rebuilding.work_all(world.engine, world.rules_there(), now=at(1), zone=world.zone)
    assert world.inside("goal of c") == {"ann"}
    assert counted(world) == {"treated": (2, 0, "0")}


def test_what_an_import_makes_true_is_a_conversion(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    by_rule(world, {"rule": {"condition": "contact.points", "with": {"operator": "gte", "points": 5}}})
    world.run()
    row = Incoming(1, False, "ann", None, None, 9, None, None, "{}", None)
    with world.engine.begin() as conn:
        contacts.stage(conn, [row])
        contacts.merge(conn, now=at(2))
        rules.leave_imported(conn, now=at(2))
    world.time_passes(at(2))
    assert counted(world) == {"treated": (2, 1, "0")}
    holds(world)


def test_what_a_segment_makes_true_whose_rule_was_changed_is_a_conversion(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.by_rule("rich", {"condition": "contact.points", "with": {"operator": "gte", "points": 5}})
    by_rule(world, {"rule": {"condition": "contact.segments", "with": {"segments": ["rich"]}}})
    world.run()
    world.write("UPDATE contact SET points = 4 WHERE key = 'ann'")
    world.by_rule("rich", {"condition": "contact.points", "with": {"operator": "gte", "points": 3}}, at(2))
    assert counted(world) == {"treated": (2, 1, "0")}
    holds(world)


def test_what_is_no_rule_or_names_what_is_not_there_is_refused_with_its_place(world: World) -> None:
    data = {
        "campaign": "c",
        "sources": {"forms": ["f"]},
        "steps": [{"action": "contact.points", "with": {"points": 1}}],
    }
    world.form("f")
    for rule, place, said in (
        ({"condition": "contact.nonsense"}, "goal.rule.condition", "unknown condition"),
        (
            {"condition": "contact.segments", "with": {"segments": ["nowhere"]}},
            "goal.rule.with.segments",
            "there is no segment 'nowhere'",
        ),
    ):
        file = check({**data, "goal": {"rule": rule}}, default_zone=world.zone).file
        assert file is not None
        with world.engine.connect() as conn:
            (problem,) = campaign_plan.check_references(conn, file)
        assert (problem.place.startswith(place), said in problem.sentence) == (True, True), problem


def test_a_duplicate_and_racing_workers_count_one_conversion(world: World) -> None:
    keys = world.crowd(30, segment="everyone")
    world.campaign(ASK, goal=GOAL)
    world.update()
    world.accept(*(paid(key, at(1, "09:10"), total=1, id_=f"{key}-{nth}") for key in keys for nth in (1, 2)), now=at(2))
    ensure_partitions(world.engine, at(2))

    def work(nth: int) -> None:
        for _ in range(4):
            with world.engine.begin() as conn:
                events.act(conn, now=at(2), zone=world.zone)
            world.trigger(at(2))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    world.act(at(2))
    world.trigger(at(2))
    assert counted(world)["treated"] == (30, 30, "30")
    holds(world)
