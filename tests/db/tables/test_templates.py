"""Templates of channels other than email."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from parcours.db.tables import templates
from parcours.db.tables.templates import Template
from tests.db.rows import NOW

HELLO = Template("sms", "hello", "Hello", True, {"text": "Hello {{ contact.first_name }}"})


def test_saving_a_template_says_what_it_changed(conn: Connection) -> None:
    assert templates.save(conn, HELLO, now=NOW) == "created"
    assert templates.save(conn, HELLO, now=NOW) == "unchanged"
    for changed in (replace(HELLO, name="Hi"), replace(HELLO, published=False), replace(HELLO, content={"text": "x"})):
        assert templates.save(conn, changed, now=NOW) == "updated"
        assert templates.listed(conn) == [changed]


def test_a_key_may_be_used_once_for_each_kind(conn: Connection) -> None:
    push = Template("push", "hello", "Hello", True, {"title": "t", "text": "x"})
    for each in (HELLO, push, replace(HELLO, key="bye")):
        assert templates.save(conn, each, now=NOW) == "created"
    assert [(each.kind, each.key) for each in templates.listed(conn)] == [
        ("push", "hello"),
        ("sms", "bye"),
        ("sms", "hello"),
    ]
    assert templates.known(conn, "sms", ["hello", "bye", "none"]) == {"hello", "bye"}
    assert templates.known(conn, "message", ["hello"]) == set()
