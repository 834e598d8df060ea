"""Rejected records of several streams that wait for each other: retried in one transaction, with foreign keys checked last.

Tables may refer to each other, or a parent may change its value only when its children have theirs, which need it. The
source's app wrote such rows in one transaction or in several steps. Here each foreign key from the tables concerned is
deferred for one transaction, made deferrable for it if need be. That locks those tables for a moment, so it is only tried
when rejected records are left that other rows block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import psycopg

from pipeline.connectors.postgres.ddl.foreign_keys import ExistingKey, read_foreign_keys
from pipeline.connectors.postgres.loading.file_load import FileLoad
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger
from pipeline.connectors.postgres.loading.target import PLACE
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted
from pipeline.connectors.sql.rejected_record import RejectedRecord
from pipeline.connectors.sql.retry import BATCH_RECORDS, retry_records, retry_stream
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema

_MAX_RECORDS = 10 * BATCH_RECORDS
"""How many rejected records of a stream are held in memory."""


class _NotTogetherError(Exception):
    """The transaction is rolled back: these records refer to missing rows."""

    def __init__(self, ids: Collection[int]) -> None:
        super().__init__(f"{len(ids)} records")
        self.ids = ids


class Circles:
    """`open_load` begins to load a stream into its table, in the connection's transaction."""

    def __init__(
        self, connection: Connection, ledger: ImportLedger, open_load: Callable[[StreamSchema], FileLoad]
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._open_load = open_load

    def retry(self) -> None:
        """Apply those rejected records that are accepted together; leave the others as they are."""
        streams = self._ledger.blocked_streams()
        schemas = [schema for schema in self._ledger.schemas() if schema.stream in streams]
        excluded: set[int] = set()
        defers_deletes = True
        while schemas:
            try:
                with self._connection.transaction():
                    return self._retry(schemas, excluded, defers_deletes=defers_deletes)
            except _NotTogetherError as error:
                if excluded.issuperset(error.ids):
                    return None
                excluded.update(error.ids)
            except psycopg.errors.ForeignKeyViolation:  # a row that was deleted is still referred to
                if not defers_deletes:
                    return None
                defers_deletes = False
        return None

    def _retry(self, schemas: Sequence[StreamSchema], excluded: set[int], *, defers_deletes: bool) -> None:
        loads = {schema.stream: self._open_load(schema) for schema in schemas}
        tables = {load.target.table.oid: stream for stream, load in loads.items()}
        keys = [key for key in read_foreign_keys(self._connection, list(tables)) if key.row["table"] in tables]
        deferred = [key for key in keys if self._defer(key)]
        if not deferred:
            self._restore(deferred, loads)
            return
        for load in loads.values():
            load.defer(deferred if defers_deletes else ())
        first = {stream: self._left(stream, excluded)[:_MAX_RECORDS] for stream in loads}
        later = {stream: {*self._left(stream, excluded)} - {*ids} for stream, ids in first.items()}
        left = sum(map(len, first.values()))
        records = {stream: self._ledger.rejected_records(ids) for stream, ids in first.items()}
        self._delete_together(loads, records)
        while left:
            for stream, load in loads.items():
                retry_stream(self._ledger, load, stream, excluded | later[stream])
            before, left = left, sum(len(self._left(stream, excluded | later[stream])) for stream in loads)
            if left == before:
                break
        orphans = {
            records[stream][place].id
            for key in deferred
            for stream in [tables[key.row["table"]]]
            for place in loads[stream].orphans(records[stream], key.name)
        }
        if orphans:
            raise _NotTogetherError(orphans)
        self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self._restore(deferred, loads)

    def _delete_together(
        self, loads: Mapping[StreamName, FileLoad], records: Mapping[StreamName, Sequence[RejectedRecord]]
    ) -> None:
        """Delete rows to which only rows refer that go too, whatever the actions of the foreign keys."""
        deletes = {
            stream: [it for it in them if it.record.startswith(b'{"delete":')] for stream, them in records.items()
        }
        going = {loads[stream].target.sql: loads[stream].list_going(them) for stream, them in deletes.items() if them}
        keys = read_foreign_keys(self._connection, [load.target.table.oid for load in loads.values()])
        while sum(self._keep(key, going) for key in keys):
            pass
        for stream, load in loads.items():
            name = going.get(load.target.sql)
            if name is not None:
                places = self._connection.execute(f"SELECT DISTINCT {PLACE} FROM {name} ORDER BY 1".encode())
                load.guard_deletes(False)
                retry_records(self._ledger, load, [deletes[stream][place] for (place,) in places])
                load.guard_deletes(True)

    def _keep(self, key: ExistingKey, going: Mapping[str, str | None]) -> int:
        """Take parents out of those that go to which a row refers that stays; return how many."""
        parents, children = going.get(key.parent_name), going.get(key.child_name)
        if parents is None:
            return 0
        stays = f"AND (c.tableoid, c.ctid) NOT IN (SELECT part, spot FROM {children})" if children is not None else ""
        return self._connection.execute(
            f"DELETE FROM {parents} AS g WHERE {PLACE} IN (SELECT h.{PLACE} FROM {parents} AS h JOIN {key.parent_name} AS t "
            f"ON t.tableoid = h.part AND t.ctid = h.spot JOIN {key.child} AS c ON {key.refers('c', 't')} {stays})".encode()
        ).rowcount

    def _left(self, stream: StreamName, without: Collection[int]) -> list[int]:
        return [id_ for id_ in self._ledger.rejected_ids(stream) if id_ not in without]

    def _defer(self, key: ExistingKey) -> bool:
        """Defer a foreign key until the end of the transaction; return False if that takes another user."""
        try:
            with self._connection.transaction():
                if not key.row["deferrable"]:
                    self._alter(key, "DEFERRABLE")
                name = f"{quoted(key.row['schema'])}.{quoted(key.name)}"
                self._connection.execute(f"SET CONSTRAINTS {name} DEFERRED".encode())
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True

    def _restore(self, keys: Sequence[ExistingKey], loads: Mapping[StreamName, FileLoad]) -> None:
        for key in keys:
            if not key.row["deferrable"]:
                self._alter(key, "NOT DEFERRABLE")
        for load in loads.values():
            load.end()

    def _alter(self, key: ExistingKey, state: str) -> None:
        self._connection.execute(
            f"ALTER TABLE {qualified(*key.owner)} ALTER CONSTRAINT {quoted(key.name)} {state}".encode()
        )
