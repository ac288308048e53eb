"""Messages leave: what is claimed, in which order, what stops them, and what becomes of each answer."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from parcours.cli.explain import message_sentence
from parcours.db.checks import invariants
from parcours.db.reads import overview
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, contacts, erasure, merging, outbox, refusals
from parcours.domain.messages.results import Bounced, GaveUp, Result, Retry, Sent
from parcours.ops.tokens import Tokens
from parcours.workers.delivery import claim, deliver, render, smtp_connection
from parcours.workers.delivery.channels import Delivery, Outgoing
from parcours.workers.delivery.providers.smtp import Sender, SmtpProvider
from parcours.workers.delivery.registry import CHANNELS
from parcours.workers.delivery.render import Links
from parcours.workers.delivery.transport import Channel
from tests.mailbox import MailServer
from tests.workers.worlds import START, World, at, statements_counted

SEND = "- {step: send, action: email.send, with: {email: hello}}"


NIGHT = '{"quiet_hours": {"between": ["22:00", "08:00"]}}'


class Provider:
    """Takes messages as a provider would, and answers what the test says: by address, else `otherwise`."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.answers: dict[str, Result] = {}
        self.otherwise: Result = Sent()
        self.meanwhile: Callable[[], None] = lambda: None

    def send(self, batch: Sequence[Any]) -> list[Result]:
        self.got += batch
        self.meanwhile()
        return [self.answers.get(self._name(each), self.otherwise) for each in batch]

    def close(self) -> None:
        pass

    def _name(self, message: Any) -> str:
        return str(message.to[0] if hasattr(message, "subject") else getattr(message, "to", None))

    def took(self) -> list[str]:
        return [self._name(each).removesuffix("@example.com") for each in self.got]


