"""Segment files on disk: read with the line of every problem, and written for export."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parcours.domain.campaign_file.model import Problem
from parcours.domain.segments.file import SegmentFile, check_all
from parcours.producers.files.campaigns import CampaignDocument, CampaignFileError, FileProblem, document_of


@dataclass(frozen=True)
class SegmentDocument:
    """The segments of a file, and the lines to tell problems with."""

    name: Path
    document: CampaignDocument
    segments: Sequence[SegmentFile]

    def located(self, problems: Iterable[Problem]) -> list[FileProblem]:
        """Return problems with the lines at which they stand."""
        return [FileProblem(self.name, self.document.line(each.path), each.place, each.sentence) for each in problems]


def read(path: Path) -> SegmentDocument:
    """Return the segments of a YAML or JSON file. Raises CampaignFileError with all its problems."""
    return _checked(path, document_of(path))


def read_text(text: str, *, name: Path) -> SegmentDocument:
    """Return the segments of a YAML or JSON text, which problems call by `name`. Raises CampaignFileError."""
    return _checked(name, document_of(name, text))


def _checked(name: Path, document: CampaignDocument) -> SegmentDocument:
    segments, problems = check_all(document.data)
    read = SegmentDocument(name, document, segments)
    if problems:
        raise CampaignFileError(sorted(read.located(problems), key=lambda problem: problem.line or 0))
    return read
