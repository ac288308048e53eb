from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import CampaignError
from domain.file import CampaignFile, to_data
from producers.campaign_files import CampaignFileError, read, write
from tests.domain.step_types import find

PARIS = ZoneInfo("Europe/Paris")

EXAMPLE = """\
campaign: welcome              # key: lasting identity
name: Welcome series
description: What new subscribers get in their first month.
category: onboarding
published: true
publish_from: 2026-12-01T00:00:00+01:00
publish_until: null
reentry: after_exit            # never (default) | after_exit | always
cooldown: 30 days
timezone: Europe/Paris         # for dates in this file without an offset
sources:
  segments: [newsletter]       # public, published segments
  forms: [signup]
steps:
  - step: tag-new              # key, unique in the campaign; made from the type when left out
    name: Tag as new
    action: contact.tags
    with: {add: [new]}
    then:
      - condition: contact.field
        with: {field: country, operator: "=", value: US}
        yes:
          - action: contact.points
            with: {points: 5}
        no:
          - action: webhook.send
            with: {url: "https://crm.example.com/hook", method: post, body: {email: "{{ contact.email }}"}}
  - step: hello
    action: email.send
    with: {email: welcome-1}
    after: 1 day               # interval: N minutes|hours|days|weeks|months|years, or ISO 8601
    hour: "09:00"              # or between: ["09:00", "18:00"]; and days: [mon, tue, wed, thu, fri]
    then:
      - step: opened
        decision: email.open
        yes:
          - action: campaign.jump
            with: {to: tag-new}
            after: 1 day
        no:
          - step: remind       # "not opened within 3 days"
            action: email.send
            with: {email: welcome-2}
            after: 3 days
          - action: contact.tags
            with: {add: [cold]}
            at: 2026-12-24T09:00
"""
HEAD = "campaign: c\nsources: {segments: [s]}\nsteps:\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "campaign.yaml"


def load(file: Path, content: str | bytes) -> CampaignFile:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(file, default_zone=PARIS, step_type=find)


def problems(file: Path, content: str | bytes) -> list[str]:
    """Return the problems of a file, each without the file's name, as `LINE: PATH: sentence`."""
    with pytest.raises(CampaignFileError) as caught:
        load(file, content)
    lines = str(caught.value).splitlines()
    assert lines == [str(problem) for problem in caught.value.problems]
    assert all(line.startswith(f"{file}:") for line in lines)
    return [line.removeprefix(f"{file}:") for line in lines]


def test_the_documented_example_is_right(file: Path) -> None:
    found = load(file, EXAMPLE)
    assert found.publish_from is not None
    assert found.publish_from.isoformat() == "2026-12-01T00:00:00+01:00"
    assert [step.step for step in found.walk()] == [
        "tag-new",
        "contact-field",
        "contact-points",
        "webhook-send",
        "hello",
        "opened",
        "campaign-jump",
        "remind",
        "contact-tags",
    ]
    condition = found.steps[0].then[0]
    assert [len(condition.yes), len(condition.no)] == [1, 1]
    assert found.steps[1].hour == "09:00"
    at = found.steps[1].then[0].no[1].at
    assert at is not None
    assert at.isoformat() == "2026-12-24T09:00:00+01:00"


def test_an_export_reads_as_the_same_file(file: Path) -> None:
    found = load(file, EXAMPLE)
    exported = write(to_data(found))
    assert load(file, exported) == found
    assert "\n        yes:\n" in exported
    assert "\n        no:\n" in exported
    assert '\n    hour: "09:00"\n' in exported
    assert "\npublish_from: 2026-12-01T00:00:00+01:00\n" in exported


def test_an_unquoted_hour_is_an_hour(file: Path) -> None:
    step = "  - {action: contact.tags, between: [09:00, 18:30]}\n  - {action: contact.tags, hour: 10:30}\n"
    found = load(file, HEAD + step)
    assert found.steps[0].between == ("09:00", "18:30")
    assert found.steps[1].hour == "10:30"


def test_words_and_odd_numbers_in_properties_stay_text(file: Path) -> None:
    value = (
        "[no, on, y, 0123, 12:30:45, 1_000, .inf, 2026-01-02, =, <<, 0x1f, 1, -2, 1.5, 1e3, true, null, ~]"
    )
    step = f"  - {{condition: contact.field, with: {{field: f, value: {value}}}}}\n"
    assert load(file, HEAD + step).steps[0].with_["value"] == [
        *("no", "on", "y", "0123", "12:30:45", "1_000", ".inf", "2026-01-02", "=", "<<", "0x1f"),
        *(1, -2, 1.5, 1000.0, True, None, None),
    ]


