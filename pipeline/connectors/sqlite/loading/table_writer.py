"""Writing records to one table, inside a transaction of the caller.

A method applies all records that it is given, or changes nothing and says so. It never commits. Triggers of the table
fire as for any statement, also for the deletes of `replace`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw

from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite.loading.binding import REJECTING_ERRORS, UNBINDABLE, Bound, bind
from pipeline.connectors.sqlite.loading.target import Target
from pipeline.domain.errors import RefusedError


class TableWriter:
    """Writes to `target` through `connection`; `place` names the table in messages. A body is that of a parsed record."""

    def __init__(self, connection: apsw.Connection, target: Target, place: str) -> None:
        self._connection = connection
        self._target = target
        self._place = place
        # No other encoding keeps all text as it is given, nor does a column that makes numbers of it.
        self.has_fast_path = target.encoding == "UTF-8" and not target.numeric
        self._is_empty = not connection.execute(f"SELECT 1 FROM main.{quoted(target.table.name)} LIMIT 1").fetchall()

    def whole_values(self, bodies: Sequence[object], width: int) -> list[object] | None:
        """Return the values of all bodies, as `upsert_rows` takes them, if each has `width` columns and a whole key."""
        if not self.has_fast_path:
            return None
        try:
            if set(map(len, bodies)) != {width}:  # type: ignore[arg-type]  # a wrong type is caught below
                return None
            values = [body[name] for body in bodies for name in self._target.columns]  # type: ignore[index]  # likewise
        except (TypeError, KeyError):
            return None
        return None if self.has_null_key(values) else values

    def has_null_key(self, values: Sequence[object]) -> bool:
        """Whether a key column is NULL in one of the rows whose values follow one another."""
        columns = self._target.columns
        return any(None in values[columns.index(name) :: len(columns)] for name in self._target.key)

    def upsert_rows(self, count: int, values: Sequence[object]) -> bool:
        """Upsert `count` whole rows, given as their values one row after the other, by one statement."""
        if self._is_empty and self._execute(self._target.insert(count), values):
            return True
        self._is_empty = False
        return self._execute(self._target.upsert(count), values)

    def _execute(self, statement: str, values: Sequence[object]) -> bool:
        try:
            self._connection.execute(statement, values)
        except (*REJECTING_ERRORS, *UNBINDABLE):
            self._ensure_transaction()
            return False
        return True

    def upsert(self, body: object) -> Exception | None:
        """Upsert one row; return why not. A statement that fails undoes itself."""
        try:
            self._upsert_one(bind(body, self._target.columns, self._target))
        except REJECTING_ERRORS as error:
            self._ensure_transaction()
            return error
        return None

    def has_row(self, body: object) -> bool:
        """Whether the table has a row with the key of a body."""
        bound = bind(body, self._target.key, self._target)
        return bool(self._connection.execute(self._target.find(bound.raw), bound.values).fetchall())

    def replace(self, bodies: Sequence[object]) -> Exception | None:
        """Delete all keys before the first upsert, so that rows can swap unique values; return why not.

        Rows that lack columns of the table are not deleted before, so that no value is lost.
        """

        def work() -> None:
            bounds = [bind(body, self._target.columns, self._target) for body in bodies]
            whole = all(len(bound.columns) == len(self._target.columns) for bound in bounds)
            if whole and self._target.covers_table:
                for body in bodies:
                    self._delete_one(body)
            for bound in bounds:
                self._upsert_one(bound)

        return self._attempt(work)

    def delete_rows(self, bodies: Sequence[object]) -> bool:
        """Delete rows by one statement, if all keys are whole."""
        if not self.has_fast_path:
            return False
        try:
            keys: list[Any] = [[body[name] for name in self._target.key] for body in bodies]  # type: ignore[index]
        except (TypeError, KeyError):
            return False
        if any(None in key for key in keys):
            return False
        statement = self._target.delete()
        return self._attempt(lambda: self._connection.executemany(statement, keys).close(), UNBINDABLE) is None

    def delete(self, body: object) -> Exception | None:
        """Delete one row; return why not."""
        return self._attempt(lambda: self._delete_one(body))

    def _upsert_one(self, bound: Bound) -> None:
        self._connection.execute(self._target.upsert_one(bound.columns, bound.raw), bound.values)

    def _delete_one(self, body: object) -> None:
        bound = bind(body, self._target.key, self._target)
        self._connection.execute(self._target.delete(bound.raw), bound.values)

    def _attempt(self, work: Callable[[], None], also: tuple[type[Exception], ...] = ()) -> Exception | None:
        """Do `work`, or undo it and return the error: one that rejects a record, or one of `also`."""
        self._connection.execute("SAVEPOINT pipeline_attempt")
        try:
            work()
        except (*REJECTING_ERRORS, *also) as error:
            self._ensure_transaction()
            self._connection.execute("ROLLBACK TO pipeline_attempt")
            self._connection.execute("RELEASE pipeline_attempt")
            return error
        self._connection.execute("RELEASE pipeline_attempt")
        return None

    def _ensure_transaction(self) -> None:
        if not self._connection.in_transaction:
            raise RefusedError(
                f"{self._place}: a trigger or constraint of the table rolls the whole load back (ROLLBACK); drop it"
            )
