"""`parcours contacts`, from outside."""

import json
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from tests.conftest import Run


def write(tmp_path: Path, content: str, name: str = "people.csv") -> Path:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def import_(run: Run, path: Path, *options: str) -> dict[str, Any]:
    done = run("contacts", "import", path, "--json", *options)
    assert done.returncode == 0, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout)
    return counts


def show(run: Run, key: str) -> dict[str, Any]:
    done = run("contacts", "show", key, "--json")
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def test_an_import_merges_fields_and_a_second_one_changes_nothing(run: Run, tmp_path: Path) -> None:
    first = write(tmp_path, "key,email,timezone,points,tags,city,age\na,a@b.c,Europe/Paris,5,new,Rome,7\nb,,,,,,\n")
    assert import_(run, first) == {
        "added": 2,
        "updated": 0,
        "unchanged": 0,
        "merged": 0,
        "rejected": 0,
        "rejected_file": None,
    }
    assert import_(run, first)["unchanged"] == 2
    second = write(tmp_path, '{"key": "a", "city": null, "n": [1], "tags": ["vip"]}\n{"key": "b"}\n', "more.ndjson")
    counts = import_(run, second)
    assert (counts["added"], counts["updated"], counts["unchanged"]) == (0, 1, 1)
    shown = show(run, "a")
    (imported,) = shown.pop("point_log")
    assert (imported["change"], imported["points"], imported["source"]) == (5, 5, "import")
    assert shown == {
        "key": "a",
        "email": "a@b.c",
        "timezone": "Europe/Paris",
        "points": 5,
        "stage": None,
        "owner": None,
        "fields": {"city": None, "age": "7", "n": [1]},
        "tags": ["new", "vip"],
        "segments": [],
        "aliases": [],
        "companies": [],
        "channels": {},
        "campaigns": [],
        "scores": {},
        "utm": {},
        "stage_log": [],
    }


def test_a_repeated_key_counts_once_as_updated_and_the_last_wins(run: Run, tmp_path: Path) -> None:
    counts = import_(run, write(tmp_path, "key,city\na,Rome\nb,Oslo\na,Paris\n"))
    assert (counts["added"], counts["updated"], counts["rejected"]) == (2, 1, 0)
    assert show(run, "a")["fields"] == {"city": "Paris"}


def test_rejected_rows_are_beside_the_file_and_a_clean_run_removes_them(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, "key,points\na,1\nb,x\n,2\n")
    counts = import_(run, path)
    beside = tmp_path / "people.csv.rejected"
    assert (counts["added"], counts["rejected"], counts["rejected_file"]) == (1, 2, str(beside))
    assert beside.read_text() == "3\tpoints is not a whole number: 'x'\tb,x\n4\tno key\t,2\n"
    import_(run, write(tmp_path, "key,points\nb,2\n"))
    assert not beside.exists()


def test_wrong_encoding_far_into_the_file_leaves_nothing_behind(run: Run, tmp_path: Path, engine: Engine) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(b"key,city\n,rejected\n" + b"".join(b"k%d,x\n" % n for n in range(20_000)) + b"z,\xe9\n")
    done = run("contacts", "import", path)
    assert done.returncode == 1
    assert "line 20003, byte 3 is 0xe9" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "people.csv.rejected").exists()
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM contact")).scalar_one() == 0


def test_an_unknown_segment_is_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, "key\na\n")
    done = run("contacts", "import", path, "--segment", "nowhere")
    assert done.returncode == 1
    assert "no segment 'nowhere'" in done.stderr
    assert run("contacts", "show", "a").returncode == 1


def test_an_import_makes_manual_members(run: Run, tmp_path: Path, engine: Engine) -> None:
    assert run("segments", "create", "news").returncode == 0
    path = write(tmp_path, "email\na@b.c\nd@e.f\n")
    import_(run, path, "--segment", "news")
    import_(run, path, "--segment", "news")
    with engine.connect() as conn:
        rows = conn.execute(text("SELECT active, manually_added FROM segment_member")).all()
    assert [tuple(row) for row in rows] == [(True, True), (True, True)]
    assert show(run, "a@b.c")["segments"] == ["news"]


def test_an_unknown_contact_or_file_is_one_sentence(run: Run, tmp_path: Path) -> None:
    for arguments in (("show", "ghost"), ("import", tmp_path / "none.csv"), ("import", tmp_path)):
        done = run("contacts", *arguments)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1


