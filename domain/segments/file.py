"""A segment's file: what it says, and everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parcours.domain.campaign_file.model import FindType, Path, Problem
from parcours.domain.campaign_file.sentences import did_you_mean, quoted
from parcours.domain.errors import CampaignError
from parcours.domain.invalid_values import called
from parcours.domain.keys import checked_key
from parcours.domain.segments import parsing
from parcours.domain.segments.rule import Rule
from parcours.domain.steps import registry

# The format of segment files; what says nothing is of the first.
FORMAT = 1
NAMES = ("format", "segment", "name", "public", "published", "rule")


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment file that nothing is wrong with. What it does not say (None) stays as it is; a new segment is named by
    its key, public and published. Without a rule, the segment is filled by hand and by events."""

    segment: str
    name: str | None = None
    public: bool | None = None
    published: bool | None = None
    # As the file has it, and as it is understood.
    data: Any = None
    rule: Rule | None = None
    # Where it stands in its document.
    path: Path = ()


def check_all(data: object, find_type: FindType = registry.step_type) -> tuple[list[SegmentFile], list[Problem]]:
    """Return the segments of a document, one or a list of them, or everything that is wrong in it."""
    listed = isinstance(data, Sequence) and not isinstance(data, str)
    files: list[SegmentFile] = []
    problems: list[Problem] = []
    for index, each in enumerate(data if listed and isinstance(data, Sequence) else [data]):
        file, found = check(each, find_type, path=(index,) if listed else ())
        problems += found
        if file is not None:
            files.append(file)
    return files, problems


def check(
    data: object, find_type: FindType = registry.step_type, *, path: Path = ()
) -> tuple[SegmentFile | None, list[Problem]]:
    """Return the segment that some data describes, or everything that is wrong with it."""
    if not isinstance(data, Mapping):
        return None, [Problem(path, f"a segment must be a mapping with segment, name, rule, …, not {called(data)}")]
    if "campaign" in data and "segment" not in data:
        sentence = "this is the file of a campaign; use `parcours campaigns plan` or `parcours campaigns apply`"
        return None, [Problem((*path, "campaign"), sentence)]
    problems = [
        Problem((*path, str(name)), f"unknown property {quoted(name)}{did_you_mean(str(name), NAMES)}")
        for name in data
        if name not in NAMES
    ]
    problems += _wrong(data, path)
    rule = None
    if data.get("rule") is not None:
        rule, found = parsing.parse(data["rule"], find_type, path=(*path, "rule"))
        problems += found
    elif "rule" in data:
        problems.append(Problem((*path, "rule"), "must be a rule; remove the line if the segment has none"))
    if problems:
        return None, problems
    return SegmentFile(
        checked_key("segment", data["segment"]),
        data.get("name"),
        data.get("public"),
        data.get("published"),
        data.get("rule"),
        rule,
        path,
    ), []


def _wrong(data: Mapping[Any, Any], path: Path) -> list[Problem]:
    problems = []
    format_ = data.get("format", FORMAT)
    if not isinstance(format_, int) or isinstance(format_, bool) or format_ != FORMAT:
        sentence = f"must be {FORMAT}, the only format that this version of Parcours reads, not {called(format_)}"
        problems.append(Problem((*path, "format"), sentence))
    key = data.get("segment")
    if not isinstance(key, str):
        said = "the property 'segment', its key, is missing" if key is None else f"must be text, not {called(key)}"
        problems.append(Problem((*path, "segment") if key is not None else path, said))
    else:
        try:
            checked_key("segment", key)
        except CampaignError as error:
            problems.append(Problem((*path, "segment"), str(error)))
    name = data.get("name")
    if name is not None and (not isinstance(name, str) or not name.strip() or "\0" in name or len(name) > 255):
        problems.append(Problem((*path, "name"), "must be text of 1 to 255 characters"))
    problems += [
        Problem((*path, flag), f"must be true or false, not {called(data[flag])}")
        for flag in ("public", "published")
        if data.get(flag) is not None and not isinstance(data[flag], bool)
    ]
    return problems
