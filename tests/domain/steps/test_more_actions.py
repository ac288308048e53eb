"""Actions on a contact's owner and on what it refuses."""

from typing import Any

import pytest
from pydantic import ValidationError

from parcours.domain.steps import actions
from parcours.domain.steps.types import DONE, Done, Erase, StepType
from tests.domain.worlds import contact, properties, run


@pytest.mark.parametrize(
    ("step_type", "given", "sentence"),
    [
        (actions.change_owner, {}, "Field required"),
        (actions.change_owner, {"owner": " "}, "at least 1 character"),
        (actions.add_do_not_contact, {"channels": []}, "at least 1 item"),
        (actions.add_do_not_contact, {"channels": [" "]}, "at least 1 character"),
        (actions.remove_do_not_contact, {}, "Field required"),
        (actions.remove_do_not_contact, {"channels": ["sms"], "reason": "x"}, "Extra inputs"),
    ],
)
def test_properties_that_make_no_sense_are_refused(step_type: StepType, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        properties(step_type, given)


def test_an_owner_is_replaced() -> None:
    people = [contact(1, owner="ann"), contact(2)]
    assert run(actions.change_owner, {"owner": "zoe"}, *people) == [DONE, DONE]
    assert [each.owner for each in people] == ["zoe", "zoe"]


@pytest.mark.parametrize(
    ("before", "after", "commented"),
    [
        ({}, {"email": "manual", "sms": "manual"}, {"email", "sms"}),
        ({"email": "bounced"}, {"email": "manual", "sms": "manual"}, {"email", "sms"}),
        ({"sms": "unsubscribed"}, {"email": "manual", "sms": "unsubscribed"}, {"email", "sms"}),
        ({"push": "bounced"}, {"email": "manual", "sms": "manual", "push": "bounced"}, {"email", "sms"}),
    ],
)
def test_a_refusal_replaces_all_but_a_persons_word(
    before: dict[str, str], after: dict[str, str], commented: set[str]
) -> None:
    someone = contact(do_not_contact=before)
    kept = dict(before)
    given = {"channels": ["email", "SMS"], "reason": " by phone "}
    assert run(actions.add_do_not_contact, given, someone) == [DONE]
    assert someone.do_not_contact == after
    assert someone.refusal_comments == dict.fromkeys(commented, "by phone")
    # What was loaded is compared with what there is at the end.
    assert before == kept


def test_a_refusal_without_words_has_no_comment() -> None:
    someone = contact()
    run(actions.add_do_not_contact, {"channels": ["email"]}, someone)
    assert (someone.do_not_contact, someone.refusal_comments) == ({"email": "manual"}, {})


def test_refusals_are_removed_whatever_their_reason() -> None:
    someone = contact(do_not_contact={"email": "unsubscribed", "sms": "bounced", "push": "manual"})
    nobody = contact(2)
    given = {"channels": ["email", "sms", "fax"]}
    assert run(actions.remove_do_not_contact, given, someone, nobody) == [DONE, DONE]
    assert (someone.do_not_contact, nobody.do_not_contact) == ({"push": "manual"}, {})


def test_a_refusal_that_goes_takes_its_comment_along() -> None:
    someone = contact()
    run(actions.add_do_not_contact, {"channels": ["email"], "reason": "by phone"}, someone)
    run(actions.remove_do_not_contact, {"channels": ["email"]}, someone)
    assert (someone.do_not_contact, someone.refusal_comments) == ({}, {})


def test_deleting_asks_for_an_erasure_and_ends_the_branch() -> None:
    assert run(actions.delete, {}, contact(1), contact(2)) == [Done(effects=(Erase(),))] * 2
    assert actions.delete.last
