"""`parcours emails`, from outside."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Run

GOOD = """\
- key: hello
  subject: 'Hi {{ contact.first_name | default: "you" }}'
  from: Ann <ann@example.org>
  html: |
    <p>{% if contact.city %}{{ contact.city }}{% endif %}</p>
- key: bye
  subject: 2026
  text: Bye
  published: false
"""

BAD = """\
key: broken
subject: Hi {{ a b }}
sender: me
text: |
  one
  {{ a | nope }}
"""


def test_templates_are_created_then_unchanged_then_updated(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "emails.yaml"
    path.write_text(GOOD)
    assert run("emails", "apply", path).stdout == "created hello\ncreated bye\n"
    assert run("emails", "apply", path).stdout == "unchanged hello\nunchanged bye\n"
    path.write_text(GOOD.replace("text: Bye", "text: Good bye"))
    assert json.loads(run("emails", "apply", path, "--json").stdout) == {
        "created": [],
        "updated": ["bye"],
        "unchanged": ["hello"],
    }
    bye, hello = json.loads(run("emails", "list", "--json").stdout)
    assert (bye["subject"], bye["published"], bye["html"], bye["text"]) == ("2026", False, False, True)
    assert hello["from"] == "Ann <ann@example.org>"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("emails", '{"key": "half", "subject": "Hi\\n%s", "html": "<p>x</p>"}'),
        ("emails", 'key: half\nsubject: Hi\ntext: x\ntranslations: {fr: {subject: "%s"}}'),
        ("messages", '{sms: half, text: "%s"}'),
        ("messages", '{push: half, title: Hi, text: Hi, data: {"%s": 1}}'),
        ("policies", '{channel: email, "%s": 1}'),
    ],
)
def test_half_an_emoji_is_told_with_its_line_and_both_halves_are_one(
    run: Run, tmp_path: Path, command: str, text: str
) -> None:
    path = tmp_path / "half.yaml"
    path.write_text(text % r"\ud83d")
    done = run(command, "apply", path)
    assert done.returncode == 1
    assert re.search(r"half.yaml:\d: contains an incomplete character \(a lone surrogate\); write the", done.stderr)
    path.write_text(text % r"\ud83d\ude00")
    assert "incomplete" not in run(command, "apply", path).stderr


def test_an_emoji_that_json_wrote_in_two_escapes_is_kept(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "emails.json"
    path.write_text(json.dumps({"key": "smile", "subject": "Hi \U0001f600", "text": "x"}))
    assert run("emails", "apply", path).stdout == "created smile\n"
    (found,) = json.loads(run("emails", "list", "--json").stdout)
    assert found["subject"] == "Hi \U0001f600"


@pytest.mark.parametrize("command", ["emails", "messages", "policies"])
def test_a_file_of_another_kind_gets_one_sentence(run: Run, tmp_path: Path, command: str) -> None:
    for other, text in (
        ("campaigns apply", "campaign: a\nname: A\nsources: {segments: [s]}\nsteps: []\n"),
        ("segments apply", "segment: a\nname: A\nrule: {all: []}\n"),
        ("campaigns test", "scenario: a\ncampaign: a.yaml\nexpect: []\n"),
    ):
        path = tmp_path / "other.yaml"
        path.write_text(text)
        done = run(command, "apply", path)
        assert done.returncode == 1
        first, last = done.stderr.splitlines()
        assert "other.yaml:1: this is " in first
        assert f"`parcours {other}`" in first
        assert last == "parcours: 1 error in the files; nothing was changed"


def test_every_error_of_every_file_is_found_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    good, bad, worse = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "worse.yaml"
    good.write_text(GOOD)
    bad.write_text(BAD)
    worse.write_text("key: hello\nsubject: [\n")
    again = tmp_path / "again.yaml"
    again.write_text("key: hello\nsubject: x\ntext: '{% include \"x\" %}'\n")
    done = run("emails", "apply", good, bad, worse, again)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{bad}:2:18: email 'broken': subject: this cannot be understood; check it for typing mistakes: {{{{ a b }}}}",
        f"{bad}:3: email 'broken': unknown property 'sender'; known properties are key, subject, html, text, from, "
        "category, "
        "published, tracking, variants, translations, winner",
        f"{bad}:6:6: email 'broken': text: unknown name 'a'; a field of the contact is written contact.a; other "
        "names are campaign, step, message, entry, unsubscribe_url, open_url",
        f"{bad}:6:10: email 'broken': text: unknown filter 'nope'; check how it is written, or remove it",
        f"{worse}:3: the file is not valid YAML: a value is missing here",
        f"{again}:1: email 'hello': is also in {good}:1",
        f"{again}:3:11: email 'hello': text: a template cannot include another template; write its text here",
        "parcours: 7 errors in the files; nothing was changed",
    ]
    assert json.loads(run("emails", "list", "--json").stdout) == []


RICH = """\
key: hello
subject: 'Hi {{ contact.first_name }}'
from: Ann <ann@example.org>
html: '<p>Hello, {{ contact.first_name }}: <a href="https://example.com/x">x</a></p>'
variants: [{name: short, weight: 100, subject: Hi}]
translations:
  fr: {subject: 'Salut {{ contact.first_name }}', text: 'Bonjour {{ contact.first_name }}'}
  no: {subject: Hei}
