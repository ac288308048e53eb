"""Step types of the catalogue on a real database: what they read, and what they write back."""

from __future__ import annotations

import pytest

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import campaigns
from parcours.producers.files.campaigns import CampaignFileError
from parcours.services import campaign_plan
from parcours.workers import executor
from tests.workers.worlds import START, World, at, event, statements_counted


def asked(world: World, condition: str, given: str, *, key: str = "asks") -> dict[str, bool]:
    """Return what a condition answers for everybody."""
    world.campaign(f"- {{step: ask, condition: {condition}, with: {given}}}", key=key)
    world.run()
    return {row.contact: row.result == "yes" for row in world.passed(campaign=key)}


def test_a_stage_and_an_owner_are_read(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.write("UPDATE contact SET stage = 'fan', owner = 'zoe' WHERE key = 'ann'")
    assert asked(world, "contact.stage", "{stages: [lead, fan]}", key="stage") == {"ann": True, "bob": False}
    assert asked(world, "contact.owner", "{owners: [max, zoe]}", key="owner") == {"ann": True, "bob": False}


def test_refusals_are_read(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.do_not_contact("ann")
    assert asked(world, "contact.dnc", "{channels: [sms, email]}", key="any") == {"ann": True, "bob": False}
    given = "{channels: [sms, email], match: all}"
    assert asked(world, "contact.dnc", given, key="all") == {"ann": False, "bob": False}
    given = "{channels: [email], reason: bounced}"
    assert asked(world, "contact.dnc", given, key="why") == {"ann": False, "bob": False}


def test_campaigns_are_those_a_contact_is_in_and_not_those_it_left(world: World) -> None:
    world.contacts("ann", "bob", "cid", segment="everyone")
    world.campaign("- {action: contact.points, with: {points: 1}}", key="other", segments=["others"])
    world.enter("others", "ann", "bob")
    world.update()
    world.remove("bob", at(2), campaign="other")
    nobody = {"ann": False, "bob": False, "cid": False}
    assert asked(world, "contact.campaigns", "{campaigns: [other]}", key="a") == {**nobody, "ann": True}
    assert asked(world, "contact.campaigns", "{campaigns: [this]}", key="b") == dict.fromkeys(nobody, True)
    given = "{campaigns: [other], added: {operator: before, date: 2026-06-01}}"
    assert asked(world, "contact.campaigns", given, key="c") == nobody
    given = "{campaigns: [other], added: {operator: after, date: 2026-06-01}}"
    assert asked(world, "contact.campaigns", given, key="d") == {**nobody, "ann": True}
    world.write("UPDATE campaign SET deleted_at = now() WHERE key = 'other'")
    assert asked(world, "contact.campaigns", "{campaigns: [other]}", key="e") == nobody


def test_a_draw_stays_the_same_when_a_contact_starts_again_and_in_a_new_version(world: World) -> None:
    keys = world.crowd(100, segment="everyone")
    steps = "- {step: draw, condition: split.random, with: {percent: 50}}"
    world.campaign(steps, reentry="after_exit")
    world.run()
    world.leave("everyone", *keys, when=at(2))
    world.update(at(2))
    world.campaign(f"- {{step: first, action: contact.points, with: {{points: 1}}}}\n{steps}", reentry="after_exit")
    world.enter("everyone", *keys, when=at(3))
    world.run(at(3))
    drawn: dict[str, list[str]] = {}
    for row in world.passed():
        if row.step == "draw":
            drawn.setdefault(row.contact, []).append(row.result)
    assert {len(results) for results in drawn.values()} == {2}
    assert {len(set(results)) for results in drawn.values()} == {1}
    assert {results[0] for results in drawn.values()} == {"yes", "no"}


def test_steps_of_one_draw_divide_the_members_and_keep_them_over_re_entry(world: World) -> None:
    keys = world.crowd(60, segment="everyone")

    def steps(shares: str, *names: str) -> str:
        condition = "condition: split.random, with: {draw: offer, shares: " + shares
        return "\n".join(f"- {{step: {name}, {condition}, share: {name}}}}}" for name in names)

    def drawn(rotation: int) -> dict[str, str]:
        rows = [row for row in world.passed() if row.rotation == rotation and row.result == "yes"]
        assert len({row.contact for row in rows}) == len(rows)
        return {row.contact: row.step for row in rows}

    world.campaign(steps("{a: 40, b: 30, c: 30}", "a", "b", "c"), reentry="after_exit")
    world.run()
    first = drawn(1)
    assert (set(first), set(first.values())) == (set(keys), {"a", "b", "c"})
    world.leave("everyone", *keys, when=at(2))
    world.update(at(2))
    world.campaign(steps("{a: 40, b: 30, c: 10, d: 20}", "d", "c", "b", "a"), reentry="after_exit")
    world.enter("everyone", *keys, when=at(3))
    world.run(at(3))
    second = drawn(2)
    moved = {key: (first[key], second[key]) for key in keys if first[key] != second[key]}
    assert set(moved.values()) == {("c", "d")}


def refusals(world: World) -> dict[str, dict[str, tuple[str, str | None]]]:
    found: dict[str, dict[str, tuple[str, str | None]]] = {}
    for row in world.read(
        "SELECT key, channel, reason, comment FROM contact JOIN do_not_contact ON contact_id = contact.id"
    ):
        found.setdefault(row.key, {})[row.channel] = (row.reason, row.comment)
    return found


def test_an_owner_and_refusals_are_written_back(world: World) -> None:
    world.contacts("ann", "bob", "cid", segment="everyone")
    world.do_not_contact("ann")
    world.write(
        "INSERT INTO do_not_contact (contact_id, channel, reason, comment, at) "
        "SELECT id, 'email', 'bounced', 'no such box', :at FROM contact WHERE key = 'bob'",
        at=START,
    )
    world.campaign(
        """
        - {step: owner, action: contact.owner, with: {owner: zoe}}
        - {step: add, action: contact.dnc_add, with: {channels: [email, sms], reason: asked by phone}}
        - {step: undo, action: contact.dnc_remove, with: {channels: [sms, push]}, after: 1 day}
        - {step: plain, action: contact.dnc_add, with: {channels: [push]}, after: 2 days}
        - {step: again, action: contact.dnc_remove, with: {channels: [email]}, after: 3 days}
        """
    )
    world.run()
    assert {row.owner for row in world.read("SELECT owner FROM contact")} == {"zoe"}
    asked_for = ("manual", "asked by phone")
    by_hand = {"email": asked_for, "sms": asked_for}
    mine = {"email": ("unsubscribed", None), "sms": asked_for}
    assert refusals(world) == {"ann": mine, "bob": by_hand, "cid": by_hand}
    world.trigger(at(2))
    assert refusals(world) == {"ann": {"email": ("unsubscribed", None)}} | {
        key: {"email": asked_for} for key in ("bob", "cid")
    }
    world.trigger(at(3))
    world.trigger(at(4))
    assert refusals(world) == {key: {"push": ("manual", None)} for key in ("ann", "bob", "cid")}


def test_a_refusal_stops_the_email_below_it(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.email("hello")
    world.campaign(
        """
        - action: contact.dnc_add
          step: add
          with: {channels: [email]}
          then: [{step: send, action: email.send, with: {email: hello}}]
        """
    )
    world.run()
    assert world.log() == ["add done", "send skipped"]


HELD = ("wait", "outcome", "failure", "membership", "message", "segment_member", "form_submission", "device", "event")


def nothing_is_left_of(world: World, *ids: int) -> None:
    for table in (*HELD, "inbox", "contact_tag", "do_not_contact"):
        assert not world.read(f"SELECT FROM {table} WHERE contact_id = ANY (:ids)", ids=list(ids)), table
    assert not world.read("SELECT FROM contact WHERE id = ANY (:ids)", ids=list(ids))


def test_a_deleted_contact_leaves_nothing_and_its_later_steps_do_not_run(world: World) -> None:
    world.contacts("ann", segment="everyone", country="US")
    world.contacts("bob", segment="everyone")
    world.email("hello")
    world.campaign("- {step: b, action: contact.points, with: {points: 1}, after: 1 day}", key="other")
    world.campaign("- {step: b, action: contact.points, with: {points: 1}}", key="joined", segments=["nobody"])
    world.campaign(
        """
        - {step: send, action: email.send, with: {email: hello}}
        - {step: join, action: campaign.change, with: {add: [joined]}}
        - {step: later, action: contact.points, with: {points: 1}, after: 1 day}
        - step: ask
          condition: contact.field
          with: {field: country, operator: "=", value: US}
          yes: [{step: delete, action: contact.delete}]
        - {step: after, action: contact.tags, with: {add: [late]}}
        - {step: hop, action: campaign.jump, with: {to: after}, after: 2 days}
        """
    )
    ann = world.contact_id("ann")
    world.update()
    # The newest first: the other campaign is left with nobody's wait but Bob's.
    assert world.trigger()["erased"] == 1
    nothing_is_left_of(world, ann)
    assert world.log() == ["send done", "join done", "ask no", "after done"]
    world.check()
    assert world.trigger(at(2))["done"] == 2
    assert world.log("bob", campaign="joined") == ["b done"]
    assert len(world.read("SELECT FROM erased")) == 1
    assert world.update(at(2)) == {}


def test_nobody_is_brought_back_by_what_happened_before(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign("- {step: delete, action: contact.delete}")
    world.run(at(2))
    old, new = event("page.hit", "ann", at(1), url="a.com"), event("page.hit", "ann", at(3), url="a.com")
    accepted = world.accept(old, new, now=at(3))
    assert (accepted.accepted, [index for index, _ in accepted.rejected]) == (1, [0])


def test_a_contact_deleted_by_what_it_did_is_gone_with_all_else_it_did(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    steps = """
        - step: hit
          decision: page.hit
          with: {url: ["a.com/bye"]}
          yes: [{step: delete, action: contact.delete}]
        """
    world.campaign(steps, key="one")
    world.campaign(steps, key="two")
    world.campaign(steps, key="three")
    ann = world.contact_id("ann")
    world.run()
    happened = [
        event("page.hit", "ann", at(1, "10:00"), url="a.com/hello", device={"type": "mobile"}),
        event("page.hit", "ann", at(1, "10:01"), url="a.com/bye"),
        event("contact.changed", "ann", at(1, "10:02"), fields={"colour": "red"}),
        event("segment.contact_added", "ann", at(1, "10:03"), segment="everyone"),
        event("device.seen", "ann", at(1, "10:04"), type="tablet"),
        event("page.hit", "bob", at(1, "10:05"), url="a.com/hello"),
    ]
    counts = world.tell(*happened, now=at(1, "11:00"))
    assert counts["erased"] == 1
    nothing_is_left_of(world, ann)
    assert len(world.read("SELECT FROM event")) == 1
    assert world.log(campaign="one") == []


def test_a_form_that_deletes_who_submits_it(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.form("bye")
    world.campaign(
        """
        - step: bye
          decision: form.submit
          yes: [{step: delete, action: contact.delete}]
        """
    )
    ann = world.contact_id("ann")
    world.run()
    assert world.submit("bye", "ann", at(2))["erased"] == 1
    nothing_is_left_of(world, ann)


def test_nothing_may_follow_a_deletion(world: World) -> None:
    with pytest.raises(CampaignFileError, match="no step can follow"):
        world.campaign(
            """
            - action: contact.delete
              then: [{action: contact.points, with: {points: 1}}]
            """
        )


EVERYTHING = """
    - step: start
      condition: contact.campaigns
      with: {campaigns: [this]}
      yes:
        - {condition: contact.dnc, with: {channels: [email]}}
        - {condition: split.random, with: {percent: 50}}
        - {condition: contact.device, with: {device_type: [mobile]}}
        - {condition: form.field, with: {form: poll, field: a, operator: empty}}
        - {condition: page.visited, with: {url: a.com, since: 2026-01-01}}
        - {action: contact.owner, with: {owner: zoe}}
        - {action: contact.dnc_remove, with: {channels: [email]}}
        - {action: contact.dnc_add, with: {channels: [sms], reason: so}}
        - {action: contact.delete}
"""


def test_a_batch_asks_as_much_of_the_database_for_a_thousand_contacts_as_for_ten(world: World) -> None:
    def cost(size: int) -> int:
        world.form("poll")
        world.do_not_contact(*world.crowd(size, segment="everyone"))
        world.campaign(EVERYTHING)
        world.update()
        ensure_partitions(world.engine, START)
        root = world.step_id("start")
        with world.engine.connect() as conn:
            campaigns.enter(conn, world.found(conn).id, world.zone)
        with statements_counted(world.engine) as sent, world.engine.begin() as conn:
            done = executor.execute_due(conn, root, now=START, limit=5000, zone=world.zone)
        assert done.claimed == size
        world.check()
        world.clear()
        return len(sent)

    assert cost(10) == cost(1000)


def test_devices_are_those_a_contact_was_ever_seen_with(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.tell(
        event("device.seen", "ann", at(0), type="mobile", os="Android"),
        event("page.hit", "ann", at(0), url="a.com", device={"type": "desktop"}),
    )
    assert asked(world, "contact.device", "{device_type: [Mobile]}", key="a") == {"ann": True, "bob": False}
    assert asked(world, "contact.device", "{}", key="b") == {"ann": False, "bob": False}
    given = "{device_type: [desktop], device_os: [Android]}"
    assert asked(world, "contact.device", given, key="c") == {"ann": False, "bob": False}


def test_a_form_field_is_looked_for_in_the_latest_submission_or_in_all(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.form("poll")
    world.form("other")
    world.submit("poll", "ann", at(0), colour="red")
    world.submit("poll", "ann", at(0), colour="blue")
    world.submit("other", "bob", at(0), colour="red")
    given = 'form: poll, field: colour, operator: "=", value: Red'
    assert asked(world, "form.field", f"{{{given}, which: any}}", key="a") == {"ann": True, "bob": False}
    assert asked(world, "form.field", f"{{{given}}}", key="latest") == {"ann": False, "bob": False}
    given = '{form: poll, field: colour, operator: "!=", value: red}'
    assert asked(world, "form.field", given, key="b") == {"ann": True, "bob": False}


def test_a_form_that_is_gone_satisfies_nobody(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.form("poll")
    world.submit("poll", "ann", at(0), colour="red")
    world.campaign(
        "- {step: ask, condition: form.field, with: {form: poll, field: colour, operator: '!empty'}, after: 1 day}"
    )
    world.run()
    world.write("DELETE FROM form")
    world.trigger(at(2))
    assert world.log() == ["ask no"]


def test_a_submission_is_known_to_what_it_sets_off(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.form("poll")
    world.campaign(
        """
        - step: sent
          decision: form.submit
          yes: [{step: ask, condition: form.field, with: {form: poll, field: colour, operator: "=", value: red}}]
        """
    )
    world.run()
    world.submit("poll", "ann", at(2), colour="red")
    assert world.log() == ["sent yes", "ask yes"]


def test_pages_are_looked_up_in_the_history_and_no_further_back_than_asked(world: World) -> None:
    world.contacts("ann", "bob", "cid", segment="everyone")
    world.tell(
        event("page.hit", "ann", at(-9), url="https://a.com/cart"),
        event("page.hit", "ann", at(0), url="https://a.com/cart"),
        event("page.hit", "bob", at(-9), url="https://a.com/cart", page="cart"),
        event("device.seen", "cid", at(0), url="https://a.com/cart", page="cart"),
        now=at(1),
    )
    nobody = {"ann": False, "bob": False, "cid": False}
    either = {**nobody, "ann": True, "bob": True}
    assert asked(world, "page.visited", "{url: a.com/cart}", key="a") == either
    assert asked(world, "page.visited", "{url: a.com/c*, since: 2026-05-31}", key="b") == {**nobody, "ann": True}
    assert asked(world, "page.visited", "{url: a.com/cart, until: 2026-05-30}", key="c") == either
    given = "{url: a.com/cart, since: 2026-05-30, until: 2026-05-30}"
    assert asked(world, "page.visited", given, key="d") == nobody
    assert asked(world, "page.visited", "{page: cart}", key="e") == {**nobody, "bob": True}
    assert asked(world, "page.visited", "{url: b.com}", key="f") == nobody


def test_an_address_is_asked_of_nobody(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.contacts("bob", segment="everyone", email="bob at home")
    assert asked(world, "contact.email_valid", "{}") == {"ann": True, "bob": False}


def test_a_form_that_a_condition_names_must_exist_when_the_campaign_is_applied(world: World) -> None:
    steps = "- {condition: form.field, with: {form: poll, field: a, operator: empty}}"
    world.form("poll")
    plan = world.campaign(steps)
    world.write("DELETE FROM form")
    with world.engine.connect() as conn:
        problems = campaign_plan.check_references(conn, plan.file)
    assert [each.place for each in problems] == ["steps[0].with.form"]
    assert "there is no form 'poll'" in str(problems[0])
