"""In which local shape a column is written: found out from its values, and used to read them."""

from __future__ import annotations

from dataclasses import dataclass

from parcours.producers.files import dates, numbers
from parcours.producers.files.numbers import Decimal
from parcours.producers.files.options import Options, Order

# Of so many values that are not blank, nearly all have the shape of a column that has one.
_MOST = 0.8
_SOME = 0.2
# A shape that a few values have is hardly one.
_ENOUGH = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """How the values of a column are written. Without a shape, a value is the text that it is."""

    dates: Order | None = None
    decimal: Decimal | None = None

    def read(self, text: str) -> str | int | float | None:
        """Return a value that conditions can compare: a date in ISO 8601, or a number; None for neither."""
        if self.dates is not None:
            return dates.read(text.strip(), self.dates)
        return numbers.read(text, self.decimal or ".")

    @property
    def words(self) -> str:
        """The shape for a person."""
        if self.dates is not None:
            return f"date {_PATTERN[self.dates]}"
        return "number with a decimal " + ("comma" if self.decimal == "," else "point")


TEXT = Shape()
_PATTERN = {"DMY": "DD/MM/YYYY", "MDY": "MM/DD/YYYY", "YMD": "YYYY/MM/DD"}


@dataclass(slots=True)
class Seen:
    """What was seen of the values of one column."""

    filled: int = 0
    # Dates: in ISO 8601; in any other shape; and those that are dates in one order only.
    iso: int = 0
    local_dates: int = 0
    day_first: int = 0
    month_first: int = 0
    without_year: int = 0
    # Numbers: as JSON has them; in any other shape; and those that are numbers with one sign only.
    plain: int = 0
    local_numbers: int = 0
    comma: int = 0
    point: int = 0
    # Numbers that mean one thing with a comma, and another with a point.
    either: int = 0
    certain: int = 0
    example: str = ""
    ambiguous: str = ""
    # The first value that is neither.
    other: str = ""

    def see(self, text: str) -> None:
        """Look at a value."""
        text = text.strip()
        if not text:
            return
        self.filled += 1
        if not any(sign.isdigit() for sign in text[:60]):
            self.other = self.other or text
            return
        if dates.is_iso(text):
            self.iso += 1
        elif orders := dates.orders(text):
            self.local_dates += 1
            self.day_first += "DMY" in orders and "MDY" not in orders
            self.month_first += "MDY" in orders and "DMY" not in orders
            self.example = self.example or text
        elif dates.has_no_year(text):
            self.without_year += 1
            self.example = self.example or text
        else:
            self._see_number(text)

    def _see_number(self, text: str) -> None:
        with_comma, with_point = numbers.read(text, ","), numbers.read(text, ".")
        if with_comma is None and with_point is None:
            self.other = self.other or text
            return
        if numbers.is_plain(text):
            self.plain += 1
        else:
            self.local_numbers += 1
            self.certain += numbers.is_certain(text)
            self.example = self.example or text
        self.comma += with_point is None
        self.point += with_comma is None
        if None not in (with_comma, with_point) and with_comma != with_point:
            self.either += 1
            self.ambiguous = self.ambiguous or text

    @property
    def are_dates(self) -> bool:
        """Whether the column holds dates of which some are in a local shape."""
        return self.local_dates > 0 and self.local_dates + self.iso >= _MOST * self.filled

    @property
    def needs_order(self) -> bool:
        """Whether nothing so far says if the day or the month comes first."""
        return self.are_dates and not self.day_first and not self.month_first and self.is_ordered

    @property
    def is_ordered(self) -> bool:
        """Whether a date of the column reads differently by the order."""
        return dates.read(self.example, "DMY") != dates.read(self.example, "MDY")

    @property
    def are_numbers(self) -> bool:
        """Whether the column holds numbers of which some are written, or may be meant, in a local shape."""
        return (self.certain > 0 or (self.either > 0)) and self.plain + self.local_numbers >= _MOST * self.filled


