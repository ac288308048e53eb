from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parcours.domain.campaign_file.build import to_data
from parcours.domain.campaign_file.model import CampaignFile, FindType, Problem
from parcours.domain.errors import CampaignError
from parcours.domain.steps import registry
from parcours.domain.steps.types import Kind, StepType
from parcours.producers.files.campaigns import CampaignFileError, read, write
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


def installed(kind: Kind, name: str) -> StepType:
    """Answer with the installed types, and a made-up one for the type that is not installed yet."""
    return find(kind, name) if name == "webhook.send" else registry.step_type(kind, name)


@pytest.mark.parametrize("step_type", [find, installed])
def test_the_documented_example_is_right(file: Path, step_type: FindType) -> None:
    file.write_text(EXAMPLE, encoding="utf-8")
    found = read(file, default_zone=PARIS, step_type=step_type)
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
    assert isinstance(at, datetime)
    assert at.isoformat() == "2026-12-24T09:00:00+01:00"


def test_an_export_reads_as_the_same_file(file: Path) -> None:
    found = load(file, EXAMPLE)
    exported = write(to_data(found))
    assert load(file, exported) == found
    assert "\n        yes:\n" in exported
    assert "\n        no:\n" in exported
    assert '\n    hour: "09:00"\n' in exported
    assert '\npublish_from: "2026-12-01T00:00:00+01:00"\n' in exported


def test_an_unquoted_hour_is_an_hour(file: Path) -> None:
    step = "  - {action: contact.tags, between: [09:00, 18:30]}\n  - {action: contact.tags, hour: 10:30}\n"
    found = load(file, HEAD + step)
    assert found.steps[0].between == ("09:00", "18:30")
    assert found.steps[1].hour == "10:30"


