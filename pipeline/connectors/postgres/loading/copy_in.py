"""The statements that load rows into a table and delete them: COPY, or COPY to a temporary table and a merge.

A temporary table is created when it is first needed and dropped with the transaction. Its columns have the table's own
types, so the COPY rejects a value that does not fit, and its error names line and column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import psycopg

from pipeline.connectors.postgres.ddl.foreign_keys import read_foreign_key
from pipeline.connectors.postgres.loading.csv_lines import Run
from pipeline.connectors.postgres.loading.csv_values import COPY_OPTIONS
from pipeline.connectors.postgres.loading.integrity.references import References
from pipeline.connectors.postgres.loading.rejection.bisection import PartWork, part_of, rows_at_fault
from pipeline.connectors.postgres.loading.rejection.input_functions import input_works
from pipeline.connectors.postgres.loading.rejection.reasons import (
    LOST,
    VALUE,
    RejectedError,
    RejectReason,
    check_rows,
    reject_reason_of,
)
from pipeline.connectors.postgres.loading.rejection.unique_values import index_columns, rows_with_kept_values
from pipeline.connectors.postgres.loading.target import PLACE, Target, numbered
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import quoted, quoted_list

_TEMP_BUFFERS = """
DO $$ BEGIN SET LOCAL temp_buffers = '32MB'; EXCEPTION WHEN invalid_parameter_value THEN NULL; END $$
"""
"""Holds a batch of staged rows; the rest goes through files. It cannot be changed in a session, perhaps the app's before,
that has used temporary tables."""


_VACANT = {
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8"), "least({lowest}, 0) - 1 - {place}"),
    **dict.fromkeys(("timestamp", "timestamptz"), "{lowest} - (1 + {place}) * interval '1 day'"),
    "date": "{lowest} - 1 - {place}::integer",
    **dict.fromkeys(("text", "varchar", "bpchar"), "md5(random()::text)"),
    "uuid": "md5(random()::text)::uuid",
}
"""By type: a value that no row has, for each place in the stage."""


@dataclass(frozen=True, slots=True)
class Vacating:
    """A unique index, as schema, table and name, its columns, and those that can have another value for a moment.

    The first of the `candidates` is the next to try.
    """

    index: tuple[str, str, str]
    columns: list[str]
    candidates: list[str]


class Staging:
    """Loads into one table, in a transaction of the connection; every method that writes is called in an `attempt`.

    `inserts_only`: no row of the file can be in the table, which has no key that would show it. `in_two_steps`: the table
    has rules, with which PostgreSQL does not support ON CONFLICT, even if they are disabled. `references`: foreign keys that
    would change other rows. `sending` is held while rows are sent to a temporary table.
    """

    def __init__(
        self,
        connection: Connection,
        target: Target,
        *,
        inserts_only: bool,
        in_two_steps: bool,
        references: References | None,
        sending: AbstractContextManager[object],
    ) -> None:
        self._connection = connection
        self._sending = sending
        self._target = target
        self._inserts_only = inserts_only
        self._in_two_steps = in_two_steps
        self._references = references
        self._upserts = f'"pg_temp"."pipeline_upserts_{target.table.oid}"'
        self._deletes = f'"pg_temp"."pipeline_deletes_{target.table.oid}"'
        self._texts = f'"pg_temp"."pipeline_texts_{target.table.oid}"'
        self.going = f'"pg_temp"."pipeline_going_{target.table.oid}"'
        self.guards_deletes = True
        self._created: set[str] = set()
        self._filled: set[str] = set()
        self._pending: list[str] = []

    def attempt(self, work: Callable[[], None]) -> RejectReason | None:
        """Do all of `work`, or undo it and return why the server rejected it, or kept rows out without a word.

        Pending statements, including the RELEASE of the previous savepoint, are sent in one round trip.
        """
        self._connection.execute("; ".join([*self._pending, "SAVEPOINT pipeline_attempt"]))
        self._pending = ["RELEASE SAVEPOINT pipeline_attempt"]
        try:
            work()
        except (psycopg.Error, RejectedError) as error:
            reason = error.reason if isinstance(error, RejectedError) else reject_reason_of(error)
            if reason is None:
                raise
            self._connection.execute("ROLLBACK TO SAVEPOINT pipeline_attempt")
            return reason
        return None

    def prepare(self, kind: str) -> None:
        """Before the next attempt, empty the temporary tables and create the one for records of this kind.

        This happens before the savepoint: to empty a table in the transaction that created it costs nothing.
        """
        self._pending += [f"TRUNCATE {table}" for table in self._filled]
        self._filled.clear()
        table, columns = {
            "upsert": (self._upserts, self._target.stage_columns),
            "delete": (self._deletes, self._target.key_columns),
            "text": (self._texts, [f"NULL::text AS {quoted(name)}" for name in self._target.stage_names]),
        }[kind]
        if table not in self._created:
            self._pending += [
                _TEMP_BUFFERS,
                f"CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS "
                f"SELECT {', '.join(columns)} FROM {self._target.only} AS t WITH NO DATA",
            ]
            self._created.add(table)

    def copy_directly(self, columns: Sequence[str], data: Sequence[bytes], count: int) -> None:
        """Copy `count` rows into the table itself. `data`, here and below, is in the form of a COPY."""
        _check_count(self._copy(self._target.sql, columns, data), count)

    def upsert(self, columns: Sequence[str], data: Sequence[bytes]) -> None:
        """Insert rows, or update those with their keys. No two may have one key."""
        staged = self._stage(columns, data)
        self._run(*self._merge(columns, self._upserts), staged)

    def upsert_in_parts(self, run: Run, *, replaces: bool = False) -> Mapping[int, RejectReason]:
        """Upsert as many rows as possible, or with `replaces` replace them; return the others, from 0, with their reasons."""
        part = part_of(self._upserts)
        places: Sequence[int] = range(len(run))
        if replaces:
            self._stage_replacements(run)
            statements: Sequence[str] = [self._replacement(run.columns, part)]
            is_counted = True
        else:
            self._stage(run.columns, [run.data])
            statements, is_counted = self._merge(run.columns, part)
        if self._target.row_key is not None and not self._inserts_only:  # what is there is looked for once
            missing = self._target.row_key.where_missing(self._target.only)
            left = f"SELECT s.{PLACE} FROM {numbered(self._upserts)} AS s{missing} ORDER BY 1"
            places = [place for (place,) in self._connection.execute(left.encode())]
            present = f"ctid NOT IN (SELECT s.ctid FROM {self._upserts} AS s{missing})"
            self._connection.execute(f"DELETE FROM {self._upserts} WHERE {present}".encode())
            statements = [self._insert(run.columns, part)]
        failed = rows_at_fault(self._connection, self._upserts, [PartWork(statements, is_counted)])
        return {places[row]: reason for row, reason in failed.items()}

    def invalid_rows(self, run: Run) -> Mapping[int, RejectReason]:
        """Return the rows of a run, from 0, with a value that its column's type does not have."""
        self._fill(self._texts, run.columns, [run.data])
        works = [
            *input_works(self._connection, self._upserts, run.columns, self._texts),
            *input_works(self._connection, self._target.sql, self._target.times_among(run.columns), self._texts),
        ]
        return rows_at_fault(self._connection, self._texts, works, is_input=True)

    def _stage(self, columns: Sequence[str], data: Sequence[bytes]) -> int:
        """Fill the temporary table for upserts, and check what the statements would not; return the number of rows."""
        staged = self._fill(self._upserts, columns, data)
        self._check_values(columns)
        if self._references is not None:
            check_rows(self._references.blocked_updates(self._upserts, columns))
        return staged

    def _merge(self, columns: Sequence[str], stage: str) -> tuple[Sequence[str], bool]:
        """Return the statements that upsert the rows of a stage, and whether they count each of them."""
        target = self._target
        if self._inserts_only:
            return [self._insert(columns, stage)], True
        if target.row_key is not None:
            return [self._insert(columns, stage) + target.row_key.where_missing(target.only)], False
        if self._in_two_steps or len(columns) < len(target.columns):
            return self._update_and_insert(columns, stage)
        written = [quoted(name) for name in columns if name not in target.kept]
        update = ", ".join(f"{name} = excluded.{name}" for name in written)
        row = quoted(target.table.name)
        only = f" WHERE {target.replaced_row(row, 'excluded')}" if target.keeps_keys else ""
        action = f"UPDATE SET {update}{only}" if written else "NOTHING"
        return [f"{self._insert(columns, stage)} ON CONFLICT ({quoted_list(target.key)}) DO {action}"], bool(written)

    def _update_and_insert(self, columns: Sequence[str], stage: str) -> tuple[Sequence[str], bool]:
        """Return likewise: for rows that lack columns, ON CONFLICT would check NOT NULL even where a row exists."""
        target = self._target
        written = [name for name in columns if name not in target.kept]
        insert = (
            f"{self._insert(columns, stage)} WHERE NOT EXISTS (SELECT FROM {target.only} AS t WHERE {self._same_key()})"
        )
        if not written:
            return [insert], False
        update = ", ".join(f"{quoted(name)} = {target.staged_value(name)}" for name in written)
        same = target.replaced_row("t", "s")
        return [f"UPDATE {target.only} AS t SET {update} FROM {stage} AS s WHERE {same}", insert], True

    def _run(self, statements: Sequence[str], is_counted: bool, staged: int) -> None:
        done = sum(self._connection.execute(statement).rowcount for statement in statements)
        if is_counted:
            _check_count(done, staged)

    def _check_values(self, columns: Sequence[str]) -> None:
        """RejectedError for texts that are no times, and for staged values that the table would alter."""
        for name in self._target.times_among(columns):
            read = f"SELECT count({self._target.staged_value(name)}) FROM {self._upserts} AS s"
            try:
                self._connection.execute(read.encode())
            except psycopg.Error as error:
                reason = reject_reason_of(error)
                if reason is None:
                    raise
                raise RejectedError(replace(reason, column=name, row=0, cause=VALUE)) from error
        check_rows(self._altered_rows(columns))

    def _altered_rows(self, columns: Sequence[str]) -> dict[int, RejectReason]:
        """Return the staged rows, from 0, with a value that the table would alter, such as round."""
        target = self._target
        narrow = [name for name in columns if name in target.staged]
        if not narrow:
            return {}
        first = " ".join(f"WHEN {target.altered(name)} THEN {number}" for number, name in enumerate(narrow))
        query = f"SELECT s.{PLACE}, CASE {first} END AS name FROM {numbered(self._upserts)} AS s"
        found = self._connection.execute(f"SELECT * FROM ({query}) AS s WHERE name IS NOT NULL".encode())
        return {place: _altered(narrow[number], target) for place, number in found}

    def replace(self, run: Run) -> None:
        """Delete all rows with these keys before inserting any, so that they may swap unique values.

        Foreign keys are checked at the end of the statement, when the rows are there again.
        """
        staged = self._stage_replacements(run)
        self._run([self._replacement(run.columns, self._upserts)], True, staged)

    def _stage_replacements(self, run: Run) -> int:
        staged = self._fill(self._upserts, run.columns, [run.data])
        self._check_values(run.columns)
        if self._references:
            check_rows(self._references.blocked_replacements(self._upserts))
        return staged

    def _replacement(self, columns: Sequence[str], stage: str) -> str:
        replaced = f"DELETE FROM {self._target.only} AS t USING {stage} AS s WHERE {self._same_key()}"
        gone = f"WITH gone AS ({replaced} RETURNING 1)"
        return f"{gone} {self._insert(columns, stage)} WHERE (SELECT count(*) FROM gone) >= 0"

    def vacating(self, run: Run, index: tuple[str, str, str]) -> Vacating:
        """Return how values of an index could be moved out of the way of those of other rows."""
        schema, _, name = index
        columns = [column for column in index_columns(self._connection, schema, name) if column in run.columns]
        return Vacating(index, columns, [column for column in columns if self._vacant(column) is not None])

    def vacate_and_upsert(self, run: Run, vacated: Sequence[Vacating]) -> None:
        """Give rows whose values in these indexes change others that no row has, and upsert them then."""
        target, staged = self._target, self._stage(run.columns, [run.data])
        for one in vacated:
            changes = " OR ".join(f"t.{quoted(name)} IS DISTINCT FROM s.{quoted(name)}" for name in one.columns)
            self._connection.execute(
                f"UPDATE {target.only} AS t SET {quoted(one.candidates[0])} = {self._vacant(one.candidates[0])} "
                f"FROM {numbered(self._upserts)} AS s WHERE {self._same_key()} AND ({changes})".encode()
            )
        self._run(*self._update_and_insert(run.columns, self._upserts), staged)

    def _vacant(self, name: str) -> str | None:
        """Return an expression for a value that no row has in a column, if there is one."""
        target, column = self._target, self._target.table.columns.get(name)
        if column is None or name in target.key or column.generated or column.identity == "a":
            return None
        if self._references is not None and not self._references.can_vacate(name):
            return None
        if not column.not_null:
            return "NULL"
        found = _VACANT.get(column.base) or ("'empty'" if column.base.endswith("range") else None)
        lowest = f"(SELECT min({quoted(name)}) FROM {target.only})"
        return found and found.format(lowest=lowest, place=f"s.{PLACE}")

    def delete(self, run: Run) -> None:
        """Delete the rows with these keys that exist."""
        self._fill(self._deletes, run.columns, [run.data])
        if self._references is not None and self.guards_deletes:
            check_rows(self._references.blocked_deletes(self._deletes))
        self._connection.execute(self._delete_statement(self._deletes))

    def move_to_new_keys(
        self, deletes: Run, upserts: Run, references: References, pairs: list[tuple[int, int]]
    ) -> None:
        """Update rows that go to ones that come, where rows that refer to the one are to refer to the other.

        The places of the two records are added to `pairs`.
        """
        self._fill(self._deletes, deletes.columns, [deletes.data])
        self._fill(self._upserts, upserts.columns, [upserts.data])
        target, new = self._target, f"{numbered(self._upserts)} AS u"
        values = ", ".join(f"{quoted(name)} = {target.staged_value(name, 'u')}" for name in target.columns)
        matching = (
            f"SELECT s.{PLACE} AS gone, u.{PLACE} AS come, t.tableoid AS place, t.ctid AS spot "
            f"FROM {target.rows_that_go(self._deletes)} JOIN {new} ON {references.stays('t', 'u')}"
        )
        moved = self._connection.execute(
            f"WITH pairs AS ({matching}) UPDATE {target.only} AS t SET {values} FROM pairs AS p JOIN {new} "
            f"ON u.{PLACE} = p.come WHERE t.tableoid = p.place AND t.ctid = p.spot RETURNING p.gone, p.come".encode()
        )
        pairs.extend((gone, come) for gone, come in moved)

    def list_going(self, run: Run) -> None:
        """Create the temporary table `going`: the rows that these deletes concern, with the place of the delete."""
        self._fill(self._deletes, run.columns, [run.data])
        rows = self._target.rows_that_go(self._deletes)
        self._connection.execute(
            f"CREATE TEMPORARY TABLE {self.going} ON COMMIT DROP AS "
            f"SELECT s.{PLACE}, t.tableoid AS part, t.ctid AS spot FROM {rows} FOR UPDATE OF t".encode()
        )

    def rows_without_parent(self, run: Run, foreign_key: str) -> list[int]:
        """Return the rows of a run, from 0, whose parents are neither in the referenced table nor in the run."""
        self._fill(self._upserts, run.columns, [run.data])
        key = read_foreign_key(self._connection, self._target.table.oid, foreign_key)
        columns = set(run.columns)
        if key is None or not columns.issuperset(key.row["columns"]):
            return []
        is_in_run = key.parent_name == self._target.sql and columns.issuperset(key.row["parent_columns"])
        condition = key.broken("s", self._upserts if is_in_run else None)
        query = f"SELECT s.{PLACE} FROM {numbered(self._upserts)} AS s WHERE {condition} ORDER BY 1"
        found = self._connection.execute(query)
        return [number for (number,) in found]

    def rows_with_a_value_of_others(self, run: Run, schema: str, index: str) -> list[int]:
        """Return the rows of a run, from 0, whose values in a unique index another row of the table has and keeps.

        A row keeps its values if the run has none of its key, or has one that is among those returned.
        """
        self._fill(self._upserts, run.columns, [run.data])
        return rows_with_kept_values(self._connection, self._target, self._upserts, run.columns, (schema, index))

    def _fill(self, table: str, columns: Sequence[str], data: Sequence[bytes]) -> int:
        self._filled.add(table)
        with self._sending:
            return self._copy(table, columns, data)

    def _copy(self, table: str, columns: Sequence[str], data: Sequence[bytes]) -> int:
        """Return the number of rows that arrived."""
        statement = f"COPY {table} ({quoted_list(columns)}) FROM STDIN {COPY_OPTIONS}"
        with self._connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for piece in data:
                    copy.write(piece)
            return cursor.rowcount

    def _insert(self, columns: Sequence[str], stage: str) -> str:
        target = self._target
        real = [name for name in columns if name in target.columns]
        values = ", ".join(map(target.staged_value, real))
        overriding = "OVERRIDING SYSTEM VALUE " if target.has_identity_always else ""
        into = f"{target.sql} ({quoted_list(real)})" if real else target.sql
        return f"INSERT INTO {into} {overriding}SELECT {values} FROM {stage} AS s"

    def _delete_statement(self, stage: str) -> str:
        target = self._target
        if target.row_key is not None:
            return target.row_key.delete_surplus(target.only, stage)
        return f"DELETE FROM {target.only} AS t USING {stage} AS s WHERE {target.same_row('t', 's')}"

    def _same_key(self) -> str:
        return self._target.same_key("t", "s")


def _altered(name: str, target: Target) -> RejectReason:
    type_ = target.table.columns[name].type
    if target.has_length(name):
        return RejectReason(f"value too long for type {type_}", name, cause=VALUE)
    return RejectReason(
        f"the destination's column {name} is {type_}, which cannot hold the value exactly", name, cause=VALUE
    )


def _check_count(written: int, sent: int) -> None:
    if written != sent:
        raise RejectedError(LOST)
