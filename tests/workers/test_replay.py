"""Dead letters that a decision could not judge, replayed as a person does once the package is mended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from tests.conftest import Run
from tests.workers.test_another_package import PACKAGE, installed
from tests.workers.worlds import START, World

__all__ = ["installed"]

WRONG = "    return value / 1 >= properties.at_least\n"
FILE = """\
campaign: gold
published: true
sources: {segments: [members]}
steps:
  - step: redeem
    decision: loyalty.redeem
    with: {at_least: 10}
    yes: [{step: gold, action: contact.points, with: {points: 5}}]
  - step: any
    decision: event.happened
    with: {type: voucher.redeemed}
    yes: [{step: counted, action: contact.points, with: {points: 1}}]
"""


class Shop:
    """A campaign with a decision of a package that is broken at first."""

    def __init__(self, engine: Engine, run: Run, folder: Path, package: Path) -> None:
        self.engine, self.folder, self._run, self._package = engine, folder, run, package
        self.package("broken")
        (folder / "gold.yaml").write_text(FILE, encoding="utf-8")
        self.call("segments", "create", "members")
        self.call("segments", "add", "members", "ann", "ben")
        self.call("campaigns", "apply", "gold.yaml", "--yes")
        self.call("update", "--inline")
        self.call("trigger", "--inline")

    def package(self, state: str) -> None:
        code = (PACKAGE / "loyalty.py").read_text(encoding="utf-8")
        last = code.rindex("    return")
        (self._package / "loyalty.py").write_text(code[:last] + WRONG if state == "broken" else code, encoding="utf-8")

    def call(self, *args: object) -> str:
        done = self._run(*args, path=self._package)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def redeem(self, contact: str, value: Any) -> None:
        data = json.dumps({"value": value})
        self.call("events", "publish", "--type", "voucher.redeemed", "--contact", contact, "--data", data, "--inline")

    def points(self, contact: str) -> int:
        return int(json.loads(self.call("contacts", "show", contact, "--json"))["points"])

    def letters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.call("dead-letters", "list", "--json"))
        return found


@pytest.fixture
def shop(engine: Engine, run: Run, tmp_path: Path, installed: Path) -> Shop:
    ensure_partitions(engine, START)
    World(engine, tmp_path).contacts("ann", "ben")
    return Shop(engine, run, tmp_path, installed)


def test_a_replayed_letter_is_judged_by_the_decision_that_could_not_and_by_no_other(shop: Shop) -> None:
    shop.redeem("ann", "20")
    assert shop.points("ann") == 1
    (letter,) = shop.letters()
    assert letter["reason"].startswith("the decision 'redeem' of campaign 'gold' could not evaluate it: TypeError")
    assert "fix the cause, then run `parcours dead-letters replay`" in letter["reason"]
    assert "0 evaluated again by decisions that had failed (0 yes), 0 duplicates, 1 still failing." in shop.call(
        "dead-letters", "replay", "--all"
    )
    assert "TypeError" in shop.call("explain", "gold", "ann")
    # What it brought was a text; the mended package may take that, and this one does not.
    shop.package("mended")
    assert "1 evaluated again by decisions that had failed (0 yes), 0 duplicates, 0 still failing." in shop.call(
        "dead-letters", "replay", "--all"
    )
    assert (shop.letters(), shop.points("ann")) == ([], 1)
    assert "TypeError" not in shop.call("explain", "gold", "ann")


def test_a_replayed_letter_that_the_decision_waited_for_takes_the_yes_branch_once(shop: Shop) -> None:
    for contact in ("ann", "ben"):
        shop.redeem(contact, [20])
    assert [shop.points(contact) for contact in ("ann", "ben")] == [1, 1]
    code = (PACKAGE / "loyalty.py").read_text(encoding="utf-8").replace("int | float", "list")
    shop._package.joinpath("loyalty.py").write_text(
        code.replace("value >= properties.at_least", "value[0] >= properties.at_least")
    )
    shop.call("campaigns", "pause", "gold")
    assert "2 still failing" in shop.call("dead-letters", "replay", "--all")
    assert all("campaign 'gold' is not running: it is not published" in each["reason"] for each in shop.letters())
    shop.call("campaigns", "publish", "gold")
    first, second = sorted(each["id"] for each in shop.letters())
    assert "0 accepted, 1 evaluated again by decisions that had failed (1 yes), 0 duplicates, 0 still failing." in (
        shop.call("dead-letters", "replay", first)
    )
    assert sorted(shop.points(contact) for contact in ("ann", "ben")) == [1, 6]
    shop.call("dead-letters", "replay", second)
    assert [shop.points(contact) for contact in ("ann", "ben")] == [6, 6]
    log = [json.loads(line) for line in shop.call("log", "gold", "--json").splitlines()]
    assert [line["result"] for line in log if line["step"] == "redeem"] == ["yes", "yes"]
    assert len([line for line in log if line["step"] == "any"]) == 2
    assert shop.letters() == []


def test_a_package_that_cannot_be_imported_stops_only_the_campaigns_that_use_it(shop: Shop, run: Run) -> None:
    shop._package.joinpath("loyalty.py").write_text("raise RuntimeError('no licence')\n")
    listed = run("campaigns", "list", path=shop._package)
    assert (listed.returncode, "RuntimeError: no licence" in listed.stderr) == (0, True)
    shop.redeem("ann", 20)
    assert shop.letters() == []
    assert "contact.points" in shop.call("steps", "list")
    refused = run("campaigns", "validate", "gold.yaml", path=shop._package)
    assert (
        refused.returncode,
        "the package of the decision 'loyalty.redeem' cannot be imported" in refused.stderr,
    ) == (
        1,
        True,
    )


def test_a_command_says_that_what_it_was_given_became_a_dead_letter(shop: Shop) -> None:
    file = shop._package / "loyalty.py"
    file.write_text(file.read_text(encoding="utf-8").replace('"voucher.redeemed"]', '"form.submitted"]'), "utf-8")
    shop.call("forms", "create", "survey")
    line = {"specversion": "1.0", "id": "1", "source": "s", "subject": "ben", "type": "form.submitted"}
    (shop.folder / "e.ndjson").write_text(json.dumps({**line, "data": {"form": "survey"}}), "utf-8")
    for words in (("forms", "submit", "survey", "ann"), ("events", "publish", "e.ndjson", "--inline")):
        done = shop._run(*words, path=shop._package)
        assert done.returncode == 0
        assert "1 event became a dead letter; run `parcours dead-letters list` to see why" in done.stderr
    reasons = [letter["reason"] for letter in shop.letters()]
    assert len(reasons) == 2
    assert all(
        reason.startswith("the decision 'redeem' of campaign 'gold' could not evaluate it") for reason in reasons
    )
