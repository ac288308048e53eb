"""Companies on a real database: what steps read and write of them, events, imports and merges."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as listening

from parcours.db.checks import invariants
from parcours.db.tables import companies, contacts
from parcours.domain.steps.batch import Company
from parcours.producers.files.contacts import contacts as contacts_of
from parcours.workers import events
from tests.workers.worlds import START, World, at, event, statements_counted

# How long a test waits for what is sure to come, however slow the machine.
LONG = 600


def company(world: World, key: str, name: str | None = None, **fields: object) -> None:
    with world.engine.begin() as conn:
        companies.save(conn, key, name=name, fields=fields)


def inside(world: World) -> dict[str, list[str]]:
    """Return the companies of contacts, the primary one with a star."""
    found: dict[str, list[str]] = {}
    for row in world.read(
        "SELECT contact.key, company.key || CASE WHEN is_primary THEN '*' ELSE '' END AS company FROM company_member "
        "JOIN contact ON contact.id = contact_id JOIN company ON company.id = company_id ORDER BY 1, 2"
    ):
        found.setdefault(row.key, []).append(row.company)
    return found


def stored(world: World, key: str) -> Company:
    with world.engine.connect() as conn:
        found = companies.find(conn, key)
    assert found is not None
    return found


def details(world: World, step: str) -> dict[str, str | None]:
    return {row.contact: (row.detail or {}).get("reason") for row in world.passed() if row.step == step}


def test_contacts_join_a_company_and_the_first_one_is_the_primary_one(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    company(world, "acme")
    company(world, "other")
    with world.engine.begin() as conn:
        companies.set_primary(conn, {world.ids(conn, "ben")[0]: "other"})
    world.campaign(
        """
        - {step: join, action: company.add_contact, with: {company: acme}}
        - {step: nowhere, action: company.add_contact, with: {company: gone}}
        - {step: first, action: company.add_contact, with: {company: acme, primary: true}, after: 1 day}
        """
    )
    world.run()
    assert inside(world) == {"ann": ["acme*"], "ben": ["acme", "other*"]}
    assert set(details(world, "nowhere").values()) == {"the company 'gone' does not exist"}
    world.trigger(at(2))
    assert inside(world) == {"ann": ["acme*"], "ben": ["acme*", "other"]}


def test_points_go_to_all_companies_of_a_contact_once_for_each_contact(world: World) -> None:
    world.contacts("ann", "ben", "cid", segment="everyone")
    with world.engine.begin() as conn:
        ann, ben = world.ids(conn, "ann", "ben")
        companies.join(conn, [(ann, "acme"), (ben, "acme"), (ben, "other")])
    world.campaign("- {step: score, action: company.points, with: {points: 5}}")
    world.run()
    assert (stored(world, "acme").points, stored(world, "other").points) == (10, 5)
    assert details(world, "score") == {"ann": None, "ben": None, "cid": "the contact has no company"}
    assert world.log("cid") == ["score skipped"]


def test_points_of_a_company_stay_within_what_can_be_kept(world: World) -> None:
    world.contacts("ann", segment="everyone")
    with world.engine.begin() as conn:
        companies.join(conn, [(world.ids(conn, "ann")[0], "acme")])
    world.write("UPDATE company SET points = 2147483640")
    world.campaign("- {step: score, action: company.points, with: {points: 2147483647}}")
    world.run()
    assert stored(world, "acme").points == 2147483647


def test_fields_of_the_primary_company_are_set_and_a_new_name_is_another_company(world: World) -> None:
    world.contacts("ann", "ben", "cid", segment="everyone")
    company(world, "acme", "Acme Corporation", city="Paris", size=3)
    with world.engine.begin() as conn:
        ann, ben = world.ids(conn, "ann", "ben")
        companies.set_primary(conn, {ann: "acme", ben: "acme"})
    world.campaign(
        """
        - {step: set, action: company.update, with: {fields: {city: Lyon, size: "", name: Acme Corporation}}}
        - {step: nobody, action: company.update, with: {fields: {city: Nice}}, after: 1 day}
        - step: other
          action: company.update
          with: {fields: {name: New House, city: Lille}}
          after: 2 days
          then: [{step: asks, condition: contact.field, with: {field: company.city, operator: "=", value: Lille}}]
        """
    )
    world.run()
    # Who had no company is found the one of that name.
    assert inside(world) == {key: ["acme*"] for key in ("ann", "ben", "cid")}
    assert stored(world, "acme").fields == {"city": "Lyon", "size": 3}
    world.write("DELETE FROM company_member WHERE contact_id = (SELECT id FROM contact WHERE key = 'cid')")
    world.trigger(at(2))
    assert details(world, "nobody") == {"ann": None, "ben": None, "cid": "the contact has no primary company"}
    world.trigger(at(3))
    assert inside(world) == {"ann": ["New House*", "acme"], "ben": ["New House*", "acme"], "cid": ["New House*"]}
    assert stored(world, "New House") == Company("New House", "New House", 0, {"city": "Lille"})
    # The step below sees what the one above did, in the same transaction.
    assert [row.result for row in world.passed() if row.step == "asks"] == ["yes"] * 3


def test_a_condition_asks_the_primary_company(world: World) -> None:
    world.contacts("ann", "ben", "cid", segment="everyone")
    company(world, "acme", "Acme", city="Paris")
    company(world, "other", "Other", city="Rome")
    with world.engine.begin() as conn:
        ann, ben = world.ids(conn, "ann", "ben")
        companies.set_primary(conn, {ann: "acme", ben: "other"})
        companies.join(conn, [(ben, "acme")])
    world.campaign(
        """
        - {step: city, condition: contact.field, with: {field: company.city, operator: "=", value: paris}}
        - {step: name, condition: contact.field, with: {field: company.name, operator: startsWith, value: o}}
        - {step: none, condition: contact.field, with: {field: company.key, operator: empty}}
        - {step: points, condition: contact.field, with: {field: company.points, operator: gte, value: 0}}
        """
    )
    world.run()
    yes = {f"{row.contact} {row.step}" for row in world.passed() if row.result == "yes"}
    assert yes == {"ann city", "ben name", "cid none", "ann points", "ben points"}


def test_the_newest_word_of_an_event_is_the_primary_company(world: World) -> None:
    world.tell(event("contact.changed", "ann", at(1, "10:00"), company="Acme"))
    world.tell(event("contact.changed", "ann", at(1, "09:30"), company="Older"), now=at(1, "10:01"))
    assert inside(world) == {"ann": ["Acme*"]}
    world.tell(event("contact.changed", "ann", at(1, "11:00"), company="New House"))
    assert inside(world) == {"ann": ["Acme", "New House*"]}
    world.tell(event("contact.changed", "ann", at(1, "12:00"), company=None))
    assert inside(world) == {"ann": ["Acme", "New House"]}


def test_two_batches_that_meet_at_companies_in_different_orders_both_get_through(world: World) -> None:
    world.contacts("c1", "c2", "c3", "c4", segment="everyone")
    with world.engine.begin() as conn:
        c1, c2, c3, c4 = world.ids(conn, "c1", "c2", "c3", "c4")
        companies.join(conn, [(c2, "first"), (c3, "first")])
        companies.join(conn, [(c1, "second"), (c4, "second")])
    for key in ("one", "two"):
        steps = f"""
            - step: hit
              decision: page.hit
              with: {{url: ["shop.example/{key}"]}}
              yes: [{{step: score, action: company.points, with: {{points: 1}}}}]
            """
        world.campaign(steps, key=key)
    world.run()
    begun, together, here = threading.Event(), threading.Barrier(2, timeout=LONG), threading.local()

    def meet(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "FROM company WHERE key" in statement and "NO KEY UPDATE" in statement:
            here.locks = getattr(here, "locks", 0) + 1
            begun.set()
            # Each holds its first company and is about to ask for the other's.
            if here.locks == 2:
                together.wait()

    def act(first: str, second: str) -> int:
        pages = ((first, "one"), (second, "two"))
        hits = [event("page.hit", key, START, url=f"https://shop.example/{page}") for key, page in pages]
        assert world.accept(*hits).accepted == 2
        return events.act_once(world.engine, zone=world.zone).events

    listening.listen(world.engine, "before_cursor_execute", meet)
    try:
        with ThreadPoolExecutor(2) as threads:
            one = threads.submit(act, "c1", "c2")
            assert begun.wait(LONG)
            two = threads.submit(act, "c3", "c4")
            assert (one.result(LONG), two.result(LONG)) == (2, 2)
    finally:
        listening.remove(world.engine, "before_cursor_execute", meet)
    assert (stored(world, "first").points, stored(world, "second").points) == (2, 2)


def test_an_import_brings_companies(world: World, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    done = []
    for day, company_of_ben in enumerate(("Acme", "New House", ""), 1):
        path.write_text(f"key,company\nann,Acme\nben,{company_of_ben}\ncid,\n", encoding="utf-8")
        with world.engine.begin() as conn:
            contacts.stage(conn, contacts_of(path))  # type: ignore[arg-type]
            done.append(contacts.merge(conn, now=at(day)))
    assert inside(world) == {"ann": ["Acme*"], "ben": ["Acme", "New House*"]}
    assert [(each.added, each.updated, each.unchanged) for each in done] == [(3, 0, 0), (0, 1, 2), (0, 0, 3)]


def test_a_batch_sends_as_many_statements_for_many_contacts_as_for_ten(world: World) -> None:
    counts = []
    for size in (10, 900):
        world.clear()
        keys = world.crowd(size, segment="everyone")
        company(world, "acme")
        with world.engine.begin() as conn:
            companies.join(conn, [(id_, f"own {id_ % 7}") for id_ in world.ids(conn, *keys)])
        world.campaign(
            """
            - step: join
              action: company.add_contact
              with: {company: acme, primary: true}
              then:
                - {step: score, action: company.points, with: {points: 1}}
                - {step: set, action: company.update, with: {fields: {city: Lyon}}}
            """
        )
        world.update()
        with statements_counted(world.engine) as sent:
            world.trigger(batch=2000)
        counts.append(len(sent))
        assert stored(world, "acme").points == size
    assert counts[0] == counts[1]


def test_a_company_of_nobody_contradicts_the_invariants(world: World) -> None:
    with world.engine.begin() as conn:
        companies.join(conn, [(999_999, "acme")])
    wrong = {each.name: each.examples for each in invariants.run(world.engine) if each.violations}
    assert wrong == {"of_contacts_gone": [{"table": "company_member", "contact_id": 999_999, "what": "acme"}]}


def test_who_is_erased_is_in_no_company_any_more_and_a_survivor_keeps_its_own(world: World) -> None:
    world.contacts("ann", "ben", "cid")
    with world.engine.begin() as conn:
        ann, ben, cid = world.ids(conn, "ann", "ben", "cid")
        companies.set_primary(conn, {ann: "acme", ben: "other", cid: "third"})
        companies.join(conn, [(ben, "acme")])
    world.tell(event("contact.merged", "ann", at(2), **{"from": "ben"}))
    assert inside(world) == {"ann": ["acme*", "other"], "cid": ["third*"]}
    world.tell(event("contact.deleted", "cid", at(3)))
    assert inside(world) == {"ann": ["acme*", "other"]}


@pytest.mark.parametrize(
    ("own", "others", "after"),
    [
        ({}, {"acme": True}, ["acme*"]),
        ({"acme": False}, {"acme": True, "other": False}, ["acme*", "other"]),
        ({"acme": False}, {"other": True}, ["acme", "other*"]),
        ({"acme": True}, {"other": True}, ["acme*", "other"]),
    ],
)
def test_a_survivor_without_a_primary_company_takes_the_others(
    world: World, own: dict[str, bool], others: dict[str, bool], after: list[str]
) -> None:
    world.contacts("ann", "ben")
    with world.engine.begin() as conn:
        for contact_id, found in zip(world.ids(conn, "ann", "ben"), (own, others), strict=True):
            companies.join(conn, [(contact_id, key) for key in found])
            for key in (key for key, primary in found.items() if primary):
                companies.set_primary(conn, {contact_id: key})
    world.tell(event("contact.merged", "ann", at(2), **{"from": "ben"}))
    assert inside(world) == {"ann": after}


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("{action: company.points, with: {points: 0}}", "adding 0 points has no effect"),
        ("{action: company.update, with: {fields: {}}}", "give at least one field"),
        ("{action: company.update, with: {fields: {points: 3}}}", "company.points"),
        ("{action: company.update, with: {fields: {name: [a]}}}", "the name of a company must be a text"),
        ("{action: company.add_contact}", "company"),
    ],
)
def test_properties_without_sense_are_refused(world: World, step: str, says: str) -> None:
    from parcours.producers.files.campaigns import CampaignFileError

    with pytest.raises(CampaignFileError, match=says):
        world.campaign(f"- {step}")


def test_a_plan_notes_a_company_that_does_not_exist_yet(world: World) -> None:
    planned = world.campaign("- {action: company.add_contact, with: {company: acme}}")
    assert planned.warnings == [
        "there is no company 'acme' yet; its step is skipped until you create it with `parcours companies create`"
    ]