def test_yes_is_not_true(file: Path) -> None:
    found = problems(file, HEAD + "  - action: contact.tags\npublished: yes\n")
    assert found == ["5: published: must be true or false, not 'yes'"]


def test_json_is_read_with_tabs_and_escaped_characters(tmp_path: Path) -> None:
    data = {
        "campaign": "c",
        "name": "Fête 🎉 a/b",
        "sources": {"forms": ["f"]},
        "steps": [{"action": "contact.tags"}],
    }
    for escaped in (True, False):
        text = json.dumps(data, indent="\t", ensure_ascii=escaped)
        assert load(tmp_path / "campaign.json", text).name == "Fête 🎉 a/b"
    assert load(tmp_path / "one-line.json", json.dumps(data, separators=(",", ":"))).campaign == "c"


def test_anchors_and_merged_mappings_are_followed(file: Path) -> None:
    found = load(
        file, HEAD + "  - &a {step: one, action: contact.tags, after: 1 day}\n  - {<<: *a, step: two}\n"
    )
    assert [(step.step, step.after) for step in found.steps] == [("one", "1 day"), ("two", "1 day")]


def test_every_problem_has_its_line_and_path_in_the_order_of_the_lines(file: Path) -> None:
    text = (
        "campaign: Welcome\n"
        "publishd: true\n"
        "steps:\n"
        "  - action: contact.tags\n"
        "    then:\n"
        "      - condition: contact.tags\n"
        "        no:\n"
        "          - action: contact.points\n"
        "            with:\n"
        "              points: many\n"
        "          - action: email.send\n"
        "            hour: 9\n"
    )
    place = "steps[0].then[0].no"
    *found, last = problems(file, text)
    assert found[0].startswith("1: campaign: 'Welcome' is not a key;")
    assert found[1:] == [
        "1: sources: the campaign has no source; name at least one segment or form",
        "2: publishd: unknown key 'publishd'; did you mean 'published'?",
        f"10: {place}[0].with.points: must be a whole number",
        f"11: {place}[1].with.email: 'email.send' needs the property 'email'",
    ]
    assert last.startswith(f"12: {place}[1].hour: ")


def test_a_key_given_twice_names_both_lines(file: Path) -> None:
    text = HEAD + "  - action: contact.tags\n    with:\n      add: [a]\n      add: [b]\nno:\n"
    found = problems(file, text)
    assert found[0] == "7: steps[0].with.add: the key 'add' is given twice, on line 6 and on line 7; keep one"
    assert found[1].startswith("8: no: unknown key 'no'")
    assert len(found) == 2


def test_an_error_is_of_the_kind_that_is_never_retried(file: Path) -> None:
    with pytest.raises(CampaignError) as caught:
        load(file, "campaign: c\n")
    assert isinstance(caught.value, CampaignFileError)
    first = caught.value.problems[0]
    assert (first.file, first.line, first.path) == (str(file), 1, "sources")


