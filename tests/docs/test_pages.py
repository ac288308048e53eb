"""What the pages name is there: commands and their options, settings, metrics, templates and policies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from parcours import cli
from parcours.ops.settings import PREFIX, Settings
from tests.conftest import ROOT, Run
from tests.docs import reference
from tests.docs.pages import blocks, titled

PAGES = [
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent != reference.FOLDER),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
]
# What examples of publishers and tests are given; no settings.
OTHERS = re.compile(r"PARCOURS_(URL|KEY|TEST_\w+|PROVIDER_\w+)$")


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """The options of every command by its name, and those of all commands of a group by the group's."""
    found: dict[str, set[str]] = {}
    for each in reference.commands():
        words = each.name.split()
        named = {name for option in each.options for name in [*option.opts, *option.secondary_opts]}
        for length in range(1, len(words) + 1):
            found.setdefault(" ".join(words[:length]), {"--help"}).update(named)
    return found | {alias: found[name] for alias, name in cli.ALIASES.items()}


def calls(text: str) -> Iterator[str]:
    """Yield what stands behind `parcours` where a page shows it as a command, in blocks and in a line."""
    text = re.sub(r"\$\([^)]*\)", "…", text.replace("\\\n", " "))
    for code in re.findall(r"```(?:sh|bash|console|text)\n(.*?)```", text, re.DOTALL):
        yield from re.findall(r"(?:^|[;&$|] *|before +|after +)(?:\$ )?parcours ([a-z][^\n&|;#]*)", code, re.MULTILINE)
    yield from re.findall(r"`parcours ([a-z][^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_and_options_on_a_page_exist(page: Path, options: dict[str, set[str]]) -> None:
    for call in calls(page.read_text("utf-8")):
        words = call.split()
        named = [word for word in words if not word.startswith("-")]
        known = next((" ".join(named[:n]) for n in (3, 2, 1) if " ".join(named[:n]) in options), None)
        assert known is not None, f"there is no command `parcours {call}`"
        if known in cli.ALIASES:
            continue
        used = {word.split("=")[0].rstrip("`,.)") for word in words if re.match(r"--?[a-z]", word)}
        assert used <= options[known], f"parcours {call}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_settings_and_metrics_on_a_page_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in re.findall(r"\bPARCOURS_[A-Z_]*[A-Z]\b(?!_)", text):
        assert name in known or OTHERS.match(name), name
    metrics = {each.exported for each in reference.metrics()}
    for name in re.findall(r"`(parcours_[a-z_]+)`", text):
        assert name in metrics, name


def test_templates_and_policies_on_the_pages_can_be_applied(run: Run, tmp_path: Path) -> None:
    def apply(group: str, page: str, *before: str) -> None:
        texts = [*before, *(each.text for each in blocks(page) if each.title == f"{group}.yaml")]
        for number, text in enumerate(texts):
            file = tmp_path / f"{group}-{number}.yaml"
            file.write_text(text, "utf-8")
            done = run(group, "apply", file)
            assert done.returncode == 0, f"{page}: {done.stderr}"

    apply("emails", "howto/emails.md", "{key: spring, subject: Spring, html: <p>Spring</p>}")
    apply("messages", "howto/emails.md")
    apply("policies", "howto/policies.md")
    assert "email" in run("policies", "list").stdout


def test_the_event_on_the_page_is_understood(run: Run, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text(titled("howto/publish-events.md", "event.json"), "utf-8")
    assert run("events", "publish", "event.json", "--inline").stdout.startswith("1 accepted")


def test_the_choices_of_a_preference_page_are_understood(run: Run) -> None:
    page = (ROOT / "docs" / "howto" / "unsubscribe.md").read_text("utf-8")
    choices = re.findall(r"^\| [^|]+ \| `([\w.]+)` \| (?:`(.*)`|none) \|$", page, re.MULTILINE)
    assert len(choices) == 5
    for type_, data in choices:
        done = run("events", "publish", "--type", type_, "--contact", "ann", "--data", data or "{}", "--inline")
        assert done.stdout.startswith("1 accepted"), done.stderr


def test_every_page_is_in_the_navigation() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    named = set(re.findall(r"[\w/.-]+\.md", str(config["nav"])))
    assert named == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


def test_a_change_is_a_sentence_under_a_heading_of_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "Keep a Changelog" in text
    assert re.findall(r"^## (.*)", text, re.MULTILINE)[0] == "[Unreleased]"
    assert set(re.findall(r"^### (.*)", text, re.MULTILINE)) <= {
        *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
    }


def test_every_promise_of_security_names_tests_that_there_are() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    promised = text.split("## What is promised")[1].split("## What is not promised")[0]
    named = re.findall(r"`((?:tests/(?:\w+/)+)?test_\w+\.py)`", promised)
    assert named
    assert [
        name for name in named if not (ROOT / name if "/" in name else ROOT / "tests/web/security" / name).exists()
    ] == []
    for paragraph in promised.strip().split("\n\n"):
        assert ".py`]" in paragraph, paragraph
