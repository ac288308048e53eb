"""`parcours segments`, `parcours stages` and `parcours points`, from outside."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.conftest import Run


@pytest.fixture
def people(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("key,email\na,a@x.y\nb,b@x.y\nc,c@x.y\n")
    assert run("contacts", "import", path).returncode == 0
    assert run("segments", "create", " news ", "--name", "News").returncode == 0


def members(engine: Engine) -> dict[str, tuple[bool, bool, bool]]:
    with engine.connect() as conn:
        rows = conn.execute(
            text(
                "SELECT key, active, manually_added, manually_removed FROM segment_member "
                "JOIN contact ON contact.id = segment_member.contact_id"
            )
        )
        return {key: (active, added, removed) for key, active, added, removed in rows}


def test_people_are_added_and_removed_by_hand(run: Run, people: None, engine: Engine) -> None:
    assert run("segments", "add", "news", "a", "b", "a").stdout == "2 added to news, 0 already in it.\n"
    assert run("segments", "add", "news", "a", "c").stdout == "1 added to news, 1 already in it.\n"
    assert run("segments", "remove", "news", "b").stdout == "1 removed from news, 0 not in it.\n"
    assert members(engine) == {"a": (True, True, False), "b": (False, False, True), "c": (True, True, False)}
    listed = json.loads(run("segments", "list", "--json").stdout)
    assert listed == [
        {
            "key": "news",
            "name": "News",
            "public": True,
            "published": True,
            "members": 2,
            "campaigns": [],
            "by_rule": False,
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "news", "a", "ghost"), "there is no contact 'ghost'"),
        (("remove", "news", "ghost", "spook"), "there are no contacts 'ghost', 'spook'"),
        (("add", "nowhere", "a"), "there is no segment 'nowhere'"),
        (("create", "  "), "cannot be blank"),
        (("add", "news", " "), "cannot be blank"),
    ],
)
def test_what_is_unknown_is_one_sentence_and_nothing_is_half_written(
    run: Run, people: None, engine: Engine, arguments: tuple[str, ...], sentence: str
) -> None:
    done = run("segments", *arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert members(engine) == {}


def test_a_file_fills_a_segment_and_who_is_unknown_is_rejected(run: Run, people: None, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("a\nghost\nb\n")
    done = run("segments", "import", "news", path, "--json")
    assert done.returncode == 1
    assert "1 row was rejected" in done.stderr
    assert json.loads(done.stdout) == {
        "added": 2,
        "already": 0,
        "rejected": 1,
        "rejected_file": f"{path}.rejected",
    }
    assert (tmp_path / "keys.rejected").read_text() == "2\tunknown contact 'ghost'\tghost\n"
    path.write_text("email,x\nA@X.Y,1\nc@x.y,2\n")
    assert run("segments", "import", "news", path).stdout == "1 added to news, 1 already in it, 0 rejected.\n"


def test_creating_again_updates_and_says_so(run: Run, people: None) -> None:
    assert "nothing changed" in run("segments", "create", "news").stdout
    assert "existed and is updated" in run("segments", "create", "news", "--private").stdout
    (listed,) = json.loads(run("segments", "list", "--json").stdout)
    assert (listed["name"], listed["public"], listed["published"]) == ("News", False, True)


def test_a_segment_that_a_campaign_uses_cannot_be_unpublished(run: Run, people: None, engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(
            text("INSERT INTO campaign (key, name, created_at, changed_at) VALUES ('welcome', 'W', now(), now())")
        )
        conn.execute(
            text(
                "INSERT INTO campaign_source (campaign_id, kind, source_id) "
                "SELECT campaign.id, 'segment', segment.id FROM campaign, segment"
            )
        )
    done = run("segments", "create", "news", "--unpublished")
    assert done.returncode == 1
    assert "it is a source of welcome" in done.stderr
    (listed,) = json.loads(run("segments", "list", "--json").stdout)
    assert (listed["published"], listed["campaigns"]) == (True, ["welcome"])


def test_groups_of_points_are_created_renamed_and_listed(run: Run) -> None:
    assert "is created" in run("points", "groups", "create", "wine").stdout
    assert "is renamed" in run("points", "groups", "create", " wine ", "--name", "Wines").stdout
    assert "nothing changed" in run("points", "groups", "create", "wine").stdout
    listed = run("points", "groups", "list", "--json").stdout
    assert json.loads(listed) == [{"key": "wine", "name": "Wines", "contacts": 0}]
    refused = run("points", "groups", "create", " ")
    assert (refused.returncode, refused.stderr) == (1, "parcours: the key of a point group cannot be blank\n")


def test_stages_are_listed_by_weight(run: Run) -> None:
    assert run("stages", "create", "lead", "--name", "Lead", "--weight", "20").returncode == 0
    assert run("stages", "create", "visitor", "--weight", "10", "--unpublished").returncode == 0
    assert "existed and is updated" in run("stages", "create", "lead", "--weight", "30").stdout
    assert json.loads(run("stages", "list", "--json").stdout) == [
        {"key": "visitor", "name": "visitor", "weight": 10, "published": False, "contacts": 0},
        {"key": "lead", "name": "Lead", "weight": 30, "published": True, "contacts": 0},
    ]
