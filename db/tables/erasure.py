"""Erasing a contact: one statement for every table that holds anything of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from parcours.db.statements import filled, statements
from parcours.db.tables import campaigns, events, refusals, traces

sql = statements(__file__)

TABLES = (
    "wait",
    "outcome",
    "failure",
    "membership",
    "run",
    "trial",
    "entrant",
    "leaving",
    "message",
    "segment_member",
    "form_submission",
    "contact_tag",
    "contact_score",
    "contact_utm",
    "point_log",
    "stage_log",
    "do_not_contact",
    "frequency_rule",
    "device",
    "company_member",
    "inbox",
    "event",
    "contact_alias",
    "rezoned",
    "redated",
    "date_entry",
    "segment_due",
    "unjudged",
)


def erase(conn: Connection, contacts: Mapping[int, datetime]) -> dict[int, str]:
    """Delete contacts, whose locks the caller holds, and all that is known of them; return their keys.

    Keeps a hash of each key, those of contacts merged into them included, with the time, so that events
    from before do not bring them back. The
    counters of steps are corrected by what goes; members that go have left, and are counted as erased.
    """
    ids = {"ids": sorted(contacts)}
    campaigns.read_by_index(conn)
    # Whoever is just giving them an event is done before, or finds them gone.
    keys = {row.id: row.key for row in conn.execute(sql["close"], ids)}
    aliases = {row.key: contacts[row.contact_id] for row in conn.execute(sql["aliases"], ids)}
    conn.execute(sql["uncount"], ids)
    conn.execute(sql["uncount_trials"], ids)
    conn.execute(sql["count_gone"], {**ids, "at": max(contacts.values())})
    names = aliases | {key: contacts[id_] for id_, key in keys.items()}
    events.tombstone(conn, names)
    messages = set(conn.execute(sql["messages"], ids).scalars())
    addresses = refusals.forget(conn, contacts)
    traces.wipe(conn, traces.Traces(frozenset(names), frozenset(messages), frozenset(addresses)))
    ats = {"ids": list(contacts), "ats": list(contacts.values())}
    conn.execute(sql["forget_ids"], ats)
    for table in TABLES:
        conn.execute(filled(sql["delete_from"], table=table), ids)
    conn.execute(sql["delete"], ids)
    return keys


def without_those_in_other_hands(conn: Connection, contact_ids: Sequence[int]) -> list[int]:
    """Return which of these contacts, whose locks the caller holds, may be acted on now.

    Left out is who is to be erased and somebody else just gives something: their turn comes again.
    """
    asked = conn.execute(sql["asked_for"], {"contact_ids": list(contact_ids)}).scalars().all()
    if not asked:
        return list(contact_ids)
    left_out = set(asked) - set(conn.execute(sql["close_free"], {"ids": list(asked)}).scalars())
    return [contact_id for contact_id in contact_ids if contact_id not in left_out]


def clean_up(conn: Connection, contact_ids: Sequence[int], *, now: datetime) -> int:
    """Delete what is left of those of these ids that are no contact's any more; return how many that were.

    Nothing should be left of whom somebody erased. What a version before this one left, or a person who deleted
    the row by hand, would be due for ever. While somebody else cleans up, nothing is done.
    """
    if not contact_ids or not conn.execute(sql["try_to_clean_up"]).scalar_one():
        return 0
    gone = conn.execute(sql["gone"], {"ids": sorted(contact_ids)}).scalars().all()
    if gone:
        erase(conn, dict.fromkeys(gone, now))
    return len(gone)
