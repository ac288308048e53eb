"""Folders of the home, with what is nobody else's: the database, and mail and messages written to files."""

import os
import re
from pathlib import Path


def private_folder(folder: Path, *, search: bool = False) -> None:
    """Make a folder that nobody else reads; with `search`, others may enter what they know the name of.

    One that is there already loses what others may do, if it is ours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o711 if search else 0o700)


_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def file_safe(text: str) -> str:
    """Return a text as it may stand in the name of a file."""
    return _UNSAFE.sub("_", text)
