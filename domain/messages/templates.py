"""Liquid templates: compiled once, checked before they are stored, rendered for many contacts.

The same names are known everywhere: `contact` (and any custom field of it), `campaign`, `step`,
`message`, and in emails `unsubscribe_url` and `open_url`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from liquid import BoundTemplate, Environment, Mode, RenderContext, Token
from liquid.exceptions import LiquidError
from liquid.undefined import UNDEFINED
from pydantic import AfterValidator

# Root to the names below it; None: any. An empty set: a value by itself.
Names = Mapping[str, frozenset[str] | None]
NAMES: Names = {
    "contact": None,
    "campaign": frozenset({"key", "name"}),
    "step": frozenset({"key", "name"}),
    "message": frozenset({"key"}),
}
EMAIL_NAMES: Names = {
    **NAMES,
    "unsubscribe_url": frozenset(),
    "open_url": frozenset(),
}
# What templates know of a contact besides its custom fields.
ATTRIBUTES = ("key", "email", "timezone", "points", "stage", "owner", "tags")
# A template stands alone: there is nowhere to load another from.
_LOADING_TAGS = ("include", "render", "extends", "import")
_ASKED_ABOUT = r"contact\.{name}\s*\|\s*default|{{%-?\s*(?:if|unless|elsif|case)\b[^%]*contact\.{name}\b"
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


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


class _TooMuchError(LiquidError):
    """A template does more than it may."""

    def __init__(self, what: str) -> None:
        super().__init__(what, token=None)


class _Context(RenderContext):
    """Counts the work of a rendering, so that no template holds up a worker or fills its memory."""

    work = 0

    def spend(self, units: float) -> None:
        self.work += int(units) + 1
        if self.work > MOST_WORK:
            raise _TooMuchError("it takes too long to render; use fewer or shorter loops")

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
            made = work(left, *args, **more)
            if _size(made) > LONGEST_VALUE:
                raise _TooMuchError(f"the output of the filter {name!r} is too long")
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
    """Return the units of work of a filter before it is done. Raises _TooMuchError for what must not begin."""
    left, *args = given
    sizes = [_size(each) for each in given]
    if max(sizes) > LONGEST_VALUE:
        raise _TooMuchError(f"the input of the filter {name!r} is too long")
    if name == "date" and max(sizes) > 200:
        raise _TooMuchError("the input of the filter 'date' is not a date")
    if name in ("replace", "join") and args:
        # As many times the new text as the old one is there, or as there are places between the items.
        is_list = isinstance(left, list | tuple | range)
        times = sizes[0] if is_list else str(left).count(str(args[0]) if name == "replace" else "")
        if sizes[0] + times * sizes[-1] > LONGEST_VALUE:
            raise _TooMuchError(f"the output of the filter {name!r} is too long")
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


_PLAIN = _Bounded(tolerance=Mode.STRICT)
_HTML = _Bounded(tolerance=Mode.STRICT, autoescape=True)


class RenderError(Exception):
    """A template cannot be filled in for a contact; the message says why."""


class TemplateProblem(NamedTuple):
    """What is wrong with a template, and where; lines and columns count from 1."""

    what: str
    line: int
    column: int


def problems(source: str, names: Names = NAMES) -> Iterator[TemplateProblem]:
    """Yield what is wrong with a template: its syntax, else every filter, tag and name that there is not."""

    def at(what: str, index: int) -> TemplateProblem:
        before = source[: max(index, 0)]
        return TemplateProblem(what, before.count("\n") + 1, len(before) - before.rfind("\n"))

    too_long = _too_long(source)
    if too_long is not None:
        yield at(too_long, 0)
        return
    try:
        found = _PLAIN.from_string(source).analyze(include_partials=False)
    except LiquidError as error:
        yield at(str(error.message), error.token.start_index if error.token else 0)
        return
    except RecursionError:
        yield at("its blocks are nested too deeply", 0)
        return
    except Exception as error:
        # The library answers some nonsense with other exceptions than its own.
        yield at(f"it cannot be parsed ({type(error).__name__})", 0)
        return
    # Liquid itself notices these only when the first contact is written to.
    for name, spans in found.filters.items():
        if name not in _PLAIN.filters:
            yield at(f"unknown filter {name!r}", spans[0].index)
    for name, spans in found.tags.items():
        if name in _LOADING_TAGS:
            yield at(f"a template cannot {name} another template", spans[0].index)
    for root, variables in found.globals.items():
        if root not in names:
            known = ", ".join(names)
            yield at(
                f"unknown name {root!r}; known names are {known}, and custom fields as contact.NAME",
                variables[0].span.index,
            )
            continue
        below = names[root]
        for variable in variables:
            if below is None or len(variable.segments) < 2:
                continue
            second = variable.segments[1]
            if isinstance(second, str) and second not in below:
                hint = f"; it has {', '.join(sorted(below))}" if below else ", which is a text"
                yield at(f"unknown name '{root}.{second}'{hint}", variable.span.index)


def fields_named(source: str) -> set[str]:
    """Return the custom fields of the contact that a template names with nothing to say where there is none.

    Left out are those that it asks about first, in an `if` or with the filter `default`. Of what is no Liquid
    there are none.
    """
    try:
        found = _PLAIN.from_string(source).analyze(include_partials=False)
    except LiquidError:
        return set()
    named = {
        variable.segments[1]
        for variable in found.globals.get("contact", ())
        if len(variable.segments) > 1 and isinstance(variable.segments[1], str)
    }
    own = {*ATTRIBUTES, "company"}
    return {name for name in named - own if not re.search(_ASKED_ABOUT.format(name=re.escape(name)), source)}


def contact_values(contact: Any, company: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what templates may say of a contact: every custom field, and its own attributes, which go first.

    `contact.company` is its primary company: `contact.company.name`, and every field of it.
    """
    values = {**contact.fields, **{name: getattr(contact, name) for name in ATTRIBUTES}}
    values["tags"] = sorted(contact.tags)
    return values if company is None else {**values, "company": company}


