"""The schema objects of an SQLite database beside tables: views, triggers, virtual tables, and two numbers of the file.

The rows of a virtual table lie in its shadow tables, which are streams of their own. So a virtual table is moved as the
sqlite3 shell's `.dump` does it: its shadow tables are copied, and its row is written into `sqlite_schema`.
"""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from pipeline.connectors.sql.schema_objects import SchemaObject

TECHNOLOGY = "sqlite"
NUMBERS = ("user_version", "application_id")
_RANKS = {"user_version": 0, "application_id": 0, "virtual table": 1, "view": 2, "trigger": 3}


def read_objects(connection: apsw.Connection) -> list[SchemaObject]:
    """Return the objects, in creation order."""
    return sorted(_objects(connection), key=lambda one: (one.rank, one.name))


def unmovable_table(name: str) -> SchemaObject:
    """Return a table whose name that of a stream of another kind is, as an object that is not moved."""
    reason = "the pipeline uses this name for other data; rename the table"
    return SchemaObject("table", name, 0, (), reason=reason)


def _objects(connection: apsw.Connection) -> Iterator[SchemaObject]:
    for number_name in NUMBERS:
        number = int(str(connection.execute(f"PRAGMA {number_name}").get))
        if number:
            statement = f"PRAGMA {number_name} = {number}"
            yield SchemaObject(number_name, number_name, _RANKS[number_name], (statement,), facts={"number": number})
    rows = connection.execute(
        "SELECT CASE type WHEN 'table' THEN 'virtual table' ELSE type END, name, sql FROM sqlite_schema "
        "WHERE type IN ('view', 'trigger') OR (type = 'table' AND rootpage = 0 AND sql LIKE 'CREATE VIRTUAL TABLE%')"
    )
    for row in rows.fetchall():
        kind, name, sql = map(str, row)
        yield SchemaObject(kind, name, _RANKS[kind], (sql,))
    for setting, value in (("auto_vacuum", 0), ("journal_mode", "delete"), ("page_size", 4096)):
        found = connection.execute(f"PRAGMA {setting}").get
        if found != value:
            reason = f"it is {found} at the source; set it with PRAGMA {setting} = {found}"
            reason += "" if setting == "journal_mode" else " and VACUUM"
            yield SchemaObject("file setting", setting, 0, (), reason=reason)
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'").fetchall():
        yield SchemaObject("statistics", "sqlite_stat1", 4, (), reason="run ANALYZE at the destination")
