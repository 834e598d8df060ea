"""Schema objects created, replaced and dropped at a destination, so that they are as at the source.

Statements come from Event Files. Each may create the object that it is for, and do nothing else; an authorizer holds it
to that. An object that was as at the source when the Flow first saw it, or that the Flow created, follows the source; any
other one is neither replaced nor dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import apsw

from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sql.schema_objects import ObjectId, SchemaObject
from pipeline.connectors.sqlite.loading.schema_evolution import HOLDER
from pipeline.connectors.sqlite.schema.objects import NUMBERS, read_objects
from pipeline.connectors.sqlite.schema.tables import folded
from pipeline.domain.inventory import Fate, InventoryItem

_CREATE = {"view": apsw.SQLITE_CREATE_VIEW, "trigger": apsw.SQLITE_CREATE_TRIGGER}
_A = {"table": "a table", "view": "a view", "index": "an index"}
_NAMED_LIKE_TABLES = ("view", "virtual table")
_ALLOWED = frozenset({apsw.SQLITE_READ, apsw.SQLITE_SELECT, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE})
_SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_schema"})


class SchemaObjects:
    """The schema objects of one Flow. `ours` are those that follow the source.

    `frees` drops a former table or index of a name, if it was made here.
    """

    def __init__(
        self, connection: apsw.Connection, ours: Mapping[ObjectId, SchemaObject], frees: Callable[[str], bool]
    ) -> None:
        self._connection = connection
        self._frees = frees
        self.ours = dict(ours)
        self._present: dict[ObjectId, SchemaObject] = {}

    def apply(self, wanted: Sequence[SchemaObject]) -> list[InventoryItem]:
        """Make the objects equal to `wanted`, in the connection's transaction; return what became of each."""
        self._present = {one.id: one for one in read_objects(self._connection)}
        names = {one.id for one in wanted}
        for one in sorted(self.ours.values(), key=lambda one: -one.rank):
            if one.id not in names:
                shadows = self._shadow_tables(one)
                if one.id in self._present:
                    self._drop(one)
                for table in shadows:  # in its way when the app creates the virtual table again
                    self._frees(table)
                del self.ours[one.id]
        return [self._ensured(one, self._present.get(one.id)) for one in wanted]

    def make_place(self, name: str) -> None:
        """Drop the view or virtual table of a name that the source has given to a table."""
        for one in list(self.ours.values()):
            if one.kind in _NAMED_LIKE_TABLES and folded(one.name) == folded(name):
                self._drop(one)
                del self.ours[one.id]

    def _shadow_tables(self, one: SchemaObject) -> list[str]:
        if one.kind != "virtual table":
            return []
        rows = self._connection.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'")
        names = [str(name) for (name,) in rows.fetchall()]
        return [name for name in names if folded(name).startswith(folded(f"{one.name}_"))]

    def _ensured(self, one: SchemaObject, present: SchemaObject | None) -> InventoryItem:
        reason = one.reason
        if not reason and present is not None and not present.is_same(one):
            if one.id not in self.ours and one.kind not in NUMBERS:
                reason = "the destination has another one of this name, which is left as it is"
            elif one.kind not in NUMBERS:
                self._drop(one)
                present = None
        if not reason and (present is None or (one.kind in NUMBERS and not present.is_same(one))):
            reason = self._create(one)
        if not reason:
            self.ours.setdefault(one.id, one)
        return InventoryItem(one.kind, one.name, Fate.NOT_MOVED if reason else Fate.MOVED, reason)

    def _create(self, one: SchemaObject) -> str:
        """Create an object and return an empty text, or the reason why that is not possible."""
        try:
            with self._connection:
                if one.kind in _NAMED_LIKE_TABLES:
                    self._ensure_free(one.name)
                if one.kind in NUMBERS:
                    self._connection.execute(f"PRAGMA {one.kind} = {int(one.facts['number'])}")
                elif one.kind == "virtual table":
                    self._write_virtual_table(one)
                elif one.kind in _CREATE:
                    with self._only(_CREATE[one.kind], one.name):
                        self._connection.execute(one.create[0]).fetchall()
                else:
                    return f"SQLite has no {one.kind}"
        except (apsw.Error, ValueError, KeyError) as error:
            return f"SQLite: {error}"
        self.ours[one.id] = one
        return ""

    def _ensure_free(self, name: str) -> None:
        kind = self._connection.execute(f"SELECT type {HOLDER}", (name,)).get
        if kind is not None and not self._frees(name):
            raise ValueError(f"the destination has {_A[str(kind)]} of this name, which is left as it is")

    def _write_virtual_table(self, one: SchemaObject) -> None:
        """Write the table into `sqlite_schema`. Its shadow tables exist and hold its rows."""
        (statement,) = one.create
        if not statement.upper().startswith("CREATE VIRTUAL TABLE"):
            raise ValueError("its statement creates no virtual table")
        version = int(str(self._connection.execute("PRAGMA schema_version").get))
        self._connection.execute("PRAGMA writable_schema = ON")
        try:
            self._connection.execute(
                "INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql) VALUES ('table', ?1, ?1, 0, ?2)",
                (one.name, statement),
            )
            self._connection.execute(f"PRAGMA schema_version = {version + 1}")
        finally:
            self._connection.execute("PRAGMA writable_schema = RESET")

    def _drop(self, one: SchemaObject) -> None:
        if one.kind in NUMBERS:
            self._connection.execute(f"PRAGMA {one.kind} = 0")
        elif one.kind == "virtual table":
            version = int(str(self._connection.execute("PRAGMA schema_version").get))
            self._connection.execute("PRAGMA writable_schema = ON")
            self._connection.execute(
                "DELETE FROM sqlite_schema WHERE type = 'table' AND rootpage = 0 AND name = ?", (one.name,)
            )
            self._connection.execute(
                f"PRAGMA schema_version = {version + 1}; PRAGMA writable_schema = RESET"
            ).fetchall()
        else:
            self._connection.execute(f"DROP {one.kind.upper()} {quoted(one.name)}")
        if one.kind == "view":  # its triggers went with it
            self._present = {it.id: it for it in read_objects(self._connection)}

    @contextmanager
    def _only(self, action: int, name: str) -> Iterator[None]:
        """Let statements do nothing but create the object `name`."""

        def authorize(code: int, first: str | None, _second: str | None, _database: str | None, _by: str | None) -> int:
            writes_schema = code in (apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE) and first in _SCHEMA_TABLES
            allowed = code in _ALLOWED or writes_schema or (code == action and first == name)
            return apsw.SQLITE_OK if allowed else apsw.SQLITE_DENY

        self._connection.authorizer = authorize
        try:
            yield
        finally:
            self._connection.authorizer = None
