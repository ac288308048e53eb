"""The file beside an imported one that holds the rows which could not be used."""

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from parcours.domain.errors import CampaignError
from parcours.producers.files.rows import RejectedRow
from parcours.producers.files.source import is_standard_input


class RejectFile:
    """Writes `FILE.rejected`: line number, reason and the row as it was, with tabs between.

    The file is made with the first rejected row. One of an earlier run never stays, and an
    import that fails leaves none: it did not reject rows, it did nothing. Where nobody may write beside the
    file, and for standard input, it is in the present folder.
    """

    def __init__(self, source: Path) -> None:
        here = Path("stdin" if is_standard_input(source) else source.name)
        beside = here if is_standard_input(source) else source
        self.path = beside.with_name(beside.name + ".rejected")
        self._elsewhere = here.with_name(here.name + ".rejected")
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
            with suppress(PermissionError):
                self.path.unlink(missing_ok=True)

    def add(self, row: RejectedRow) -> None:
        """Write one row."""
        if self._file is None:
            self._file = self._opened()
        self._file.write(f"{row.line}\t{row.reason}\t{row.row}\n")
        self.count += 1

    def _opened(self) -> TextIO:
        for path in (self.path, self._elsewhere):
            self.path = path
            with suppress(OSError):
                # A row may hold half of a character, which is why it is rejected.
                return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        raise CampaignError(f"cannot write rejected rows to {self._elsewhere}; run the command in a writable folder")
