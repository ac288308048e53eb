"""Step types of another package, installed beside ours and used by the command."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import Ran
from tests.conftest import ROOT, Run
from tests.packages import install

PACKAGE = ROOT / "examples" / "step_package"

FILE = """\
campaign: gold
published: true
sources: {segments: [members]}
steps:
  - step: silver
    action: loyalty.reward
    with: {level: silver}
  - step: redeem
    decision: loyalty.redeem
    with: {at_least: 10}
    yes:
      - step: known
        condition: loyalty.level
        with: {levels: [silver]}
        yes: [{step: gold, action: loyalty.reward, with: {level: gold}}]
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that holds the example package as an installer would leave it: its code and its entry points."""
    return install(PACKAGE, tmp_path / "site")


@pytest.fixture
def call(run: Run, installed: Path) -> Callable[..., Ran]:
    """The command with the package installed; it must succeed."""

    def calling(*args: object) -> Ran:
        done = run(*args, path=installed)
        assert done.returncode == 0, done.stderr
        return done

    return calling


def test_a_campaign_uses_an_action_a_condition_and_a_decision_of_another_package(
    call: Callable[..., Ran], tmp_path: Path
) -> None:
    file = tmp_path / "gold.yaml"
    file.write_text(FILE, encoding="utf-8")
    people = tmp_path / "people.csv"
    people.write_text("key,level\nann,\nben,silver\n", encoding="utf-8")
    assert call("campaigns", "validate", file).stdout == "1 file is valid.\n"
    call("segments", "create", "members")
    call("contacts", "import", people, "--segment", "members")
    call("campaigns", "apply", file, "--yes")
    call("update", "--inline")
    call("trigger", "--inline")
    for key, value in (("ann", 20), ("ben", 5)):
        data = json.dumps({"value": value})
        call("events", "publish", "--type", "voucher.redeemed", "--contact", key, "--data", data, "--inline")
    log = [json.loads(line) for line in call("log", "gold", "--json").stdout.splitlines()]
    assert sorted((line["contact"], line["step"], line["result"]) for line in log) == [
        ("ann", "gold", "done"),
        ("ann", "known", "yes"),
        ("ann", "redeem", "yes"),
        ("ann", "silver", "done"),
        ("ben", "silver", "skipped"),
    ]
    details = {(line["contact"], line["step"]): line["detail"] for line in log}
    assert details["ben", "silver"] == {"reason": "it has that level already"}
    assert json.loads(call("contacts", "show", "ann", "--json").stdout)["fields"] == {"level": "gold"}
    assert "Gives the contact a level" in call("steps", "show", "loyalty.reward").stdout


def test_its_properties_are_checked_as_ours_are_and_without_it_the_type_is_unknown(
    run: Run, installed: Path, tmp_path: Path
) -> None:
    file = tmp_path / "gold.yaml"
    file.write_text(FILE.replace("level: silver", "levle: silver"), encoding="utf-8")
    done = run("campaigns", "validate", file, path=installed)
    assert done.returncode == 1
    assert "unknown property 'levle'; did you mean 'level'?" in done.stderr
    file.write_text(FILE, encoding="utf-8")
    done = run("campaigns", "validate", file)
    assert (done.returncode, "unknown action 'loyalty.reward'" in done.stderr) == (1, True)


GIFTS = """\
campaign: gifts
published: true
sources: {segments: [members]}
steps:
  - step: gift
    action: loyalty.gift
    with: {letter: thanks, club: given}
    then:
      - step: opened
        decision: email.open
        within: 3 days
        no: [{step: again, after: 1 hour, action: loyalty.round, with: {step: gift}}]
