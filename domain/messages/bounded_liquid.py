"""Liquid within bounds: what a template may cost. Loaded with the first template that is read: it takes a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from liquid import BoundTemplate, Environment, Mode, RenderContext, Token
from liquid.exceptions import LiquidError
from liquid.undefined import UNDEFINED

__all__ = ["PLAIN", "LiquidError", "compiled", "too_long"]

# What a template, the text that it makes, a value on the way (in characters) and a whole number (in bits) have at most.
LONGEST_TEMPLATE = 500_000
LONGEST_OUTPUT = 2_000_000
LONGEST_VALUE = 250_000
LONGEST_NUMBER = 4_000
# What stands in {{ }} and {% %}.
MOST_TAGS = 5_000
# Units of work of one rendering, of which a tag in a turn of a loop takes one, and a filter one for a hundred
# characters. It stops at the same place on every machine, which a clock would not.
MOST_WORK = 1_000_000
# Filters that may compare each item of a list with all others.
_COMPARING = frozenset({"uniq", "compact", "where", "reject", "sum", "concat", "sort", "sort_natural"})


class TooMuchError(LiquidError):
    """A template does more than it may."""

    def __init__(self, what: str) -> None:
        super().__init__(what, token=None)


class FilterError(LiquidError):
    """A filter fails with the value or the arguments that a template gives it; says so without words about Python."""

    def __init__(self, name: str, error: Exception) -> None:
        by_zero = "divide by 0" in str(error)
        why = "cannot divide by 0" if by_zero else "cannot be used like this; check its arguments and its input"
        super().__init__(f"the filter {name!r} {why}", token=None)


class _Context(RenderContext):
    """Counts the work of a rendering, so that no template holds up a worker or fills its memory."""

    work = 0

    def spend(self, units: float) -> None:
        self.work += int(units) + 1
        if self.work > MOST_WORK:
            raise TooMuchError("it takes too long to render; use fewer or shorter loops")

    def raise_for_loop_limit(self, length: int = 1) -> None:
        self.spend(length * getattr(self.template, "tags", 1))
        super().raise_for_loop_limit(length)

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        found = super().get(path, token=token, default=default)
        self.spend(len(found) / 1000 if isinstance(found, str) else 0)
        return found

    def assign(self, key: str, val: Any) -> None:
        self.spend(_size(val) / 100)
        super().assign(key, val)

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        work = super().filter(name, token)

        def bounded(left: object, *args: Any, **more: Any) -> object:
            self.spend(_work_of(name, [left, *args, *more.values()]))
            try:
                made = work(left, *args, **more)
            except (TooMuchError, FilterError):
                raise
            except Exception as error:
                # The library's own exceptions and Python's, since wrong arguments raise either.
                raise FilterError(name, error) from error
            if _size(made) > LONGEST_VALUE:
                raise TooMuchError(f"the output of the filter {name!r} is too long")
            return made

        return bounded


def _size(value: object) -> int:
    """Return about how many characters a value is written in; of a number that is too long, more than may be."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, int):
        return 20 if value.bit_length() <= LONGEST_NUMBER else LONGEST_VALUE + 1
    if isinstance(value, range):
        # Not len(), which has no answer for the longest.
        return max(0, value.stop - value.start)
    if isinstance(value, Mapping):
        return sum(map(_size, value.values())) + len(value)
    if isinstance(value, list | tuple):
        return sum(map(_size, value)) + len(value)
    return 20


def _work_of(name: str, given: list[Any]) -> float:
    """Return the units of work of a filter before it is done. Raises TooMuchError for what must not begin."""
    left, *args = given
    sizes = [_size(each) for each in given]
    if max(sizes) > LONGEST_VALUE:
        raise TooMuchError(f"the input of the filter {name!r} is too long")
    if name == "date" and max(sizes) > 200:
        raise TooMuchError("the input of the filter 'date' is not a date")
    if name in ("replace", "join") and args:
        # As many times the new text as the old one is there, or as there are places between the items.
        is_list = isinstance(left, list | tuple | range)
        times = sizes[0] if is_list else str(left).count(str(args[0]) if name == "replace" else "")
        if sizes[0] + times * sizes[-1] > LONGEST_VALUE:
            raise TooMuchError(f"the output of the filter {name!r} is too long")
    if name in _COMPARING and isinstance(left, list):
        # Each is compared with all, where the items have no hashes.
        return float(len(left)) ** 2 / 100
    if name == "strip_html" and isinstance(left, str):
        # Each beginning without an end is sought to the end of the text.
        begun = left.count("<", left.rfind(">") + 1) + left.count("<!--") + left.count("<script") + left.count("<style")
        return sizes[0] / 100 + begun * sizes[0] / 100
    return sum(sizes) / 100


class _Template(BoundTemplate):
    context_class = _Context
    # Tags and outputs, each of which may be reached in every turn of a loop.
    tags = 1


class _Bounded(Environment):
    template_class = _Template
    # A slip of the pen must not hold up a worker, nor fill its memory.
    loop_iteration_limit = 100_000
    output_stream_limit = LONGEST_OUTPUT
    local_namespace_limit = 10_000_000


PLAIN = _Bounded(tolerance=Mode.STRICT)
HTML = _Bounded(tolerance=Mode.STRICT, autoescape=True)


def tags(source: str) -> int:
    """Return how many tags and outputs a template has."""
    return source.count("{{") + source.count("{%")


def too_long(source: str) -> str | None:
    """Return why a template is not even read, or None; the time of reading grows with its length and its tags."""
    if len(source) > LONGEST_TEMPLATE:
        return f"it is longer than {LONGEST_TEMPLATE:,} characters"
    found = tags(source)
    return f"it has {found:,} tags and outputs; the maximum is {MOST_TAGS:,}" if found > MOST_TAGS else None


@lru_cache(maxsize=2048)
def compiled(source: str, html: bool) -> BoundTemplate:
    """Return a template ready to be rendered. Raises LiquidError."""
    why = too_long(source)
    if why is not None:
        raise TooMuchError(why)
    made = (HTML if html else PLAIN).from_string(source)
    made.tags = tags(source) + 1  # type: ignore[attr-defined]
    return made
