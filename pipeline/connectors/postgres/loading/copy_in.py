"""The statements that put rows into a table and take them out: COPY, or COPY to a temporary table and a merge.

A temporary table is made when it is first needed and is gone with the transaction. Its columns have the table's own
types, so a value that does not fit is refused by the COPY, which names line and column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import psycopg

from pipeline.connectors.postgres.ddl.foreign_keys import read_foreign_key
from pipeline.connectors.postgres.loading.csv_lines import Run
from pipeline.connectors.postgres.loading.csv_values import COPY_OPTIONS
from pipeline.connectors.postgres.loading.rejections import RejectReason, reject_reason_of
from pipeline.connectors.postgres.loading.target import Target
from pipeline.connectors.postgres.session.connection import Connection, qualified, quoted

_STAGE = qualified("pg_temp", "pipeline_upserts")
_KEYS = qualified("pg_temp", "pipeline_deletes")


class Staging:
    """Loads into one table through one connection, in whose transaction it works: what fills it runs in an `attempt`.

    `inserts_only`: no row of the file can be there already, and the table has no key that would tell. `sending` is held while
    rows are sent to a temporary table.
    """

    def __init__(
        self, connection: Connection, target: Target, *, inserts_only: bool, sending: AbstractContextManager[object]
    ) -> None:
        self._connection = connection
        self._sending = sending
        self._target = target
        self._inserts_only = inserts_only
        self._made: set[str] = set()
        self._filled: set[str] = set()
        self._before: list[str] = []

    def attempt(self, work: Callable[[], None]) -> RejectReason | None:
        """Do `work` as a whole, or undo it and return why it was refused.

        What has to be done before is sent in one piece, and so is the end of the attempt before, for which nobody waits.
        """
        self._connection.execute("; ".join([*self._before, "SAVEPOINT pipeline_attempt"]))
        self._before = ["RELEASE SAVEPOINT pipeline_attempt"]
        try:
            work()
        except psycopg.Error as error:
            refusal = reject_reason_of(error)
            if refusal is None:
                raise
            self._connection.execute("ROLLBACK TO SAVEPOINT pipeline_attempt")
            return refusal
        return None

    def prepare(self, kind: str) -> None:
        """Have the temporary tables empty at the next attempt, and one for records of this kind.

        It is done before the savepoint: to empty a table in the transaction that made it costs nothing.
        """
        self._before += [f"TRUNCATE {table}" for table in self._filled]
        self._filled.clear()
        table, columns = (_STAGE, self._target.stage_columns) if kind == "upsert" else (_KEYS, self._target.key_columns)
        if table not in self._made:
            self._before.append(
                f"CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS "
                f"SELECT {', '.join(columns)} FROM {self._target.only} AS t WITH NO DATA"
            )
            self._made.add(table)

    def copy_directly(self, columns: Sequence[str], data: Sequence[bytes]) -> None:
        """Put rows, in the form of a COPY, into the table itself."""
        self._copy(self._target.sql, columns, data)

    def upsert(self, columns: Sequence[str], data: Sequence[bytes]) -> None:
        """Put rows, in the form of a COPY, in, or over those with their keys. No two may have one key."""
        self._fill(_STAGE, columns, data)
        if self._target.row_key is None and len(columns) < len(self._target.columns):
            self._upsert_parts_of_rows(columns)
        else:
            self._connection.execute(self._upsert_statement(columns))

    def _upsert_parts_of_rows(self, columns: Sequence[str]) -> None:
        """Put in rows that lack columns. ON CONFLICT would not do: a row that is there need not satisfy NOT NULL anew."""
        target = self._target
        same = self._same_key()
        written = [name for name in columns if name not in target.kept]
        if written:
            update = ", ".join(f"{quoted(name)} = {target.staged_value(name)}" for name in written)
            self._connection.execute(f"UPDATE {target.only} AS t SET {update} FROM {_STAGE} AS s WHERE {same}")
        self._connection.execute(
            f"{self._insert(columns)} WHERE NOT EXISTS (SELECT FROM {target.only} AS t WHERE {same})"
        )

    def replace(self, run: Run) -> None:
        """Take all rows with these keys out before any is put in, so that they may swap unique values."""
        self._fill(_STAGE, run.columns, [run.data])
        self._connection.execute(self._delete_statement(_STAGE))
        self._connection.execute(self._insert(run.columns))

    def delete(self, run: Run) -> None:
        """Take out the rows with these keys, those that are there."""
        self._fill(_KEYS, run.columns, [run.data])
        self._connection.execute(self._delete_statement(_KEYS))

    def rows_without_parent(self, run: Run, foreign_key: str) -> list[int]:
        """Return the rows of a run, counted from 0, whose parents are neither in the table that the key names nor in the run."""
        self._fill(_STAGE, run.columns, [run.data])
        key = read_foreign_key(self._connection, self._target.sql, foreign_key)
        if key is None or not set(key.columns) <= set(run.columns):
            return []
        others = [_STAGE] if key.parent_name == self._target.sql and set(key.parent_columns) <= set(run.columns) else []
        numbered = f"(SELECT row_number() OVER (ORDER BY ctid) - 1 AS number, * FROM {_STAGE})"
        condition = key.broken("s", [key.parent, *others])
        found = self._connection.execute(f"SELECT s.number FROM {numbered} AS s WHERE {condition} ORDER BY 1")
        return [number for (number,) in found]

    def _fill(self, table: str, columns: Sequence[str], data: Sequence[bytes]) -> None:
        self._filled.add(table)
        with self._sending:
            self._copy(table, columns, data)

    def _copy(self, table: str, columns: Sequence[str], data: Sequence[bytes]) -> None:
        statement = f"COPY {table} ({_names(columns)}) FROM STDIN {COPY_OPTIONS}"
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for piece in data:
                copy.write(piece)

    def _upsert_statement(self, columns: Sequence[str]) -> str:
        target = self._target
        if self._inserts_only:
            return self._insert(columns)
        if target.row_key is not None:
            return self._insert(columns) + target.row_key.where_missing(target.only)
        written = [quoted(name) for name in columns if name not in target.kept]
        update = ", ".join(f"{name} = excluded.{name}" for name in written)
        action = f"UPDATE SET {update}" if written else "NOTHING"
        return f"{self._insert(columns)} ON CONFLICT ({_names(target.key)}) DO {action}"

    def _insert(self, columns: Sequence[str]) -> str:
        target = self._target
        real = [name for name in columns if name in target.columns]
        values = ", ".join(target.staged_value(name) for name in real)
        overriding = "OVERRIDING SYSTEM VALUE " if target.has_identity_always else ""
        return f"INSERT INTO {target.sql} ({_names(real)}) {overriding}SELECT {values} FROM {_STAGE} AS s"

    def _delete_statement(self, stage: str) -> str:
        target = self._target
        if target.row_key is not None:
            return target.row_key.delete_surplus(target.only, stage)
        return f"DELETE FROM {target.only} AS t USING {stage} AS s WHERE {self._same_key()}"

    def _same_key(self) -> str:
        return " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in self._target.key)


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(quoted, columns))
