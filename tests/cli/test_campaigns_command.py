"""`parcours campaigns`, from outside: who is in one by hand, and who goes on at another step."""

import json
from pathlib import Path

import pytest

from tests.conftest import Run

FILE = """\
campaign: c
published: true
sources: {segments: [news]}
steps:
  - {step: keep, action: contact.points, with: {points: 1}, after: 1 day}
  - {step: old, action: contact.points, with: {points: 1}, after: 1 day}
"""


@pytest.fixture
def file(run: Run, tmp_path: Path) -> Path:
    """Ann and Ben are in the segment of an applied campaign, Cleo is in none."""
    people = tmp_path / "people.csv"
    people.write_text("key\nann\nben\ncleo\n", encoding="utf-8")
    found = tmp_path / "c.yaml"
    found.write_text(FILE, encoding="utf-8")
    for call in (
        ("contacts", "import", people),
        ("segments", "create", "news"),
        ("segments", "add", "news", "ann", "ben"),
        ("campaigns", "apply", found, "--yes"),
        ("update", "--inline"),
    ):
        done = run(*call)
        assert done.returncode == 0, done.stderr
    return found


def told(run: Run, what: str, *keys: object) -> dict[str, str]:
    lines = run("campaigns", what, "c", *keys, "--json").stdout.splitlines()
    return {line["contact"]: line["what"] for line in map(json.loads, lines)}


def test_what_became_of_each_contact_is_said_in_both_directions(run: Run, file: Path) -> None:
    refused = "already in it; its `reentry` does not allow a restart"
    assert told(run, "add", "ann", "cleo") == {"ann": refused, "cleo": "added"}
    assert told(run, "remove", "ann", "cleo") == {"ann": "removed", "cleo": "removed"}
    assert told(run, "remove", "ann") == {"ann": "not in it"}
    assert told(run, "add", "ann", "ben") == {"ann": "back", "ben": refused}
    run("segments", "remove", "news", "ben")
    run("update", "--inline")
    assert told(run, "remove", "ben") == {"ben": "already out; the removal is now permanent"}
    file.write_text(f"reentry: always\n{FILE}", encoding="utf-8")
    assert run("campaigns", "apply", file, "--yes").returncode == 0
    assert told(run, "add", "ann", "ben") == {"ann": "restarted", "ben": "back"}
    log = [json.loads(line) for line in run("log", "c", "--contact", "ann", "--json").stdout.splitlines()]
    assert [(line["result"], line["rotation"]) for line in log] == [("cancelled", 1)] * 2 + [("cancelled", 2)] * 2
    activity = json.loads(run("campaigns", "show", "c", "--json").stdout)["activity"]
    assert activity[0]["what"] == "contacts added by hand: 2"
    assert run("check").returncode == 0


def test_who_was_added_by_hand_is_not_removed_by_the_update(run: Run, file: Path) -> None:
    assert told(run, "add", "cleo") == {"cleo": "added"}
    counts = json.loads(run("update", "--inline", "--json").stdout)["campaigns"]
    assert counts == [{"campaign": "c", "added": 0, "removed": 0, "restarted": 0}]
    shown = json.loads(run("contacts", "show", "cleo", "--json").stdout)["campaigns"]
    assert [len(each["waits"]) for each in shown] == [2]


def test_keys_may_come_from_a_file_and_the_unknown_ones_are_told(run: Run, file: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("\ufeffcleo\n\n  nobody \ncleo\n", encoding="utf-8")
    done = run("campaigns", "add", "c", "--file", keys)
    assert done.stdout == "cleo: added\nnobody: no contact has this key\n"
    assert (done.returncode, done.stderr) == (
        1,
        "parcours: 1 of 2 keys do not exist; the other contacts were processed\n",
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("c",), "give contact keys, or --file with one key per line"),
        (("none", "ann"), "there is no campaign 'none'; run `parcours campaigns list` to see all campaigns"),
        (("c", " "), "the key of a contact cannot be blank"),
        (
            ("c", "--file", "missing.txt"),
            "missing.txt cannot be read: No such file or directory",
        ),
    ],
)
@pytest.mark.parametrize("what", ["add", "remove"])
def test_a_call_that_makes_no_sense_says_what_to_do(
    run: Run, file: Path, what: str, arguments: tuple[str, ...], says: str
) -> None:
    done = run("campaigns", what, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"parcours: {says}\n")


def test_an_aliased_key_moves_the_survivor_once(run: Run, file: Path) -> None:
    assert run("contacts", "merge", "ben", "cleo").returncode == 0
    assert told(run, "remove", "ben", "cleo") == {"ben": "removed", "cleo": "removed"}
    assert run("check").returncode == 0


def test_the_plan_says_who_goes_where_and_the_export_has_no_redirect(run: Run, file: Path) -> None:
    file.write_text("redirect: {old: new}\n" + FILE.replace("old", "new"), encoding="utf-8")
    planned = run("campaigns", "plan", file).stdout
    assert "  - step old; 2 contacts wait there and go to new\n" in planned
    (as_json,) = json.loads(run("campaigns", "plan", file, "--json").stdout)
    assert (as_json["removed"], as_json["redirected"]) == ({"old": 2}, {"old": "new"})
    # Nobody is lost by it, so nobody is asked.
    assert run("campaigns", "apply", file).returncode == 0
    assert "redirect" not in run("campaigns", "export", "c").stdout
    assert run("campaigns", "plan", file).stdout == "c: no changes\n"
    assert run("campaigns", "apply", file).stdout == "c: no changes\nThere was nothing to apply.\n"
    overview = json.loads(run("overview", "c", "--json").stdout)
    assert [step["step"] for step in overview["steps"]] == ["keep", "new"]
    assert overview["steps"][1]["waiting"] == 2
    assert "old (removed)" in run("overview", "c").stdout
    assert run("check").returncode == 0


@pytest.mark.parametrize(
    ("redirect", "says"),
    [
        ("{old: nowhere}", "there is no step 'nowhere' to wait at"),
        ("{old: nwe}", "there is no step 'nwe' to wait at; did you mean 'new'?"),
        ("{old: 3}", "must be the key of a step, not a number"),
        ("{keep: new}", "'keep' is still a step of this version; waiting contacts stay there"),
        ("{odl: new}", "the campaign never had a step 'odl'; did you mean 'old'?"),
        ("{missing: new}", "the campaign never had a step 'missing'"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_refused_with_its_line(run: Run, file: Path, redirect: str, says: str) -> None:
    file.write_text(FILE.replace("old", "new") + f"redirect: {redirect}\n", encoding="utf-8")
    done = run("campaigns", "plan", file)
    gone = redirect[1:].partition(":")[0]
    assert (done.returncode, done.stderr) == (1, f"parcours: {file}:7: redirect.{gone}: {says}\n")


def test_nobody_can_be_redirected_in_a_new_campaign(run: Run, file: Path) -> None:
    file.write_text(FILE.replace("campaign: c", "campaign: d") + "redirect: {keep: old}\n", encoding="utf-8")
    done = run("campaigns", "apply", file, "--yes")
    says = "the campaign is new, so no contacts wait at its steps; remove 'redirect'"
    assert (done.returncode, done.stderr) == (1, f"parcours: {file}:7: redirect.keep: {says}\n")
    file.write_text(FILE + "redirect: [old]\n", encoding="utf-8")
    done = run("campaigns", "validate", file)
    assert done.stderr == f"parcours: {file}:7: redirect: must be a mapping of removed steps to steps, not a list\n"
