"""The names that the tables and columns of another technology's streams have here.

An app may have made its tables with names that differ in case alone: `CREATE TABLE Orders` makes the table `orders`. A
name is matched exactly, or else with the one name that differs in case only. A column whose name PostgreSQL keeps for
itself, such as `xmin`, has an underscore behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import cached_property

from pipeline.codec.event_files.constraints import MEMBER, constraints_of, constraints_to_json
from pipeline.connectors.postgres.ddl.constraints_out import unsupported_here
from pipeline.connectors.postgres.ddl.mapped_types import SCHEMA
from pipeline.connectors.postgres.schema.tables import stream_name
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.constraints import (
    is_default,
    missing_constraints,
    missing_default,
    missing_generated_columns,
)
from pipeline.domain.constraints import ForeignKey, TableConstraints, UnsupportedConstraint
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.schema import StreamSchema

ReadStreams = Callable[[], Collection[StreamName]]
"""Returns the streams of a Flow."""
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""https://www.postgresql.org/docs/current/ddl-system-columns.html"""
_TABLES = """
SELECT c.relname, ARRAY(SELECT a.attname::text FROM pg_attribute AS a
                        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p')
  AND (%(like)s::text IS NULL OR lower(c.relname) = lower(%(like)s))
"""
_FILLED = """
SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = to_regnamespace(%s) AND a.attnum > 0 AND (a.atthasdef OR a.attidentity <> '')
"""


class LocalNames:
    """The names for streams of a Flow, which has those that `read_streams` gives. `like`: only that one's are asked for.

    Nothing is asked for streams of PostgreSQL, whose names are the same here.
    """

    def __init__(self, connection: Connection, read_streams: ReadStreams, like: StreamName | None = None) -> None:
        self._connection, self._read_streams, self._like = connection, read_streams, like

    @cached_property
    def _streams(self) -> Collection[StreamName]:
        return self._read_streams()

    @cached_property
    def _columns(self) -> Mapping[str, Sequence[str]]:
        return dict(self._connection.execute(_TABLES, {"schema": SCHEMA, "like": self._like}).fetchall())

    @cached_property
    def _filled(self) -> Set[tuple[str, str]]:
        """The columns, with their tables, that get a value of their own in new rows."""
        return set(self._connection.execute(_FILLED, (SCHEMA,)).fetchall())

    def table(self, stream: StreamName) -> StreamName:
        """Return the name of a stream's table."""
        return StreamName(_match(stream, self._columns, self._streams, f"Stream {stream}"))

    def missing_definitions(self, schema: StreamSchema) -> Iterator[InventoryItem]:
        """Give the generated columns and constraints of a stream of another technology that its table lacks."""
        if "postgresql" not in schema.native:
            table = self.table(schema.stream)
            yield from missing_generated_columns(schema, constraints_of(schema), self._columns.get(table, ()))
            missing = unsupported_here(self._connection, replace(schema, stream=table))
            yield from missing_constraints(schema.stream, [*missing, *self._missing_defaults(schema, table)])

    def _missing_defaults(self, schema: StreamSchema, table: StreamName) -> Iterator[UnsupportedConstraint]:
        present = self._columns.get(table, ())
        for column, name in zip(schema.columns, self.columns(schema), strict=True) if present else ():
            if is_default(column.default) and name in present and (table, name) not in self._filled:
                yield missing_default(column)

    def columns(self, schema: StreamSchema) -> tuple[str, ...]:
        """Return the names of a stream's columns, in their order."""
        return self._matched(schema.stream, schema.column_names, schema.column_names)

    def localized(self, schema: StreamSchema) -> StreamSchema:
        """Return the schema with the names here: of the table in place of the stream's, of columns and constraints.

        ConfigurationError when two names here differ from a wanted one in case only. A stream of PostgreSQL is matched
        exactly: the same name in another case is another name there.
        """
        if "postgresql" in schema.native:
            return schema
        names = dict(zip(schema.column_names, self.columns(schema), strict=True))
        native = {technology: self._renamed(schema, described) for technology, described in schema.native.items()}
        return replace(
            schema,
            stream=self.table(schema.stream),
            columns=tuple(replace(column, name=names[column.name]) for column in schema.columns),
            primary_keys=tuple(names[name] for name in schema.primary_keys),
            native=native,
        )

    def _matched(self, stream: StreamName, names: Sequence[str], all_names: Collection[str]) -> tuple[str, ...]:
        present = self._columns.get(self.table(stream), ())
        wanted = [_allowed(name, all_names) for name in names]
        return tuple(_match(name, present, all_names, f"Column {name} of stream {stream}") for name in wanted)

    def _renamed(self, schema: StreamSchema, described: object) -> object:
        if not isinstance(described, Mapping) or MEMBER not in described:
            return described
        found = constraints_of(schema)

        def here(names: Sequence[str]) -> tuple[str, ...]:
            return self._matched(schema.stream, names, schema.column_names)

        def renamed(key: ForeignKey) -> ForeignKey:
            referenced = self._matched(key.references, key.referenced_columns, key.referenced_columns)
            parent = self.table(key.references)
            return replace(key, columns=here(key.columns), references=parent, referenced_columns=referenced)

        indexes = [
            replace(index, columns=tuple(replace(it, name=here([it.name])[0]) for it in index.columns))
            for index in found.indexes
        ]
        constraints = TableConstraints(tuple(indexes), tuple(map(renamed, found.foreign_keys)), found.unsupported)
        return {**described, MEMBER: constraints_to_json(constraints)}


