"""The pages of docs/reference are complete and current."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

from parcours.domain.events import table
from parcours.domain.steps.registry import all_types
from parcours.domain.steps.types import Kind
from parcours.ops import metrics
from parcours.ops.settings import PREFIX, Settings
from tests.conftest import ROOT
from tests.docs import reference
from tests.docs.meanings import LOG_EVENTS


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The pages as the code makes them now."""
    return reference.pages()


def rows(page: str) -> set[str]:
    """Return what stands in the first cell of every row of a page's tables, in backticks."""
    return {name for row in re.findall(r"^\| (`[^|]*)\|", page, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}


def test_every_page_is_what_the_code_says(pages: dict[str, str]) -> None:
    kept = {path.name: path.read_text("utf-8") for path in reference.FOLDER.glob("*.md")}
    assert kept.keys() == pages.keys()
    stale = [name for name, text in pages.items() if kept[name] != text]
    assert not stale, f"renew them with `{reference.RENEW}`: {', '.join(stale)}"


def test_every_command_is_there_with_all_its_options_each_explained(pages: dict[str, str]) -> None:
    sections = re.split(r"^#+ (?=[\w -]+$)", pages["commands.md"], flags=re.MULTILINE)[1:]
    told = {text.split("\n", 1)[0]: text for text in sections}
    found = reference.commands()
    assert len(found) > 60
    for each in found:
        shown = rows(told[each.name])
        assert all(argument.help for argument in each.arguments), each.name
        for option in each.options:
            assert {*option.opts, *option.secondary_opts} <= shown, each.name
            assert option.help, f"{option.opts} of {each.name} has no help"


def test_the_commands_are_those_that_help_lists(pages: dict[str, str]) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "parcours", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    names = set(re.findall(r"^│? *([a-z][a-z-]+)  ", listed, re.MULTILINE))
    assert names == {each.name.split()[0] for each in reference.commands()}


def test_every_setting_is_there(pages: dict[str, str]) -> None:
    assert {PREFIX + name.upper() for name in Settings.model_fields} <= rows(pages["settings.md"])


def test_every_step_type_is_there_with_its_properties(pages: dict[str, str]) -> None:
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", pages["step-types.md"], re.MULTILINE | re.DOTALL))
    assert list(sections) == [f"{each.kind.value} {each.name}" for each in all_types()]
    for each in all_types():
        assert set(each.properties.model_fields) <= rows(sections[f"{each.kind.value} {each.name}"])


def test_every_event_type_is_there(pages: dict[str, str]) -> None:
    decided = {
        type_
        for each in all_types()
        if each.kind is Kind.DECISION and not callable(each.events)
        for type_ in each.events
    }
    known = {*decided}
    # Types that the source names anywhere, and that are no types of steps.
    names = "|".join(sorted({each.split(".")[0] for each in known}))
    steps = {each.name for each in all_types()} | {str(each.reference) for each in all_types()}
    for path, _ in reference.sources():
        if path.parts[-2] != "steps":
            known |= set(re.findall(rf'"((?:{names})\.[a-z_]+ed)"', path.read_text("utf-8"))) - steps
    assert known <= table.EVENT_TYPES.keys()
    assert set(table.EVENT_TYPES) <= rows(pages["events.md"])


def test_every_metric_is_there(pages: dict[str, str]) -> None:
    shown = rows(pages["metrics.md"])
    assert {each.exported for each in reference.metrics()} <= shown
    exported = {family.name for family in metrics.PROCESS.collect() if family.name.startswith("parcours_")}
    assert {name.removesuffix("_total") for name in exported} <= {name.removesuffix("_total") for name in shown}
    for path, _ in reference.sources():
        for name in re.findall(r'"(parcours_[a-z_]+)",\s+"[A-Z1]', path.read_text("utf-8")):
            assert {name, f"{name}_total"} & shown, f"{name} of {path.name}"


def test_every_log_event_is_there_and_no_other(pages: dict[str, str]) -> None:
    assert reference.log_events().keys() == LOG_EVENTS.keys()
    for path, _ in reference.sources():
        for name in re.findall(r'\blog\.[a-z]+\(\s*"(\w+)"', path.read_text("utf-8")):
            assert name in rows(pages["log-events.md"]), f"{name} of {path.name}"


def test_every_operation_is_there(pages: dict[str, str]) -> None:
    found = reference.operations()
    assert len(found) > 40
    for method, path, operation in found:
        assert f"\n### {method} {path}\n" in pages["rest.md"]
        assert operation.get("summary"), f"{method} {path} has no summary"


def test_every_package_has_a_licence_that_ours_is_compatible_with(pages: dict[str, str]) -> None:
    for name in reference.locked():
        assert reference.COMPATIBLE.search(reference.licence(name)), f"{name}: {reference.licence(name)}"
        assert name in rows(pages["licences.md"])


def test_our_own_licence_is_stated_in_the_package() -> None:
    assert (ROOT / "LICENSE").read_text("utf-8").lstrip().startswith("Apache License")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'license = "Apache-2.0"' in project


@pytest.mark.parametrize("name", reference.PUBLIC)
def test_every_public_name_is_there_with_its_meaning(pages: dict[str, str], name: str) -> None:
    module = importlib.import_module(f"parcours.{name}")
    assert f"\n## parcours.{name}\n" in pages["python.md"]
    for public in module.__all__:
        assert f"\n### {public}\n" in pages["python.md"]
    assert " object at 0x" not in pages["python.md"]
