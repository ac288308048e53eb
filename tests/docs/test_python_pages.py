"""The tests that pages show pass, as they stand there."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from tests.conftest import ROOT


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "howto" / page).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", ["python.md", "add-provider.md", "add-step-type.md"])
def test_the_tests_on_the_page_pass(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, object] = {"__name__": "textline"}
    if page == "add-provider.md":
        # The class that the page shows first, under the name that its test imports it by.
        written = ModuleType("textline")
        exec(blocks(page)[0], written.__dict__)
        monkeypatch.setitem(sys.modules, "textline", written)
    for block in blocks(page):
        if "def test_" in block:
            exec(block, names)
    tests = [each for name, each in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        assert callable(test)
        test()
