"""Erasing a contact: one statement for every table that holds anything of them."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, text

from db import events
from db.statements import statements

sql = statements("erasure")

TABLES = (
    "wait",
    "outcome",
    "failure",
    "membership",
    "leaving",
    "message",
    "segment_member",
    "form_submission",
    "contact_tag",
    "do_not_contact",
    "frequency_rule",
    "device",
    "inbox",
    "event",
)


def erase(conn: Connection, contacts: Mapping[int, datetime]) -> None:
    """Delete contacts, whose locks the caller holds, and all that is known of them.

    Keeps a hash of each key with the time, so that events from before do not bring them back. The
    counters of steps are corrected by what goes; members that go have left.
    """
    ids = {"ids": list(contacts)}
    conn.execute(sql["uncount"], ids)
    conn.execute(sql["count_left"], {**ids, "at": max(contacts.values())})
    keys = conn.execute(text("SELECT id, key FROM contact WHERE id = ANY (CAST(:ids AS bigint[]))"), ids)
    events.tombstone(conn, {row.key: contacts[row.id] for row in keys})
    for table in TABLES:
        conn.execute(text(f"DELETE FROM {table} WHERE contact_id = ANY (CAST(:ids AS bigint[]))"), ids)
    conn.execute(text("DELETE FROM contact WHERE id = ANY (CAST(:ids AS bigint[]))"), ids)
