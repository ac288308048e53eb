"""Liquid: what is wrong with a template, found before the first contact is written to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from liquid import Environment, Mode
from liquid.exceptions import LiquidError
from pydantic import AfterValidator

# A template stands alone: there is nowhere to load another from.
_LOADING_TAGS = ("include", "render", "extends", "import")

_liquid = Environment(tolerance=Mode.STRICT)


def problems(template: str) -> Iterator[tuple[str, int]]:
    """Yield what is wrong with a template, and how many lines down."""
    try:
        found = _liquid.from_string(template).analyze(include_partials=False)
    except LiquidError as error:
        index = max(error.token.start_index, 0) if error.token else 0
        yield str(error.message), template.count("\n", 0, index)
        return
    # Liquid itself notices these only when the first contact is written to.
    for name, spans in found.filters.items():
        if name not in _liquid.filters:
            yield f"unknown filter {name!r}", template.count("\n", 0, max(spans[0].index, 0))
    for name, spans in found.tags.items():
        if name in _LOADING_TAGS:
            yield f"a template cannot {name} another", template.count("\n", 0, max(spans[0].index, 0))


def is_fixed(text: str) -> bool:
    """Return whether a template says the same to everybody, so that its text is known beforehand."""
    return "{{" not in text and "{%" not in text


def checked(template: str) -> str:
    """Return a template that Liquid can read. Raises ValueError with a sentence."""
    for what, lines in problems(template):
        where = f" in line {lines + 1}" if "\n" in template.strip() else ""
        raise ValueError(f"this is not Liquid{where}: {what}")
    return template


# A property that is rendered for each contact when its message goes.
Liquid = Annotated[str, AfterValidator(checked)]
