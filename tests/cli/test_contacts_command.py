"""`parcours contacts`, from outside."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from parcours.db.tables import contacts
from parcours.db.tables import refusals as stored_refusals
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
        "silenced": 0,
        "kept_by_hand": 0,
        "notes": [],
        "awaiting_update": [],
        "joined": 0,
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
        "refusals": [],
        "campaigns": [],
        "scores": {},
        "utm": {},
        "stage_log": [],
    }


def test_an_address_that_differs_in_case_alone_stays_as_it_was_spelled_first(run: Run, tmp_path: Path) -> None:
    import_(run, write(tmp_path, "email,city\nKim@Example.com,Lyon\n"))
    done = import_(run, write(tmp_path, "email,city\nKIM@example.COM,Lyon\n"))
    assert (done["added"], done["updated"], done["unchanged"]) == (0, 0, 1)
    done = import_(run, write(tmp_path, "email,city\nkim@example.com,Nice\n"))
    assert (done["added"], done["updated"]) == (0, 1)
    assert show(run, "kim@example.com")["email"] == "Kim@Example.com"
    import_(run, write(tmp_path, "key,email\nKim@Example.com,kim.new@example.com\n"))
    assert show(run, "Kim@Example.com")["email"] == "kim.new@example.com"


def test_a_repeated_key_counts_once_as_updated_and_the_last_wins(run: Run, tmp_path: Path) -> None:
    counts = import_(run, write(tmp_path, "key,city\na,Rome\nb,Oslo\na,Paris\n"))
    assert (counts["added"], counts["updated"], counts["rejected"]) == (2, 1, 0)
    assert show(run, "a")["fields"] == {"city": "Paris"}


def test_a_new_row_with_the_address_of_a_contact_is_told_to_use_that_contact(run: Run, tmp_path: Path) -> None:
    import_(run, write(tmp_path, "key,email\n1,kim@example.com\n2,ben@example.com\n"))
    path = write(tmp_path, "key,email\n3,KIM@example.com\n2,kim@example.com\n")
    assert run("contacts", "import", path, "--same-address", "reject").returncode == 1
    new, known = (tmp_path / "people.csv.rejected").read_text().splitlines()
    # Contact 3 does not exist, so that nobody could merge it.
    assert new.split("\t")[1] == "the address KIM@example.com belongs to contact '1'; use that contact"
    assert "`parcours contacts merge 2 1`" in known


def test_rejected_rows_are_beside_the_file_and_a_clean_run_removes_them(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, "key,points\na,1\nb,x\n,2\n")
    assert run("contacts", "import", path).returncode == 1
    counts = import_(run, path, "--allow-rejected")
    beside = tmp_path / "people.csv.rejected"
    assert (counts["unchanged"], counts["rejected"], counts["rejected_file"]) == (1, 2, str(beside))
    assert beside.read_text() == "3\tpoints is not a whole number: 'x'\tb,x\n4\tno key\t,2\n"
    import_(run, write(tmp_path, "key,points\nb,2\n"))
    assert not beside.exists()


def test_a_file_that_stops_far_into_it_leaves_nothing_behind(run: Run, tmp_path: Path, engine: Engine) -> None:
    path = tmp_path / "people.csv"
    lines = "key,city\n,rejected\n" + "".join(f"k{n},x\n" for n in range(20_000))
    path.write_bytes(lines.encode("utf-16") + b"\x41")
    done = run("contacts", "import", path)
    assert done.returncode == 1
    assert "after line 20002" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "people.csv.rejected").exists()
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM contact")).scalar_one() == 0


def test_an_import_into_the_source_of_a_published_campaign_says_that_an_update_is_needed(
    run: Run, tmp_path: Path
) -> None:
    assert run("segments", "create", "news").returncode == 0
    path = write(tmp_path, "email\na@b.c\n")
    assert "parcours update" not in run("contacts", "import", path, "--segment", "news").stdout
    for key, published in (("c", "true"), ("d", "false")):
        steps = "steps: [{step: s, action: contact.points, with: {points: 1}}]"
        file = f"campaign: {key}\npublished: {published}\nsources: {{segments: [news]}}\n{steps}\n"
        assert run("campaigns", "apply", write(tmp_path, file, f"{key}.yaml"), "--yes").returncode == 0
    said = "Run `parcours update` to add the contacts to the campaign c.\n"
    assert run("contacts", "import", path, "--segment", "news").stdout.endswith(said)
    assert "parcours update" not in run("contacts", "import", path).stdout
    assert import_(run, path, "--segment", "news")["awaiting_update"] == ["c"]
    assert run("update", "--inline").returncode == 0
    assert show(run, "a@b.c")["campaigns"][0]["campaign"] == "c"


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


def test_erasing_somebody_unknown_asks_for_no_confirmation(run: Run) -> None:
    done = run("contacts", "delete", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "parcours: there is no contact 'nobody'; check the key or the email address\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--email", "nonsense"), "\"email\": 'nonsense' is not an email address: it has no @"),
        (("--timezone", "Nowhere/Land"), "\"timezone\": unknown timezone 'Nowhere/Land'"),
        (("--tag", "x" * 300), "a tag is longer than 255 characters"),
    ],
)
def test_an_invalid_value_is_told_without_the_event_that_would_have_set_it(
    run: Run, options: tuple[str, ...], said: str
) -> None:
    done = run("contacts", "create", "ann", *options)
    assert done.returncode == 1
    assert done.stderr.startswith(f"parcours: {said}")
    assert "contact.changed" not in done.stderr


def test_an_export_that_fails_says_what_to_do(run: Run, tmp_path: Path) -> None:
    assert run("segments", "create", "news").returncode == 0
    for arguments, said in (
        (("x.csv", "--segment", "nowhere"), "there is no segment 'nowhere'; run `parcours segments list`"),
        (("no/x.csv", "--segment", "news"), "no/x.csv cannot be written (No such file or directory); name a file in"),
        ((tmp_path, "--segment", "news"), "cannot be written (Is a directory); name a file in a folder that exists"),
        (("ann", "--format", "csv"), "--format is for the members of a segment; add --segment"),
    ):
        done = run("contacts", "export", *arguments)
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_show_says_where_a_contact_is_in_their_own_time(run: Run, tmp_path: Path, engine: Engine) -> None:
    import_(run, write(tmp_path, "key,timezone\na,Europe/Paris\n"))
    with engine.begin() as conn:
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
            "reason": None,
            "control": False,
            "goal": {"reached_at": None, "until": None, "value": None},
            "runs": [],
            "outcomes": [
                {
                    "step": "hello",
                    "run": None,
                    "rotation": 2,
                    "result": "done",
                    "at": "2026-03-01T10:00:00Z",
                    "detail": None,
                }
            ],
            "waits": [
                {
                    "step": "later",
                    "run": None,
                    "waiting": "retry",
                    "due_at": "2026-03-29T01:00:00Z",
                    "due_local": "2026-03-29T03:00:00+02:00",
                    "error": None,
                },
                {
                    "step": "opened",
                    "run": None,
                    "waiting": "decision",
                    "due_at": None,
                    "due_local": None,
                    "error": None,
                },
            ],
        }
    ]
    printed = run("contacts", "show", "a").stdout
    assert "2026-03-29 03:00:00 Europe/Paris" in printed
    assert "joined 2026-03-01 11:00:00 Europe/Paris" in printed
    assert "no deadline" in printed


def test_merging_says_what_happened_and_refuses_what_makes_no_sense(run: Run, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("key,city\nann,\nben,Lyon\n", encoding="utf-8")
    run("contacts", "import", "people.csv")
    for names, says in (
        (("ann", "ann"), "cannot merge contact 'ann' into itself; give two different contacts\n"),
        (("ann", "nobody"), "there is no contact 'nobody'; check the key or the email address\n"),
        (("nobody", "ann"), "there is no contact 'nobody'; check the key or the email address\n"),
        ((" ", "ann"), "the key of a contact cannot be blank\n"),
    ):
        done = run("contacts", "merge", *names)
        assert (done.returncode, done.stderr) == (1, f"parcours: {says}")
    done = run("contacts", "merge", "ben", "ann")
    assert done.stdout == "Merged ben into ann. The key ben now refers to ann.\n"
    shown = json.loads(run("contacts", "show", "ben", "--json").stdout)
    assert (shown["key"], shown["aliases"], shown["fields"]) == ("ann", ["ben"], {"city": "Lyon"})
    assert "merged with" in run("contacts", "show", "ann").stdout
    for names in (("ben", "ann"), ("ann", "ben")):
        done = run("contacts", "merge", *names)
        says = (
            "contact 'ben' is already merged into another contact; "
            "run `parcours contacts show ben` to see which contact\n"
        )
        assert (done.returncode, done.stderr) == (1, f"parcours: {says}")
    assert run("check").returncode == 0


def refusals(engine: Engine) -> list[tuple[str, str, str]]:
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT contact.key, channel, reason FROM do_not_contact JOIN contact ON contact.id = contact_id")
        )
        return sorted((row.key, row.channel, row.reason) for row in rows)


def test_every_row_of_a_file_is_counted_once_whatever_a_quote_swallows(run: Run, tmp_path: Path) -> None:
    rows = [f"c{n}@b.example,Ann {n},Rome" for n in range(3_000)]
    rows[1_000] = 'c1000@b.example,"Ann,Rome'
    rows[2_000] = "c1@b.example,Eve,Rome"
    rows[2_001] = "c1@b.example,Eve,Rome"
    rows[2_002] = "nobody,Eve,Rome"
    path = write(tmp_path, "email,name,city\n" + "\n".join(rows) + "\n,,\n\n")
    done = run("contacts", "import", path, "--json")
    counts = json.loads(done.stdout)
    assert done.returncode == 1
    assert (counts["added"], counts["updated"], counts["unchanged"], counts["rejected"]) == (2_996, 1, 1, 2)
    lost = (tmp_path / "people.csv.rejected").read_text().splitlines()
    assert [line.split("\t")[0] for line in lost] == ["1002", "2004"]
    assert "a quote is not closed" in lost[0]
    again = import_(run, path, "--allow-rejected")
    assert (again["added"], again["updated"], again["unchanged"], again["rejected"]) == (0, 0, 2_998, 2)


def test_who_opted_out_is_refused_and_a_later_import_does_not_take_that_back(
    run: Run, tmp_path: Path, engine: Engine
) -> None:
    path = write(tmp_path, "email,doNotEmail\na@b.example,1\nb@b.example,0\nc@b.example,\nd@b.example,on request\n")
    counts = import_(run, path)
    assert (counts["silenced"], len(counts["notes"])) == (2, 1)
    assert "'on request'" in counts["notes"][0]
    wanted = [("a@b.example", "email", "unsubscribed"), ("d@b.example", "email", "unsubscribed")]
    assert refusals(engine) == wanted
    again = import_(run, path)
    assert (again["unchanged"], again["silenced"]) == (4, 0)
    import_(run, write(tmp_path, "email,unsubscribed\na@b.example,0\n", "later.csv"))
    assert refusals(engine) == wanted


def test_a_contact_that_is_there_is_refused_too_and_a_bounce_gives_way_to_a_word(
    run: Run, tmp_path: Path, engine: Engine
) -> None:
    import_(run, write(tmp_path, "email,bounced\na@b.example,yes\nb@b.example,\n"))
    assert refusals(engine) == [("a@b.example", "email", "bounced")]
    counts = import_(run, write(tmp_path, "email,STOP\na@b.example,x\nb@b.example,x\n"), "--do-not-contact", "stop=sms")
    assert (counts["updated"], counts["silenced"]) == (2, 2)
    import_(run, write(tmp_path, "email,Opt Out\na@b.example,x\n"))
    assert refusals(engine) == [
        ("a@b.example", "email", "unsubscribed"),
        ("a@b.example", "sms", "unsubscribed"),
        ("b@b.example", "sms", "unsubscribed"),
    ]


def test_a_file_of_excel_in_french_is_imported_without_any_option_and_says_what_it_guessed(
    run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "clients.csv"
    lines = "Prénom;Nom;Adresse e-mail;Depuis le;Montant\r\nZoé;Bénard;zoe@b.example;13/02/2021;2\xa0500,50 €\r\n"
    path.write_bytes(lines.encode("cp1252"))
    done = run("contacts", "import", path)
    assert done.returncode == 0, done.stderr
    assert "Windows-1252" in done.stdout
    assert "'13/02/2021' becomes 2021-02-13" in done.stdout
    assert "1 added, 0 updated, 0 unchanged, 0 rejected." in done.stdout
    assert show(run, "zoe@b.example")["fields"] == {
        "first_name": "Zoé",
        "last_name": "Bénard",
        "Depuis le": "2021-02-13",
        "Montant": 2500.5,
    }
    assert import_(run, path)["unchanged"] == 1


def test_a_dry_run_shows_what_would_happen_and_does_nothing(run: Run, tmp_path: Path, engine: Engine) -> None:
    path = write(tmp_path, "Email Address;Born;unsubscribed\na@b.example;31.12.1990;yes\nnobody;1.1.2000;\n")
    shown = json.loads(run("contacts", "import", path, "--dry-run", "--json").stdout)
    assert [column["means"] for column in shown["columns"]] == [
        "email address",
        "field Born",
        "do not contact (email), when the cell says yes",
    ]
    assert shown["columns"][1]["shape"] == "date DD/MM/YYYY"
    assert shown["rows"] == [{"email": "a@b.example", "do not contact": ["email"], "Born": "1990-12-31"}]
    assert (shown["usable"], shown["rejected"], shown["rejections"][0]["line"]) == (1, 1, 3)
    printed = run("contacts", "import", path, "--dry-run")
    assert printed.returncode == 0
    assert "Dry run: nothing was imported" in printed.stdout
    assert not (tmp_path / "people.csv.rejected").exists()
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM contact")).scalar_one() == 0


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_is_a_file_too(name: str) -> None:
    program = (
        "import sys; from pathlib import Path; from producers.files.contacts import contacts; "
        "print([row.key for row in contacts(Path(sys.argv[1]))])"
    )
    command = [sys.executable, "-c", program, name]
    done = subprocess.run(command, input=b"email\na@b.example\n", capture_output=True, check=True)
    assert done.stdout.decode().strip() == "['a@b.example']"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--map", "Emial=email"), "the file has no column 'Emial'; did you mean 'email'?"),
        (("--map", "email"), 'write it like --map "Email Address=email"'),
        (("--map", "x=last_active_at"), "'last_active_at' is managed by Parcours"),
        (("--encoding", "klingon"), "--encoding 'klingon' is not known"),
        (("--delimiter", "ab"), "--delimiter 'ab' is not a single character"),
        (("--dates", "soon"), "write DD/MM/YYYY, MM/DD/YYYY or YYYY-MM-DD"),
        (("--decimal", "x"), "--decimal 'x' is not known"),
        (("--do-not-contact", "gone=sms"), "the file has no column 'gone'"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_sentence(
    run: Run, tmp_path: Path, options: tuple[str, str], sentence: str
) -> None:
    done = run("contacts", "import", write(tmp_path, "email,x\na@b.example,1\n"), *options)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_import_says_where_a_refusal_by_hand_stays_over_what_the_file_says(
    run: Run, tmp_path: Path, engine: Engine
) -> None:
    rows = "email,phone,unsubscribed\n" + "".join(f"{who}@b.example,+3361234567{n},\n" for n, who in enumerate("abc"))
    import_(run, write(tmp_path, rows))
    with engine.begin() as conn:
        ids = contacts.named(conn, ["a@b.example", "b@b.example"])
        conn.execute(
            text(
                "INSERT INTO do_not_contact (contact_id, channel, reason, comment, at) "
                "SELECT id, 'email', 'manual', 'called us', now() FROM contact WHERE id = ANY (:ids)"
            ),
            {"ids": list(ids.values())},
        )
    said = write(tmp_path, rows.replace(",\n", ",yes\n"))
    for silenced in (1, 0):
        counts = import_(run, said)
        assert (counts["kept_by_hand"], counts["silenced"]) == (2, silenced)
    told = run("contacts", "import", said)
    assert "2 contacts unsubscribed, but a manual do-not-contact entry exists" in told.stdout
    with engine.connect() as conn:
        kept = [stored_refusals.listed(conn, id_) for id_ in ids.values()]
    assert all("called us" in {each.comment for each in found} for found in kept)
