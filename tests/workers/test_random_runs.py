"""Whatever happens in whatever order: a run sees its own data only, and there is one outcome for each passage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parcours.db.checks import invariants
from parcours.domain.events.parsing import ContactEvent
from parcours.workers import events
from tests.workers.worlds import START, World, event

STEPS = """
- step: note
  action: webhook.send
  with: {url: "https://shop.example/hook", body: {cart: "{{ entry.cart }}", n: "{{ entry.n }}"}}
- step: nudge
  action: contact.points
  with: {points: 1}
  after: 1 hour
  then:
    - step: even
      condition: contact.field
      with: {field: entry.even, operator: "=", value: "yes"}
      yes: [{step: back, action: campaign.jump, with: {to: nudge}}]
      no:
        - step: bought
          decision: event.happened
          with: {type: cart.seen, key: cart}
          within: 2 hours
          yes:
            - step: tell
              action: webhook.send
              with: {url: "https://shop.example/hook", body: {cart: "{{ entry.cart }}"}}
          no: [{step: end, action: contact.points, with: {points: 1}}]
"""
SOURCES = [{"type": "cart.updated", "key": "cart"}]
EXITS = [{"event": "order.paid", "key": "cart"}, {"event": "account.closed"}]

CONTACTS = ("ann", "bob")
CARTS = ("x", "y", "z")


class Act(NamedTuple):
    """What happens: a type of event and its cart; `later` is how long after the one before, `twice` sent again."""

    type: str
    contact: str
    cart: str
    later: timedelta
    twice: bool
    crash: bool


acts = st.builds(
    Act,
    st.sampled_from(["cart.updated"] * 5 + ["order.paid", "cart.seen", "account.closed", "trigger", "merge"]),
    st.sampled_from(CONTACTS),
    st.sampled_from(CARTS),
    st.sampled_from([timedelta(0), timedelta(minutes=20), timedelta(hours=1), timedelta(hours=3)]),
    st.booleans(),
    st.booleans(),
)


class Expected:
    """Which runs go on, by the rules as a person would say them: the last word on a cart counts."""

    def __init__(self) -> None:
        # Contact to cart to the number of the event that its run was begun by; None: it ended.
        self.carts: dict[str, dict[str, int | None]] = {"ann": {}, "bob": {}}

    def act(self, act: Act, nth: int) -> None:
        mine = self.carts[act.contact]
        if act.type == "cart.updated":
            mine[act.cart] = nth
        elif act.type == "order.paid" and act.cart in mine:
            mine[act.cart] = None
        elif act.type == "account.closed":
            mine.update(dict.fromkeys(mine))

    def merge(self) -> None:
        self.carts = {"ann": {**self.carts["bob"], **self.carts["ann"]}}

    def going(self) -> dict[str, dict[str, int]]:
        return {
            contact: {cart: n for cart, n in carts.items() if n is not None} for contact, carts in self.carts.items()
        }


def play(world: World, story: Sequence[Act]) -> Expected:
    """Let it all happen, and return what is to come of it."""
    expected, now, merged = Expected(), START, False
    for nth, act in enumerate(story):
        now += act.later
        if act.type == "trigger":
            world.trigger(now, batch=2)
            continue
        if act.type == "merge":
            if not merged:
                merged = True
                world.tell(event("contact.merged", "ann", now, **{"from": "bob"}))
                expected.merge()
            continue
        who = "ann" if merged else act.contact
        even = "yes" if act.cart == "x" else "no"
        happen(world, event(act.type, who, now, cart=act.cart, n=nth, even=even), now, act)
        expected.act(act._replace(contact=who), nth)
    return expected


def happen(world: World, happened: ContactEvent, now: Any, act: Act) -> None:
    world.accept(happened, now=now)
    if act.crash:
        # All of it is done, and then the process dies before it could commit.
        with world.engine.connect() as conn:
            assert events.act(conn, now=now, zone=world.zone).events == 1
            conn.rollback()
    world.act(now)
    if act.twice:
        assert world.accept(happened, now=now).duplicates == 1
        world.act(now)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(acts, min_size=2, max_size=10))
def test_whatever_happens_runs_keep_apart(world: World, story: list[Act]) -> None:
    world.clear()
    world.contacts(*CONTACTS)
    world.campaign(STEPS, segments=(), events=SOURCES, exit=EXITS, reentry="always")
    expected = play(world, story)

    going: dict[str, dict[str, int]] = {contact: {} for contact in expected.carts}
    for row in world.read(
        "SELECT contact.key AS contact, run.key, (entry ->> 'n')::int AS n FROM run "
        "JOIN contact ON contact.id = contact_id WHERE left_at IS NULL"
    ):
        going[row.contact][row.key] = row.n
    assert going == expected.going()
    end = START + timedelta(days=3)
    world.trigger(end, batch=3)
    world.check()
    assert [each.name for each in invariants.run(world.engine) if each.violations] == []

    # The data of a message is that of the run whose outcome wrote it.
    mixed = world.read(
        "SELECT message.key, run.key AS run, payload FROM message "
        "JOIN outcome ON outcome.contact_id = message.contact_id "
        "AND outcome.step_id = message.step_id AND outcome.result = 'done' AND outcome.rotation = message.rotation "
        "JOIN run ON run.contact_id = outcome.contact_id AND run.number = outcome.run "
        "WHERE payload -> 'run' -> 'entry' ->> 'cart' <> run.key "
        "OR (payload -> 'run' ->> 'number')::int <> outcome.run AND message.key LIKE '%-' || message.contact_id || '-%'"
    )
    assert mixed == []
    # A condition answers for the cart of its own run.
    wrong = world.read(
        "SELECT run.key, result::text FROM outcome JOIN step ON step.id = step_id AND step.key = 'even' "
        "JOIN run ON run.contact_id = outcome.contact_id AND run.number = outcome.run "
        "WHERE (result = 'yes') <> (run.key = 'x') AND result IN ('yes', 'no')"
    )
    assert wrong == []
    # Nothing was done in a run that had ended, unless it began again later.
    late = world.read(
        "SELECT run.key FROM outcome JOIN run ON run.contact_id = outcome.contact_id AND run.number = outcome.run "
        "WHERE outcome.at > run.left_at AND result <> 'cancelled'"
    )
    assert late == []