def _tags(source: str) -> int:
    return source.count("{{") + source.count("{%")


def _too_long(source: str) -> str | None:
    """Return why a template is not even read, or None; the time of reading grows with its length and its tags."""
    if len(source) > LONGEST_TEMPLATE:
        return f"it is longer than {LONGEST_TEMPLATE:,} characters"
    tags = _tags(source)
    return f"it has {tags:,} tags and outputs; the maximum is {MOST_TAGS:,}" if tags > MOST_TAGS else None


def is_fixed(text: str) -> bool:
    """Return whether a template says the same to everybody, so that its text is known beforehand."""
    return "{{" not in text and "{%" not in text


def checked(template: str, names: Names = NAMES) -> str:
    """Return a template that Liquid can read, with names that there are. Raises ValueError with a sentence."""
    for problem in problems(template, names):
        where = f" in line {problem.line}" if "\n" in template.strip() else ""
        raise ValueError(f"invalid Liquid{where}: {problem.what}")
    return template


# A property that is rendered for each contact when its message goes.
Liquid = Annotated[str, AfterValidator(checked)]


@lru_cache(maxsize=2048)
def _compiled(source: str, html: bool) -> BoundTemplate:
    too_long = _too_long(source)
    if too_long is not None:
        raise _TooMuchError(too_long)
    made = (_HTML if html else _PLAIN).from_string(source)
    made.tags = _tags(source) + 1  # type: ignore[attr-defined]
    return made


def render(source: str, values: Mapping[str, Any], *, html: bool = False) -> str:
    """Return a template filled in; in HTML, values are escaped. Raises RenderError, whatever the library raises."""
    try:
        return str(_compiled(source, html).render(**values))
    except LiquidError as error:
        raise RenderError(f"the template cannot be rendered: {error.message}") from None
    except Exception as error:
        raise RenderError(f"the template cannot be rendered: {type(error).__name__}: {error}"[:300]) from None


def one_line(value: str) -> str:
    """Return a text on one line, fit for a header: no value can begin another."""
    return _CONTROL.sub(" ", value).strip()


def render_all(value: Any, values: Mapping[str, Any]) -> Any:
    """Return JSON with every text in it filled in; names of objects stay as they are. Raises RenderError."""
    if isinstance(value, str):
        return render(value, values)
    if isinstance(value, Mapping):
        return {name: render_all(each, values) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [render_all(each, values) for each in value]
    return value
