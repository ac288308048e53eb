"""One notion of a tag, whichever way it comes in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parcours.domain.contacts import tags
from parcours.domain.events.parsing import EventError, parse
from parcours.domain.steps.actions import ChangeTags
from parcours.domain.steps.properties import APPLYING
from parcours.producers.files.rows import RejectedRow
from tests.producers.files.test_contact_files import read
from tests.workers.worlds import START

SEVERAL = ["lead;eu", "lead|eu", "lead:::eu", "lead\neu", ";"]
ONE = ["lead", "Paris, France", "lead eu", "a:b", "lead/eu", "é", " lead "]


def said(given: Any) -> dict[str, Any]:
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "contact.changed", "subject": "ann"}
    return {**event, "data": {"tags": given}}


@pytest.mark.parametrize("tag", SEVERAL)
@pytest.mark.parametrize("form", [lambda tag: [tag], lambda tag: {"add": ["x", tag]}])
def test_an_event_with_several_tags_in_one_is_refused_with_what_to_write(tag: str, form: Any) -> None:
    with pytest.raises(EventError, match="is not a valid tag") as refused:
        parse(said(form(tag)), now=START)
    assert tag == ";" or '"lead", "eu"' in str(refused.value)


@pytest.mark.parametrize("tag", ONE)
def test_an_event_with_one_tag_is_taken(tag: str) -> None:
    parse(said([tag]), now=START)


@pytest.mark.parametrize("tag", SEVERAL)
def test_what_became_a_tag_before_can_be_taken_away(tag: str) -> None:
    parse(said({"remove": [tag]}), now=START)
    ChangeTags.model_validate({"remove": [tag]}, context=APPLYING)
    ChangeTags.model_validate({"add": [f"-{tag}"]}, context=APPLYING)


@pytest.mark.parametrize("tag", SEVERAL)
def test_a_step_adds_one_tag_for_each_name_and_a_stored_one_still_runs(tag: str) -> None:
    with pytest.raises(ValidationError, match="is not a valid tag"):
        ChangeTags.model_validate({"add": [tag]}, context=APPLYING)
    ChangeTags.model_validate({"add": [tag]})


@pytest.mark.parametrize("tag", SEVERAL)
def test_a_list_in_a_file_is_held_to_it_too_and_a_text_is_split(tag: str, tmp_path: Path) -> None:
    file = tmp_path / "c.ndjson"
    file.write_text("".join(json.dumps({"key": "ann", "tags": given}) + "\n" for given in ([tag], tag)))
    listed, written = read(tmp_path, file.read_text(), "c.ndjson")
    assert isinstance(listed, RejectedRow)
    assert "is not a valid tag" in listed.reason
    assert not isinstance(written, RejectedRow)
    assert json.loads(written.tags or "[]") == ([] if tag == ";" else ["lead", "eu"])


@given(st.text(st.sampled_from("ab ;,|:\n")))
def test_what_a_text_is_split_into_are_tags(text: str) -> None:
    found = tags.split(text)
    assert all(tags.why_not_one(tag) is None and tag == tag.strip() != "" for tag in found)
    if tags.why_not_one(text) is None and "," not in text:
        assert found == [text.strip()] * bool(text.strip())
