"""The queue of events: what is published arrives as it was, and what comes is read or told why not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import OperationalError

from parcours.domain.errors import CampaignError
from parcours.producers import event_queue
from parcours.producers.event_queue import CONSUMERS, LONGEST_ROUTING_KEY, QUEUE, alive_sign, decode, routing_key


@pytest.fixture(params=["redis", "rabbitmq"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A real broker whose queue of events is empty, before and after."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    taken(found)
    yield found
    taken(found)


def taken(url: str) -> list[list[Any]]:
    """Take all messages out of the queue."""
    found = []
    with event_queue.connection(url) as conn:
        event_queue.declare(conn.default_channel, every=0)
        queue: Any = QUEUE(conn.default_channel)
        while (message := queue.get(no_ack=True)) is not None:
            found.append(decode(message.body))
    return found


def test_what_is_published_is_what_arrives_message_by_message(url: str) -> None:
    events = [{"type": "page.hit", "data": {"é": "\U0001f600", "n": 2**70}}, {"type": "x"}]
    with event_queue.publisher(url) as publish:
        publish(events)
        publish([])
        publish(each for each in events[:1])
        publish(["no event at all", None])
    assert event_queue.depth(url) == 3
    assert taken(url) == [events, events[:1], ["no event at all", None]]
    assert event_queue.depth(url) == 0


@pytest.mark.parametrize("type_", ["x" * 255, "é" * 255, "\U0001f600" * 255])
def test_an_event_of_a_long_type_is_published(url: str, type_: str) -> None:
    with event_queue.publisher(url) as publish:
        publish([{"type": type_}])
    assert taken(url) == [[{"type": type_}]]


def test_what_cannot_be_written_in_an_attribute_keeps_no_event_from_being_published(url: str) -> None:
    deep: list[Any] = []
    for _ in range(3_000):
        deep = [deep]
    with event_queue.publisher(url) as publish:
        publish([{"type": "a"}, {"type": "b", "trace": "\ud83d"}, {"type": "c", "deep": deep}])
    ((first, second, third),) = taken(url)
    assert (first, second) == ({"type": "a"}, {"type": "b", "trace": "\ufffd"})
    assert third["type"] == "c"


@given(st.text() | st.characters(categories=["Cs"]))
def test_a_routing_key_has_room_in_a_message_of_amqp_and_is_a_text(type_: str) -> None:
    key = routing_key({"type": type_})
    assert len(key.encode()) <= LONGEST_ROUTING_KEY
    if len(type_) < 60 and type_.isprintable():
        assert key == type_
    assert len(routing_key({"type": type_ + "\U0001f600" * 99}).encode()) <= LONGEST_ROUTING_KEY
    assert routing_key(None) == routing_key({}) == "event"


def test_what_is_published_after_redis_lost_everything_arrives(redis_url: str) -> None:
    taken(redis_url)
    with event_queue.publisher(redis_url) as publish:
        publish([{"type": "lost"}])
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        publish([{"type": "kept"}])
    assert taken(redis_url) == [[{"type": "kept"}]]


def test_only_consumers_with_a_sign_of_life_are_counted(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.delete(CONSUMERS)
        client.sadd(CONSUMERS, "alive", "dead")
        client.set(alive_sign("alive"), 1, ex=60)
        assert event_queue.consumers(redis_url) == 1
        client.delete(CONSUMERS, alive_sign("alive"))
    assert event_queue.consumers(redis_url) == 0


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_queue_that_is_away_is_told_from_mistakes(scheme: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{bound.getsockname()[1]}"
        conn = event_queue.connection(url)
        assert not issubclass(KeyError, event_queue.away(conn))
        with pytest.raises(OperationalError), event_queue.publisher(url) as publish:
            publish([{"type": "x"}])
        with pytest.raises(event_queue.away(conn)):
            event_queue.depth(url)


@pytest.mark.parametrize("url", ["http://u:secret@h", "redis://u:secret@h:port/0", "redis://u:secret@[::1", "what://h"])
def test_a_url_that_means_no_queue_is_told_in_a_sentence_without_its_password(url: str) -> None:
    for ask in (event_queue.connection, event_queue.consuming, event_queue.depth, event_queue.consumers):
        with pytest.raises(CampaignError, match=r"PARCOURS_EVENTS_URL.*cannot be read; write it like") as caught:
            ask(url)
        assert "secret" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values, st.booleans(), st.sampled_from(["", "\ufeff"]))
def test_a_message_is_one_event_or_a_list_of_them_as_bytes_or_text(value: Any, escaped: bool, mark: str) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    expected = value if isinstance(value, list) else [value]
    try:
        body = (mark + text).encode()
    except UnicodeEncodeError:
        return
    assert decode(body) == decode(memoryview(body)) == decode(text) == expected


@given(st.binary())
def test_what_is_no_json_is_told_why_and_never_breaks_the_consumer(body: bytes) -> None:
    try:
        json.loads(body.decode("utf-8-sig"))
    except ValueError:
        with pytest.raises(
            ValueError, match=r"^the message is not JSON in UTF-8 \(.*\); send one CloudEvent or a list"
        ):
            decode(body)
    else:
        assert isinstance(decode(body), list)


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b"1" * 10_000, b"\xff\xfe{\0}\0", "{}".encode("utf-16"), b"{"])
def test_what_cannot_be_used_is_told_in_a_sentence(body: bytes) -> None:
    with pytest.raises(ValueError, match="the message is not JSON in UTF-8"):
        decode(body)
