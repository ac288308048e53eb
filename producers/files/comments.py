"""Comments of a campaign file, kept as notes of the steps that they are about."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from parcours.domain.campaign_file.model import BRANCH_NAMES
from parcours.producers.files.campaigns import Loader, document_of, fast_loader

_STEPS = "steps"
_LINE_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
# The first line of a text of several lines, which may have a comment of its own.
_BLOCK_HEAD = re.compile(r"[|>][-+0-9]*[ \t]+(#.*)")


class Comment(NamedTuple):
    """A comment: where it begins, counted from 0, its words, and whether its line has nothing else."""

    at: int
    line: int
    column: int
    words: str
    alone: bool


class _StepNode(NamedTuple):
    data: dict[str, Any]
    node: yaml.Node


def with_notes(path: Path, text: str) -> object:
    """Return the data of a YAML text, whose problems are called by a path, with each comment in a note.

    A comment above a step or beside one of its lines is part of the step's `note`, any other of the campaign's.
    Raises CampaignFileError.
    """
    document = document_of(path, text)
    data, root = document.data, document.root
    if "#" not in text or not isinstance(data, dict):
        return data
    comments = comments_of(text)
    if not comments:
        return data
    found_steps = [] if root is None else _steps(_below(root, _STEPS), data.get(_STEPS), set())
    steps = sorted(found_steps, key=_start)
    lines = _LINE_BREAK.split(text)
    said: dict[int, tuple[dict[str, Any], list[str]]] = {}
    for each in comments:
        found = _step_of(each, steps, lines)
        whole = data if found is None else found
        said.setdefault(id(whole), (whole, []))[1].append(each.words)
    for whole, words in said.values():
        _note(whole, words)
    return data


def comments_of(text: str) -> list[Comment]:
    """Return the comments of a YAML text that can be read, in order."""
    fast = fast_loader(text)
    if fast is not None:
        with suppress(yaml.YAMLError, UnicodeEncodeError):
            return list(_comments(text, fast))
    return list(_comments(text, Loader))


def _comments(text: str, loader: type[Any]) -> Iterator[Comment]:
    end: yaml.Mark | None = None
    for token in yaml.scan(text, Loader=loader):
        here = 0 if end is None else end.index
        if token.start_mark.index > here:
            yield from _between(text, here, token.start_mark.index, end)
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
            mark = token.start_mark
            head = _BLOCK_HEAD.match(_LINE_BREAK.split(text[mark.index :], maxsplit=1)[0])
            if head is not None:
                yield Comment(mark.index, mark.line, mark.column + head.start(1), _words(head.group(1)), False)
        if end is None or token.end_mark.index >= end.index:
            end = token.end_mark


def _between(text: str, start: int, stop: int, mark: yaml.Mark | None) -> Iterator[Comment]:
    """Yield the comments between two tokens, where there is nothing else but space."""
    line, column, index = (0, 0, start) if mark is None else (mark.line, mark.column, start)
    # Whether the first line has something before.
    alone = not column
    for piece in re.split(r"(\r\n|[\n\r\x85\u2028\u2029])", text[start:stop]):
        if _LINE_BREAK.fullmatch(piece):
            line, column, alone = line + 1, 0, True
        else:
            at = piece.find("#")
            if at >= 0:
                yield Comment(index + at, line, column + at, _words(piece[at:]), alone)
            column += len(piece)
        index += len(piece)


def _words(comment: str) -> str:
    return comment.lstrip("#").removeprefix(" ").rstrip()


def _below(node: yaml.Node, name: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for key, value in pairs if isinstance(key, yaml.ScalarNode) and key.value == name), None)


def _steps(node: yaml.Node | None, data: object, seen: set[int]) -> Iterator[_StepNode]:
    """Yield the steps of a list with all below, in the order of the text; one that an alias repeats only once."""
    if not isinstance(node, yaml.SequenceNode) or not isinstance(data, list):
        return
    for each, step in zip(node.value, data, strict=False):
        if isinstance(each, yaml.MappingNode) and isinstance(step, dict) and id(each) not in seen:
            seen.add(id(each))
            yield _StepNode(step, each)
            for name in BRANCH_NAMES:
                yield from _steps(_below(each, name), step.get(name), seen)


def _start(step: _StepNode) -> int:
    return int(step.node.start_mark.index)


def _step_of(comment: Comment, steps: Sequence[_StepNode], lines: Sequence[str]) -> dict[str, Any] | None:
    """Return the step that a comment is about, of steps in the order of the text."""
    earlier = bisect_right(steps, comment.at, key=_start)
    if not comment.alone:
        # Beside: the last that begins on the line, else the innermost that the line is in.
        if earlier and steps[earlier - 1].node.start_mark.line == comment.line:
            return steps[earlier - 1].data
        inside = (steps[n] for n in reversed(range(earlier)) if comment.at < steps[n].node.end_mark.index)
        return next((each.data for each in inside), None)
    below = comment.line + 1
    while below < len(lines) and (not lines[below].strip() or lines[below].lstrip().startswith("#")):
        below += 1
    if below < len(lines) and lines[below].lstrip().startswith("-"):
        later = bisect_left(steps, below, lo=earlier, key=lambda each: each.node.start_mark.line)
        if later < len(steps) and steps[later].node.start_mark.line == below:
            return steps[later].data
    above = (steps[n] for n in reversed(range(earlier)) if steps[n].node.start_mark.column <= comment.column)
    return next((each.data for each in above), None)


def _note(whole: dict[str, Any], words: Sequence[str]) -> None:
    """Add comments to a note, behind what it says; a line that it has already is not said twice."""
    known = whole.get("note")
    if known is not None and not isinstance(known, str):
        # That is wrong, and whoever wrote it is told so.
        return
    before = known.rstrip().splitlines() if known else []
    # A comment without words draws a line at the beginning and at the end, and makes a paragraph between.
    note = "\n".join([*before, *(each for each in words if not each or each not in before)]).strip("\n")
    if known is not None:
        whole["note"] = note or known
    elif note:
        _put(whole, note)


def _put(whole: dict[str, Any], note: str) -> None:
    """Put a note where it is read first: behind the name, before what is below."""
    items: Mapping[str, Any] = dict(whole)
    first = [name for name in items if name in ("format", "campaign", "step", "name")]
    whole.clear()
    whole.update({name: items[name] for name in first})
    whole["note"] = note
    whole.update({name: value for name, value in items.items() if name not in first})