def test_words_and_odd_numbers_in_properties_stay_text(file: Path) -> None:
    value = (
        "[no, on, y, 0123, -007, 00.5, 01e3, 12:30:45, 1_000, 2026-01-02, =, <<, "
        "0, 1, -2, 0x1f, 0o17, 0.5, .5, 1., 1e3, true, null, ~]"
    )
    step = f"  - {{condition: contact.field, with: {{field: f, value: {value}}}}}\n"
    assert load(file, HEAD + step).steps[0].with_["value"] == [
        *("no", "on", "y", "0123", "-007", "00.5", "01e3", "12:30:45", "1_000", "2026-01-02", "=", "<<"),
        *(0, 1, -2, 31, 15, 0.5, 0.5, 1.0, 1000.0, True, None, None),
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
    found = load(file, HEAD + "  - &a {step: one, action: contact.tags, after: 1 day}\n  - {<<: *a, step: two}\n")
    assert [(step.step, step.after) for step in found.steps] == [("one", "1 day"), ("two", "1 day")]


def test_a_list_of_merged_mappings_counts_from_the_left(file: Path) -> None:
    text = (
        "  - &a {step: a, action: contact.tags, after: 1 day}\n"
        "  - &b {step: b, action: contact.tags, after: 2 days, name: B}\n"
        "  - {<<: [*a, *b], step: c}\n"
    )
    step = load(file, HEAD + text).steps[2]
    assert (step.after, step.name) == ("1 day", "B")


def test_a_problem_has_the_line_of_the_value_that_counts_not_of_the_merged_one(file: Path) -> None:
    text = (
        "  - &a\n"
        "    step: a\n"
        "    action: contact.points\n"
        "    with:\n"
        "      points: 3\n"
        "  - step: b\n"
        "    with:\n"
        "      - points\n"
        "    <<: *a\n"
        "  - step: c\n"
        "    with: {}\n"
        "    <<: *a\n"
    )
    assert problems(file, HEAD + text) == [
        "10: steps[1].with: must be a mapping of properties to values, not a list",
        "14: steps[2].with.points: the property 'points' is missing",
    ]


def test_what_others_found_is_told_in_its_line_among_the_rest(file: Path) -> None:
    file.write_text(HEAD + "  - action: contact.tags\n    hour: x\n", encoding="utf-8")
    also = [Problem(("sources", "segments", 0), "there is no segment 's'")]
    with pytest.raises(CampaignFileError) as caught:
        read(file, default_zone=PARIS, step_type=find, also=also)
    assert [(each.line, each.path) for each in caught.value.problems] == [
        (2, "sources.segments[0]"),
        (5, "steps[0].hour"),
    ]


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
    assert found[0].startswith("1: campaign: 'Welcome' is not a valid key; use lowercase letters")
    assert found[1:] == [
        "1: sources: the campaign has no source; add at least one segment, form, event or date",
        "2: publishd: unknown name 'publishd'; did you mean 'published'?",
        f"10: {place}[0].with.points: must be a whole number, not 'many'",
        f"11: {place}[1].with.email: the property 'email' is missing",
    ]
    assert last.startswith(f"12: {place}[1].hour: ")


def test_a_key_given_twice_names_both_lines(file: Path) -> None:
    text = HEAD + "  - action: contact.tags\n    with:\n      add: [a]\n      add: [b]\nno:\n"
    found = problems(file, text)
    assert found[0] == "7: steps[0].with.add: 'add' is written twice, on lines 6 and 7"
    assert found[1].startswith("8: no: unknown name 'no'")
    assert len(found) == 2


def test_an_error_is_of_the_kind_that_is_never_retried(file: Path) -> None:
    with pytest.raises(CampaignError) as caught:
        load(file, "campaign: c\n")
    assert isinstance(caught.value, CampaignFileError)
    first = caught.value.problems[0]
    assert (first.file, first.line, first.path) == (file, 1, "sources")


@pytest.mark.parametrize("empty", ["", "\n\n", "# only a comment\n", "---\n", "null\n", "{}\n"])
def test_an_empty_file_is_told_in_one_sentence(file: Path, empty: str) -> None:
    (found,) = problems(file, empty)
    assert found.endswith(" the file is empty; a campaign needs at least 'campaign', 'sources' and 'steps'")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"campaign: c\nname: caf\xe9\n", "2: the file is not UTF-8; save it with that encoding"),
        ("campaign: c\n".encode("utf-16"), "1: the file is not UTF-8; save it with that encoding"),
        ("campaign: c\nname: a\x07\n", "2: the file contains a character that YAML does not allow: U+0007"),
        (
            HEAD + "  - a\n---\ncampaign: d\n",
            "6: the file contains several documents; put each campaign in its own file",
        ),
        ("campaign: c\nname: a: b\n", "2: the file is not valid YAML: put a value that contains ': ' in quotes"),
        (
            "campaign: c\nsteps:\n\t- a\n",
            "3: the file is not valid YAML: indent with spaces, not with tabs",
        ),
        (
            "campaign: [c\n",
            "1: the file is not valid YAML: after this '[' a comma or the closing ']' is missing",
        ),
        ("campaign: *c\n", "1: the file is not valid YAML: put a value that begins with * in quotes"),
        (
            "campaign: c\nname: 'a\nsteps: []\n",
            "2: the file is not valid YAML: a quotation mark is missing at the end of this value",
        ),
        ("campaign: {a: b\n", "1: the file is not valid YAML: after this '{' a comma or the closing '}' is missing"),
        (
            "campaign: @c\n",
            "1: the file is not valid YAML: put a value that begins with a special character in quotes",
        ),
        ("campaign: * c\n", "1: the file is not valid YAML: put a value that begins with * or & in quotes"),
        ("campaign: c\nname\nsteps: []\n", "2: the file is not valid YAML: a colon is missing after this name"),
        (
            'campaign: "a\\d"\n',
            "1: the file is not valid YAML: write \\\\ for a backslash in double quotes, or use single quotes",
        ),
        (
            "campaign: c\nsteps:\n  - a\n name: b\n",
            "4: the file is not valid YAML: the indentation of this line does not match the lines above it",
        ),
        ("- campaign: c\n", "1: a campaign file must be a mapping of names to values, not a list"),
        ("welcome\n", "1: a campaign file must be a mapping of names to values, not text"),
        (
            "a: 1\nb: !!python/object:os.system x\n",
            "2: b: the tag !!python/object:os.system is not allowed here",
        ),
        ("a: !secret x\n", "1: a: the tag !secret is not allowed here"),
        ("a: !!int many\n", "1: a: 'many' cannot be read as !!int"),
        ("a: !!bool maybe\n", "1: a: 'maybe' cannot be read as !!bool"),
        ("a: !!set {b}\n", "1: a: the tag !!set is not allowed here"),
        ("a: 1\n? [a, b]\n: c\n", "2: a name must be text, not a list or a mapping"),
        ("a: 1\nb: &x [*x]\n", "2: b[0]: an alias cannot refer to a value that contains it"),
        ("a: &x\n  <<: *x\n", "1: a: an alias cannot refer to a value that contains it"),
        ("a: &x\n  - <<: *x\n", "2: a[0]: an alias cannot refer to a value that contains it"),
        ("a:\n  <<: !secret {}\n", "2: a: the tag !secret is not allowed here"),
        ("a:\n  <<: b\n", "2: a: '<<' takes a mapping, or a list of mappings"),
        ("a: " + "9" * 5000, f"1: a: '{'9' * 40}' cannot be read as !!int"),
        ("a: " + "[" * 5000, " the file is nested too deeply"),
        (
            "a0: &a0 []\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 5000)),
            " the file is nested too deeply",
        ),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(file: Path, content: str | bytes, said: str) -> None:
    found = problems(file, content)
    assert len(found) == 1
    assert found[0] == said


