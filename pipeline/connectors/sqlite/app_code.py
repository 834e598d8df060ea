"""Collations and functions that only the app knows: it registers them when it runs, and a database names them.

A statement that names one can be prepared only where it is registered. Stand-ins make that possible. None of them may
decide the order of an index or a stored value, which the app would then find wrong: what would need that is not created.
"""

from __future__ import annotations

import re

import apsw

_KNOWN_COLLATIONS = frozenset({"BINARY", "NOCASE", "RTRIM"})
"""https://www.sqlite.org/datatype3.html, section 7"""
_UNKNOWN_FUNCTION = re.compile(r"(?:no such|unknown) function: (\w+)")


def is_of_the_app(collation: str) -> bool:
    """Whether a collation is one that only the app knows."""
    return collation.upper() not in _KNOWN_COLLATIONS


def accept_collations(connection: apsw.Connection) -> None:
    """Let statements name the app's collations. Their stand-ins compare code points.

    In a database in UTF-16, SQLite also asks for its own collations, and takes its own if none is given.
    """
    connection.collation_needed(_stand_in)


def _stand_in(connection: apsw.Connection, collation: str) -> None:
    if is_of_the_app(collation):
        connection.create_collation(collation, _compared)


def _compared(one: str, other: str) -> int:
    return (one > other) - (one < other)


def unknown_function(error: apsw.Error) -> str | None:
    """Return the name of the function for want of which a statement failed."""
    found = _UNKNOWN_FUNCTION.search(str(error))
    return found[1] if found else None


def run_with_functions(connection: apsw.Connection, statement: str) -> frozenset[str]:
    """Run a statement; return the functions that it names and that only the app knows. Their stand-ins return NULL.

    No rows are read: those of EXPLAIN hold the bytes of a BLOB as if they were text. The statement is compiled each time:
    EXPLAIN of one that was compiled before another process changed the schema reads freed memory in SQLite 3.54.
    """
    names: set[str] = set()
    while True:
        try:
            connection.execute(statement, can_cache=False).close(force=True)
        except apsw.SQLError as error:
            name = unknown_function(error)
            if name is None or name in names:
                raise
            connection.create_scalar_function(name, _nothing, deterministic=True, flags=apsw.SQLITE_INNOCUOUS)
            names.add(name)
        else:
            return frozenset(names)


def _nothing(*_values: apsw.SQLiteValue) -> None:
    return None
