"""Statements that come in an Event File: looked at in an empty database in memory before they run in a real one.

An Event File may come from anywhere. What it calls the statement for a table or an index must be exactly one statement
that makes exactly that, and does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw

from pipeline.domain.errors import ConfigurationError

_SCHEMA_TABLES = ("sqlite_master", "sqlite_schema", "sqlite_sequence")
_ON_SCHEMA_TABLES = (apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE, apsw.SQLITE_READ)
_ALWAYS = (apsw.SQLITE_FUNCTION, apsw.SQLITE_REINDEX)

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]


def check_create_table(statement: object, table: str) -> str:
    """Return `statement` if it makes the table `table` and nothing else; ConfigurationError otherwise."""
    scratch = apsw.Connection(":memory:")
    try:
        return _check_table(scratch, statement, table)
    finally:
        scratch.close()


def check_create_index(statement: object, table: str, create_table: str) -> tuple[str, str]:
    """Return the name of the index that `statement` makes on `table`, and `statement`; ConfigurationError otherwise.

    `create_table` is the statement of the table as it is.
    """
    scratch = apsw.Connection(":memory:")
    try:
        scratch.execute(create_table).fetchall()
        text = _run_alone(scratch, statement, table, f"index of table {table}")
        made = scratch.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?", (table,)
        ).fetchall()
    finally:
        scratch.close()
    if len(made) != 1:
        raise _not_one(f"index of table {table}", text)
    return str(made[0][0]), text


def _check_table(scratch: apsw.Connection, statement: object, table: str) -> str:
    text = _run_alone(scratch, statement, table, f"table {table}")
    made = scratch.execute("SELECT type, name FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    if [row for row in made if row[1] not in _SCHEMA_TABLES] != [("table", table)]:
        raise _not_one(f"table {table}", text)
    return text


def _run_alone(scratch: apsw.Connection, statement: object, table: str, what: str) -> str:
    """Run `statement` in `scratch`, where it may do nothing but make the table `table` or an index on it."""
    if not isinstance(statement, str):
        raise _not_one(what, statement)
    ran: list[str] = []
    cursor = scratch.cursor()

    def count(_cursor: apsw.Cursor, text: str, _bindings: object) -> bool:
        ran.append(text)
        return True

    cursor.exec_trace = count
    scratch.authorizer = _allowing(table)
    try:
        cursor.execute(statement).fetchall()
    except (apsw.Error, UnicodeError, ValueError) as error:
        raise _not_one(what, statement, f" (SQLite: {error})") from error
    finally:
        scratch.authorizer = None
    if len(ran) != 1:
        raise _not_one(what, statement)
    return statement


def _allowing(table: str) -> Authorizer:
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


def _not_one(what: str, statement: object, words: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"The Event File's statement for {what} cannot be used{words}: {str(statement)[:200]!r}; "
        "make it by hand at the destination, then run the command again"
    )
