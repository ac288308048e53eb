"""Liquid templates: compiled once, checked before they are stored, rendered for many contacts.

Liquid itself is loaded with the first template, since most commands read none (see bounded_liquid).

The same names are known everywhere: `contact` (and any custom field of it), `campaign`, `step`,
`message`, `entry` (the data of the event that began the run), and in emails `unsubscribe_url` and `open_url`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator

# Root to the names below it; None: any. An empty set: a value by itself.
Names = Mapping[str, frozenset[str] | None]
NAMES: Names = {
    "contact": None,
    "campaign": frozenset({"key", "name"}),
    "step": frozenset({"key", "name"}),
    "message": frozenset({"key"}),
    # The data of the event that began the run.
    "entry": None,
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
# A name of a field that cannot stand after a dot.
_SEVERAL_WORDS = re.compile(r"\d[\w-]*|[\w-]+(?: +[\w-]+)+")
# A name that stands after a dot.
_DOTTED = re.compile(r"[^\W\d][\w-]*")
_WORDS_OF_LIQUID = frozenset(
    {
        "and",
        "or",
        "not",
        "in",
        "contains",
        "true",
        "false",
        "nil",
        "null",
        "empty",
        "blank",
        "if",
        "else",
        "with",
        "for",
        "as",
        "required",
    }
)
_OUTPUT = re.compile(r"{{-?(.*?)-?}}", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


class RenderError(Exception):
    """A template cannot be filled in for a contact; the message says why."""


class TemplateProblem(NamedTuple):
    """What is wrong with a template, and where; lines and columns count from 1."""

    what: str
    line: int
    column: int


def problems(source: str, names: Names = NAMES) -> Iterator[TemplateProblem]:
    """Yield what is wrong with a template: its syntax, else every filter, tag and name that there is not."""

    from parcours.domain.messages.bounded_liquid import PLAIN, LiquidError, too_long

    def at(what: str, index: int) -> TemplateProblem:
        before = source[: max(index, 0)]
        return TemplateProblem(what, before.count("\n") + 1, len(before) - before.rfind("\n"))

    why = too_long(source)
    if why is not None:
        yield at(why, 0)
        return
    try:
        found = PLAIN.from_string(source).analyze(include_partials=False)
    except LiquidError as error:
        yield at(*_mistake(source, error))
        return
    except RecursionError:
        yield at("its blocks are nested too deeply", 0)
        return
    except Exception:
        # The library answers some nonsense with other exceptions than its own.
        yield at("it cannot be understood; check it for typing mistakes", 0)
        return
    from parcours.domain.messages.liquid_errors import unknown_filter

    # Liquid itself notices these only when the first contact is written to.
    for name, spans in found.filters.items():
        if name not in PLAIN.filters:
            yield at(unknown_filter(name), spans[0].index)
    for name, spans in found.tags.items():
        if name in _LOADING_TAGS:
            yield at(f"a template cannot {name} another template; write its text here", spans[0].index)
    for root, variables in found.globals.items():
        if root not in names:
            known = ", ".join(name for name in names if name != "contact")
            yield at(
                f"unknown name {root!r}; a field of the contact is written contact.{root}; other names are {known}",
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


def placeholder(field: str) -> str:
    """Return what stands in a template for a custom field of the contact."""
    if _DOTTED.fullmatch(field) and field not in _WORDS_OF_LIQUID:
        return f"{{{{ contact.{field} }}}}"
    quote = "'" if '"' in field else '"'
    return f"{{{{ contact[{quote}{field}{quote}] }}}}"


def _mistake(source: str, error: Exception) -> tuple[str, int]:
    """Return why a template cannot be read, and where; of a field that needs brackets, how it is written."""
    from parcours.domain.messages.bounded_liquid import LiquidError
    from parcours.domain.messages.liquid_errors import explained

    assert isinstance(error, LiquidError)
    found = explained(source, error)
    for piece in _OUTPUT.finditer(source):
        if piece.start() <= found.at < piece.end():
            root, _sign, name = piece[1].partition("|")[0].strip().partition(".")
            if root == "contact" and _SEVERAL_WORDS.fullmatch(name):
                right = placeholder(name)
                what = f"a field whose name is not one word is written with brackets and quotes: {right}"
                return what, found.at
    return found


def fields_named(source: str) -> set[str]:
    """Return the custom fields of the contact that a template names with nothing to say where there is none.

    Left out are those that it asks about first, in an `if` or with the filter `default`. Of what is no Liquid
    there are none.
    """
    from parcours.domain.messages.bounded_liquid import PLAIN, LiquidError

    try:
        found = PLAIN.from_string(source).analyze(include_partials=False)
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


def render(source: str, values: Mapping[str, Any], *, html: bool = False) -> str:
    """Return a template filled in; in HTML, values are escaped. Raises RenderError, whatever the library raises."""
    from parcours.domain.messages.bounded_liquid import LiquidError, compiled

    try:
        return str(compiled(source, html).render(**values))
    except LiquidError as error:
        from parcours.domain.messages.liquid_errors import explained_while_filled_in

        found = explained_while_filled_in(source, error)
        if found.at >= 0 and "\n" in source.strip():
            line = source.count("\n", 0, found.at) + 1
            raise RenderError(f"the template cannot be filled in, line {line}: {found.what}") from None
        raise RenderError(f"the template cannot be filled in: {found.what}") from None
    except Exception as error:
        raise RenderError(f"the template cannot be filled in: unexpected error ({type(error).__name__})") from None


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
