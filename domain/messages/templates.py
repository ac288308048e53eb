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


_TYPE_NAMES = {
    "found str": "found text",
    "found int": "found a number",
    "found float": "found a number",
    "found list": "found a list",
    "found dict": "found a mapping",
    "found NoneType": "found nothing",
}
_TYPES = re.compile(r"\bfound (?:str|int|float|list|dict|NoneType)\b")


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
        place = error.token.start_index if error.token else 0
        yield at(_why(source, place, str(error.message)), place)
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
        if name not in PLAIN.filters:
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


def placeholder(field: str) -> str:
    """Return what stands in a template for a custom field of the contact."""
    if _DOTTED.fullmatch(field) and field not in _WORDS_OF_LIQUID:
        return f"{{{{ contact.{field} }}}}"
    quote = "'" if '"' in field else '"'
    return f"{{{{ contact[{quote}{field}{quote}] }}}}"


def _why(source: str, place: int, message: str) -> str:
    """Return why a template cannot be read; of a field that needs brackets, how it is written."""
    for found in _OUTPUT.finditer(source):
        if found.start() <= place < found.end():
            root, _sign, name = found[1].partition("|")[0].strip().partition(".")
            right = placeholder(name)
            if root == "contact" and right.startswith("{{ contact["):
                return f"a field whose name is not one word is written with brackets and quotes: {right}"
    return _plain(message)


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
        raise RenderError(f"the template cannot be rendered: {_plain(str(error.message))}") from None
    except Exception as error:
        raise RenderError(f"the template cannot be rendered: unexpected error ({type(error).__name__})") from None


def _plain(message: str) -> str:
    """Return a message of the library without Python's names of types."""
    return _TYPES.sub(lambda found: _TYPE_NAMES[found[0]], message)


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