def test_aliases_of_aliases_do_not_fill_the_memory(file: Path) -> None:
    text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    assert problems(file, text) == [" the file is too large: it has more than 200000 values"]


def test_merges_of_merges_do_not_take_forever(file: Path) -> None:
    text = "a0: &a0 {b: 1}\n"
    text += "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
    assert problems(file, text) == [" the file is too large: it has more than 200000 values"]


def test_a_fault_in_what_aliases_stand_for_is_told_once(file: Path) -> None:
    text = "  - &a {action: contact.tags, on_failure: !secret x}\n  - *a\n  - {<<: *a, step: b}\n"
    assert problems(file, HEAD + text) == ["4: steps[0].on_failure: the tag !secret is not allowed here"]
    text = "  - &a {action: contact.tags, name: A, name: B}\n  - *a\n  - {<<: *a, step: b}\n"
    assert problems(file, HEAD + text) == ["4: steps[0].name: 'name' is written twice, on lines 4 and 4"]


def test_a_name_that_is_no_text_is_told_once(file: Path) -> None:
    text = HEAD + "  - action: contact.tags\n1: x\n"
    assert problems(file, text) == ["5: 1: the name 1 must be text; put it in quotes"]


def test_a_tagged_date_is_a_date(file: Path) -> None:
    found = load(file, HEAD + "  - {action: contact.tags, at: !!timestamp 2026-12-24T09:00}\n")
    assert str(found.steps[0].at) == "2026-12-24 09:00:00+01:00"


def test_a_missing_file_and_a_directory_are_told_without_a_line(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "no.yaml", "there is no such file"),
        (tmp_path, "this is a folder; name a file in it"),
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
        "h": "10:30",
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
        'h: "10:30"\n'
        'm: "10:30:00"\n'
        't: "true"\n'
        'i: "12"\n'
    )


@pytest.mark.parametrize(
    "odd", ["\x85", "a\u2028b", "\u2029\n", "a\rb", "\n", "a\nb\n", "\ufeff", "yes", "\x07", "<<", "09:00"]
)
def test_odd_names_and_texts_are_read_back(file: Path, odd: str) -> None:
    step = {"step": "s", "action": "webhook.send", "with": {"url": "u", "body": {odd: [odd]}}}
    data = {"campaign": "0", "sources": {"forms": ["f"]}, "steps": [step]}
    found = load(file, write(data))
    assert found.steps[0].with_ == step["with"]
    assert to_data(found) == data


texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12) | st.sampled_from(
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
        "09:00",
        "a\x85b",
        "\u2028",
        "a\u2029\nb",
        "a\n\x85b\n",
        "a\rb",
        "\ufeffa",
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


LONG = "x" * 90_000
STEP = "  - {step: a, action: contact.tags}\n"


@pytest.mark.parametrize(
    "content",
    [
        HEAD.replace("campaign:", f"{LONG}: 1\ncampaign:") + STEP,
        HEAD + f"  - {{action: {LONG}}}\n",
        HEAD + f"  - {{action: contact.tags, after: {LONG}}}\n",
        HEAD + f"  - {{action: contact.tags, at: {LONG}}}\n",
        HEAD + f"  - {{action: contact.tags, days: [{LONG}]}}\n",
        HEAD + f"  - {{action: contact.tags, between: [{LONG}, {LONG}]}}\n",
        HEAD + f"  - {{action: contact.tags, hour: {LONG}}}\n",
        HEAD + f"  - {{action: contact.tags, on_failure: {LONG}}}\n",
        HEAD + f"  - {{action: contact.tags, with: {{{LONG}: 1}}}}\n",
        HEAD + f"  - {{step: {LONG}!, action: contact.tags}}\n",
        HEAD + f"  - {{step: {LONG}, action: contact.tags}}\n" * 2,
        HEAD + f"  - {{action: campaign.jump, with: {{to: {LONG}}}}}\n",
        HEAD + STEP + f"redirect: {{a: {LONG}}}\n",
        HEAD + STEP + f"timezone: {LONG}\n",
        HEAD + STEP + f"rate: {LONG}\n",
        HEAD + STEP + f"name: *{LONG}\n",
        HEAD + STEP + f"name: !{LONG} x\n",
        HEAD + STEP + f'"{LONG}": 1\n"{LONG}": 2\n',
    ],
)
def test_a_problem_repeats_no_more_of_the_file_than_helps(file: Path, content: str) -> None:
    for said in problems(file, content.replace(f"{LONG}: 1", f'"{LONG}": 1')):
        assert said.count("x") <= 210, said


def test_of_many_problems_a_hundred_are_told_and_the_last_one_says_that_there_may_be_more(file: Path) -> None:
    many = {
        "names": HEAD + STEP + "".join(f"{nth}: 1\n" for nth in range(5_000)),
        "twice": "".join("a: 1\n" for _ in range(5_000)),
        "tags": "a: [" + "!secret x, " * 5_000 + "]",
        "types": HEAD + "  - {action: no.such}\n" * 2_000,
        "sources": HEAD.replace("[s]", "[" + ", ".join(["s"] * 5_000) + "]") + STEP,
    }
    for name, content in many.items():
        found = problems(file, content)
        assert len(found) == 101, name
        assert found[-1] == " there may be more errors: the check stops at 100; fix these first", name
        assert all(": " in each and "may be more errors" not in each for each in found[:-1])


def test_a_file_that_is_too_long_or_takes_too_long_is_refused_before_it_is_checked(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = " the campaign has more than 1,000,000 characters; split it into several campaigns"
    assert problems(file, HEAD + "#" + "x" * 1_000_000) == [said]
    assert problems(file, b"#" * 5_000_000) == [said]
    assert problems(file, "a: [" + "b, " * 250_000 + "]") == [" the file is too large: it has more than 200000 values"]
    monkeypatch.setattr("parcours.producers.files.yaml_text.MAX_SECONDS", 0)
    assert problems(file, HEAD + "  - {step: a, action: contact.tags}\n" * 500) == [
        " reading the file takes more than 0 seconds; split it"
    ]


def test_merging_the_same_names_again_and_again_counts_each_time(file: Path) -> None:
    names = ", ".join(f"k{nth}: 1" for nth in range(2_000))
    text = f"a: &a {{{names}}}\nb: {{<<: [{', '.join(['*a'] * 2_000)}]}}\n"
    assert problems(file, text) == [" the file is too large: it has more than 200000 values"]
