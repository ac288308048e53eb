"""The step types, each by itself: no database is needed for that."""

from __future__ import annotations

from loyalty import has_level, redeemed, reward

from parcours.steps import Done, Skipped
from parcours.testing import Contact, run_action, run_condition, run_decision


def test_a_contact_gets_the_level_once() -> None:
    ann, ben = Contact(1, "ann"), Contact(2, "ben", fields={"level": "gold"})
    assert run_action(reward, [ann, ben], {"level": "gold"}) == [
        Done({"before": None}),
        Skipped("it has that level already"),
    ]
    assert ann.fields == {"level": "gold"}


def test_a_contact_has_one_of_the_levels() -> None:
    contacts = [Contact(1, "ann", fields={"level": "gold"}), Contact(2, "ben")]
    assert run_condition(has_level, contacts, {"levels": ["silver", "gold"]}) == [True, False]


def test_a_voucher_of_too_small_a_value_is_not_waited_for() -> None:
    assert run_decision(redeemed, "voucher.redeemed", {"value": 10}, {"at_least": 10})
    assert not run_decision(redeemed, "voucher.redeemed", {"value": 9}, {"at_least": 10})
    assert not run_decision(redeemed, "order.paid", {"value": 10}, {"at_least": 10})