def shape_of(
    column: str, seen: Seen, everywhere: list[Seen], options: Options, *, comma_likely: bool
) -> tuple[Shape, str | None]:
    """Return the shape of a column, and what to tell a person about it.

    `everywhere` is what was seen of all columns: a program writes all dates and numbers in one way.
    """
    if seen.are_dates:
        return _dates(column, seen, everywhere, options)
    if seen.are_numbers:
        return _numbers(column, seen, everywhere, options, comma_likely=comma_likely)
    if seen.without_year >= _MOST * seen.filled > 0:
        told = f"Column {column!r} has dates without a year, such as {seen.example!r}; they are kept as text."
        return TEXT, told
    some = max(_SOME * seen.filled, 1)
    if seen.local_dates >= max(some, _ENOUGH) or (seen.certain >= max(some, _ENOUGH)):
        what = "dates" if seen.local_dates >= seen.certain else "numbers"
        other = f" ({seen.other[:40]!r})" if seen.other else ""
        return TEXT, (
            f"Column {column!r} has {what} such as {seen.example!r} and too many other values{other}; "
            "it is kept as text, which cannot be compared. Correct the file to change this."
        )
    return TEXT, None


def _dates(column: str, seen: Seen, everywhere: list[Seen], options: Options) -> tuple[Shape, str | None]:
    if options.dates is not None:
        return Shape(options.dates), None
    if seen.day_first and seen.month_first:
        return TEXT, (
            f"Column {column!r} has dates with the day first and dates with the month first; it is kept as text. "
            "Use --dates DD/MM/YYYY or MM/DD/YYYY to choose."
        )
    order: Order | None = None
    how = ""
    if seen.day_first or seen.month_first or not seen.is_ordered:
        order = "MDY" if seen.month_first else "DMY"
    elif any(each.day_first for each in everywhere) != any(each.month_first for each in everywhere):
        order = "DMY" if any(each.day_first for each in everywhere) else "MDY"
        how = " as in other columns"
    elif "." in seen.example:
        order, how = "DMY", " as dates with points are"
    if order is None:
        return TEXT, (
            f"Column {column!r} has dates such as {seen.example!r}, which can start with the day or the "
            "month; they are kept as text. Use --dates DD/MM/YYYY or --dates MM/DD/YYYY."
        )
    shown = dates.read(seen.example, order)
    words = f"{_PATTERN[order]}{how}" if seen.is_ordered or how else "written out"
    return Shape(order), f"Column {column!r} has dates ({words}): {seen.example!r} becomes {shown}."


def _numbers(
    column: str, seen: Seen, everywhere: list[Seen], options: Options, *, comma_likely: bool
) -> tuple[Shape, str | None]:
    decimal: Decimal
    guess = False
    if options.decimal is not None:
        decimal = options.decimal
    elif seen.comma and seen.point:
        return TEXT, (
            f"Column {column!r} has numbers with a decimal comma and with a decimal point; it is kept as text. "
            'Use --decimal "," or --decimal "." to choose.'
        )
    elif seen.comma or seen.point:
        decimal = "," if seen.comma else "."
    else:
        comma, point = any(each.comma for each in everywhere), any(each.point for each in everywhere)
        guess = bool(seen.either)
        # Without any sign of a comma, 1.234 is what JSON and conditions take it for.
        decimal = "," if (comma and not point) or (comma_likely and not point and "," in seen.ambiguous) else "."
    if not seen.local_numbers and decimal == ".":
        if not (guess and comma_likely):
            return TEXT, None
        return TEXT, (
            f"Column {column!r} has numbers such as {seen.ambiguous!r}, read with a decimal point, a guess; "
            '--decimal "," reads them as thousands.'
        )
    shape = Shape(decimal=decimal)
    example = seen.ambiguous if guess else seen.example or seen.ambiguous
    told = f"Column {column!r} has numbers with a decimal {'comma' if decimal == ',' else 'point'}"
    told += " (detected; use --decimal to change it)" if guess and options.decimal is None else ""
    return shape, f"{told}: {example!r} becomes {shape.read(example)}."
