"""Who is behind what comes back: a message, an address, a number."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Connection, text

from parcours.db.tables import refusals, tracking
from parcours.db.tables.refusals import RefusalChange
from parcours.db.tables.tracking import Origin
from tests.db.rows import NOW, campaign, contacts


@pytest.fixture(autouse=True)
def some(conn: Connection) -> None:
    contacts(conn, (1, 2, 3))
    said = {1: ("Ann@Example.com", {"phone": "+33 6 12 34 56 78"}), 2: ("ben@example.com", {"mobile": "0033612345678"})}
    for id_, (email, fields) in said.items():
        conn.execute(
            text("UPDATE contact SET email = :email, fields = CAST(:fields AS jsonb) WHERE id = :id"),
            {"id": id_, "email": email, "fields": json.dumps(fields)},
        )


def message(conn: Connection, key: str, contact_id: int, **payload: object) -> None:
    conn.execute(
        text(
            "INSERT INTO message (key, contact_id, campaign_id, step_id, rotation, channel, payload, due_at, "
            "                     created_at, state) "
            "SELECT :key, :contact_id, campaign_id, id, 1, 'email', CAST(:payload AS jsonb), :now, :now, 'queued' "
            "FROM step LIMIT 1"
        ),
        {"key": key, "contact_id": contact_id, "payload": json.dumps(payload), "now": NOW},
    )


def test_a_message_leads_to_its_contact_and_what_sent_it_unless_others_got_it(conn: Connection) -> None:
    campaign(conn, "hello")
    message(conn, "m1", 1)
    message(conn, "m2", 2, to=["boss@example.com"])
    message(conn, "m3", 99)
    assert tracking.origins(conn, ["m1", "m1", "m2", "m3", "none"]) == {
        "m1": Origin(1, "c1", "email", None, "c", "hello")
    }
    assert tracking.origins(conn, []) == {}


def test_contacts_are_found_by_address_in_any_case_and_by_number_in_any_form(conn: Connection) -> None:
    asked = ["ann@EXAMPLE.com", "nobody@example.com"]
    assert tracking.keys_by_emails(conn, asked) == {"ann@EXAMPLE.com": "c1"}
    assert tracking.keys_by_phones(conn, ["+33612345678", "33612345678", "+33612345679", "ACME"]) == {
        "+33612345678": ["c1", "c2"],
        "33612345678": ["c1", "c2"],
    }


def test_the_last_word_in_the_inbox_goes_before_what_is_stored(conn: Connection) -> None:
    refusals.refuse(conn, [RefusalChange(1, "email", NOW)], reason="unsubscribed")
    assert tracking.refused(conn, 1, ["email", "sms"]) == {"email"}
    for seq, (type_, data) in enumerate(
        (
            ("email.resubscribed", {}),
            ("email.unsubscribed", {"channel": "SMS"}),
            ("email.unsubscribed", {"channel": "email:news"}),
            ("email.resubscribed", {"channel": "email:news"}),
        )
    ):
        conn.execute(
            text(
                "INSERT INTO inbox (contact_id, source, id, type, at, received_at, data) "
                "VALUES (1, 's', :id, :type, :now, :now, CAST(:data AS jsonb))"
            ),
            {"id": str(seq), "type": type_, "data": json.dumps(data), "now": NOW},
        )
    assert tracking.refused(conn, 1, ["email", "sms", "email:news"]) == {"sms"}
    assert tracking.refused(conn, 2, ["email", "sms"]) == set()
