"""`parcours simulate` as a user calls it, on a database that it must leave as it is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from parcours.db.scratch import PREFIX, SCRATCH_LOCK, scratch
from parcours.services.sample.contacts import people
from tests.conftest import Run

CAMPAIGN = """
campaign: tour
sources: {segments: [everyone]}
steps:
  - step: hello
    action: email.send
    with: {email: hello}
    after: 1 day
    then:
      - step: opened
        decision: email.open
        yes:
          - {step: warm, action: contact.points, with: {points: 5}}
        no:
          - {step: cold, action: contact.tags, with: {add: [cold]}, after: 3 days}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tour.yaml"
    path.write_text(CAMPAIGN, encoding="utf-8")
    return path


def simulated(run: Run, file: Path, *options: object) -> dict[str, Any]:
    ran = run("simulate", file, "--now", "2026-06-01T09:00:00Z", *options, "--json")
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def steps(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in found["steps"]}


def schemas(engine: Engine) -> list[str]:
    with engine.connect() as conn:
        return list(conn.execute(text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'parcours%'")).scalars())


def test_a_month_gives_the_same_figures_every_time_and_others_with_another_seed(run: Run, file: Path) -> None:
    first = simulated(run, file, "--contacts", 60, "--days", 7)
    assert simulated(run, file, "--contacts", 60, "--days", 7) == first
    assert simulated(run, file, "--contacts", 60, "--days", 7, "--seed", 2)["volume"] != first["volume"]
    assert first["contacts"]["added"] == 60
    found = steps(first)
    assert found["hello"]["reached"] == 60
    assert found["hello"]["skipped"] == sum(person.email is None for person in people(60, 1))
    assert found["opened"]["yes"] + found["opened"]["no"] == 60
    assert found["warm"]["done"] == found["opened"]["yes"] > 0
    assert found["cold"]["done"] == found["opened"]["no"] > 0
    assert first["taken_for_published"] == ["email 'hello'", "segment 'everyone'"]


def test_the_volume_of_the_days_adds_up_to_the_figures(run: Run, file: Path) -> None:
    found = simulated(run, file, "--contacts", 60, "--days", 7)
    for key, step in steps(found).items():
        for result in ("done", "skipped", "yes", "no"):
            assert sum(row.get(result, 0) for row in found["volume"] if row["step"] == key) == step[result]
    assert {row["day"] for row in found["volume"] if row["step"] == "hello"} == {"2026-06-02"}
    assert sum(row["n"] for row in found["messages"]) == steps(found)["hello"]["done"] == found["emails_sent"]


def test_a_percentage_says_how_many_do_what_a_decision_waits_for(run: Run, file: Path) -> None:
    nobody = simulated(run, file, "--contacts", 40, "--answer", "opened=0")
    assert steps(nobody)["opened"]["yes"] == 0
    assert steps(nobody)["cold"]["done"] == 40


@pytest.mark.parametrize("within", ["10 minutes", "1 hour", "3 hours", "12 hours", "1 day", "3 days"])
def test_a_percentage_is_of_those_who_arrive_whatever_the_deadline(run: Run, tmp_path: Path, within: str) -> None:
    path = tmp_path / "tour.yaml"
    path.write_text(
        CAMPAIGN.replace("decision: email.open\n", f"decision: email.open\n        within: {within}\n").replace(
            ", after: 3 days", ""
        ),
        encoding="utf-8",
    )
    for percent, answered in ((30, 60), (100, 200)):
        found = steps(simulated(run, path, "--contacts", 200, "--days", 6, "--answer", f"opened={percent}"))
        assert found["opened"]["yes"] == answered
        assert found["opened"]["no"] == found["cold"]["done"] == 200 - answered


def test_given_contacts_come_over_several_days(run: Run, file: Path, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("key,email\nann,a@example.com\nbob,b@example.com\n", encoding="utf-8")
    found = simulated(run, file, "--contacts-file", tmp_path / "people.csv", "--over", 4, "--days", 10)
    assert found["contacts"]["added"] == 2
    assert [row["day"] for row in found["volume"] if row["step"] == "hello"] == ["2026-06-02", "2026-06-04"]


def test_the_real_tables_stay_as_they_are_and_the_schema_is_gone(run: Run, file: Path, engine: Engine) -> None:
    assert run("segments", "create", "everyone").returncode == 0
    found = simulated(run, file, "--contacts", 5)
    assert found["taken_for_published"] == ["email 'hello'"]
    with engine.connect() as conn:
        for table in ("contact", "campaign", "wait", "outcome", "message", "email", "segment_member"):
            assert conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0, table
    assert schemas(engine) == []


def test_a_schema_whose_process_died_is_dropped_by_the_next_and_one_in_use_is_not(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text(f"CREATE SCHEMA {PREFIX}1"))
        conn.execute(text(f"CREATE SCHEMA {PREFIX}2"))
    with engine.connect() as user:
        user.execute(text("SELECT pg_advisory_lock(:lock, 2)"), {"lock": SCRATCH_LOCK})
        with scratch(engine):
            assert len(schemas(engine)) == 2
        assert schemas(engine) == [f"{PREFIX}2"]


def test_the_table_tells_a_person(run: Run, file: Path) -> None:
    ran = run("simulate", file, "--contacts", 30, "--now", "2026-06-01T09:00:00Z")
    assert ran.returncode == 0, ran.stderr
    assert "note: there is no email 'hello' yet; it is assumed to be published" in ran.stdout
    assert re.search(r"^hello +\d+ +02 Jun: \d+", ran.stdout, re.MULTILINE)
    assert re.search(r"^email: \d+ messages, busiest day 2026-06-02", ran.stdout, re.MULTILINE)


def test_contacts_come_by_each_source_on_each_day_as_many_as_are_said(run: Run, file: Path) -> None:
    content = CAMPAIGN.replace("{segments: [everyone]}", "{segments: [everyone], forms: [signup]}")
    file.write_text(content, encoding="utf-8")
    found = simulated(run, file, "--arrivals", "everyone=3", "--arrivals", "signup=1", "--days", 4)
    by_source: dict[str, int] = {}
    for row in found["arrivals"]:
        by_source[row["source"]] = by_source.get(row["source"], 0) + row["n"]
    assert by_source == {"everyone": 12, "signup": 4}
    assert [row["n"] for row in found["arrivals"] if (row["day"], row["source"]) == ("2026-06-02", "everyone")] == [3]
    assert found["contacts"]["added"] == 16
    told = run("simulate", file, "--arrivals", "everyone=3", "--days", 4, "--now", "2026-06-01T09:00:00Z").stdout
    assert re.search(r"^by everyone: 12 contacts, busiest day 2026-06-\d+: 3$", told, re.MULTILINE)


def test_it_shows_where_quiet_hours_caps_and_rates_bind(run: Run, file: Path, tmp_path: Path) -> None:
    file.write_text(CAMPAIGN.replace("after: 1 day\n", "after: 1 day\n", 1) + "rate: 20 per hour\n", encoding="utf-8")
    (tmp_path / "policy.yaml").write_text(
        'channel: email\nquiet_hours: {between: ["08:00", "20:00"]}\n', encoding="utf-8"
    )
    assert run("policies", "apply", "policy.yaml").returncode == 0
    found = simulated(run, file, "--contacts", 300, "--days", 4)
    held = sum(row["n"] for row in found["held"])
    assert {(row["rule"], row["channel"]) for row in found["held"]} == {("quiet_hours", "email")}
    assert 0 < held < 300
    assert [(row["channel"], row["whose"], row["per_hour"]) for row in found["rates"]] == [("email", "campaign", 20.0)]
    told = run("simulate", file, "--contacts", 300, "--days", 4, "--now", "2026-06-01T09:00:00Z").stdout
    assert f"email: quiet hours holds back {held:,} messages" in told.replace("hold back", "holds back")
    assert "the campaign's rate is 20 an hour, so they take " in told


def test_answers_are_learnt_from_the_past_of_the_campaign(run: Run, file: Path, tmp_path: Path) -> None:
    file.write_text(CAMPAIGN + "published: true\n", encoding="utf-8")
    people_ = "key,email\n" + "".join(f"c{nth},c{nth}@example.com\n" for nth in range(10))
    (tmp_path / "people.csv").write_text(people_, encoding="utf-8")
    for words in (
        ("contacts", "import", "people.csv"),
        ("segments", "create", "everyone"),
        ("emails", "apply", "mail.yaml"),
        ("segments", "add", "everyone", *(f"c{nth}" for nth in range(10)), "--now", "2026-05-01T09:00:00Z"),
        ("campaigns", "apply", file, "--yes", "--now", "2026-05-01T09:00:00Z"),
        ("update", "--inline", "--now", "2026-05-01T09:00:00Z"),
        ("trigger", "--inline", "--now", "2026-05-02T09:00:00Z"),
    ):
        (tmp_path / "mail.yaml").write_text("{key: hello, subject: Hello, text: Hello}", encoding="utf-8")
        assert (done := run(*words)).returncode == 0, done.stderr
    events = [
        {"specversion": "1.0", "id": str(nth), "source": "t", "type": "email.opened", "subject": f"c{nth}",
         "data": {"email": "hello"}}
        for nth in range(4)
    ]  # fmt: skip
    (tmp_path / "opened.ndjson").write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
    assert run("events", "publish", "opened.ndjson", "--inline", "--now", "2026-05-02T14:00:00Z").returncode == 0
    assert run("trigger", "--inline", "--now", "2026-05-06T14:00:00Z").returncode == 0
    found = simulated(run, file, "--contacts-file", "people.csv", "--days", 9, "--learn")
    assert found["learnt"] == {"opened": {"yes": 4, "no": 6, "percent": 40.0}}
    assert steps(found)["opened"]["yes"] == 4
    # Five hours after the email of 2 June 9:00, as in May.
    (day,) = {row["day"] for row in found["volume"] if row["step"] == "opened" and row.get("yes")}
    assert day == "2026-06-02"
    assert simulated(run, file, "--contacts", 10, "--learn", "--answer", "opened=0")["learnt"] == found["learnt"]
    told = run("simulate", file, "--learn", "--contacts", 5).stdout
    assert "opened: 40.0 % yes, learnt from 10 contacts, half of them within 5.0 hours" in told


def test_one_contact_is_walked_through_and_stays_as_it_is(run: Run, file: Path, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("key,email,timezone\nann,a@example.com,Europe/Paris\n", encoding="utf-8")
    assert run("contacts", "import", "people.csv").returncode == 0
    ran = run("simulate", file, "--contact", "ann", "--now", "2026-06-01T09:00:00Z")
    assert ran.returncode == 0, ran.stderr
    assert "Mon 2026-06-01 11:00  joins the campaign" in ran.stdout
    assert "Tue 2026-06-02 11:00  hello: done by email.send" in ran.stdout
    assert "Fri 2026-06-05 11:00  opened: no" in ran.stdout
    assert "Assumed at opened: no. Use --answer opened=100 to see the other path." in ran.stdout
    found = json.loads(run("simulate", file, "--contact", "ann", "--answer", "opened=100", "--json").stdout)
    assert found["assumed"] == {"opened": "yes"}
    assert [each["step"] for each in found["entries"] if each["what"] == "outcome"] == ["hello", "opened", "warm"]
    shown = json.loads(run("contacts", "show", "ann", "--json").stdout)
    assert (shown["points"], shown["campaigns"]) == (0, [])
    unknown = run("simulate", file, "--contact", "anna")
    assert (unknown.returncode, unknown.stderr.strip()) == (
        1,
        "parcours: there is no contact 'anna'; check the key or the email address",
    )


def test_a_walk_says_to_the_minute_when_a_policy_lets_a_message_go(run: Run, file: Path, tmp_path: Path) -> None:
    people_ = "key,email\n" + "".join(f"c{nth},c{nth}@example.com\n" for nth in range(6)) + "ann,a@example.com\n"
    (tmp_path / "people.csv").write_text(people_, encoding="utf-8")
    (tmp_path / "policy.yaml").write_text("{channel: email, blackout: [2026-06-02], spread: 1 day}", encoding="utf-8")
    (tmp_path / "mail.yaml").write_text("{key: hello, subject: Hello, text: Hello}", encoding="utf-8")
    for words in (
        ("contacts", "import", "people.csv"),
        ("policies", "apply", "policy.yaml"),
        ("segments", "create", "everyone"),
        ("segments", "add", "everyone", "ann", "--now", "2026-06-01T09:30:00Z"),
        ("emails", "apply", "mail.yaml"),
        ("campaigns", "apply", file, "--yes", "--now", "2026-06-01T09:00:00Z"),
        ("campaigns", "publish", "tour", "--now", "2026-06-01T09:00:00Z"),
        ("update", "--inline", "--now", "2026-06-01T09:30:00Z"),
        ("trigger", "--inline", "--now", "2026-06-02T09:30:00Z"),
    ):
        assert (done := run(*words)).returncode == 0, done.stderr
    (wait,) = json.loads(run("contacts", "show", "ann", "--json").stdout)["campaigns"][0]["waits"]
    ran = run("simulate", file, "--contact", "ann", "--now", "2026-06-01T09:30:00Z")
    assert f"{wait['due_at'][:16].replace('T', ' ')}  hello: done by email.send" in ran.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--arrivals", "nobody=5"), "has no source 'nobody'; it has everyone"),
        (("--arrivals", "everyone=many"), "is not of the form SOURCE=N"),
        (("--arrivals", "everyone=-1"), "give a number of contacts per day"),
        (("--learn",), "there is no campaign 'tour'"),
        (("--answer", "hello=5"), "has no decision 'hello'; it has opened"),
        (("--answer", "opened"), "is not of the form STEP=PERCENT"),
        (("--answer", "opened=101"), "a percentage is from 0 to 100"),
        (("--now", "soon"), "'soon' is not a time"),
        (("--contacts-file", "nobody.csv"), "nobody.csv"),
        (("--contact", "ann", "--learn"), "--learn would have no effect; leave it out"),
        (("--contact", "ann", "--learn", "--arrivals", "everyone=5"), "--learn and --arrivals would have no effect"),
    ],
)
def test_bad_input_gets_a_sentence(run: Run, file: Path, options: tuple[str, ...], sentence: str) -> None:
    ran = run("simulate", file, *options)
    assert ran.returncode in (1, 2)
    assert sentence in re.sub(r"\s*│\s*\n\s*│\s*", " ", ran.stderr)
    assert "Traceback" not in ran.stderr


def test_a_folder_in_place_of_the_file_and_a_control_that_is_no_number_get_a_sentence(
    run: Run, file: Path, tmp_path: Path
) -> None:
    ran = run("simulate", tmp_path)
    assert (ran.returncode, "this is a folder; name a file in it" in ran.stderr) == (1, True), ran.stderr
    file.write_text(f"{CAMPAIGN}control: .nan\n", encoding="utf-8")
    ran = run("simulate", file)
    assert "control: must be a percentage from 0 to 50, not .nan" in ran.stderr, ran.stderr


def test_one_is_told_as_one(run: Run, file: Path) -> None:
    ran = run("simulate", file, "--contacts", 1, "--days", 1, "--answer", "opened=0")
    assert "tour: 1 contact, 1 day from" in ran.stdout, ran.stdout
    assert "by everyone: 1 contact, busiest day" in ran.stdout


def test_a_decision_that_waits_for_a_rule_is_answered_by_the_rule_and_by_chance(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    file.write_text(
        "campaign: waiting\nsources: {segments: [everyone]}\nsteps:\n"
        "  - {step: give, action: contact.points, with: {points: 60}, after: 2 days}\n"
        "  - step: rich\n    decision: contact.matches\n"
        "    with: {rule: {condition: contact.points, with: {operator: gte, points: 50}}}\n    within: 3 days\n"
        "  - step: tagged\n    decision: contact.matches\n"
        "    with: {rule: {condition: contact.tags, with: {tags: [nobody-has-it]}}}\n    within: 3 days\n"
    )
    found = steps(simulated(run, file, "--contacts", 40, "--days", 5, "--answer", "tagged=50"))
    assert (found["rich"]["yes"], found["rich"]["no"]) == (40, 0)
    assert (found["tagged"]["yes"], found["tagged"]["no"]) == (20, 20)