@pytest.mark.parametrize("empty", ["", "\n\n", "# only a comment\n", "---\n", "null\n", "{}\n"])
def test_an_empty_file_is_told_in_one_sentence(file: Path, empty: str) -> None:
    (found,) = problems(file, empty)
    assert found.endswith(": the file is empty; it needs at least `campaign`, `sources` and `steps`")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"campaign: c\nname: caf\xe9\n", "2: this is not UTF-8 text; save the file as UTF-8"),
        ("campaign: c\n".encode("utf-16"), "1: this is not UTF-8 text; save the file as UTF-8"),
        ("campaign: c\nname: a\x07\n", "2: the character U+0007 is not allowed"),
        (HEAD + "  - a\n---\ncampaign: d\n", "6: a second document begins; keep one campaign in a file"),
        ("campaign: c\nname: a: b\n", "2: this is not YAML: mapping values are not allowed here"),
        ("campaign: c\nsteps:\n\t- a\n", "3: this is not YAML: a tab stands where YAML wants spaces"),
        ("campaign: [c\n", "2: this is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("campaign: *c\n", "1: this is not YAML: found undefined alias 'c'"),
        ("- campaign: c\n", "1: a campaign file is a mapping that starts with `campaign: KEY`"),
        ("welcome\n", "1: a campaign file is a mapping that starts with `campaign: KEY`"),
        (
            "a: 1\nb: !!python/object:os.system x\n",
            "2: the tag !!python/object:os.system is not allowed here",
        ),
        ("a: !secret x\n", "1: the tag !secret is not allowed here"),
        ("a: !!int many\n", "1: 'many' does not fit its tag !!int"),
        ("a: !!bool maybe\n", "1: 'maybe' does not fit its tag !!bool"),
        ("a: !!timestamp soon\n", "1: the tag !!timestamp is not allowed here"),
        ("a: !!set {b}\n", "1: the tag !!set is not allowed here"),
        ("? [a, b]\n: c\n", "1: a key must be text"),
        ("a: &x [*x]\n", "1: an alias stands inside the value that it names"),
        ("a: &x\n  <<: *x\n", "1: an alias stands inside the value that it names"),
        ("a: " + "9" * 5000, "1: the number is too long; put it in quotes if it is text"),
        ("a: " + "[" * 5000, "1: the values are nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(file: Path, content: str | bytes, said: str) -> None:
    found = problems(file, content)
    assert len(found) == 1
    assert found[0] == said


def test_aliases_of_aliases_do_not_fill_the_memory(file: Path) -> None:
    text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    (found,) = problems(file, text)
    assert "more than 200000 values" in found


def test_a_missing_file_and_a_directory_are_told_without_a_line(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "no.yaml", "there is no such file"),
        (tmp_path, "this is a directory; name a file in it"),
    ):
        with pytest.raises(CampaignFileError) as caught:
            read(path, default_zone=PARIS, step_type=find)
        assert str(caught.value) == f"{path}: {said}"
    with pytest.raises(CampaignFileError, match="cannot be read"):
        read(tmp_path / ("x" * 5000), default_zone=PARIS, step_type=find)


def test_a_byte_order_mark_is_ignored(file: Path) -> None:
    assert load(file, b"\xef\xbb\xbf" + EXAMPLE.encode()).campaign == "welcome"


def test_windows_line_ends_are_lines(file: Path) -> None:
    (found,) = problems(file, (HEAD + "  - action: contact.tags\n    hour: x\n").replace("\n", "\r\n"))
    assert found.startswith("5: steps[0].hour: ")


def test_export_is_block_style_in_the_given_order_with_unicode_and_literal_text() -> None:
    data = {
        "z": "Fête 🎉",
        "a": ["x", {"b": "one\ntwo\n", "c": {}}],
        "no": "no",
        "n": "09:00",
        "m": "10:30:00",
        "t": "true",
        "i": "12",
    }
    assert write(data) == (
        "z: Fête 🎉\n"
        "a:\n"
        "  - x\n"
        "  - b: |\n"
        "      one\n"
        "      two\n"
        "    c: {}\n"
        'no: "no"\n'
        'n: "09:00"\n'
        'm: "10:30:00"\n'
        't: "true"\n'
        'i: "12"\n'
    )


texts = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12
) | st.sampled_from(
    [
        "no",
        "0123",
        "1e3",
        "=",
        "<<",
        "~",
        "a\n b",
        " a\n",
        "a\r\nb",
        "\n",
        "a: b",
        "- a",
        "# a",
        "12:30",
        "2026-01-01",
    ]
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(texts, below, max_size=4),
    max_leaves=15,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plain)
def test_whatever_is_exported_is_read_back(file: Path, value: Any) -> None:
    step = {"step": "s", "action": "webhook.send", "with": {"url": "u", "body": {"value": value}}}
    data = {"campaign": "c", "sources": {"forms": ["f"]}, "steps": [step]}
    text = write(data)
    found = load(file, text)
    assert found.steps[0].with_ == step["with"]
    assert to_data(found) == data
    # Another reader of YAML sees the same keys and no other kind of scalar, dates apart.
    assert list(yaml.safe_load(text)) == list(data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="ab:-[]{}&*!<|>'\"#%@, \n\t0~?", max_size=40) | st.binary(max_size=20))
def test_whatever_a_file_holds_the_answer_is_problems(file: Path, content: str | bytes) -> None:
    assert problems(file, content)
