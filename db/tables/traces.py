"""What is left of erased contacts where no contact id stands: dead letters, and messages that were written to files."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, event

from parcours.db.folders import file_safe
from parcours.db.house import house_of
from parcours.db.statements import statements
from parcours.db.tables.refusals import TAIL, number_of

log = structlog.get_logger()
sql = statements(__file__, "erasure")

# A key that is shorter is only believed where it is a whole value: in a sentence it may be any word.
TELLING = 6
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
    """Delete the dead letters about contacts, and the files of their messages when the transaction is committed."""
    _drop_letters(conn, traces)
    home = house_of(conn).home
    if home is not None:
        # A simulation knows no home, and what is undone is not committed. Just before, so that a crash leaves no
        # file of whom nobody can find again.
        _when_committed(conn, lambda: wipe_files(home, traces))


def _when_committed(conn: Connection, do: Callable[[], None]) -> None:
    """Do something as the transaction commits, unless it, or a savepoint that is open now, is rolled back before."""
    around: set[str] = set()
    nested = conn.get_nested_transaction()
    while nested is not None:
        # SQLAlchemy tells of a savepoint that is undone by its name, which it never gives twice.
        around.add(nested._savepoint)
        nested = nested._previous_nested
    wanted = True

    def undone(_conn: Connection, name: str | None = None, _context: object = None) -> None:
        nonlocal wanted
        wanted = wanted and name is not None and name not in around

    def committed(_conn: Connection) -> None:
        nonlocal wanted
        if wanted:
            do()
        wanted = False

    event.listen(conn, "rollback", undone)
    event.listen(conn, "rollback_savepoint", undone)
    event.listen(conn, "commit", committed)


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
    country = house_of(conn).country
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


def wipe_files(home: Path, traces: Traces) -> None:
    """Delete messages to contacts that were written to files of the home."""
    try:
        names = {file_safe(key) for key in traces.messages}
        for path in (home / "mail").glob("*.eml"):
            if _is_mail_of(path, names, traces):
                path.unlink(missing_ok=True)
        for folder in ("sms", "push"):
            for path in (home / folder).glob("*.ndjson"):
                _wipe_lines(path, traces)
    except OSError as error:
        # The contact goes all the same; what is left is named for whoever runs this.
        log.error("files_of_erased_contacts_left", folder=str(home), error=error.strerror)


def _is_mail_of(path: Path, names: set[str], traces: Traces) -> bool:
    _, _, rest = path.name.partition("Z-")
    if any(rest.startswith(f"{name}-") for name in names):
        return True
    to = [email for email in traces.emails if rest.lower().endswith(f"-{file_safe(email)[:60]}.eml")]
    if not to:
        return False
    # Different addresses may make the same name.
    with path.open("rb") as file:
        head = file.read(65536).lower()
    return any(email.encode() in head for email in to)


def _wipe_lines(path: Path, traces: Traces) -> None:
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
