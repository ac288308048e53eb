"""What a batch holds of a contact."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from parcours.domain.contacts.contact import Contact, states
from parcours.domain.walk.rows import Member


def test_what_contacts_have_none_of_is_replaced_and_never_changed_for_all_of_them() -> None:
    ann, ben = Contact(1, "ann"), Contact(2, "ben")
    ann.scores = {**ann.scores, "wine": 1}
    assert (ann.scores, ben.scores) == ({"wine": 1}, {})
    for each in fields(Contact):
        value = getattr(ben, each.name)
        if not isinstance(value, dict) or each.name == "fields":
            continue
        with pytest.raises(TypeError, match="replace a dict"):
            value["a"] = 1
        with pytest.raises(TypeError, match="replace a dict"):
            value.update(a=1)
        with pytest.raises(TypeError, match="replace a dict"):
            value.setdefault("a", 1)
        with pytest.raises(TypeError, match="replace a dict"):
            value |= {"a": 1}
        assert value == {}
        assert json.dumps(value) == "{}"


def test_custom_fields_are_of_one_contact() -> None:
    ann, ben = Contact(1, "ann"), Contact(2, "ben")
    ann.fields["colour"] = "red"
    assert ben.fields == {}


def test_a_membership_without_runs_is_one_run_by_itself() -> None:
    member = Member(1, True)
    assert member.at(1) is member
    member.end()
    assert not member.active


def test_the_states_of_many_are_those_of_each() -> None:
    contacts = [Contact(1, "ann", points=1), Contact(2, "ben", points=2)]
    assert states(contacts) == [each.state() for each in contacts]