def refuse_other_case(connection: Connection, schema: StreamSchema, read_streams: ReadStreams) -> None:
    """ConfigurationError when a new stream of PostgreSQL would fill a table or column beside one that the app made.

    Names there may differ in case alone, so one of the app's that does is not taken for the stream's.
    """
    native = schema.native.get("postgresql")
    if not isinstance(native, Mapping):
        return
    place, table = str(native["schema"]), str(native["table"])
    present: dict[str, list[str]] = dict(connection.execute(_TABLES, {"schema": place, "like": table}).fetchall())
    flow_streams = read_streams() if present else ()
    if not present or schema.stream in flow_streams:
        return
    others = [name for name in present if name != table and stream_name(place, name) not in flow_streams]
    if table not in present and others:
        raise _other_case(f"Table {table}", f"a table {others[0]}")
    wanted = [column["name"] for column in native["columns"]]
    own = [name for name in present.get(table, ()) if name not in wanted]
    for name in wanted if table in present else ():
        other = next((it for it in own if it.casefold() == name.casefold()), None)
        if other is not None and name not in present[table]:
            raise _other_case(f"Column {name} of table {table}", f"a column {other}")


def _other_case(what: str, present: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what} cannot be loaded: the destination has {present}, which differs in case only; give both the same name "
        "with ALTER TABLE … RENAME, or leave the stream out with --exclude"
    )


def renamed_columns(schemas: Iterable[StreamSchema]) -> Iterator[InventoryItem]:
    """Give the columns whose names PostgreSQL keeps for itself."""
    for schema in schemas:
        for name in schema.column_names if "postgresql" not in schema.native else ():
            if name in _SYSTEM_COLUMNS:
                reason = f"it is called {_allowed(name, schema.column_names)}: PostgreSQL keeps the name for itself"
                yield InventoryItem("column", f"{schema.stream}.{name}", Fate.OTHER_FORM, reason)


def _allowed(name: str, others: Collection[str]) -> str:
    if name not in _SYSTEM_COLUMNS:
        return name
    return next(free for count in range(1, len(others) + 2) if (free := name + "_" * count) not in others)


def _match(wanted: str, present: Collection[str], others: Collection[str], what: str) -> str:
    """Return the one of `present` that is `wanted`, but for its case; itself if there is none. `others` are taken."""
    if wanted in present or sum(other.casefold() == wanted.casefold() for other in others) > 1:
        return wanted
    found = [name for name in present if name.casefold() == wanted.casefold() and name not in others]
    if len(found) > 1:
        raise ConfigurationError(
            f"{what} cannot be loaded: the destination has {' and '.join(sorted(found))}, which differ in case only; "
            "rename one of them, or leave the stream out with --exclude"
        )
    return found[0] if found else wanted
