"""What each column of a file means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from parcours.domain import gate
from parcours.domain.errors import CampaignError
from parcours.domain.events.utm import NAMES as UTM_NAMES
from parcours.producers.files.headers import (
    EMAIL_REFUSAL,
    FIELD_NAMES,
    OWN,
    REJECTED_LINE,
    REJECTED_REASON,
    STATUSES,
    RefusalColumn,
    folded,
    own_name,
    rank_of,
    refusal_of,
)
from parcours.producers.files.options import Options
from parcours.producers.files.shapes import TEXT, Shape

Role = Literal["own", "field", "refusal", "ignored"]

# What Parcours keeps of a contact by itself: a field of that name could never be asked for.
_KEPT = frozenset({"last_active_at", *UTM_NAMES})
IGNORE = "ignore"


@dataclass(slots=True)
class FileColumn:
    """A column: its name in the file, and what becomes of its cells."""

    name: str
    role: Role
    # The attribute of the contact, or the name of the field.
    target: str = ""
    # Who must not be written to, and on which channels.
    refusal: RefusalColumn | None = None
    # Whether the words of its cells are those of a subscriber's status.
    is_status: bool = False
    shape: Shape = TEXT
    # Whether a person said what it is.
    given: bool = False
    # Why it is ignored.
    why: str = ""

    @property
    def words(self) -> str:
        """What the column means, for a person."""
        match self.role:
            case "own":
                return {"email": "email address"}.get(self.target, self.target)
            case "refusal":
                assert self.refusal is not None
                channels = ", ".join(self.refusal.channels)
                return f"do not contact ({channels}), when the cell says {'no' if self.refusal.on_no else 'yes'}"
            case "ignored":
                return f"ignored: {self.why}"
        status = "; also do not contact (email), when the cell says unsubscribed, bounced, …" if self.is_status else ""
        return f"field {self.target}{status}"


def understand(names: Sequence[str], options: Options) -> tuple[list[FileColumn], list[str]]:
    """Return what each column means, and what to tell a person about it.

    Raises CampaignError when an option names a column that the file does not have, or two columns mean one thing.
    """
    columns = [FileColumn(name, "field", name) for name in names]
    _given(columns, options)
    taken = {column.target for column in columns if column.given and column.role != "ignored"}
    for meaning in (*OWN, *FIELD_NAMES):
        if meaning not in taken:
            _recognise(columns, meaning)
    notes: list[str] = []
    numbers: dict[str, int] = {}
    used = {column.target for column in columns if column.given or column.role == "own" or column.target != column.name}
    for place, column in enumerate(columns, 1):
        if column.given or column.role != "field" or column.target in FIELD_NAMES:
            continue
        refusal = refusal_of(column.name)
        if not column.name:
            column.role, column.why = "ignored", "no name"
        elif column.name in (REJECTED_LINE, REJECTED_REASON):
            column.role, column.why = "ignored", "it is about an earlier import"
        elif refusal is not None:
            column.role, column.refusal, column.target = "refusal", refusal, ""
        elif _is_kept(column.name):
            column.role, column.why = "ignored", "Parcours manages this value"
            notes.append(
                f"Column {column.name!r} is ignored, since Parcours manages this value; "
                f'--map "{column.name}=imported_{folded(column.name)}" keeps it as a field.'
            )
        else:
            column.is_status = folded(column.name) in STATUSES
            _name_field(column, place, used, numbers, notes)
    return columns, notes


def place_of(columns: Sequence[FileColumn], target: str) -> int | None:
    """Return the place of the column that is one of a contact's own attributes, or None."""
    return next(
        (place for place, column in enumerate(columns) if column.role == "own" and column.target == target), None
    )


def _given(columns: list[FileColumn], options: Options) -> None:
    for name, target in options.columns.items():
        column = _find(columns, name, "--map")
        column.given = True
        if target.lower() == IGNORE:
            column.role, column.why, column.target = "ignored", "excluded by --map", ""
            continue
        own = target.lower() if target.lower() in OWN else None
        if own is None:
            _check_field(target)
        for other in columns:
            if other.given and other is not column and other.target == (own or target):
                raise CampaignError(f"--map assigns {target!r} to two columns: {other.name!r} and {name!r}; choose one")
        column.role, column.target = ("own", own) if own else ("field", target)
    for text in options.refusals:
        name, sign, channel = text.rpartition("=")
        if not sign or any(column.name == text for column in columns):
            name, channel = text, ""
        column = _find(columns, name, "--do-not-contact")
        known = refusal_of(column.name) or EMAIL_REFUSAL
        channels = (channel.strip().lower(),) if channel.strip() else known.channels
        column.role, column.given, column.target = "refusal", True, ""
        column.refusal = RefusalColumn(channels, known.reason, known.on_no)


def _find(columns: list[FileColumn], name: str, option: str) -> FileColumn:
    for alike in (str, str.casefold, folded):
        for column in columns:
            if alike(column.name) == alike(name):
                return column
    names = [column.name for column in columns if column.name]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"its columns are: {', '.join(names)}"
    raise CampaignError(f"{option}: the file has no column {name!r}; {hint}")


def _check_field(name: str) -> None:
    try:
        gate.check_text(name, "the name of a field", most=gate.MAX_NAME)
    except gate.GateError as error:
        raise CampaignError(f"--map: {error}") from None
    if _is_kept(name):
        raise CampaignError(f"--map: {name!r} is managed by Parcours; choose another name for the field")


def _recognise(columns: list[FileColumn], meaning: str) -> None:
    """Give a meaning to the column whose name is the nearest to it, if any is near."""

    def means(column: FileColumn) -> bool:
        if column.given or column.role != "field" or column.target != column.name:
            return False
        if meaning in OWN:
            return own_name(column.name) == meaning
        return folded(column.name) == folded(meaning) or folded(column.name) in FIELD_NAMES[meaning]

    found = min(
        (column for column in columns if means(column)), key=lambda each: rank_of(each.name, meaning), default=None
    )
    if found is not None:
        found.role, found.target = ("own" if meaning in OWN else "field"), meaning


def _is_kept(name: str) -> bool:
    return name in _KEPT or name.startswith("company.")


def _name_field(column: FileColumn, place: int, used: set[str], numbers: dict[str, int], notes: list[str]) -> None:
    """Give a field a name that no column before has, and that no attribute hides.

    `numbers` has the number that is tried next, by name: a file may have thousands of columns of one name.
    """
    name = column.name[: gate.MAX_NAME]
    number = numbers.get(name, 2)
    # "Phone" beside a column that became the field phone is one more of them.
    known = {*OWN, *(each for each in FIELD_NAMES if each in used)}
    while column.target in used or any(folded(column.target) == folded(each) for each in known):
        column.target = f"{name} {number}"
        number = numbers[name] = number + 1
    if column.target != column.name:
        notes.append(
            f"Column {place} has the same name {column.name!r} as an earlier column; it becomes the field "
            f"{column.target!r}."
        )
    used.add(column.target)
