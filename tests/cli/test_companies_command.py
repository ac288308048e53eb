"""`parcours companies` as a user calls it."""

import json
from pathlib import Path

import pytest

from tests.conftest import Run


def test_a_company_is_made_filled_shown_and_left(run: Run, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("key,email\nann,a@example.com\nben,b@example.com\n", encoding="utf-8")
    assert run("contacts", "import", "people.csv").returncode == 0
    assert "is created" in run("companies", "create", "acme", "--name", "Acme", "--field", "city=Paris").stdout
    assert "nothing changed" in run("companies", "create", "acme", "--field", "city=Paris").stdout
    assert "is updated" in run("companies", "create", "acme", "--field", "city=Lyon").stdout
    run("companies", "create", "other")
    assert run("companies", "add", "acme", "ann", "ben").stdout == "2 contacts added to acme, 0 already in it.\n"
    assert run("companies", "add", "other", "ben", "--primary").returncode == 0
    assert run("companies", "add", "acme", "ann").stdout == "0 contacts added to acme, 1 already in it.\n"
    shown = json.loads(run("companies", "show", "acme", "--json").stdout)
    assert shown == {
        "key": "acme",
        "name": "Acme",
        "points": 0,
        "fields": {"city": "Lyon"},
        "contacts": [{"contact": "ann", "primary": True}, {"contact": "ben", "primary": False}],
        "more": False,
    }
    assert "ann (its primary company)" in run("companies", "show", "acme").stdout
    assert json.loads(run("contacts", "show", "ben", "--json").stdout)["companies"] == ["other", "acme"]
    assert run("companies", "remove", "acme", "ann", "ben").stdout == "2 contacts removed from acme, 0 not in it.\n"
    listed = json.loads(run("companies", "list", "--json").stdout)
    assert [(each["key"], each["contacts"]) for each in listed] == [("acme", 0), ("other", 1)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "nope", "ann"), "there is no company 'nope'"),
        (("show", "nope"), "there is no company 'nope'"),
        (("create", " "), "cannot be blank"),
        (("create", "x", "--field", "city"), "NAME=VALUE"),
        (("create", "x", "--field", "points=3"), "--field cannot set the built-in attribute points"),
    ],
)
def test_bad_input_gets_a_sentence(run: Run, arguments: tuple[str, ...], says: str) -> None:
    done = run("companies", *arguments)
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_contact_that_does_not_exist_is_named(run: Run) -> None:
    run("companies", "create", "acme")
    done = run("companies", "add", "acme", "nobody")
    assert (done.returncode, "'nobody'" in done.stderr) == (1, True)
