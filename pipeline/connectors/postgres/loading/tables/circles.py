"""Rejected records of tables that refer to each other in a circle: none can be first, so they are loaded together.

Their foreign keys are checked at the end of one transaction. One that is not deferrable is made so by the owner of its
table until then; it never ceases to hold, and nobody else sees the change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
import psycopg

from pipeline.connectors.postgres.ddl.foreign_keys import read_foreign_keys
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger
from pipeline.connectors.postgres.loading.target import Target
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sql.retry import RetryingLoad, retry_stream
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema

ROUNDS = 20
"""How often records that would break a foreign key are left out and the others tried again."""

_KEYS = """
SELECT k.conrelid, k.confrelid, k.conrelid::regclass::text, quote_ident(k.conname), k.condeferrable
FROM pg_constraint AS k WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY(%(oids)s)
  AND k.confrelid = ANY(%(oids)s)
"""

_ACTS = """
SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = ANY(%(oids)s)
               AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')))
"""

LeftOut = Mapping[StreamName, frozenset[int]]


class CircleLoad(RetryingLoad, Protocol):
    """A load into one table, which is ended once its rows are checked."""

    target: Target

    def close_staging(self) -> None: ...

    def end(self) -> None: ...


class _StillBrokenError(Exception):
    """These rejected records, by stream, would break a foreign key also together with all others."""

    def __init__(self, records: LeftOut) -> None:
        super().__init__("rows without a parent")
        self.records = records


@dataclass(frozen=True, slots=True)
class _Key:
    child: int
    parent: int
    table: str
    name: str
    deferrable: bool

    def alter(self, word: str) -> bytes:
        """Return the statement that makes the key DEFERRABLE or NOT DEFERRABLE."""
        return f"ALTER TABLE {self.table} ALTER CONSTRAINT {self.name} {word}".encode()


class Circles:
    """Loads the rejected records of one Flow. `table_of` finds a stream's table, and `open_load` begins to load into it:
    with True, rows may go to which others refer until the end of the transaction.
    """

    def __init__(
        self,
        connection: Connection,
        ledger: ImportLedger,
        table_of: Callable[[StreamSchema], Target],
        open_load: Callable[[StreamSchema, bool], CircleLoad],
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._table_of = table_of
        self._open_load = open_load

    def retry(self) -> bool:
        """Load what can be loaded; return whether that was anything."""
        streams = {rejection.file.stream for rejection in self._ledger.rejections()}
        schemas = [schema for schema in self._ledger.schemas() if schema.stream in streams]
        if not schemas:
            return False
        with self._connection.transaction():
            tables = {self._table_of(schema).table.oid: schema for schema in schemas}
        keys = _in_circles([_Key(*row) for row in self._connection.execute(_KEYS, {"oids": list(tables)})])
        core = [schema for oid, schema in tables.items() if any(oid == key.child for key in keys)]
        left_out: dict[StreamName, frozenset[int]] = {}
        before = len(self._ledger.rejections())
        for _ in range(ROUNDS if core else 0):
            try:
                with self._connection.transaction():
                    self._load(core, keys, left_out)
            except _StillBrokenError as error:
                left_out = {name: ids | left_out.get(name, frozenset()) for name, ids in error.records.items()} | {
                    name: ids for name, ids in left_out.items() if name not in error.records
                }
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ForeignKeyViolation):
                return False  # the records stay rejected, each with its reason
            else:
                break
        return len(self._ledger.rejections()) < before

    def _load(self, core: Sequence[StreamSchema], keys: Sequence[_Key], left_out: LeftOut) -> None:
        for key in keys:
            if not key.deferrable:
                self._connection.execute(key.alter("DEFERRABLE"))
        self._connection.execute("SET CONSTRAINTS ALL DEFERRED")
        oids = sorted({key.parent for key in keys})
        acts = self._connection.execute(_ACTS, {"oids": oids}).fetchone() == (True,)
        records = {schema.stream: self._records(schema.stream) for schema in core}
        loads = []
        for schema in core:
            load = self._open_load(schema, not acts)
            loads.append(load)
            retry_stream(self._ledger, load, schema.stream, left_out.get(schema.stream, frozenset()))
            load.close_staging()
        broken = dict(self._broken(loads, records, left_out))
        if broken:
            raise _StillBrokenError(broken)
        self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for load in loads:
            load.end()
        for key in keys:
            if not key.deferrable:
                self._connection.execute(key.alter("NOT DEFERRABLE"))

    def _records(self, stream: StreamName) -> Mapping[tuple[str, ...], int]:
        """Return the ids of a stream's rejected records by the texts of their keys."""
        found = self._ledger.rejected_records(self._ledger.rejected_ids(stream))
        keys = [(orjson.loads(record.rejection.key), record.id) for record in found]
        return {tuple(map(str, key)): id_ for key, id_ in keys if isinstance(key, list)}

    def _broken(
        self,
        loads: Sequence[CircleLoad],
        records: Mapping[StreamName, Mapping[tuple[str, ...], int]],
        left_out: LeftOut,
    ) -> Iterator[tuple[StreamName, frozenset[int]]]:
        """Give the records whose rows have no parent. None is given twice: what was left out did not become a row."""
        for load in loads:
            target, known = load.target, records[load.target.stream]
            columns = ", ".join(f"c.{quoted(name)}::text" for name in target.key)
            ids: set[int] = set()
            for key in read_foreign_keys(self._connection, [target.table.oid]) if target.row_key is None else ():
                if key.row["table"] == target.table.oid:
                    rows = self._connection.execute(
                        f"SELECT {columns} FROM {key.child} AS c WHERE {key.broken('c')}".encode()
                    )
                    ids.update(known[row] for row in rows if row in known)
            if new := frozenset(ids) - left_out.get(target.stream, frozenset()):
                yield target.stream, new


def _in_circles(keys: Sequence[_Key]) -> list[_Key]:
    """Return the keys between tables of which each refers to another of them and is referred to."""
    left = list(keys)
    while True:
        children, parents = {key.child for key in left}, {key.parent for key in left}
        kept = [key for key in left if key.child in parents and key.parent in children]
        if len(kept) == len(left):
            return kept
        left = kept
