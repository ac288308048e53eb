"""The text of a YAML file: read within limits, and what is wrong with it said in plain words."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer

# Aliases let a short file describe an endless one.
MAX_NODES = 200_000
# Of the processor's time, so that a busy machine refuses nobody.
MAX_SECONDS = 20.0
MAX_DOCUMENTS = 10_000
# Of a file of several documents; 40 emails of the largest kind.
MAX_BYTES = 20_000_000
TOO_DEEP = "the file is nested too deeply"
TOO_LARGE = f"the file is too large: it has more than {MAX_NODES} values"


class UnreadableFileError(Exception):
    """A text is no YAML, or too much of it: the message is a sentence. `line` counts from 1; None means the whole."""

    def __init__(self, sentence: str, line: int | None = None) -> None:
        super().__init__(sentence)
        self.line = line


def read(path: Path, *, most: int = MAX_BYTES, too_long: str | None = None) -> str:
    """Return the text of a file. Raises UnreadableFileError; `too_long` is said of one with more than `most` bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise UnreadableFileError("there is no such file") from None
    except IsADirectoryError:
        raise UnreadableFileError("this is a folder; name a file in it") from None
    except OSError as error:
        raise UnreadableFileError(f"the file cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(content) > most:
        raise UnreadableFileError(too_long or f"the file is larger than {most // 1_000_000} MB; split it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableFileError("the file is not UTF-8; save it with that encoding", line) from None


class BoundedComposer(Composer):
    """Ends with UnreadableFileError when a text holds too many values, or takes too long."""

    _nodes = 0
    _until = 0.0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Asking for the time costs as much as a value.
        if self._nodes % 64 == 0:
            self._until = self._until or time.thread_time() + MAX_SECONDS
            if time.thread_time() > self._until:
                raise UnreadableFileError(f"reading the file takes more than {MAX_SECONDS:g} seconds; split it")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise UnreadableFileError(TOO_LARGE)
        return super().compose_node(parent, index)


class BoundedLoader(BoundedComposer, yaml.SafeLoader):
    """Reads YAML 1.1 within limits."""


def documents(
    text: str, loader: type[Any] = BoundedLoader, *, fast: type[Any] | None = None, most: int = MAX_DOCUMENTS
) -> list[yaml.Node]:
    """Return the documents of a text that hold something, at most so many. Raises UnreadableFileError.

    What a `fast` loader refuses is read again, for the sentence that says why.
    """
    try:
        if fast is not None:
            with suppress(yaml.YAMLError, UnicodeEncodeError):
                return _composed(text, fast, most)
        return _composed(text, loader, most)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        sentence = f"the file contains a character that YAML does not allow: U+{error.character:04X}"
        raise UnreadableFileError(sentence, line) from None
    except yaml.MarkedYAMLError as error:
        at, why = why_not_yaml(error)
        raise UnreadableFileError(f"the file is not valid YAML: {why}", at) from None
    except RecursionError:
        raise UnreadableFileError(TOO_DEEP) from None


def _composed(text: str, loader: type[Any], most: int) -> list[yaml.Node]:
    return [node for node in islice(yaml.compose_all(text, loader), most) if node is not None]


# What PyYAML says, and what to do; the first that fits counts. True: it stands where the value begins.
_WORDS: tuple[tuple[str, bool, str], ...] = (
    ("mapping values are not allowed", False, "put a value that contains ': ' in quotes"),
    (r"'\\t'", False, "indent with spaces, not with tabs"),
    ("cannot start any token", False, "put a value that begins with a special character in quotes"),
    ("unknown escape character", False, "write \\\\ for a backslash in double quotes, or use single quotes"),
    ("quoted scalar", True, "a quotation mark is missing at the end of this value"),
    ("',' or '}'|flow mapping", True, "after this '{' a comma or the closing '}' is missing"),
    ("',' or '\\]'|flow sequence", True, "after this '[' a comma or the closing ']' is missing"),
    ("undefined alias", False, "put a value that begins with * in quotes"),
    ("while scanning an? (alias|anchor)", False, "put a value that begins with * or & in quotes"),
    ("could not find expected ':'", True, "a colon is missing after this name"),
    ("node content", False, "a value is missing here"),
    ("<block end>|expected key|'-' indicator", False, "the indentation of this line does not match the lines above it"),
)


def why_not_yaml(error: yaml.MarkedYAMLError) -> tuple[int | None, str]:
    """Return the line, from 1, of what is no YAML, and what to do about it."""
    said = " ".join(filter(None, (error.context, error.problem)))
    at_start, words = next(
        ((begins, words) for pattern, begins, words in _WORDS if re.search(pattern, said)), (False, said)
    )
    marks: list[Any] = [error.problem_mark, error.context_mark]
    mark = next(filter(None, reversed(marks) if at_start else marks), None)
    return (None if mark is None else mark.line + 1), words
