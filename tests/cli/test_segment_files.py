"""`parcours segments apply`, `plan`, `export`, `show`, `explain` and `release`, from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run

WARM = """\
segment: warm
name: Warm leads
rule:
  all:
    - {condition: contact.field, with: {field: country, operator: in, value: [FR, BE]}}
    - not: {condition: contact.tags, with: {tags: [customer]}}
"""
BELGIAN = """\
segment: belgian
rule:
  all:
    - {condition: contact.segments, with: {segments: [warm]}}
    - {condition: contact.field, with: {field: country, operator: "=", value: BE}}
"""
CAMPAIGN = """\
campaign: hello
published: true
sources: {segments: [warm]}
steps: [{step: a, action: contact.points, with: {points: 1}}]
"""


@pytest.fixture
def people(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("key,country,tags\nann,FR,\nben,BE,\nbob,BE,customer\neve,US,\n")
    assert run("contacts", "import", path).returncode == 0


def file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def members(run: Run, segment: str) -> set[str]:
    listed = json.loads(run("contacts", "list", "--segment", segment, "--json").stdout)
    return {each["key"] for each in listed["contacts"]}


def test_files_that_name_each_other_are_planned_and_applied_together(run: Run, people: None, tmp_path: Path) -> None:
    warm, belgian = file(tmp_path, "warm.yaml", WARM), file(tmp_path, "belgian.yaml", BELGIAN)
    done = run("segments", "plan", belgian, warm, "--json")
    assert done.returncode == 0, done.stderr
    planned = {each["segment"]: each for each in json.loads(done.stdout)}
    assert (planned["warm"]["comes"], planned["belgian"]["comes"]) == (2, 1)
    assert json.loads(run("segments", "list", "--json").stdout) == []
    done = run("segments", "apply", belgian, warm, "--yes")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Applied."), done.stderr
    assert (members(run, "warm"), members(run, "belgian")) == ({"ann", "ben"}, {"ben"})
    assert run("segments", "plan", warm).stdout == "warm: nothing changes\n"


def test_the_plan_says_what_happens_to_campaigns_and_to_segments_that_follow(
    run: Run, people: None, tmp_path: Path
) -> None:
    warm, belgian = file(tmp_path, "warm.yaml", WARM), file(tmp_path, "belgian.yaml", BELGIAN)
    assert run("segments", "apply", warm, belgian, "--yes").returncode == 0
    assert run("campaigns", "apply", file(tmp_path, "c.yaml", CAMPAIGN), "--yes").returncode == 0
    assert run("update", "--inline").returncode == 0
    changed = file(tmp_path, "warm.yaml", WARM.replace("[FR, BE]", "[FR, US]"))
    planned = run("segments", "plan", changed).stdout.splitlines()
    assert planned == [
        "warm: changes rule",
        "  members: 1 added, 1 removed; 2 now",
        "  campaign hello: 1 contacts join, 1 leave",
        "belgian: depends on the above",
        "  members: 0 added, 1 removed; 1 now",
    ]
    refused = run("segments", "apply", changed)
    assert (refused.returncode, "run it again with --yes" in refused.stderr) == (1, True)
    assert run("segments", "apply", changed, "--yes").returncode == 0
    assert (members(run, "warm"), members(run, "belgian")) == ({"ann", "eve"}, set())
    standing = [
        json.loads(run("contacts", "show", key, "--json").stdout)["campaigns"][0]["left_at"] is None
        for key in ("ann", "ben", "eve")
    ]
    assert standing == [True, False, True]


def test_a_list_that_becomes_a_rule_keeps_whom_people_put_in(run: Run, people: None, tmp_path: Path) -> None:
    assert run("segments", "create", "warm").returncode == 0
    assert run("segments", "add", "warm", "ann", "eve").returncode == 0
    warm = file(tmp_path, "warm.yaml", WARM)
    assert "  1 members stay although they do not match the rule" in run("segments", "plan", warm).stdout
    assert run("segments", "apply", warm, "--yes").returncode == 0
    assert members(run, "warm") == {"ann", "ben", "eve"}
    assert "It was added manually." in run("segments", "explain", "warm", "eve").stdout
    assert run("segments", "release", "warm", "eve").stdout == "1 released, 0 had not been added or removed manually.\n"
    assert members(run, "warm") == {"ann", "ben"}
    assert run("segments", "remove", "warm", "ben").returncode == 0
    assert run("segments", "apply", warm, "--yes", "--reset-manual").returncode == 0
    assert members(run, "warm") == {"ann", "ben"}


def test_what_is_exported_can_be_applied_and_a_file_without_a_rule_drops_it(
    run: Run, people: None, tmp_path: Path
) -> None:
    assert run("segments", "apply", file(tmp_path, "warm.yaml", WARM), "--yes").returncode == 0
    exported = file(tmp_path, "again.yaml", run("segments", "export", "warm").stdout)
    assert run("segments", "plan", exported).stdout == "warm: nothing changes\n"
    dropped = file(tmp_path, "again.yaml", "segment: warm\n")
    done = run("segments", "apply", dropped, "--yes")
    assert "removes its rule; the present members stay" in done.stdout
    assert members(run, "warm") == {"ann", "ben"}


def test_explain_says_condition_by_condition_why(run: Run, people: None, tmp_path: Path) -> None:
    assert run("segments", "apply", file(tmp_path, "warm.yaml", WARM), "--yes").returncode == 0
    told = json.loads(run("segments", "explain", "warm", "bob", "--json").stdout)
    assert (told["inside"], told["answer"], told["manual"]) == (False, False, None)
    assert [each["answer"] for each in told["rule"]["below"]] == [True, False]
    said = run("segments", "explain", "warm", "bob").stdout.splitlines()
    assert said[:2] == ["bob is not in warm.", "  no: all of"]
    shown = run("segments", "show", "warm").stdout
    assert "Its members are the contacts that match:" in shown
    assert json.loads(run("segments", "show", "warm", "--json").stdout)["rule"]["all"][0]["with"]["field"] == "country"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "segment: a\nrule:\n  all:\n    - {condition: contact.tag, with: {tags: [a]}}\n",
            ":4: rule.all[0].condition: ",
        ),
        (
            "segment: a\nrule: {condition: contact.segments, with: {segments: [b]}}\n",
            ":2: rule.with.segments: there is no",
        ),
        ("segment: a\nrule: {condition: contact.segments, with: {segments: [a]}}\n", "in a circle: a -> a"),
        ("segment: a\nrulse: {}\n", ":2: rulse: unknown property 'rulse'; did you mean 'rule'?"),
        ("segment: a\npublic: perhaps\n", ":2: public: must be true or false, not text"),
        ("name: a\n", "the property 'segment', its key, is missing"),
        ("- {segment: a}\n- {segment: a}\n", ":2: [1].segment: segment 'a' is there twice"),
        ("segment: [a\n", "the file is not valid YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(run: Run, tmp_path: Path, text: str, sentence: str) -> None:
    done = run("segments", "apply", file(tmp_path, "a.yaml", text), "--yes")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(run("segments", "list", "--json").stdout) == []


def test_an_import_is_followed_at_once(run: Run, people: None, tmp_path: Path) -> None:
    assert run("segments", "apply", file(tmp_path, "warm.yaml", WARM), "--yes").returncode == 0
    assert run("campaigns", "apply", file(tmp_path, "c.yaml", CAMPAIGN), "--yes").returncode == 0
    again = file(tmp_path, "again.csv", "key,country\neve,FR\nann,US\nnew,BE\n")
    assert run("contacts", "import", again).returncode == 0
    assert members(run, "warm") == {"ben", "eve", "new"}
    shown = json.loads(run("contacts", "show", "new", "--json").stdout)
    assert [each["campaign"] for each in shown["campaigns"]] == ["hello"]


def test_a_simulation_lets_contacts_in_whatever_the_rule_says(run: Run, people: None, tmp_path: Path) -> None:
    assert run("segments", "apply", file(tmp_path, "warm.yaml", WARM), "--yes").returncode == 0
    done = run("simulate", file(tmp_path, "c.yaml", CAMPAIGN), "--contacts", "20", "--days", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert members(run, "warm") == {"ann", "ben"}


def test_the_examples_can_be_applied(run: Run, people: None) -> None:
    examples = sorted((ROOT / "examples" / "segments").glob("*.yaml"))
    examples = [each for each in examples if each.name != "scenario.yaml"]
    done = run("segments", "apply", *examples, "--yes")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Applied."), done.stderr
    assert len(json.loads(run("segments", "list", "--json").stdout)) == len(examples) == 3
