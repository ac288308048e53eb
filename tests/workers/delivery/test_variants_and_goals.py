"""Which variant of an email went to whom is counted on the way to the goal, when the email goes out."""

from __future__ import annotations

from parcours.db.tables import emails
from parcours.domain.messages.content import Content, Variant
from tests.workers.delivery.test_delivery import Post
from tests.workers.test_goals import GOAL, control_of, counted, holds, paid
from tests.workers.worlds import START, World, at, event

STEP = "- {step: offer, action: email.send, with: {email: offer}}"


def offer(world: World, n: int, **settings: object) -> tuple[Post, list[str]]:
    everybody = world.crowd(n, segment="everyone")
    with world.engine.begin() as conn:
        variants = (Variant("B", 50, Content(subject="Other")),)
        emails.save(conn, emails.Email("offer", "One", None, "Hello", None, True, variants=variants), now=START)
    world.campaign(STEP, goal=GOAL, **settings)  # type: ignore[arg-type]
    world.run()
    return Post(world), everybody


def test_variants_are_counted_when_they_go_out_and_when_their_readers_reach_the_goal(world: World) -> None:
    post, everybody = offer(world, 12)
    world.tell(paid(everybody[0], at(1, "09:01"), total=5))
    post.deliver(at(1, "09:02"))
    world.tell(*(paid(key, at(2), total=1) for key in everybody[1:]))
    got = [each.subject for each in post.email.got]
    found = counted(world)
    # Who had reached it before is of no variant.
    assert found["offer="][0] + found["offer=B"][0] == 11 == len(got) - 1
    assert found["offer="][0] == found["offer="][1]
    assert abs(found["offer=B"][0] - got.count("Other")) <= 1
    holds(world)


def test_what_waits_to_go_does_not_go_to_who_is_in_the_control_group_since_a_merge(world: World) -> None:
    post, everybody = offer(world, 20, control=50)
    control = sorted(control_of(world))
    treated = sorted(set(everybody) - set(control))
    world.tell(event("contact.merged", control[0], at(1, "09:01"), **{"from": treated[0]}))
    post.deliver(at(1, "09:02"))
    assert len(post.email.got) == len(treated) - 1
    holds(world)