def test_show_says_where_a_contact_is_in_their_own_time(run: Run, tmp_path: Path, engine: Engine) -> None:
    import_(run, write(tmp_path, "key,timezone\na,Europe/Paris\n"))
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE outcome_all PARTITION OF outcome DEFAULT"))
        conn.execute(
            text("INSERT INTO campaign (key, name, created_at, changed_at) VALUES ('welcome', 'W', now(), now())")
        )
        conn.execute(
            text(
                "INSERT INTO step (campaign_id, key, kind, type, created_at) SELECT "
                "id, step_key, kind, 'x', now() "
                "FROM campaign, (VALUES ('hello', 'action'), ('later', 'action'), ('opened', 'decision')) "
                "AS given (step_key, kind)"
            )
        )
        conn.execute(
            text(
                "INSERT INTO membership (contact_id, campaign_id, rotation, added_at, "
                "arrival, left_at, departure) "
                "SELECT contact.id, campaign.id, 2, '2026-03-01T10:00Z', 'segment', NULL, NULL "
                "FROM contact, campaign"
            )
        )
        conn.execute(
            text(
                "INSERT INTO outcome (contact_id, step_id, rotation, passage, at, result) "
                "SELECT contact.id, step.id, 2, 2, '2026-03-01T10:00Z', 'done' "
                "FROM contact, step WHERE step.key = 'hello'"
            )
        )
        conn.execute(
            text(
                "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, "
                "passage, reason, anchor_at, due_at) "
                "SELECT contact.id, step.id, step.campaign_id, 2, 2, "
                "CAST(CASE step.kind WHEN 'action' THEN 'retry' ELSE 'decision' END AS wait_reason), now(), "
                "CASE step.kind WHEN 'action' THEN timestamptz '2026-03-29T01:00Z' ELSE 'infinity' END "
                "FROM contact, step WHERE step.key <> 'hello'"
            )
        )
    assert show(run, "a")["campaigns"] == [
        {
            "campaign": "welcome",
            "rotation": 2,
            "added_at": "2026-03-01T10:00:00Z",
            "left_at": None,
            "departure": None,
            "outcomes": [
                {
                    "step": "hello",
                    "rotation": 2,
                    "result": "done",
                    "at": "2026-03-01T10:00:00Z",
                    "detail": None,
                }
            ],
            "waits": [
                {
                    "step": "later",
                    "waiting": "retry",
                    "due_at": "2026-03-29T01:00:00Z",
                    "due_local": "2026-03-29T03:00:00+02:00",
                },
                {"step": "opened", "waiting": "decision", "due_at": None, "due_local": None},
            ],
        }
    ]
    printed = run("contacts", "show", "a").stdout
    assert "2026-03-29 03:00+02:00" in printed
    assert "no deadline" in printed


def test_merging_says_what_happened_and_refuses_what_makes_no_sense(run: Run, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("key,city\nann,\nben,Lyon\n", encoding="utf-8")
    run("contacts", "import", "people.csv")
    for names, says in (
        (("ann", "ann"), "contact 'ann' cannot be merged into itself; name two\n"),
        (("ann", "nobody"), "there is no contact 'nobody'\n"),
        (("nobody", "ann"), "there is no contact 'nobody'\n"),
        ((" ", "ann"), "the key of a contact cannot be blank\n"),
    ):
        done = run("contacts", "merge", *names)
        assert (done.returncode, done.stderr) == (1, f"parcours: {says}")
    done = run("contacts", "merge", "ben", "ann")
    assert done.stdout == "ben is merged into ann, and the key ben leads there from now on.\n"
    shown = json.loads(run("contacts", "show", "ben", "--json").stdout)
    assert (shown["key"], shown["aliases"], shown["fields"]) == ("ann", ["ben"], {"city": "Lyon"})
    assert "merged with" in run("contacts", "show", "ann").stdout
    for names in (("ben", "ann"), ("ann", "ben")):
        done = run("contacts", "merge", *names)
        says = "contact 'ben' was merged into another already; `parcours contacts show ben` shows into whom\n"
        assert (done.returncode, done.stderr) == (1, f"parcours: {says}")
    assert run("check").returncode == 0
