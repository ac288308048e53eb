"""What is left of erased contacts where no contact id stands: dead letters, and messages that were written to files."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from parcours.db.folders import file_safe
from parcours.db.installation_settings import settings_of
from parcours.db.statements import statements
from parcours.db.tables.refusals import TAIL, number_of

log = structlog.get_logger()
sql = statements(__file__, "erasure")

# A key that is shorter is only believed where it is a whole value: in a sentence it may be any word.
TELLING = 6
# Where messages are written to, in a home.
FOLDERS = ("mail", "sms", "push")
PARTS = ("keys", "messages", "addresses")
# Erasures whose files are looked for together.
AT_ONCE = 1000
_NUMBER = re.compile(r"\+?[0-9][0-9 ()./-]{4,}[0-9]")


@dataclass(frozen=True, slots=True)
class Traces:
    """How erased contacts are called: by their keys, those of their messages, and addresses nobody else has."""

    keys: frozenset[str]
    messages: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()

    @property
    def emails(self) -> frozenset[str]:
        return frozenset(address for address in self.addresses if "@" in address)


def wipe(conn: Connection, traces: Traces) -> None:
    """Delete the dead letters about contacts, and note that the files of their messages are to be deleted.

    The note is committed with the erasure or not at all; `wipe_noted` follows it afterwards. So an erasure that
    fails has deleted no file, and one that a crash interrupts is completed by whoever looks next.
    """
    _drop_letters(conn, traces)
    home = settings_of(conn).home
    # A simulation knows no home. Files are written under the contacts' locks, so none can come later.
    if home is not None and any((home / folder).exists() for folder in FOLDERS):
        noted = {name: sorted(getattr(traces, name)) for name in PARTS}
        conn.execute(sql["note_files"], {"home": _name(home), "traces": json.dumps(noted)})


def wipe_noted(engine: Engine) -> None:
    """Delete the files of contacts whose erasure is committed, in the home of this process; then forget the notes.

    What cannot be deleted stays noted, and is tried again by whoever looks next.
    """
    with engine.connect() as conn:
        if oldest_noted(conn) is None:
            return
        home = settings_of(conn).home
    after: int | None = 0
    while home is not None and after is not None:
        with engine.begin() as conn:
            parameters = {"home": _name(home), "after": after, "limit": AT_ONCE}
            rows = conn.execute(sql["noted_files"], parameters).all()
            after = max((row.id for row in rows), default=None)
            if rows and wipe_files(home, _together([row.traces for row in rows])):
                conn.execute(sql["forget_files"], {"ids": [row.id for row in rows]})


def oldest_noted(conn: Connection) -> datetime | None:
    """Return since when files of erased contacts are to be deleted in the home of this process; None without any."""
    home = settings_of(conn).home
    if home is None:
        return None
    oldest: datetime | None = conn.execute(sql["oldest_noted"], {"home": _name(home)}).scalar_one()
    return oldest


def _name(home: Path) -> str:
    return str(home.resolve())


def _together(noted: Sequence[Mapping[str, Sequence[str]]]) -> Traces:
    return Traces(**{name: frozenset(each for note in noted for each in note[name]) for name in PARTS})


def _drop_letters(conn: Connection, traces: Traces) -> None:
    if not traces.keys and not traces.addresses:
        return
    needles = {each.lower() for each in traces.keys | traces.emails}
    needles |= {json.dumps(each)[1:-1] for each in needles}
    phones = traces.addresses - traces.emails
    parameters = {
        "patterns": [f"%{_escaped(each)}%" for each in sorted(needles)],
        "tails": sorted({f"%{phone[-TAIL:]}%" for phone in phones}),
    }
    country = settings_of(conn).country
    rows = conn.execute(sql["letters"], parameters).all()
    gone = [row.id for row in rows if _is_about(row.reason, row.body, traces, phones, country)]
    if gone:
        conn.execute(sql["drop_letters"], {"ids": gone})


def _escaped(text: str) -> str:
    return re.sub(r"([%_\\])", r"\\\1", text)


def _is_about(reason: str, body: str, traces: Traces, phones: frozenset[str], country: str | None) -> bool:
    try:
        values = list(_values(json.loads(body)))
        known = {key for key in traces.keys if len(key) >= TELLING}
    except (ValueError, RecursionError):
        values = [body]
        known = set(traces.keys)
    if any(value.strip() in traces.keys for value in values):
        return True
    if any(f"contact {key!r}" in reason for key in traces.keys):
        return True
    values.append(reason)
    keys, emails = _mentioned(known), _mentioned(traces.emails, re.IGNORECASE)
    if any(each is not None and each.search(value) for each in (keys, emails) for value in values):
        return True
    found = (match.group() for value in values for match in _NUMBER.finditer(value)) if phones else ()
    return any(number_of(text, None, country) in phones for text in found)


def _values(value: Any) -> Iterator[str]:
    """Yield the texts and numbers of a JSON value, names included."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str):
            yield value
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 10**TAIL:
            yield str(value)


def _mentioned(names: set[str] | frozenset[str], flags: int = 0) -> re.Pattern[str] | None:
    if not names:
        return None
    # In JSON that cannot be read, letters outside of ASCII may be escaped.
    each = sorted({re.escape(form) for name in names for form in (name, json.dumps(name)[1:-1])})
    return re.compile(rf"(?<![\w.+@-])(?:{'|'.join(each)})(?![\w@-]|\.\w)", flags)


def wipe_files(home: Path, traces: Traces) -> bool:
    """Delete messages to contacts that were written to files of the home; return whether all of that worked."""
    names = {file_safe(key) for key in traces.messages}

    def wipe_mail(path: Path) -> None:
        if _is_mail_of(path, names, traces):
            path.unlink(missing_ok=True)

    work: list[tuple[Callable[[Path], None], Path]] = []
    error: OSError | None = None
    try:
        # A writer that was killed leaves what it had written under another name.
        work += [(wipe_mail, path) for ending in ("eml", "part") for path in (home / "mail").glob(f"*.{ending}")]
        for folder in FOLDERS[1:]:
            work += [(partial(_wipe_lines, traces), path) for path in (home / folder).glob("*.ndjson")]
    except OSError as problem:
        error = problem
    for do, path in work:
        try:
            do(path)
        except FileNotFoundError:
            # Somebody else deleted it.
            continue
        except OSError as problem:
            error = problem
    if error is not None:
        # The contact goes all the same; where something is left is named for whoever runs this.
        log.error("files_of_erased_contacts_left", folder=str(home), error=error.strerror)
    return error is None


def _is_mail_of(path: Path, names: set[str], traces: Traces) -> bool:
    _, _, rest = path.stem.partition("Z-")
    if any(rest.startswith(f"{name}-") for name in names):
        return True
    to = [email for email in traces.emails if rest.lower().endswith(f"-{file_safe(email)[:60]}")]
    if not to:
        return False
    # Different addresses may make the same name.
    with path.open("rb") as file:
        head = file.read(65536).lower()
    return any(email.encode() in head for email in to)


def _wipe_lines(traces: Traces, path: Path) -> None:
    with path.open("r+b") as file:
        # Nobody writes to it meanwhile.
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = file.readlines()
        kept = [line for line in lines if not _is_note_of(line, traces)]
        if len(kept) < len(lines):
            file.seek(0)
            file.writelines(kept)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())


def _is_note_of(line: bytes, traces: Traces) -> bool:
    try:
        note = json.loads(line)
    except ValueError:
        return False
    if not isinstance(note, dict):
        return False
    return (
        note.get("contact") in traces.keys or note.get("key") in traces.messages or note.get("to") in traces.addresses
    )