class Post:
    """A delivery whose providers are the test's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.providers = {name: Provider() for name in CHANNELS}
        self.rates: dict[str, float] = {}

    @property
    def email(self) -> Provider:
        return self.providers["email"]

    def delivery(self, at_once: int = 1, connections: int = 1) -> Delivery:
        def outlet(name: str) -> Outgoing:
            provider = self.providers[name]
            return Outgoing(Channel(name, lambda: provider, "the test", at_once, connections))

        links = Links(Tokens("secret"), "https://parcours.example")
        return Delivery({name: outlet(name) for name in CHANNELS}, links, self.rates, 60)

    def deliver(self, now: datetime = START, **scope: Any) -> Counter[str]:
        made = Scope(**scope)
        return deliver.deliver_inline(self.world.engine, self.delivery(), made, now=now, zone=self.world.zone)


@pytest.fixture
def post(world: World) -> Post:
    return Post(world)


def sending(world: World, *keys: str, steps: str = SEND, **settings: Any) -> None:
    """Contacts whose email is in the outbox."""
    world.email("hello")
    world.contacts(*keys, segment="everyone")
    world.campaign(steps, **settings)
    world.run()


def states(world: World) -> dict[str, str]:
    rows = world.read(
        "SELECT contact.key, message.state::text AS state FROM message JOIN contact ON contact.id = contact_id"
    )
    return {row.key: row.state for row in rows}


def message(world: World, key: str = "ann") -> Any:
    (row,) = world.read(
        "SELECT message.* FROM message JOIN contact ON contact.id = contact_id WHERE contact.key = :key", key=key
    )
    return row


def test_what_is_due_leaves_once_and_is_counted(world: World, post: Post) -> None:
    sending(world, "ann", "ben")
    assert post.deliver() == {"sent": 2}
    assert post.deliver() == {}
    assert sorted(post.email.took()) == ["ann", "ben"]
    assert states(world) == {"ann": "sent", "ben": "sent"}
    assert message(world).sent_at == START
    (row,) = world.read("SELECT day, sum(n)::int AS n FROM campaign_count WHERE what = 'emails_sent' GROUP BY day")
    assert (row.day, row.n) == (START.date(), 2)


def test_transactional_goes_before_marketing_then_priority_then_what_was_due_first(world: World, post: Post) -> None:
    sending(world, "ann", "ben", "cid", "dan")
    for key, marketing, priority, minutes in (
        ("ann", True, 0, 0),
        ("ben", True, 1, 9),
        ("cid", False, 0, 9),
        ("dan", True, 0, -9),
    ):
        world.write(
            "UPDATE message SET marketing = :marketing, priority = :priority, due_at = :due "
            "FROM contact WHERE contact.id = contact_id AND contact.key = :key",
            key=key,
            marketing=marketing,
            priority=priority,
            due=START + timedelta(minutes=minutes),
        )
    post.deliver(START + timedelta(hours=1))
    assert post.email.took() == ["cid", "ben", "dan", "ann"]


def test_messages_of_a_paused_campaign_stay_and_those_of_a_deleted_one_are_cancelled(world: World, post: Post) -> None:
    sending(world, "ann")
    world.pause()
    assert post.deliver() == {}
    assert states(world) == {"ann": "queued"}
    world.write("UPDATE campaign SET deleted_at = :now", now=START)
    assert post.deliver() == {"cancelled": 1}
    assert message(world).error == "the campaign was deleted"
    assert post.email.got == []


def test_a_refusal_that_comes_while_a_marketing_message_waits_stops_it(world: World, post: Post) -> None:
    sending(world, "ann", "ben", "cid")
    world.do_not_contact("ann", "ben")
    world.write("UPDATE message SET marketing = false WHERE address LIKE 'ben%'")
    assert post.deliver() == {"sent": 2, "cancelled": 1}
    assert states(world) == {"ann": "cancelled", "ben": "sent", "cid": "sent"}
    assert message(world).error == "do not contact (email): unsubscribed"


def test_who_refuses_a_category_gets_none_of_it_not_even_a_transactional_email(world: World, post: Post) -> None:
    sending(world, "ann", "ben")
    world.write("UPDATE email SET category = 'News'")
    world.write("UPDATE message SET marketing = false")
    world.write(
        "INSERT INTO do_not_contact (contact_id, channel, reason, at) "
        "SELECT id, 'email:news', 'unsubscribed', :at FROM contact WHERE key = 'ann'",
        at=START,
    )
    assert post.deliver() == {"sent": 1, "cancelled": 1}
    assert message(world).error == "the contact refused emails of the category 'News': unsubscribed"
    assert post.email.took() == ["ben"]


def test_a_message_that_is_late_does_not_go_at_night_nor_in_a_pause(world: World, post: Post) -> None:
    sending(world, "ann", "ben", "cid", "dan")
    world.write("INSERT INTO policy VALUES ('email', CAST(:rules AS jsonb), :at)", rules=NIGHT, at=START)
    world.write("UPDATE contact SET timezone = 'America/New_York' WHERE key = 'ben'")
    world.write("UPDATE message SET marketing = false WHERE contact_id = (SELECT id FROM contact WHERE key = 'cid')")
    world.write(
        "INSERT INTO frequency_rule (contact_id, channel, paused_from, paused_until) "
        "SELECT id, 'email', :at, :until FROM contact WHERE key = 'dan'",
        at=START,
        until=at(3),
    )
    # 23:00, and the afternoon of the contact in New York.
    assert post.deliver(at(1, "23:00")) == {"sent": 2}
    assert sorted(post.email.took()) == ["ben", "cid"]
    assert post.deliver(at(2, "07:59")) == {}
    assert post.deliver(at(2, "08:00")) == {"sent": 1}
    assert post.deliver(at(3, "08:59")) == {}
    assert post.deliver(at(3)) == {"sent": 1}
    assert post.email.took()[2:] == ["ann", "dan"]


def test_a_campaign_paused_while_its_batch_is_on_the_way_keeps_the_rest(
    world: World, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "LOOK_SECONDS", 0.0)
    sending(world, "ann", "ben", "cid")
    post.email.meanwhile = world.pause
    assert post.deliver() == {"sent": 1}
    assert Counter(states(world).values()) == {"sent": 1, "queued": 2}
    post.email.meanwhile = lambda: None
    world.publish()
    assert post.deliver() == {"sent": 2}


def test_what_did_not_work_is_tried_again_and_then_given_up(world: World, post: Post) -> None:
    sending(world, "ann", steps="- {step: send, action: email.send, with: {email: hello, attempts: 2}}")
    post.email.otherwise = Retry("451 later")
    assert post.deliver() == {}
    row = message(world)
    assert (row.state, row.attempts, row.error) == ("queued", 1, "451 later")
    assert timedelta(seconds=45) <= row.due_at - START <= timedelta(seconds=75)
    assert post.deliver(START + timedelta(seconds=40)) == {}
    assert post.deliver(START + timedelta(minutes=2)) == {"failed": 1}
    row = message(world)
    assert (row.state, row.attempts, row.error) == ("failed", 2, "451 later")
    (failure,) = world.read("SELECT attempts, error FROM failure")
    assert tuple(failure) == (2, "451 later")


def test_a_provider_that_asks_for_patience_gets_it(world: World, post: Post) -> None:
    sending(world, "ann")
    post.email.otherwise = Retry("429", after=timedelta(minutes=30))
    post.deliver()
    assert message(world).due_at == START + timedelta(minutes=30)


def test_an_address_that_does_not_exist_is_not_contacted_again(world: World, post: Post) -> None:
    sending(world, "ann")
    post.email.otherwise = Bounced("550 no such user")
    assert post.deliver() == {"failed": 1}
    assert message(world).bounced_at == START
    (row,) = world.read("SELECT channel, reason FROM do_not_contact")
    assert tuple(row) == ("email", "bounced")


def test_a_channel_that_is_refused_or_given_up_hands_on_to_the_next_under_the_same_key(
    world: World, post: Post
) -> None:
    sending(world, "ann", "ben")
    world.write(
        "UPDATE message SET payload = payload || CAST(:more AS jsonb)",
        more=json.dumps(
            {"text": "Hi {{ contact.key }}", "fallback": [{"channel": "sms", "address": "+331"}, {"channel": "push"}]}
        ),
    )
    world.do_not_contact("ann")
    post.email.otherwise = GaveUp("554 no")
    post.providers["sms"].otherwise = GaveUp("no such number")
    keys = {row.key for row in world.read("SELECT key FROM message")}
    assert post.deliver() == {"sent": 2}
    assert {note.key for note in post.providers["push"].got} == keys
    assert sorted(note.content["text"] for note in post.providers["push"].got) == ["Hi ann", "Hi ben"]
    row = message(world)
    assert (row.channel, row.state, row.payload["fallback"]) == ("push", "sent", [])
    assert [each["channel"] for each in row.payload["given_up"]] == ["email", "sms"]


def test_a_campaign_whose_messages_fail_for_many_stops_itself(world: World, post: Post) -> None:
    world.email("hello")
    world.crowd(120, segment="everyone")
    world.campaign(SEND)
    world.run()
    post.email.otherwise = GaveUp("554 no")
    with capture_logs() as logs:
        post.deliver()
    assert world.audit()[-1].startswith("parcours: stopped: ")
    paused = [each for each in logs if each["event"] == "campaign_paused"]
    assert [(each["campaign"], each["who"]) for each in paused] == [("c", "parcours")]


def test_a_provider_that_is_away_is_left_alone_by_all_and_nobody_fails(world: World, post: Post) -> None:
    world.email("hello")
    world.crowd(120, segment="everyone")
    world.campaign(SEND)
    world.run()
    post.email.otherwise = Retry("connection refused", away=True)
    assert post.deliver() == {}
    # Five in a row open the circuit; nobody tries any more.
    assert len(post.email.got) == 5
    assert post.deliver() == {}
    assert len(post.email.got) == 5
    (circuit,) = world.read("SELECT * FROM circuit")
    assert (circuit.provider, circuit.state, circuit.error) == ("email", "open", "connection refused")
    assert world.read("SELECT FROM failure") == []
    # When its time is over, one message is tried.
    world.write("UPDATE circuit SET opened_until = now()")
    later = START + timedelta(hours=1)
    assert post.deliver(later) == {}
    assert len(post.email.got) == 6
    world.write("UPDATE circuit SET opened_until = now()")
    post.email.otherwise = Sent()
    # The one that was tried goes behind the others.
    assert post.deliver(later + timedelta(minutes=1)) == {"sent": 119}
    assert post.deliver(later + timedelta(hours=2)) == {"sent": 1}
    assert world.read("SELECT FROM circuit") == []


def test_the_log_tells_once_that_sending_is_paused_that_messages_are_kept_back_and_that_sending_goes_on(
    world: World, post: Post
) -> None:
    world.email("hello")
    world.crowd(120, segment="everyone")
    world.campaign(SEND)
    world.run()
    kept = ("sending_paused", "sending_resumed", "messages_kept_back")
    with capture_logs() as logs:
        post.email.otherwise = Retry("ann@example.com: connection refused", away=True)
        for minutes in range(3):
            post.deliver(START + timedelta(hours=minutes))
            post.deliver(START + timedelta(hours=minutes))
            world.write("UPDATE circuit SET opened_until = now()")
        post.email.otherwise = Sent()
        post.deliver(START + timedelta(hours=9))
        post.deliver(START + timedelta(hours=12))
    told = [each for each in logs if each["event"] in kept]
    # Nothing of the tries in between.
    assert [each["event"] for each in told] == ["sending_paused", "messages_kept_back", "sending_resumed"]
    assert (told[0]["provider"], told[0]["failures"], told[1]["channel"]) == ("email", 5, "email")
    assert 4 < told[0]["seconds"] <= 5
    assert "example.com" not in str(told)


def test_a_message_that_a_provider_breaks_on_is_not_the_probe_each_time(world: World, post: Post) -> None:
    world.email("hello")
    world.contacts("poison", segment="everyone")
    world.crowd(50, segment="everyone")
    world.campaign(SEND)
    world.run()
    # Ahead of all others whenever it is due, from just after the provider went away.
    world.write(
        "UPDATE message SET priority = 1, due_at = :due "
        "FROM contact WHERE contact.id = contact_id AND contact.key = 'poison'",
        due=START + timedelta(seconds=5),
    )
    post.email.otherwise = Retry("connection refused", away=True)
    assert post.deliver() == {}
    # The provider is there again, and goes away at this message alone.
    post.email.answers = {"poison@example.com": Retry("connection lost", away=True)}
    post.email.otherwise = Sent()
    sent = []
    # The pauses of the circuit, and when those were due that opened it.
    for seconds in (5, 15, 80):
        world.write("UPDATE circuit SET opened_until = now() WHERE state = 'open'")
        sent.append(post.deliver(START + timedelta(seconds=seconds))["sent"])
    assert sent[0] == 0
    assert sum(sent) == 50
    assert states(world)["poison"] == "queued"


def test_a_mail_server_that_will_not_relay_for_us_is_left_alone_and_no_contact_is_marked(
    world: World, post: Post
) -> None:
    world.email("hello")
    world.crowd(20, segment="everyone")
    world.campaign(SEND)
    world.run()
    with MailServer().running() as server:
        server.answers = {f"c{n}@example.com": "550 relay not permitted" for n in range(1, 21)}
        sender = Sender("parcours.example", "us@example.org")
        channel = Channel("email", lambda: SmtpProvider(smtp_connection.parse(server.url), sender), "the test", 1, 1)
        made = dataclasses.replace(post.delivery(), outlets={**post.delivery().outlets, "email": Outgoing(channel)})
        deliver.deliver_once(world.engine, made, "email", zone=world.zone, as_of=START)
        made.close()
    assert set(states(world).values()) == {"queued"}
    (circuit,) = world.read("SELECT state, error FROM circuit")
    assert circuit.state == "open"
    assert "relay not permitted" in circuit.error
    assert world.read("SELECT FROM do_not_contact UNION ALL SELECT FROM failure") == []


def test_a_rate_lets_so_many_go(world: World, post: Post) -> None:
    sending(world, "ann", "ben", "cid", rate="2 per hour")
    # A new bucket holds one.
    assert post.deliver() == {"sent": 1}
    assert post.deliver() == {}
    world.write("UPDATE rate SET at = at - interval '30 minutes'")
    assert post.deliver() == {"sent": 1}


def test_an_unpublished_email_is_not_sent_any_more(world: World, post: Post) -> None:
    sending(world, "ann")
    world.write("UPDATE email SET published = false")
    assert post.deliver() == {"cancelled": 1}


def test_a_batch_sends_as_many_statements_for_a_thousand_messages_as_for_ten(world: World, post: Post) -> None:
    def cost(size: int) -> int:
        world.email("hello")
        world.crowd(size, segment="everyone")
        world.campaign(SEND)
        world.run()
        made = post.delivery(at_once=1000)
        with statements_counted(world.engine) as sent:
            done = deliver.deliver_once(world.engine, made, "email", zone=world.zone, as_of=START)
        assert done.claimed == min(size, claim.MESSAGES_AT_ONCE)
        world.clear()
        return len(sent)

    assert cost(10) == cost(claim.MESSAGES_AT_ONCE) < 25


def test_only_messages_of_the_contacts_asked_for_leave(world: World, post: Post) -> None:
    sending(world, "ann", "ben")
    assert post.deliver(contact_ids=(world.contact_id("ben"),)) == {"sent": 1}
    assert post.email.took() == ["ben"]


def test_nothing_leaves_before_its_time(world: World, post: Post) -> None:
    sending(world, "ann")
    assert post.deliver(at(0)) == {}
    assert post.email.got == []


# One message that cannot be handled keeps back nobody else's.


def test_html_that_the_reader_of_the_library_refuses_still_becomes_text(world: World, post: Post) -> None:
    sending(world, "ann")
    world.write("UPDATE email SET html = '<p>Hi<![foo[x]]> Ann</p><![CDATA[y', text = NULL")
    assert post.deliver() == {"sent": 1}
    assert post.email.got[0].text.startswith("Hi Ann")


def test_whatever_rendering_raises_is_the_failure_of_that_message_alone(
    world: World, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending(world, "ann", "ben", steps=SEND.replace("hello}", "hello, attempts: 2}"))
    real = render.mail_to_contact

    def poisoned(*args: Any, **more: Any) -> Any:
        if more["address"].startswith("ann"):
            raise AssertionError("unknown status keyword \0 \ud83d")
        return real(*args, **more)

    monkeypatch.setattr(render, "mail_to_contact", poisoned)
    assert post.deliver() == {"sent": 1}
    assert states(world) == {"ann": "queued", "ben": "sent"}
    assert post.deliver(START + timedelta(minutes=5)) == {"failed": 1}
    (failure,) = world.read("SELECT error FROM failure")
    assert failure.error == message(world).error
    assert failure.error == "rendering failed unexpectedly: AssertionError: unknown status keyword \ufffd \ufffd"


def test_a_courier_that_raises_fails_the_message_that_it_raised_for(world: World, post: Post) -> None:
    sending(world, "ann", "ben", "cid")
    # It hands over three at once, and for one of them it raises; for another it forgets to answer.
    real = post.email.send

    def send(batch: Sequence[Any]) -> list[Result]:
        if any(each.to[0].startswith("ann") for each in batch):
            raise MemoryError
        if batch[0].to[0].startswith("ben") and len(batch) == 1:
            return []
        return real(batch)

    post.email.send = send  # type: ignore[method-assign]
    made = post.delivery(at_once=3)
    done = deliver.deliver_once(world.engine, made, "email", zone=world.zone, as_of=START)
    assert done.counts == {"sent": 1}
    assert states(world) == {"ann": "queued", "ben": "queued", "cid": "sent"}
    assert message(world).error == "sending failed unexpectedly: MemoryError: "


def test_a_provider_s_answer_with_a_nul_is_recorded_and_nothing_is_sent_twice(world: World, post: Post) -> None:
    sending(world, "ann", "ben", "cid")
    post.email.answers["ann@example.com"] = GaveUp("554 no\0 \ud83d thanks" + "!" * 1000)
    made = post.delivery(at_once=3)
    deliver.deliver_once(world.engine, made, "email", zone=world.zone, as_of=START)
    assert states(world) == {"ann": "failed", "ben": "sent", "cid": "sent"}
    assert message(world).error.startswith("554 no\ufffd \ufffd thanks!")
    (failure,) = world.read("SELECT error FROM failure")
    assert len(failure.error) == 500
    assert post.deliver(START + timedelta(days=1)) == {}
    assert len(post.email.got) == 3


def test_a_result_that_cannot_be_written_keeps_back_no_other_and_is_sent_once(
    world: World, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending(world, "ann", "ben", "cid")
    ann = world.contact_id("ann")
    real = deliver._count_emails

    def poisoned(conn: Any, recorded: Any, **more: Any) -> None:
        if any(each.contact_id == ann for each in recorded):
            conn.execute(text("SELECT 1 / 0"))
        real(conn, recorded, **more)

    monkeypatch.setattr(deliver, "_count_emails", poisoned)
    made = post.delivery(at_once=3)
    done = deliver.deliver_once(world.engine, made, "email", zone=world.zone, as_of=START)
    assert done.counts == {"sent": 3}
    assert set(states(world).values()) == {"sent"}


def test_a_courier_that_cannot_be_made_ends_the_batch_and_blocks_nobody(world: World, post: Post) -> None:
    sending(world, "ann")

    def broken() -> Any:
        raise OSError("no such host")

    outlets = {**post.delivery().outlets, "email": Outgoing(Channel("email", broken, "nowhere", 1, 1))}
    made = dataclasses.replace(post.delivery(), outlets=outlets)
    deliver.deliver_once(world.engine, made, "email", zone=world.zone, as_of=START)
    assert (message(world).state, message(world).attempts) == ("queued", 1)


def test_a_campaign_that_cannot_be_read_keeps_back_only_its_own_messages(world: World, post: Post) -> None:
    sending(world, "ann")
    world.email("more")
    world.campaign(SEND.replace("hello", "more"), key="other")
    world.run()
    world.write(
        "UPDATE campaign_version SET definition = '{}' "
        "FROM campaign WHERE campaign.id = campaign_id AND campaign.key = 'c'"
    )
    campaigns._loaded.clear()
    assert post.deliver() == {"sent": 1}
    found = world.read(
        "SELECT campaign.key, message.state::text FROM message JOIN campaign ON campaign.id = campaign_id ORDER BY 1"
    )
    assert [tuple(row) for row in found] == [("c", "queued"), ("other", "sent")]


# The outbox is a promise about a contact, not a copy of it.


def test_a_message_goes_to_the_present_address(world: World, post: Post) -> None:
    steps = f"""
    {SEND}
    - {{step: text, action: sms.send, with: {{text: Hi, number_field: cell}}}}
    """
    world.email("hello")
    world.contacts("ann", segment="everyone", cell="+331", phone="+339")
    world.campaign(textwrap.dedent(steps))
    world.run()
    world.write("UPDATE contact SET email = 'new@example.com', fields = fields || '{\"cell\": \"+332\"}'")
    assert post.deliver() == {"sent": 2}
    assert post.email.took() == ["new"]
    assert post.providers["sms"].took() == ["+332"]
    assert {row.address for row in world.read("SELECT address FROM message")} == {"new@example.com", "+332"}


def test_a_number_that_refused_gets_no_text_whatever_field_a_step_reads_it_from(world: World, post: Post) -> None:
    world.contacts("ann", segment="everyone", cell="0033 6 12 34 56 78")
    world.campaign("- {step: text, action: sms.send, with: {text: Hi, number_field: cell}}")
    world.run()
    with world.engine.begin() as conn:
        assert refusals.heard(conn, "sms", "+33612345678", "unsubscribed", at(1))
    assert post.deliver() == {"cancelled": 1}
    assert message(world).error == "do not contact (sms): unsubscribed"


def test_who_has_no_address_any_more_gets_no_email(world: World, post: Post) -> None:
    sending(world, "ann")
    world.write("UPDATE contact SET email = NULL")
    assert post.deliver() == {"cancelled": 1}
    assert message(world).error == "the contact no longer has an email address"


def test_who_left_the_campaign_gets_none_of_its_marketing_but_what_is_transactional(world: World, post: Post) -> None:
    sending(world, "ann", "ben", "cid")
    world.write("UPDATE message SET marketing = false WHERE address LIKE 'ben%'")
    world.write(
        "UPDATE message SET payload = payload || CAST(:more AS jsonb)",
        more=json.dumps({"text": "Hi", "fallback": [{"channel": "push"}]}),
    )
    world.remove("ann")
    world.leave("everyone", "ben", when=at(1, "09:30"))
    world.leave("everyone", "cid", when=at(1, "09:30"))
    world.update(at(1, "09:31"))
    assert post.deliver(at(1, "10:00")) == {"sent": 1, "cancelled": 2}
    assert states(world) == {"ann": "cancelled", "ben": "sent", "cid": "cancelled"}
    assert message(world).error == "the contact left the campaign before the message was sent"
    assert (post.email.took(), post.providers["push"].got) == (["ben"], [])


def test_what_was_sent_before_the_tree_let_its_contact_out_still_goes(world: World, post: Post) -> None:
    own = f"{SEND}\n- {{step: out, action: campaign.change, with: {{remove: [this]}}}}"
    sending(world, "ann", steps=own)
    assert post.deliver() == {"sent": 1}


def test_who_is_taken_out_by_another_campaign_gets_nothing(world: World, post: Post) -> None:
    sending(world, "ann")
    world.campaign("- {step: out, action: campaign.change, with: {remove: [c]}}", key="other")
    world.run(at(1, "09:10"))
    assert post.deliver(at(1, "09:20")) == {"cancelled": 1}


def test_who_came_back_gets_what_waited(world: World, post: Post) -> None:
    sending(world, "ann")
    world.remove("ann", at(1, "09:10"))
    world.add("ann", at(1, "09:20"))
    assert post.deliver(at(1, "09:30")) == {"sent": 1}


def test_a_step_that_was_removed_sends_no_marketing_any_more(world: World, post: Post) -> None:
    sending(world, "ann", "ben")
    world.write("UPDATE message SET marketing = false WHERE address LIKE 'ben%'")
    world.campaign("- {step: other, action: contact.points, with: {points: 1}}")
    assert post.deliver() == {"sent": 1, "cancelled": 1}
    assert message(world).error == "the step was removed from the campaign"


@pytest.mark.parametrize("before", ["queued", "sent"])
def test_after_a_merge_the_survivor_gets_a_message_once(world: World, post: Post, before: str) -> None:
    sending(world, "ann", "ben", steps=SEND + "\n- {step: text, action: push.send, with: {title: Hi, text: Hi}}")
    if before == "sent":
        # Of the one that goes.
        post.deliver(contact_ids=(world.contact_id("ben"),))
    with world.engine.begin() as conn:
        ids = merging.lock(conn, ["ann", "ben"])
        merging.merge(conn, {ids["ben"]: ids["ann"]}, now=START)
    post.deliver()
    assert len(post.email.got) == len(post.providers["push"].got) == 1
    assert post.email.took() == (["ann"] if before == "queued" else ["ben"])


def test_a_step_says_how_many_of_its_messages_arrived(world: World, post: Post) -> None:
    sending(world, "ann", "ben", "cid", "dan", "eve")
    post.email.answers = {"ann@example.com": GaveUp("554 no"), "ben@example.com": Bounced("550 no such user")}
    world.do_not_contact("cid")
    assert post.deliver() == {"sent": 2, "failed": 2, "cancelled": 1}

    def figures() -> tuple[int, int, int, int]:
        with world.engine.connect() as conn:
            campaign = campaigns.load(conn, world.found(conn, "c").id, 1, world.zone)
            (step,) = overview.figures(conn, campaign).steps
        return step.results["done"], step.delivered, step.undelivered, step.withdrawn

    assert figures() == (5, 2, 2, 1)
    # Whatever ends or deletes a message, the counters are those of the messages that there are.
    with world.engine.begin() as conn:
        outbox.retry(conn, None, now=at(2))
    assert figures() == (5, 2, 0, 1)
    with world.engine.begin() as conn:
        erasure.erase(conn, {world.contact_id("dan"): at(2)})
    assert figures() == (4, 1, 0, 1)
    assert [each.name for each in invariants.run(world.engine) if each.violations] == []


def test_what_became_of_a_message_stands_with_the_contact(world: World, post: Post) -> None:
    sending(world, "ann")
    post.email.otherwise = GaveUp("554 no")
    post.deliver()
    with world.engine.connect() as conn:
        shown = contacts.show(conn, "ann")
    assert shown is not None
    (passed,) = shown.campaigns[0].outcomes
    assert message_sentence(passed.detail["message"]) == "message not delivered: 554 no"
