"""What is wrong with a template that Liquid cannot read, in plain words, with what to write instead.

The library speaks of tokens and expressions. Whoever writes an email knows neither, so that none of its sentences
reaches a reader. Loaded with the first template that cannot be read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

from liquid.exceptions import BlockNestingError, LiquidError, LiquidSyntaxError, UnknownFilterError

from parcours.domain.messages.bounded_liquid import PLAIN, FilterError, TooMuchError

# How much of a template a sentence shows.
LONGEST_SNIPPET = 80
# A tag or an output, or the beginning of one that is not closed.
_PIECE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{\{.*|\{%.*", re.DOTALL)
_TAG = re.compile(r"\{%-?\s*(\w+|#)")
_INNER = ("else", "elsif", "when")
# Tags that something closes.
_BLOCKS = ("if", "unless", "case", "for", "tablerow", "capture", "comment", "raw", "ifchanged", "doc")
_NO_LOADING = ("include", "render", "illegal", "content", "output", "doc", "#")
_EXAMPLES = {
    "assign": "{% assign name = contact.first_name %}",
    "capture": "{% capture greeting %}",
    "case": "{% case contact.country %}",
    "cycle": "{% cycle 'one', 'two' %}",
    "decrement": "{% decrement n %}",
    "echo": "{% echo contact.first_name %}",
    "elsif": "{% elsif contact.country == 'FR' %}",
    "for": "{% for tag in contact.tags %}",
    "if": "{% if contact.country == 'FR' %}",
    "increment": "{% increment n %}",
    "tablerow": "{% tablerow tag in contact.tags %}",
    "unless": "{% unless contact.country == 'FR' %}",
    "when": "{% when 'FR' %}",
}
_INSTEAD = {"&&": "and", "||": "or"}
_HTML = re.compile(r"&(?:\w+|#\d+);|</?\w+[^<>]*>")
_TYPOGRAPHIC = re.compile("[\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb]")


class LiquidMistake(NamedTuple):
    """What is wrong, and the index at which it is."""

    what: str
    at: int


def explained(source: str, error: LiquidError) -> LiquidMistake:
    """Return what is wrong with a template that the library does not read."""
    message = str(error.message)
    place = error.token.start_index if error.token else -1
    if isinstance(error, BlockNestingError):
        return LiquidMistake("its blocks are nested too deeply", 0)
    unclosed = re.fullmatch(r"expected tag end(\w+), found .*|(comment|doc) tag was never closed", message)
    if unclosed or message == "unexpected tag 'raw'":
        name = "raw" if unclosed is None else unclosed[1] or unclosed[2]
        opened = [each for each in _open_blocks(source) if each[0] == name]
        what = f"{{% {name} %}} is not closed; add {{% end{name} %}} where it ends"
        return LiquidMistake(what, opened[-1][1] if opened else max(place, 0))
    piece = _piece_at(source, place) if place >= 0 else _piece_that_fails(source, message)
    if piece is None:
        return LiquidMistake("it cannot be understood; check it for typing mistakes", max(place, 0))
    return LiquidMistake(_why(source, piece, message), place if place >= 0 else piece.start())


def explained_while_filled_in(source: str, error: LiquidError) -> LiquidMistake:
    """Return what is wrong with a template that the library read, and cannot fill in for a contact."""
    if isinstance(error, LiquidSyntaxError) and not str(error.message).startswith("unexpected"):
        return explained(source, error)
    place = error.token.start_index if error.token else -1
    message = str(error.message)
    if isinstance(error, TooMuchError | FilterError):
        return LiquidMistake(message, place)
    piece = _piece_at(source, place) if place >= 0 else None
    shown = snippet(piece[0]) if piece else ""
    if isinstance(error, UnknownFilterError):
        what = unknown_filter(message.removeprefix("unknown filter ").strip("'"))
    elif "not supported between" in message:
        what = (
            "a text is compared with a number; make a number of it first, such as "
            f"{{% assign age = contact.age | plus: 0 %}}: {shown}"
        )
    elif "integer" in message or "number" in message:
        what = f"a number is needed, not a text: {shown}"
    else:
        what = f"this cannot be filled in; check how it is written: {shown}"
    return LiquidMistake(what, place)


def unknown_filter(name: str) -> str:
    """Return what is said of a filter that there is not."""
    near = difflib.get_close_matches(name, PLAIN.filters, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "check how it is written, or remove it"
    return f"unknown filter {name!r}; {hint}"


def snippet(piece: str) -> str:
    """Return a tag or an output as a sentence shows it: on one line, and not too long."""
    text = " ".join(piece.split())
    return text if len(text) <= LONGEST_SNIPPET else f"{text[:LONGEST_SNIPPET]}…"


def _why(source: str, piece: re.Match[str], message: str) -> str:
    text = piece[0]
    is_tag = text.startswith("{%")
    shown = snippet(text)
    if not text.endswith("%}" if is_tag else "}}"):
        # What follows is of the email, up to the end of its line.
        shown = snippet(text.splitlines()[0])
        return (
            f"a tag is not closed; write %}} at its end: {shown}"
            if is_tag
            else f"a placeholder is not closed; write }}}} at its end: {shown}"
        )
    inside = text[2:-2].strip("-").strip()
    if not inside:
        return (
            "a tag is empty; remove it: {% %}"
            if is_tag
            else "a placeholder is empty; write a name in it, such as {{ contact.email }}, or remove it"
        )
    if inside.startswith(("{", "{{")) or "{{" in inside:
        return f"a placeholder has {{{{ inside of it; write it once, such as {{{{ contact.email }}}}: {shown}"
    if _HTML.search(inside):
        return f"a placeholder has formatting or HTML inside of it; type it again as plain text: {shown}"
    curly = _TYPOGRAPHIC.search(inside)
    if curly and f"unexpected {curly[0]!r}" in message:
        return f"{curly[0]} is a quotation mark of printed text; type ' or \" instead: {shown}"
    name = _name(text)
    if message.startswith("unexpected tag"):
        return _wrong_tag(source, piece, name)
    if message in ("unexpected '\"'", 'unexpected "\'"', 'unexpected "\'"'):
        return f"a quotation mark is missing at the end of a text: {shown}"
    for wrong, right in _INSTEAD.items():
        if wrong in inside:
            return f"write {right} instead of {wrong}: {shown}"
    if "found '='" in message:
        return f"write == instead of = to compare: {shown}"
    if "parentheses" in message:
        return f"conditions have no parentheses; put one {{% if %}} inside of another: {shown}"
    if "not operator" in message:
        return f"conditions have no 'not'; use {{% unless %}} or !=: {shown}"
    is_bare = is_tag and inside.partition(name)[2].strip() == ""
    if name in _EXAMPLES and (is_bare or message.startswith(("missing expression", "expected in,", "expected '='"))):
        return f"{{% {name} %}} is incomplete; write it like {_EXAMPLES[name]}"
    if inside.endswith("|") or "expected word" in message:
        return f"the name of a filter is missing after |, such as {{{{ contact.first_name | upcase }}}}: {shown}"
    if inside.endswith(".") or "identifier" in message:
        return f"a name is missing after the dot, such as {{{{ contact.first_name }}}}: {shown}"
    if "path segment" in message:
        return f"in brackets, a name stands in quotes, such as {{{{ contact['First name'] }}}}: {shown}"
    if re.search(r"\s[-+*/]\s", inside):
        return f"placeholders calculate with filters, such as {{{{ contact.points | plus: 1 }}}}: {shown}"
    if "primitive expression" in message:
        return f"a value is missing; write a name such as contact.email, a number, or a text in quotes: {shown}"
    return f"this cannot be understood; check it for typing mistakes: {shown}"


def _wrong_tag(source: str, piece: re.Match[str], name: str) -> str:
    opened = [each for each, _ in _open_blocks(source[: piece.start()])]
    if name.startswith("end") and name.removeprefix("end") in _BLOCKS:
        own = name.removeprefix("end")
        if opened:
            return f"{{% {name} %}} does not close {{% {opened[-1]} %}}; write {{% end{opened[-1]} %}} first"
        return f"{{% {name} %}} closes nothing; add {{% {own} %}} before it, or remove it"
    if name in _INNER:
        return f"{{% {name} %}} belongs inside of {{% if %}}, {{% unless %}} or {{% case %}}; check where that ends"
    known = sorted({*_EXAMPLES, *_INNER, *_BLOCKS, *(f"end{each}" for each in _BLOCKS), *PLAIN.tags} - {*_NO_LOADING})
    near = difflib.get_close_matches(name, known, n=1)
    if name in PLAIN.tags:
        return f"this cannot be understood; check it for typing mistakes: {snippet(piece[0])}"
    if near:
        return f"unknown tag {name!r}; did you mean {near[0]!r}?"
    return f"unknown tag {name!r}; check how it is written, or remove it"


def _name(piece: str) -> str:
    found = _TAG.match(piece)
    return found[1] if found else ""


def _pieces(source: str) -> Iterator[re.Match[str]]:
    return _PIECE.finditer(source)


def _piece_at(source: str, place: int) -> re.Match[str] | None:
    before = takewhile(lambda each: each.start() <= place, _pieces(source))
    return max(before, key=lambda each: each.start(), default=None)


def _piece_that_fails(source: str, message: str) -> re.Match[str] | None:
    """Return the first tag or output that the library does not read by itself, for the same reason."""
    for each in _pieces(source):
        name = _name(each[0])
        if name.startswith("end") or name in _INNER:
            # Read within what it belongs to.
            alone = f"{{% if true %}}{each[0]}{{% endif %}}" if name == "elsif" else each[0]
            alone = f"{{% case 1 %}}{each[0]}{{% endcase %}}" if name == "when" else alone
        else:
            alone = each[0] + (f"{{% end{name} %}}" if name in _BLOCKS else "")
        try:
            PLAIN.from_string(alone)
        except LiquidError as error:
            if str(error.message) == message:
                return each
    return None


def _open_blocks(source: str) -> list[tuple[str, int]]:
    """Return the blocks that are open at the end of a text, with where they begin."""
    opened: list[tuple[str, int]] = []
    for each in _pieces(source):
        name = _name(each[0])
        if opened and opened[-1][0] in ("comment", "raw") and name != f"end{opened[-1][0]}":
            continue
        if name in _BLOCKS:
            opened.append((name, each.start()))
        elif name.startswith("end") and opened and opened[-1][0] == name.removeprefix("end"):
            opened.pop()
    return opened