"""
PEOPLE = "key,email,first_name,locale\nann,ann@example.com,Ann <3,\nben,ben@example.com,Ben,fr-CA\n"


def test_a_preview_is_what_the_contact_would_get(run: Run, tmp_path: Path) -> None:
    (tmp_path / "emails.yaml").write_text(RICH)
    (tmp_path / "people.csv").write_text(PEOPLE)
    assert run("emails", "apply", "emails.yaml").returncode == 0
    run("contacts", "import", "people.csv")
    ann = json.loads(run("emails", "preview", "hello", "--contact", "ann", "--json").stdout)
    assert (ann["variant"], ann["locale"], ann["subject"]) == ("short", None, "Hi")
    assert "Ann &lt;3" in ann["html"]
    assert ann["text"] == "Hello, Ann <3: x (https://example.com/x)\n"
    ben = json.loads(run("emails", "preview", "hello", "--contact", "ben", "--json").stdout)
    assert (ben["variant"], ben["locale"], ben["subject"], ben["html"]) == (None, "fr", "Salut Ben", None)
    assert run("emails", "preview", "hello", "--contact", "ben", "--text").stdout == "Bonjour Ben\n"
    assert "Locale: fr" in run("emails", "preview", "hello", "--contact", "ben").stdout
    for wrong, says in (
        (("nope", "--contact", "ann"), "there is no email 'nope'"),
        (("hello", "--contact", "eve"), "there is no contact 'eve'"),
        (("hello", "--contact", "ben", "--html"), "has no HTML"),
    ):
        done = run("emails", "preview", *wrong)
        assert (done.returncode, says in done.stderr) == (1, True), done.stderr
    (listed,) = json.loads(run("emails", "list", "--json").stdout)
    assert (listed["variants"], listed["translations"], listed["tracking"]) == ({"short": 100}, ["fr", "no"], True)


def test_what_is_wrong_with_variants_and_translations_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "emails.yaml").write_text(
        """\
key: hello
subject: Hi
from: nobody
text: |
  Hello
    {{ contcat.first_name }}
variants:
  - {name: a, weight: 60, subject: A}
  - {name: a, weight: 60, subject: B, translations: {de: {subject: C}}}
  - {weight: 0}
translations:
  french: {subject: x}
  fr: {subjet: x}
"""
    )
    done = run("emails", "apply", "emails.yaml")
    assert done.returncode == 1
    said = [line.split(": ", 2) for line in done.stderr.splitlines()[:-1]]
    assert [(place.removeprefix("emails.yaml:"), what.split(";")[0]) for place, _, what in said] == [
        ("3", "'from' must be an address such as 'Ann <ann@example.org>', not 'nobody'"),
        ("6:8", "text: unknown name 'contcat'"),
        ("8", "two variants have the same name"),
        ("8", "the weights of the variants add up to more than 100 percent"),
        ("9", "a variant has the translation 'de', but the email does not"),
        ("10", "a variant has no name"),
        ("10", "the weight of a variant must be a percentage above 0"),
        ("10", "a variant does not differ from the email"),
        ("12", "'french' is not a locale"),
        ("13", "unknown property 'subjet' in the translation 'fr'"),
        ("13", "the translation 'fr' is empty"),
    ]


@pytest.mark.parametrize("kind", ["emails", "messages", "policies"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("key: x\nsubject: " + "[" * 3_000 + "]" * 3_000, ": the file is nested too deeply"),
        ("- {key: x}\n" * 100_000, ": the file is too large: it has more than 200000 values"),
        ("key: x\n\n\nsubject: a\x07\n", ":4: the file contains a character that YAML does not allow: U+0007"),
        ("key: x\nsubject: Sale: today\n", ":2: the file is not valid YAML: put a value that contains ': ' in quotes"),
    ],
)
def test_a_file_that_is_no_yaml_or_too_much_of_it_gets_one_sentence(
    run: Run, tmp_path: Path, kind: str, content: str, said: str
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(content)
    done = run(kind, "apply", file)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"{file}{said}", "parcours: 1 error in the files; nothing was changed"]


def test_the_times_of_a_winner_are_shown_in_a_timezone_that_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "offer.yaml").write_text(
        "{key: offer, subject: A, text: Hi, tracking: true, html: <p>Hi</p>, winner: {after: 4 hours, by: opened}, "
        "variants: [{name: B, weight: 50, subject: B}]}"
    )
    (tmp_path / "tour.yaml").write_text(
        "{campaign: tour, published: true, sources: {segments: [all]}, "
        "steps: [{step: hello, action: email.send, with: {email: offer}}]}"
    )
    (tmp_path / "people.csv").write_text("email\nann@example.com\n")
    for line in (
        ("segments", "create", "all"),
        ("contacts", "import", "people.csv", "--segment", "all"),
        ("emails", "apply", "offer.yaml"),
        ("campaigns", "apply", "tour.yaml", "--yes"),
        ("update", "--inline", "--now", "2026-06-01T09:00:00Z"),
        ("trigger", "--inline", "--now", "2026-06-01T09:00:00Z"),
    ):
        assert (done := run(*line)).returncode == 0, done.stderr
    shown = " ".join(run("emails", "show", "offer").stdout.split())
    assert "2026-06-01 09:00:00 UTC" in shown
    assert "T09:00" not in shown
