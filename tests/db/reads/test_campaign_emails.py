"""The emails that a campaign sends, and what became of them."""

from __future__ import annotations

import pytest

from parcours.db.reads import campaign_emails
from parcours.db.reads.campaign_emails import EmailOfCampaign
from parcours.db.tables import campaigns, emails
from parcours.db.tables.emails import Email
from parcours.domain.messages.content import Content, Variant
from tests.workers.worlds import START, World, at

TREE = """
- step: hello
  action: email.send
  with: {email: hello}
  then: [{step: more, action: email.send, with: {email: more}}]
- {step: again, action: email.send, with: {email: hello, again: always}}
- {step: tell, action: email.send_to_user, with: {email: internal, to: [ada@example.com]}}
"""


def written(world: World, key: str, html: str | None = '<a href="https://example.com">', **columns: object) -> None:
    with world.engine.begin() as conn:
        emails.save(conn, Email(key, key, html, "Hello", None, True, **columns), now=START)  # type: ignore[arg-type]


def of(world: World, *, day: int = 1) -> dict[str, EmailOfCampaign]:
    with world.engine.connect() as conn:
        found = world.found(conn)
        campaign = campaigns.load(conn, found.id, found.version, world.zone)
        return {each.email: each for each in campaign_emails.of(conn, campaign, now=at(day))}


def test_the_messages_of_all_steps_that_send_an_email_count_together(world: World) -> None:
    for key in ("hello", "more", "internal"):
        written(world, key)
    world.crowd(3, segment="everyone")
    world.campaign(TREE)
    world.run()
    world.write("UPDATE message SET state = 'sent', sent_at = created_at")
    world.write("UPDATE message SET clicked_at = sent_at, opened_at = sent_at WHERE template = 'more'")
    world.write(
        "UPDATE message SET bounced_at = sent_at WHERE template = 'hello' AND contact_id = :id",
        id=world.contact_id("c1"),
    )
    found = of(world)
    # What colleagues get is none of them.
    assert list(found) == ["hello", "more"]
    assert found["hello"].steps == ["hello", "again"]
    assert (found["hello"].figures.sent, found["hello"].figures.delivered) == (6, 4)
    assert (found["more"].figures.clicked, found["more"].figures.opened) == (3, 3)
    assert (found["hello"].lately, found["more"].lately) == (6, 3)
    assert of(world, day=2)["more"].lately == 3
    assert of(world, day=3)["more"].lately == 0


def test_what_another_campaign_sent_of_an_email_does_not_count(world: World) -> None:
    written(world, "hello")
    world.crowd(2, segment="everyone")
    world.campaign("- {step: hello, action: email.send, with: {email: hello}}", key="other")
    world.run()
    world.write("UPDATE message SET state = 'sent', sent_at = created_at")
    world.campaign("- {step: hello, action: email.send, with: {email: hello}}", existing=False)
    assert of(world)["hello"].figures.sent == 0


@pytest.mark.parametrize(
    ("html", "columns", "links", "pixel"),
    [
        ('<p><A HREF = "https://example.com">', {}, True, True),
        ("<a href='{{ contact.page }}'>", {}, True, True),
        ('<a href="{{ unsubscribe_url }}">', {}, False, True),
        ('<a href="{{- unsubscribe_url }}">', {}, False, True),
        ("<p>Hello", {}, False, True),
        (None, {}, False, False),
        ('<a href="https://example.com">', {"tracking": False}, False, False),
        ("<p>", {"translations": {"fr": Content(html='<a href="http://example.com">')}}, True, True),
        ("<p>", {"variants": (Variant("B", 50, Content(html="<a href='https://example.com'>"), {}),)}, True, True),
    ],
)
def test_clicks_are_expected_of_an_email_with_links_that_are_counted(
    world: World, html: str | None, columns: dict[str, object], links: bool, pixel: bool
) -> None:
    written(world, "hello", html, **columns)
    world.campaign("- {step: hello, action: email.send, with: {email: hello}}")
    assert (of(world)["hello"].links, of(world)["hello"].pixel) == (links, pixel)


def test_a_campaign_without_emails_has_none(world: World) -> None:
    world.campaign("- {step: one, action: contact.points, with: {points: 1}}")
    assert of(world) == {}
