"""`parcours emails`, from outside."""

import json
from pathlib import Path

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
        f"{bad}:2:18: email 'broken': subject: expected end of expression, found word",
        f"{bad}:3: email 'broken': unknown property 'sender'; known are key, subject, html, text, from, published, "
        "tracking, variants, translations",
        f"{bad}:6:6: email 'broken': text: unknown name 'a'; known are contact, campaign, step, message, "
        "unsubscribe_url, open_url, and custom fields as contact.NAME",
        f"{bad}:6:10: email 'broken': text: unknown filter 'nope'",
        f"{worse}:3: not YAML: expected the node content, but found '<stream end>'",
        f"{again}:1: email 'hello': is also in {good}:1",
        f"{again}:3:11: email 'hello': text: a template cannot include another",
        "parcours: 7 errors in the files; nothing was written",
    ]
    assert json.loads(run("emails", "list", "--json").stdout) == []
