"""Checking statements of an Event File in an empty database in memory before they run in a real one.

An Event File may come from anywhere. Its statement for a table or an index must be exactly one statement that creates
exactly that, and does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import apsw

from pipeline.domain.errors import ConfigurationError

_SCHEMA_TABLES = ("sqlite_master", "sqlite_schema", "sqlite_sequence")
_ON_SCHEMA_TABLES = (apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE, apsw.SQLITE_READ)
_ALWAYS = (apsw.SQLITE_FUNCTION, apsw.SQLITE_REINDEX)

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]


def check_create_table(statement: object, table: str) -> str:
    """Return `statement` if it creates the table `table` and nothing else; ConfigurationError otherwise."""
    with closing(apsw.Connection(":memory:")) as scratch:
        text = _run_alone(scratch, statement, table, f"table {table}")
        created = scratch.execute("SELECT type, name FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    if [row for row in created if row[1] not in _SCHEMA_TABLES] != [("table", table)]:
        raise _unusable(f"table {table}", text)
    return text


def check_create_index(statement: object, table: str, create_table: str) -> tuple[str, str]:
    """Return the name of the index that `statement` creates on `table`, and `statement`; ConfigurationError otherwise.

    `create_table` is the present statement of the table.
    """
    with closing(apsw.Connection(":memory:")) as scratch:
        scratch.execute(create_table).fetchall()
        text = _run_alone(scratch, statement, table, f"index of table {table}")
        created = scratch.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?", (table,)
        ).fetchall()
    if len(created) != 1:
        raise _unusable(f"index of table {table}", text)
    return str(created[0][0]), text


def _run_alone(scratch: apsw.Connection, statement: object, table: str, what: str) -> str:
    """Run `statement` in `scratch`, where it may only create the table `table` or an index on it."""
    if not isinstance(statement, str):
        raise _unusable(what, statement)
    ran: list[str] = []
    cursor = scratch.cursor()

    def count(_cursor: apsw.Cursor, text: str, _bindings: object) -> bool:
        ran.append(text)
        return True

    cursor.exec_trace = count
    scratch.authorizer = _authorizer(table)
    try:
        cursor.execute(statement).fetchall()
    except (apsw.Error, UnicodeError, ValueError) as error:
        raise _unusable(what, statement, f" (SQLite: {error})") from error
    finally:
        scratch.authorizer = None
    if len(ran) != 1:
        raise _unusable(what, statement)
    return statement


def _authorizer(table: str) -> Authorizer:
    def authorize(
        action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None
    ) -> int:
        allowed = (
            action in _ALWAYS
            or (action in _ON_SCHEMA_TABLES and first in _SCHEMA_TABLES)
            or (action == apsw.SQLITE_READ and first == table)
            or (action == apsw.SQLITE_CREATE_TABLE and first in (table, "sqlite_sequence"))
            or (action == apsw.SQLITE_CREATE_INDEX and second == table)
        )
        return apsw.SQLITE_OK if allowed else apsw.SQLITE_DENY

    return authorize


def _unusable(what: str, statement: object, reason: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"The Event File's statement for {what} cannot be used{reason}: {str(statement)[:200]!r}; "
        "run a correct one at the destination, then run the command again"
    )
