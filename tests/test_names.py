"""A name means one class: a search for it finds one, and nobody has to ask which is meant."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.test_circles import HERE, modules


def test_no_two_modules_have_a_class_of_one_name() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    paths = [*modules().values(), *(HERE / "parcours").glob("*.py")]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].add(str(path.relative_to(HERE)))
    assert len(places) > 300
    assert {name: sorted(where) for name, where in places.items() if len(where) > 1} == {}
