"""The file beside an imported one that holds the rows which could not be used."""

from pathlib import Path
from types import TracebackType
from typing import TextIO

from producers.contact_files import Rejected


class RejectFile:
    """Writes `FILE.rejected`: line number, reason and the row as it was, with tabs between.

    The file is made with the first rejected row. One of an earlier run never stays, and an
    import that fails leaves none: it did not reject rows, it did nothing.
    """

    def __init__(self, source: Path) -> None:
        self.path = source.with_name(source.name + ".rejected")
        self.count = 0
        self._file: TextIO | None = None

    @property
    def written(self) -> str | None:
        """The path, or None when nothing was rejected."""
        return str(self.path) if self.count else None

    def __enter__(self) -> "RejectFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if (self._file is not None) if kind is not None else not self.count:
            self.path.unlink(missing_ok=True)

    def add(self, row: Rejected) -> None:
        """Write one row."""
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", newline="")
        self._file.write(f"{row.line}\t{row.reason}\t{row.row}\n")
        self.count += 1
