"""Bringing staged rows to the contacts."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from parcours.db.tables import contacts, forms
from parcours.db.tables.contacts import Imported, Incoming

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
# No two imports are at the same instant.
_days = map(timedelta, count())


def row(line: int, key: str, **given: Any) -> Incoming:
    empty = dict.fromkeys(("email", "timezone", "points", "stage", "owner", "fields", "tags"))
    return Incoming(**{"line": line, "by_email": False, "key": key, **empty, **given})


def import_(conn: Connection, *rows: Incoming) -> Imported:
    conn.execute(text("DROP TABLE IF EXISTS pg_temp.incoming, pg_temp.same_address"))
    contacts.stage(conn, rows)
    return contacts.merge(conn, now=NOW + next(_days))


def shown(conn: Connection, key: str) -> contacts.Shown:
    found = contacts.show(conn, key)
    assert found is not None
    return found


def test_who_is_new_and_has_tags_is_not_counted_as_updated_too(conn: Connection) -> None:
    import_(conn, row(1, "a"))
    imported = import_(conn, row(1, "a"), row(2, "b", tags='["new"]'), row(3, "c", company="acme"))
    assert imported == Imported(added=2, updated=0, unchanged=1)
    assert shown(conn, "b").tags == ["new"]


keys = st.sampled_from(["a", "b", "c"])
values = st.none() | st.integers(0, 2)
imported_rows = st.lists(st.tuples(keys, values, values, values), max_size=6)


@given(first=imported_rows, second=imported_rows)
def test_an_import_is_the_same_as_its_rows_one_after_another(
    shared_engine: Engine,
    first: list[tuple[str, int | None, int | None, int | None]],
    second: list[tuple[str, int | None, int | None, int | None]],
) -> None:
    """Repeated keys included: the last cell that is not blank wins."""
    expected: dict[str, tuple[int, dict[str, int], set[str]]] = {}
    with shared_engine.connect() as conn:
        for rows in (first, second):
            before = dict(expected)
            for key, points, city, tag in rows:
                had, fields, tags = expected.get(key, (0, {}, set()))
                expected[key] = (
                    had if points is None else points,
                    fields if city is None else {**fields, "city": city},
                    tags if tag is None else tags | {str(tag)},
                )
            staged = [
                row(
                    line,
                    key,
                    points=points,
                    fields=None if city is None else f'{{"city": {city}}}',
                    tags=None if tag is None else f'["{tag}"]',
                )
                for line, (key, points, city, tag) in enumerate(rows, 1)
            ]
            imported = import_(conn, *staged)
            assert imported.added == len(expected.keys() - before.keys())
            again = import_(conn, *staged)
            repeats = [key for key, *_ in rows]
            if len(repeats) == len(set(repeats)):
                assert again == Imported(added=0, updated=0, unchanged=len(rows))
            for key, facts in expected.items():
                found = shown(conn, key)
                assert (found.points, found.fields, set(found.tags)) == facts


def test_a_row_without_a_key_is_the_contact_with_its_address(conn: Connection) -> None:
    import_(conn, row(1, "crm-1", email="Ann@example.org"))
    imported = import_(conn, row(2, "ann@example.org", email="ann@example.org", by_email=True, points=3))
    assert imported == Imported(added=0, updated=1, unchanged=0)
    assert shown(conn, "crm-1").points == 3


def test_addresses_that_differ_in_capitals_only_are_one_new_contact(conn: Connection) -> None:
    imported = import_(
        conn,
        row(1, "Bo@example.org", email="Bo@example.org", by_email=True),
        row(2, "bo@example.org", email="bo@example.org", by_email=True),
    )
    assert imported == Imported(added=1, updated=1, unchanged=0)
    assert shown(conn, "Bo@example.org").email == "bo@example.org"


def test_a_decision_without_a_deadline_is_shown_without_a_due_time(conn: Connection) -> None:
    import_(conn, row(1, "a"))
    contact_id = shown(conn, "a").id
    campaign_id = conn.execute(
        text("INSERT INTO campaign (key, name, created_at, changed_at) VALUES ('c', 'C', :now, :now) RETURNING id"),
        {"now": NOW},
    ).scalar_one()
    step_id = conn.execute(
        text(
            "INSERT INTO step (campaign_id, key, kind, type, created_at) "
            "VALUES (:campaign_id, 'opened', 'decision', 'email.open', :now) RETURNING id"
        ),
        {"campaign_id": campaign_id, "now": NOW},
    ).scalar_one()
    given = {"contact_id": contact_id, "campaign_id": campaign_id, "step_id": step_id, "now": NOW}
    conn.execute(
        text(
            "INSERT INTO membership (contact_id, campaign_id, added_at, arrival) "
            "VALUES (:contact_id, :campaign_id, :now, 'segment')"
        ),
        given,
    )
    conn.execute(
        text(
            "INSERT INTO wait "
            "(contact_id, step_id, campaign_id, rotation, passage, reason, "
            "anchor_at, due_at) VALUES (:contact_id, :step_id, :campaign_id, 1, 1, "
            "'decision', :now, 'infinity')"
        ),
        given,
    )
    (standing,) = shown(conn, "a").campaigns
    assert standing.waits == [contacts.ContactWait("opened", "decision", None, anchor_at=NOW)]


def test_a_form_is_created_once(conn: Connection) -> None:
    assert forms.create(conn, "signup", "Sign up", standalone=False)
    assert not forms.create(conn, "signup", "Other", standalone=True)
    form = forms.find(conn, "signup")
    assert form is not None
    assert (form.name, form.standalone) == ("Sign up", False)
    assert forms.find(conn, "nothing") is None


# Addresses that two contacts would have.


def test_a_new_row_with_the_address_of_a_contact_becomes_its_row_and_its_key_leads_there(
    conn: Connection,
) -> None:
    import_(conn, row(1, "kim@example.com", by_email=True, email="kim@example.com"))
    imported = import_(conn, row(1, "crm-7", email="KIM@example.com", fields='{"city": "Rome"}'))
    assert (imported.added, imported.updated, imported.merged, imported.refused) == (0, 1, 1, ())
    assert (shown(conn, "crm-7").key, shown(conn, "crm-7").fields) == ("kim@example.com", {"city": "Rome"})
    again = import_(conn, row(1, "crm-7", email="KIM@example.com", fields='{"city": "Rome"}'))
    assert (again.added, again.updated, again.unchanged, again.merged) == (0, 0, 1, 0)


def test_new_rows_of_one_address_are_one_contact_named_by_the_first(conn: Connection) -> None:
    imported = import_(conn, row(1, "a", email="us@example.com"), row(2, "b", email="Us@example.com"))
    assert (imported.added, imported.merged, imported.refused) == (1, 1, ())
    assert shown(conn, "b").key == "a"


def test_rows_with_the_address_of_another_contact_are_left_out_where_asked(conn: Connection) -> None:
    import_(conn, row(1, "a", email="us@example.com"))
    conn.execute(text("DROP TABLE IF EXISTS pg_temp.incoming, pg_temp.same_address"))
    contacts.stage(conn, [row(5, "b", email="us@example.com"), row(6, "c", email="c@example.com")])
    imported = contacts.merge(conn, now=NOW + next(_days), same_address="reject")
    assert imported.refused == (contacts.AddressConflict(5, "b", "us@example.com", "a", known=False),)
    assert (imported.added, imported.merged, contacts.find(conn, "b")) == (1, 0, None)


def test_a_row_cannot_give_a_contact_that_exists_the_address_of_another(conn: Connection) -> None:
    import_(conn, row(1, "a", email="a@example.com"), row(2, "b", email="b@example.com"))
    imported = import_(conn, row(1, "b", email="A@example.com", points=5))
    assert imported.refused == (contacts.AddressConflict(1, "b", "A@example.com", "a", known=True),)
    assert (shown(conn, "b").email, shown(conn, "b").points) == ("b@example.com", 0)


def test_an_address_that_the_file_takes_from_one_contact_may_go_to_another(conn: Connection) -> None:
    import_(conn, row(1, "a", email="a@example.com"), row(2, "b", email="b@example.com"))
    imported = import_(conn, row(1, "b", email="a@example.com"), row(2, "a", email="new@example.com"))
    assert (imported.updated, imported.refused) == (2, ())
    assert (shown(conn, "a").email, shown(conn, "b").email) == ("new@example.com", "a@example.com")


def test_contacts_may_share_an_address_where_the_setting_says_so(conn: Connection) -> None:
    import_(conn, row(1, "a", email="us@example.com"))
    conn.execute(text("DROP TABLE IF EXISTS pg_temp.incoming, pg_temp.same_address"))
    contacts.stage(conn, [row(1, "b", email="us@example.com")])
    assert contacts.merge(conn, now=NOW + next(_days), same_address="allow").added == 1
    # Who shared one before the setting said otherwise goes on to.
    imported = import_(conn, row(1, "b", email="us@example.com", points=1))
    assert (imported.updated, imported.merged, imported.refused) == (1, 0, ())
    assert contacts.find(conn, "US@example.com") == contacts.find(conn, "a")
