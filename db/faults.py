"""What a database error means for the work at hand, by what happened and not by the class of the exception.

Source: PostgreSQL 18, appendix A (error codes).
"""

from __future__ import annotations

import enum

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class Fault(enum.Enum):
    """What to do about an error."""

    # The database is away or has no room: wait, then do the same again.
    AWAY = "away"
    # Somebody else was in the way: begin the transaction again.
    AGAIN = "again"
    # These rows are bad, and will be the next time: isolate them.
    ROW = "row"
    # None of these: a defect, to be isolated as well, with its traceback in the log.
    OTHER = "other"


# Connection exceptions, operator intervention (shutdown, crash, cannot connect now), too few resources,
# read-only (a standby that was promoted elsewhere).
_AWAY = ("08", "57P", "53", "25006")
# The database is not as this process expects it, whatever the rows are: a migration is under way, a right is missing,
# a transaction cannot go on.
_OF_THE_DATABASE = ("25", "26", "28", "3D", "3F", "42")
# Deadlock and serialization failures, a lock that did not come in time, a statement that was cancelled.
_AGAIN = ("40", "55P03", "57014")
# Data exceptions, integrity constraints, program limits (an index row too large), a value that does not fit
# a protocol message.
_ROW = ("22", "23", "54", "0A")


def fault_of(error: BaseException) -> Fault:
    """Return what an error means; the cause of SQLAlchemy's wrapper counts."""
    if isinstance(error, PoolTimeoutError):
        return Fault.AWAY
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return Fault.AWAY
        return fault_of(error.orig) if error.orig is not None else Fault.OTHER
    if not isinstance(error, psycopg.Error):
        # Text that no UTF-8 can hold and numbers that no column holds fail before anything is sent.
        return Fault.ROW if isinstance(error, UnicodeError | OverflowError) else Fault.OTHER
    code = error.sqlstate
    if code is None:
        # psycopg itself says so: a connection that broke, or a value that it cannot send (a NUL in a text).
        return Fault.AWAY if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) else Fault.ROW
    for fault, classes in ((Fault.AGAIN, _AGAIN), (Fault.AWAY, _AWAY), (Fault.ROW, _ROW)):
        if code.startswith(classes):
            return fault
    return Fault.OTHER


def blames_the_data(error: BaseException) -> bool:
    """Return whether what was in hand is the reason of an error, so that all else may go on without it."""
    fault = fault_of(error)
    if fault is not Fault.OTHER:
        return fault is Fault.ROW
    cause = error.orig if isinstance(error, DBAPIError) else error
    return not (isinstance(cause, psycopg.Error) and (cause.sqlstate or "").startswith(_OF_THE_DATABASE))
