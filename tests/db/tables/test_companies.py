"""Companies: who is in them, which one is a contact's primary one, and what changes them."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from parcours.db.tables import companies
from parcours.db.tables.companies import CompanyLine, Membership
from parcours.domain.steps.batch import Company
from tests.db.rows import contacts

# What the column of points holds.
MOST = 2**31 - 1


@pytest.fixture(autouse=True)
def some(conn: Connection) -> None:
    contacts(conn, (1, 2, 3))


def test_a_company_is_made_by_the_first_who_joins_it_and_nobody_joins_twice(conn: Connection) -> None:
    companies.join(conn, [(2, "acme"), (1, "acme"), (1, "zeta")])
    companies.join(conn, [(1, "acme"), (3, "zeta")])
    assert companies.listed(conn) == [CompanyLine("acme", "acme", 0, 2), CompanyLine("zeta", "zeta", 0, 2)]
    assert companies.of_contacts(conn, [1, 2, 3]) == {
        1: Membership(frozenset({"acme", "zeta"}), None),
        2: Membership(frozenset({"acme"}), None),
        3: Membership(frozenset({"zeta"}), None),
    }
    assert companies.existing(conn, ["acme", "none"]) == {"acme"}


def test_only_who_was_in_a_company_leaves_it(conn: Connection) -> None:
    companies.join(conn, [(1, "acme"), (2, "zeta")])
    assert companies.leave(conn, [(1, "acme"), (2, "acme"), (3, "none")]) == [1]
    assert companies.leave(conn, []) == []
    assert companies.of_contacts(conn, [1, 2, 3]) == {2: Membership(frozenset({"zeta"}), None)}


def test_a_contact_has_one_primary_company_which_it_joins_and_may_have_none_again(conn: Connection) -> None:
    companies.join(conn, [(1, "acme")])
    companies.set_primary(conn, {1: "acme", 2: "zeta"})
    companies.set_primary(conn, {1: "zeta"})
    assert companies.of_contacts(conn, [1])[1] == Membership(frozenset({"acme", "zeta"}), "zeta")
    assert companies.members(conn, "zeta", limit=1) == [("c1", True)]
    companies.set_primary(conn, {1: None, 2: None})
    assert companies.of_contacts(conn, [1, 2]) == {
        1: Membership(frozenset({"acme", "zeta"}), None),
        2: Membership(frozenset({"zeta"}), None),
    }


def test_points_add_up_within_what_the_column_holds_and_fields_are_merged(conn: Connection) -> None:
    companies.join(conn, [(1, "acme"), (1, "zeta")])
    companies.change(conn, {"acme": MOST, "zeta": -5, "none": 1}, {"acme": {"size": 1, "city": "Lyon"}})
    companies.change(conn, {"acme": MOST, "zeta": -(2**40)}, {"acme": {"size": 2}, "none": {"size": 3}})
    assert companies.find(conn, "acme") == Company("acme", "acme", MOST, {"size": 2, "city": "Lyon"})
    assert companies.find(conn, "zeta") == Company("zeta", "zeta", -MOST, {})
    assert companies.find(conn, "none") is None


def test_saving_says_what_it_changed_and_keeps_what_is_not_given(conn: Connection) -> None:
    assert companies.save(conn, "acme", name="Acme", fields={"city": "Lyon"}) == "created"
    assert companies.save(conn, "acme", name=None, fields={"city": "Lyon"}) == "unchanged"
    assert companies.save(conn, "acme", name=None, fields={"size": 5}) == "updated"
    assert companies.find(conn, "acme") == Company("acme", "Acme", 0, {"city": "Lyon", "size": 5})


def test_companies_that_steps_name_are_known_by_key_and_by_name_the_oldest_first(conn: Connection) -> None:
    for key in ("b", "a"):
        companies.save(conn, key, name="Acme", fields={})
    companies.join(conn, [(1, "own")])
    assert list(companies.known(conn, [1], ["Acme"])) == ["b", "a", "own"]
    assert list(companies.known(conn, [2], ["a", "nobody"])) == ["a"]
