"""What the fields of a form become of the contact: usual names fill what is empty, a mapping says of any field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from parcours.db.tables import events, forms
from parcours.db.tables.events import Said
from parcours.domain.errors import CampaignError
from parcours.producers import form_fields
from parcours.producers.form_fields import change, checked_mapping, lost, mapped_pair, readings
from tests.db.rows import contacts, read


def said(**own: Any) -> Said:
    fields = own.pop("fields", {})
    given_own = {"email": None, "timezone": None, "owner": None, "stage": None} | own
    return Said(1, given_own["email"], given_own["timezone"], given_own["owner"], given_own["stage"], fields, {})


def became(
    fields: dict[str, Any], mapping: dict[str, str | None] | None = None, has: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what a submission changes of a contact that has these attributes."""
    own = dict(has or {})
    company = own.pop("company", None)
    return change(readings(fields, mapping or {}), said(**own), company)


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ({"E-Mail": " anna@example.com "}, {"email": "anna@example.com"}),
        ({"Courriel": "anna@example.com", "Ville": "Lyon"}, {"email": "anna@example.com", "fields": {"city": "Lyon"}}),
        ({"phone": "06 12 34 56 78", "country": "FR"}, {"fields": {"phone": "+33612345678", "country": "FR"}}),
        ({"phone": 33612345678, "pays": "FR"}, {"fields": {"phone": "+33612345678", "country": "FR"}}),
        ({"company": "Acme", "favourite": "blue"}, {"company": "Acme"}),
        ({"sms": "+33612345678"}, {}),
        ({"email": "", "city": None, "zip": "  ", "language": []}, {}),
        ({"city": ["a", "b"]}, {}),
        ({"city": "x" * 10_000}, {}),
        ({"email": "nobody", "timezone": "Mars", "phone": True}, {}),
        ({"city": "first", "town": "second"}, {"fields": {"city": "first"}}),
        ({"town": "second", "city": ""}, {"fields": {"city": "second"}}),
    ],
)
def test_fields_with_usual_names_are_understood_and_others_left(fields: dict[str, Any], data: dict[str, Any]) -> None:
    assert became(fields) == data


def test_a_usual_name_fills_what_is_empty_and_a_mapping_replaces() -> None:
    full: dict[str, Any] = {"email": "old@example.com", "company": "Old", "fields": {"city": "Old", "plan": "old"}}
    fields = {"email": "new@example.com", "company": "New", "city": "New", "plan": "new"}
    assert became(fields, has=full) == {}
    mapping: dict[str, str | None] = {"email": "email", "city": "city", "plan": "plan", "company": "company"}
    assert became(fields, mapping, full) == {
        "email": "new@example.com",
        "company": "New",
        "fields": {"city": "New", "plan": "new"},
    }
    assert became({"city": "New"}, has={"fields": {"city": " "}}) == {"fields": {"city": "New"}}


def test_a_mapping_may_leave_a_usual_field_out_and_keeps_what_custom_fields_hold() -> None:
    assert became({"city": "Lyon", "email": "a@example.com"}, {"city": None, "email": None}) == {}
    value = {"deep": [1, None, "x"]}
    assert became({"answers": value, "n": 3}, {"answers": "answers", "n": "n"}) == {
        "fields": {"answers": value, "n": 3}
    }
    assert became({"answers": {}}, {"answers": "answers"}) == {}
    # Two fields for one attribute: the mapped one, whichever comes first.
    assert became({"city": "usual", "where": "mapped"}, {"where": "city"}) == {"fields": {"city": "mapped"}}


def test_what_cannot_be_kept_says_which_field_did_not_change_what() -> None:
    (reading,) = readings({"tel": "12", "x": 1}, {"tel": "phone"})
    assert reading.value is None
    assert reading.note.startswith("the field 'tel' did not change the contact's 'phone': ")
    (reading,) = readings({"x": ["a"]}, {"x": "stage"})
    assert reading.problem == "it is not text"


texts = st.text(max_size=20) | st.sampled_from(
    ["email", "phone", "city", "a@example.com", "\ud83d", "\0", "+33612345678"]
)
anything = st.recursive(
    texts | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=3,
)


@given(
    st.dictionaries(texts, anything, max_size=5),
    st.dictionaries(texts, st.none() | st.sampled_from(["email", "timezone", "stage", "plan", "phone"]), max_size=4),
    st.none() | texts,
)
def test_whatever_is_submitted_each_attribute_is_read_once_or_has_a_reason(
    fields: dict[str, Any], mapping: dict[str, str | None], country: str | None
) -> None:
    found = readings(fields, mapping, country)
    assert len({each.attribute for each in found}) == len(found)
    for each in found:
        assert each.field in fields
        assert each.is_mapped == (mapping.get(each.field) is not None)
        assert (each.value is None) == (each.problem is not None)
        if each.attribute in ("email", "timezone", "stage") and each.problem is None:
            assert isinstance(each.value, str)


@pytest.mark.parametrize(
    ("text", "pair"),
    [("plan=plan", ("plan", "plan")), ("a=b= c ", ("a=b", "c")), ("plan=", ("plan", None)), (" x = ", ("x", None))],
)
def test_a_pair_is_read_from_its_last_sign(text: str, pair: tuple[str, str | None]) -> None:
    assert mapped_pair(text) == pair


@pytest.mark.parametrize("text", ["plan", "=plan", " =plan", ""])
def test_what_is_no_pair_is_told_with_an_example(text: str) -> None:
    with pytest.raises(CampaignError, match="FIELD=ATTRIBUTE, such as plan=plan"):
        mapped_pair(text)


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ([("x", "points")], "cannot set 'points' of a contact; it can set email, timezone, company, owner, stage"),
        ([("x", "a"), (" x", "b")], "the field 'x' is mapped twice"),
        ([(" ", "a")], "needs a field name"),
        ([("\ud83d", "a")], "an incomplete character"),
        ([("x", "a\0")], "NUL"),
        ([("x", "a" * 1_000)], "the attribute"),
        ([(f"f{n}", "a") for n in range(form_fields.MAX_MAPPED + 1)], "can map at most 200 fields"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(pairs: list[tuple[str, str | None]], sentence: str) -> None:
    with pytest.raises(CampaignError, match=sentence):
        checked_mapping(pairs)


def test_a_mapping_is_kept_without_blanks() -> None:
    assert checked_mapping([(" x ", " plan "), ("x", "plan"), ("y", " ")]) == {"x": "plan", "y": None}


def test_what_is_lost_of_submissions_is_told_by_the_country_that_each_contact_has(conn: Connection) -> None:
    contacts(conn, [1, 2])
    read(conn, 'UPDATE contact SET fields = \'{"country": "FR"}\' WHERE id = 1 RETURNING id')
    forms.create(conn, "signup", "Sign up", standalone=True)
    form = forms.find(conn, "signup")
    assert form is not None
    french = {"phone": "06 12 34 56 78", "email": "nobody"}
    found = lost(conn, form, [("c1", french), ("c2", french), ("unknown", {"city": "Lyon"})])
    assert [[each.attribute for each in one] for one in found] == [["email"], ["email", "phone"], []]
    assert set(events.contact_ids(conn, ["c1", "unknown"])) == {"c1"}, "reading makes nobody"
