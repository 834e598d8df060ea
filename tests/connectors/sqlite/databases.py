"""Databases for tests: made from statements, and dumped so that two can be compared value by value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.ids import EventFileId
from pipeline.domain.inventory import Fate
from pipeline.ports.destination import FileToLoad, Loaded, Rejection, Violation
from tests.contracts.destination import FLOW, file_to_load
from tests.contracts.source import read_stream

Dump = dict[str, list[tuple[object, ...]]]


def run(path: Path, *statements: str, values: Sequence[Sequence[apsw.SQLiteValue]] = ()) -> None:
    """Run statements in the database at `path`; the last of them once for each of `values`, if there are any."""
    connection = apsw.Connection(str(path))
    try:
        for statement in statements[: -1 if values else None]:
            connection.execute(statement).fetchall()
        if values:
            with connection:
                connection.executemany(statements[-1], values)
    finally:
        connection.close(True)


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    connection = apsw.Connection(str(path))
    try:
        return list(connection.execute(statement).fetchall())
    finally:
        connection.close(True)


def spoil(path: Path, start: int, end: int | None = None) -> None:
    """Overwrite the bytes of a file from `start` to `end`, which counts from the file's end if it is negative."""
    data = bytearray(path.read_bytes())
    length = len(data[start:end])
    data[start : start + length] = b"\xa5" * length
    path.write_bytes(data)


def schema_of(path: Path) -> list[tuple[object, ...]]:
    """Return the statements of all tables and indexes of the app."""
    return rows(
        path,
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE type IN ('table', 'index') "
        r"AND name NOT LIKE '\_pipeline\_%' ESCAPE '\' ORDER BY type, name",
    )


def dump(path: Path) -> Dump:
    """Return each value of each table of the app by kind and bytes, and the row numbers of tables without a key."""
    connection = apsw.Connection(str(path))
    try:
        names = connection.execute(
            "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
            r"AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE '\_pipeline\_%' ESCAPE '\'"
        ).fetchall()
        return {str(name): _dump_table(connection, str(name), bool(without_rowid)) for name, without_rowid in names}
    finally:
        connection.close(True)


def _dump_table(connection: apsw.Connection, table: str, without_rowid: bool) -> list[tuple[object, ...]]:
    columns = connection.execute("SELECT name, pk FROM pragma_table_xinfo(?)", (table,)).fetchall()
    terms = []
    for name, _ in columns:
        value = f"t.{quoted(str(name))}"
        # A real by its bytes: -0.0 and the last bit differ in nothing else.
        terms.append(f"typeof({value}), CASE typeof({value}) WHEN 'real' THEN {value} ELSE hex({value}) END")
    taken = {str(name).lower() for name, _ in columns}
    free = [alias for alias in ("rowid", "_rowid_", "oid") if alias not in taken]
    if free and not without_rowid and not any(position for _, position in columns):
        terms.append(f"t.{free[0]}")
    statement = f"SELECT {', '.join(terms)} FROM main.{quoted(table)} AS t"
    return sorted(
        tuple(value.hex() if isinstance(value, float) else value for value in row)
        for row in connection.execute(statement)
    )


async def export(path: Path) -> list[FileToLoad]:
    """Return an Event File for each table of the database."""
    files = []
    async with SqliteSource(path).open_snapshot() as snapshot:
        for schema in await snapshot.streams():
            lines = [line + b"\n" for line in (await read_stream(snapshot, schema)).lines]
            blocks = [b"".join(lines[at : at + 500]) for at in range(0, len(lines), 500)]
            files.append(file_to_load(schema, blocks))
    return files


async def copy(source: Path, destination: Path) -> list[Violation]:
    """Move all tables once, expecting no rejected record; return what `finish` found."""
    files = await export(source)
    async with SqliteDestination(destination).open(FLOW) as session:
        for file in files:
            outcome = await session.load(file, after=[])
            assert isinstance(outcome, Loaded)
            assert outcome.rejections == ()
        violations = list(await session.finish([file.entry.id.stream for file in files]))
        assert all(item.fate is Fate.MOVED for item in await session.ensure_objects(rows_changed=True))
        return violations


async def load(destination: Path, file: FileToLoad, after: Sequence[EventFileId] = ()) -> Loaded:
    """Load one Event File in a session of its own."""
    async with SqliteDestination(destination).open(FLOW) as session:
        outcome = await session.load(file, after=after)
        assert isinstance(outcome, Loaded)
        return outcome


async def retry(destination: Path) -> list[Rejection]:
    """Retry the rejected records."""
    async with SqliteDestination(destination).open(FLOW) as session:
        return list(await session.retry_rejected())