"""


def test_what_its_types_refer_to_is_checked_planned_and_waited_for_as_with_ours(
    run: Run, call: Callable[..., Ran], installed: Path, tmp_path: Path
) -> None:
    file, people = tmp_path / "gifts.yaml", tmp_path / "people.csv"
    file.write_text(GIFTS, encoding="utf-8")
    people.write_text("key,email\nann,ann@example.com\n", encoding="utf-8")
    call("segments", "create", "members")
    call("contacts", "import", people, "--segment", "members")
    done = run("campaigns", "apply", file, "--yes", path=installed)
    assert (done.returncode, "there is no segment 'given'" in done.stderr) == (1, True)
    call("segments", "create", "given")
    assert "there is no email 'thanks' yet" in call("campaigns", "plan", file).stdout
    (tmp_path / "thanks.yaml").write_text("key: thanks\nsubject: Thanks\nhtml: <p>Thanks</p>\n", encoding="utf-8")
    call("emails", "apply", tmp_path / "thanks.yaml")
    call("campaigns", "apply", file, "--yes")
    call("update", "--inline")
    call("trigger", "--inline")
    call("events", "publish", "--type", "email.opened", "--contact", "ann", "--data", '{"email": "thanks"}', "--inline")
    log = [json.loads(line) for line in call("log", "gifts", "--json").stdout.splitlines()]
    assert [(line["step"], line["result"]) for line in log] == [("gift", "done"), ("opened", "yes")]
    catalogue = {each["type"]: each for each in json.loads(call("steps", "list", "--json").stdout)}
    assert catalogue["loyalty.gift"]["refers_to"] == {"letter": "emails", "club": "segments"}


def test_a_jump_of_its_own_is_checked_as_ours_is(run: Run, installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "gifts.yaml"
    file.write_text(GIFTS.replace("{step: gift}", "{step: gitf}"), encoding="utf-8")
    done = run("campaigns", "validate", file, path=installed)
    assert (done.returncode, "there is no step 'gitf' to jump to; did you mean 'gift'?" in done.stderr) == (1, True)
    file.write_text(
        GIFTS.replace("decision: email.open", "action: contact.tags").replace(
            "        within: 3 days\n        no:", "        with: {add: [a]}\n        then:"
        ),
        encoding="utf-8",
    )
    done = run("campaigns", "validate", file, path=installed)
    assert (done.returncode, done.stderr) == (0, "")
    file.write_text(file.read_text("utf-8").replace("after: 1 hour, ", ""), encoding="utf-8")
    done = run("campaigns", "validate", file, path=installed)
    assert (done.returncode, "this jump creates a loop without a pause" in done.stderr) == (1, True)


def test_a_package_with_an_old_import_path_is_told_the_new_one(run: Run, installed: Path) -> None:
    module = installed / "loyalty.py"
    text = module.read_text(encoding="utf-8").replace("from parcours.steps import", "from domain.steps.registry import")
    module.write_text(text, encoding="utf-8")
    done = run("steps", "show", "loyalty.reward", path=installed)
    assert done.returncode == 1
    assert "parcours.steps" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_command_logs_is_not_among_what_it_prints(
    call: Callable[..., Ran], installed: Path, tmp_path: Path
) -> None:
    module = installed / "loyalty.py"
    module.write_text(module.read_text("utf-8").replace("isinstance(value, int | float) and ", ""), "utf-8")
    file = tmp_path / "gold.yaml"
    file.write_text(FILE, encoding="utf-8")
    people = tmp_path / "people.csv"
    people.write_text("key\nann\n", encoding="utf-8")
    call("segments", "create", "members")
    call("contacts", "import", people, "--segment", "members")
    call("campaigns", "apply", file, "--yes")
    call("update", "--inline")
    call("trigger", "--inline")
    data = json.dumps({"value": "much"})
    publish = ("events", "publish", "--type", "voucher.redeemed", "--contact", "ann", "--data", data, "--inline")
    done = call(*publish, "--json")
    assert json.loads(done.stdout)["accepted"] == 1
    line = json.loads(next(line for line in done.stderr.splitlines() if line.startswith("{")))
    assert (line["event"], line["step"]) == ("step_raised", "redeem")


@pytest.mark.parametrize(
    "package", sorted((ROOT / "examples").glob("*/pyproject.toml")), ids=lambda path: path.parent.name
)
def test_the_wheel_of_an_example_holds_the_modules_of_its_entry_points(package: Path) -> None:
    described = tomllib.loads(package.read_text("utf-8"))
    points = [point for group in described["project"]["entry-points"].values() for point in group.values()]
    modules = {f"{point.partition(':')[0]}.py" for point in points}
    assert modules == set(described["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])
