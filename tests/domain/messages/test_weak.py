"""Which email of a campaign is said to do worse than the others."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.messages.weak import LEAST_DELIVERED, EmailTried, compare


def clicks(**emails: tuple[int, int]) -> list[EmailTried]:
    return [EmailTried(key, n, opened=did, clicked=did) for key, (did, n) in emails.items()]


def test_the_email_with_clearly_fewer_clicks_is_named_with_the_rate_of_the_others() -> None:
    found = compare(clicks(hello=(380, 10_000), news=(50, 4210), bye=(390, 10_000)))
    assert (found.by, found.why_none) == ("clicked", None)
    assert [(each.email, each.delivered, each.did) for each in found.weak] == [("news", 4210, 50)]
    assert round(found.weak[0].rate, 4) == 0.0119
    assert found.weak[0].others == 770 / 20_000


def test_what_chance_explains_is_not_called_worst() -> None:
    assert compare(clicks(hello=(10, 200), news=(6, 200))).why_none == "same"
    assert compare(clicks(hello=(0, 5000), news=(0, 5000))).why_none == "same"


def test_two_emails_that_are_equally_bad_are_both_named() -> None:
    found = compare(clicks(bad=(200, 10_000), poor=(210, 10_000), good=(2000, 10_000)))
    assert [each.email for each in found.weak] == ["bad", "poor"]


def test_an_email_that_few_received_is_left_out() -> None:
    few = LEAST_DELIVERED - 1
    assert compare(clicks(hello=(50, 1000), news=(0, few))).why_none == "few"
    found = compare(clicks(hello=(500, 1000), news=(0, few), bye=(100, 1000)))
    assert [each.email for each in found.weak] == ["bye"]


def test_one_email_is_nothing_to_compare() -> None:
    assert compare([]).why_none == "one"
    assert compare(clicks(hello=(1, 1000))).why_none == "one"


def test_openings_count_where_fewer_than_two_emails_have_links() -> None:
    tried = [
        EmailTried("plain", 1000, opened=100, clicked=0, links=False),
        EmailTried("linked", 1000, opened=400, clicked=10),
        EmailTried("untracked", 1000, opened=0, clicked=0, links=False, pixel=False),
    ]
    found = compare(tried)
    assert found.by == "opened"
    assert [each.email for each in found.weak] == ["plain"]


def test_an_email_without_links_is_not_blamed_for_having_no_clicks() -> None:
    tried = [*clicks(hello=(40, 1000), news=(42, 1000)), EmailTried("plain", 1000, 10, 0, links=False)]
    found = compare(tried)
    assert (found.by, found.why_none) == ("clicked", "same")


def test_an_email_that_most_got_since_yesterday_is_not_compared_with_older_ones() -> None:
    old, new = clicks(old=(400, 1000), new=(2, 1000))
    assert compare([old, new._replace(new=True)]).why_none == "new"
    assert [each.email for each in compare([old._replace(new=True), new._replace(new=True)]).weak] == ["new"]


counted = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))


@given(st.dictionaries(st.text(max_size=3), counted, max_size=6), st.booleans())
def test_whatever_was_counted_is_compared_and_who_is_named_is_below_the_others(
    emails: dict[str, tuple[int, int, int]], links: bool
) -> None:
    found = compare([EmailTried(key, *numbers, links=links) for key, numbers in emails.items()])
    assert bool(found.weak) != bool(found.why_none)
    assert all(0 <= each.rate < each.others <= 1 for each in found.weak)
    assert [each.rate for each in found.weak] == sorted(each.rate for each in found.weak)


def test_among_emails_that_are_the_same_chance_seldom_names_one() -> None:
    dice = random.Random(7)

    def clicked() -> tuple[int, int]:
        return sum(dice.random() < 0.05 for _ in range(500)), 500

    named = sum(bool(compare(clicks(**{f"e{n}": clicked() for n in range(8)})).weak) for _ in range(400))
    assert named < 400 * 0.06
