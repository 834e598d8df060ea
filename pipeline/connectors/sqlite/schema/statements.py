"""Checking statements of an Event File in an empty database in memory before they run in a real one.

An Event File may come from anywhere. Its statement for a table or an index must be exactly one statement that creates
exactly that, and does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import apsw

from pipeline.connectors.sqlite.app_code import accept_collations, is_of_the_app, run_with_functions
from pipeline.connectors.sqlite.schema.indexes import read_indexes
from pipeline.connectors.sqlite.schema.tables import folded
from pipeline.connectors.sqlite.schema.tokens import with_virtual_columns, without_collations
from pipeline.domain.errors import ConfigurationError

_SCHEMA_TABLES = ("sqlite_master", "sqlite_schema", "sqlite_sequence")
_ON_SCHEMA_TABLES = (apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE, apsw.SQLITE_READ)
_ALWAYS = (apsw.SQLITE_FUNCTION, apsw.SQLITE_REINDEX)

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]


def check_create_table(statement: object, table: str) -> str:
    """Return `statement` if it creates the table `table` and nothing else; ConfigurationError otherwise.

    A collation that only the app knows is taken out where a key of the table is in its order. A stored generated column
    that calls a function of the app becomes a virtual one, which the app computes when it reads.
    """
    if not isinstance(statement, str):
        raise _unusable(f"table {table}", statement)
    with closing(apsw.Connection(":memory:")) as scratch:
        functions = _run_alone(scratch, statement, table, f"table {table}")
        created = scratch.execute("SELECT type, name FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
        if [row for row in created if row[1] not in _SCHEMA_TABLES] != [("table", table)]:
            raise _unusable(f"table {table}", statement)
        collations = {term.collation for index in read_indexes(scratch, table) for term in index.terms}
    text = without_collations(statement) if any(map(is_of_the_app, collations)) else statement
    return with_virtual_columns(text, functions) if functions else text


def check_create_index(statement: object, table: str, create_table: str) -> tuple[str, str]:
    """Return the name of the index that `statement` creates on `table`, and `statement`; ConfigurationError otherwise.

    `create_table` is the present statement of the table. AppCodeError when only the app can keep the index in order.
    """
    if not isinstance(statement, str):
        raise _unusable(f"index of table {table}", statement)
    with closing(apsw.Connection(":memory:")) as scratch:
        accept_collations(scratch)
        functions = run_with_functions(scratch, create_table)
        for name in functions:
            scratch.create_scalar_function(name, None)
        called = _run_alone(scratch, statement, table, f"index of table {table}")
        found = [index for index in read_indexes(scratch, table) if index.origin == "c"]
        generated = scratch.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden > 1", (table,)).fetchall()
    if len(found) != 1:
        raise _unusable(f"index of table {table}", statement)
    collations = sorted(term.collation for term in found[0].terms if is_of_the_app(term.collation))
    computed = (
        functions if functions and {term.name for term in found[0].terms} & {name for (name,) in generated} else ()
    )
    if of_the_app := [*collations, *called, *computed]:
        raise AppCodeError(found[0].name, statement, of_the_app[0])
    return found[0].name, statement


class AppCodeError(Exception):
    """Only the app can create the index `name`: it needs the app's collation or function `needs`."""

    def __init__(self, name: str, statement: str, needs: str) -> None:
        super().__init__(f"it needs {needs}, which only the app knows; let the app create it: {statement}")
        self.name = name
        self.needs = needs


def _run_alone(scratch: apsw.Connection, statement: str, table: str, what: str) -> frozenset[str]:
    """Run `statement` in `scratch`, where it may only create the table `table` or an index on it.

    Returns the functions that it calls and that only the app knows.
    """
    ran: list[str] = []

    def count(_cursor: apsw.Cursor, text: str, _bindings: object) -> bool:
        ran.append(text)
        return True

    accept_collations(scratch)
    scratch.exec_trace = count
    scratch.authorizer = _authorizer(table)
    try:
        functions = run_with_functions(scratch, statement)
    except (apsw.Error, UnicodeError, ValueError) as error:
        raise _unusable(what, statement, f" (SQLite: {error})") from error
    finally:
        scratch.authorizer = scratch.exec_trace = None
    if len(ran) != 1:
        raise _unusable(what, statement)
    return functions


def _authorizer(table: str) -> Authorizer:
    def is_table(name: str | None) -> bool:
        return name is not None and folded(name) == folded(table)

    def authorize(
        action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None
    ) -> int:
        allowed = (
            action in _ALWAYS
            or (action in _ON_SCHEMA_TABLES and first in _SCHEMA_TABLES)
            or (action == apsw.SQLITE_READ and is_table(first))
            or (action == apsw.SQLITE_CREATE_TABLE and (is_table(first) or first == "sqlite_sequence"))
            or (action == apsw.SQLITE_CREATE_INDEX and is_table(second))
        )
        return apsw.SQLITE_OK if allowed else apsw.SQLITE_DENY

    return authorize


def _unusable(what: str, statement: object, reason: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"The Event File's statement for {what} cannot be used{reason}: {str(statement)[:200]!r}; "
        "run a correct one at the destination, then run the command again"
    )
