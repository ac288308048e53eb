"""Versions of an email are tried by their weights, until one of them wins a step."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from parcours.db.reads import email_figures
from parcours.db.tables import emails, variant_tests
from parcours.db.tables.variant_tests import TriedPlace
from parcours.domain.messages.content import Content, Variant
from parcours.domain.messages.results import Retry
from parcours.domain.messages.winner import winner_rule
from parcours.workers.delivery import deliver
from tests.conftest import Run
from tests.workers.delivery.test_delivery import Post
from tests.workers.worlds import START, World, at, event, statements_counted

STEP = "- {step: offer, action: email.send, with: {email: offer}}"
RULE = ("4 hours", "clicked")


def save(world: World, *weights: tuple[str, float], rule: Any = RULE, text: str = "Hello") -> None:
    variants = tuple(Variant(name, weight, Content(subject=name)) for name, weight in weights)
    winner = None if rule is None else winner_rule(*rule)
    with world.engine.begin() as conn:
        emails.save(
            conn, emails.Email("offer", "A", None, text, None, True, variants=variants, winner=winner), now=START
        )


def more(world: World, n: int, prefix: str, when: datetime) -> None:
    world.crowd(n, segment="everyone", prefix=prefix)
    world.run(when)


def clicks(world: World, variant: str | None, n: int, when: datetime) -> None:
    rows = world.read(
        "SELECT message.key, contact.key AS contact FROM message JOIN contact ON contact.id = contact_id "
        "WHERE variant IS NOT DISTINCT FROM :variant AND state = 'sent' AND clicked_at IS NULL ORDER BY 1 LIMIT :n",
        variant=variant, n=n,
    )  # fmt: skip
    assert len(rows) == n
    for row in rows:
        world.tell(event("email.clicked", row.contact, when, message=row.key, url="https://e.org"))


def rounds_of(world: World) -> list[tuple[int, str | None]]:
    return [(row.round, row.winner) for row in world.read("SELECT round, winner FROM variant_test ORDER BY 1, step_id")]


@pytest.fixture
def post(world: World) -> Post:
    made = Post(world)
    save(world, ("B", 50))
    world.crowd(40, segment="everyone")
    world.campaign(STEP)
    world.run()
    made.deliver(at(1, "09:00"))
    assert set(sent(made)) == {"A", "B"}
    return made


def sent(post: Post) -> Counter[str]:
    got = Counter(str(each.subject) for each in post.email.got)
    post.email.got.clear()
    return got


def test_the_best_version_gets_all_further_sends_once_its_time_is_over(world: World, post: Post) -> None:
    clicks(world, "B", 3, at(1, "10:00"))
    clicks(world, None, 1, at(1, "10:00"))
    more(world, 30, "early", at(1, "12:59"))
    post.deliver(at(1, "12:59"))
    assert set(sent(post)) == {"A", "B"}
    more(world, 30, "late", at(1, "13:00"))
    with capture_logs() as logs:
        post.deliver(at(1, "13:00"))
    assert sent(post) == {"B": 30}
    won = [
        {name: each[name] for name in ("email", "variant", "log_level")}
        for each in logs
        if each["event"] == "variant_won"
    ]
    assert won == [{"email": "offer", "variant": "B", "log_level": "info"}]
    # Whatever is clicked afterwards, the choice stays.
    clicks(world, None, 15, at(1, "14:00"))
    more(world, 30, "later", at(2, "09:00"))
    with capture_logs() as logs:
        post.deliver(at(2, "09:00"))
    assert sent(post) == {"B": 30}
    assert [each for each in logs if each["event"] == "variant_won"] == []
    with world.engine.connect() as conn:
        (test,) = email_figures.tests(conn, "offer")
    assert (test.started_at, test.decided_at, test.variant) == (at(1, "09:00"), at(1, "13:00"), "B")


def test_the_main_version_may_win(world: World, post: Post) -> None:
    clicks(world, None, 2, at(1, "10:00"))
    more(world, 30, "late", at(2))
    post.deliver(at(2))
    assert sent(post) == {"A": 30}
    assert rounds_of(world) == [(0, "")]


def test_without_a_click_or_with_a_tie_the_weights_stay_and_it_is_asked_again(world: World, post: Post) -> None:
    more(world, 40, "late", at(2))
    post.deliver(at(2))
    assert set(sent(post)) == {"A", "B"}
    assert rounds_of(world) == [(0, None)]
    clicks(world, "B", 1, at(2, "10:00"))
    more(world, 20, "later", at(3))
    post.deliver(at(3))
    assert sent(post) == {"B": 20}


def test_each_step_has_a_winner_of_its_own(world: World, post: Post) -> None:
    clicks(world, "B", 2, at(1, "10:00"))
    world.crowd(40, segment="others", prefix="other")
    world.campaign(STEP.replace("step: offer", "step: other"), key="d", segments=("others",))
    world.run(at(2))
    post.deliver(at(2))
    assert set(sent(post)) == {"A", "B"}
    assert rounds_of(world) == [(0, None), (0, None)]


def test_another_set_of_variants_begins_anew_and_a_corrected_text_does_not(world: World, post: Post) -> None:
    clicks(world, "B", 2, at(1, "10:00"))
    more(world, 5, "late", at(2))
    post.deliver(at(2))
    assert sent(post) == {"B": 5}
    save(world, ("B", 50), text="Hello again")
    more(world, 20, "text", at(3))
    post.deliver(at(3))
    assert sent(post) == {"B": 20}
    save(world, ("B", 30), ("C", 40), text="Hello again")
    more(world, 40, "new", at(4))
    post.deliver(at(4))
    assert set(sent(post)) == {"A", "B", "C"}
    # What was clicked before the test does not count for it.
    more(world, 40, "newer", at(5))
    post.deliver(at(5))
    assert set(sent(post)) == {"A", "B", "C"}
    clicks(world, "C", 1, at(5, "10:00"))
    more(world, 20, "last", at(6))
    post.deliver(at(6))
    assert sent(post) == {"C": 20}
    assert rounds_of(world) == [(0, "B"), (1, "C")]


def test_a_rule_that_is_taken_out_leaves_the_weights(world: World, post: Post) -> None:
    clicks(world, "B", 2, at(1, "10:00"))
    save(world, ("B", 50), rule=None)
    more(world, 40, "late", at(2))
    post.deliver(at(2))
    assert set(sent(post)) == {"A", "B"}


def test_a_message_that_is_tried_again_stays_the_version_that_it_was(world: World) -> None:
    post = Post(world)
    save(world, ("B", 50))
    world.crowd(40, segment="everyone")
    world.campaign(STEP)
    world.run()
    for n in range(1, 21):
        post.email.answers[f"c{n}@example.com"] = Retry("busy")
    post.deliver(at(1, "09:00"))
    first = {each.to[0]: each.subject for each in post.email.got}
    clicks(world, "B", 2, at(1, "10:00"))
    clicks(world, None, 1, at(1, "10:00"))
    world.write("UPDATE message SET due_at = :at WHERE state = 'queued'", at=at(2))
    more(world, 5, "late", at(2))
    post.email.answers.clear()
    post.email.got.clear()
    post.deliver(at(2))
    again = {each.to[0]: each.subject for each in post.email.got}
    assert {name: again[name] for name in again if name in first} == {
        name: first[name] for name in first if name in again
    }
    assert len(again) == 25
    assert {again[f"late{n}@example.com"] for n in range(1, 6)} == {"B"}


def test_two_workers_at_once_never_choose_two(world: World, post: Post) -> None:
    """The second waits for the first, and gets its winner, though it would have chosen another."""
    (row,) = world.read("SELECT campaign_id, step_id FROM variant_test")
    place = TriedPlace("offer", row.campaign_id, row.step_id, 0)
    with ThreadPoolExecutor(1) as beside, world.engine.begin() as conn:
        first = variant_tests.decide(conn, place, "B", now=at(2))

        def second() -> tuple[variant_tests.VariantTest, bool]:
            with world.engine.begin() as other:
                return variant_tests.decide(other, place, "", now=at(2))

        late = beside.submit(second)
        conn.commit()
        test, is_first = late.result()
    assert first[1] is True
    assert (is_first, test.winner) == (False, "B")
    assert rounds_of(world) == [(0, "B")]


def test_a_batch_costs_as_many_statements_as_a_message(world: World, post: Post) -> None:
    clicks(world, "B", 2, at(1, "10:00"))

    def statements(n: int, prefix: str, when: datetime) -> int:
        more(world, n, prefix, when)
        delivery = post.delivery(at_once=200)
        with statements_counted(world.engine) as counted:
            deliver.deliver_once(world.engine, delivery, "email", zone=world.zone, as_of=when)
        return sum("variant_test" in each for each in counted)

    assert statements(1, "one", at(1, "12:00")) == statements(100, "many", at(1, "12:30")) == 1
    # The choice costs a few, once.
    assert statements(50, "late", at(2)) > 1
    assert statements(50, "later", at(3)) == 1


def test_a_file_and_rest_have_the_rule_and_say_what_is_wrong_with_it(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "emails.yaml"
    good = "key: offer\nsubject: A\ntext: Hi\nvariants: [{name: b, weight: 50, subject: B}]\n"
    path.write_text(good + "winner: {after: 4 hours, by: clicked}\n")
    assert run("emails", "apply", path).stdout == "created offer\n"
    assert run("emails", "apply", path).stdout == "unchanged offer\n"
    assert json.loads(run("emails", "list", "--json").stdout)[0]["winner"] == {"after": "4 hours", "by": "clicked"}
    for text, said in (
        (good + "winner: soon\n", "must be a mapping of after and by"),
        (good + "winner: {after: 4 hours, by: money}\n", "must be opened or clicked, not 'money'"),
        (good + "winner: {after: soon, by: clicked}\n", "'soon'"),
        (good + "winner: {after: 1 day, by: clicked, best: 2}\n", "unknown property 'best' in the winner"),
        (good + "tracking: false\nwinner: {after: 1 day, by: clicked}\n", "no winner without tracking"),
        ("key: offer\nsubject: A\ntext: Hi\nwinner: {after: 1 day, by: opened}\n", "no winner without variants"),
    ):
        path.write_text(text)
        done = run("emails", "apply", path)
        assert done.returncode == 1, text
        assert said in done.stderr
