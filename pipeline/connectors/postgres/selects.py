"""The SELECTs that read a table: what comes in which order, and what a row's bytes in binary COPY hold.

A row is read in one of two shapes. Both end in the same fields, the row's *content*: first the key's columns, then all
others, each in PostgreSQL's binary form where that is exact and as text otherwise. A row's hash is taken of the bytes of
its content, so it is the same in both shapes.

    locating    where the row lies (`tableoid`, `ctid`), then the content; lines are asked for later, by place
    with lines  the upsert line, then the content: for when most rows are wanted
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pipeline.connectors.postgres.connection import literal, quoted
from pipeline.connectors.postgres.tables import DUP, ROW, Table, TableColumn
from pipeline.connectors.postgres.upsert_sql import upsert_line


class KeyPart(Enum):
    """How a column of a key is read from the binary form: the code of `struct`, or none where its length varies."""

    INT2 = "h"
    INT4 = "i"
    INT8 = "q"
    OID = "I"
    BOOL = "?"
    FLOAT8 = "d"
    BYTES = "bytes"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class KeyTerm:
    """A column of the key: the SQL that gives its value, the SQL to order by, and how its value is read."""

    value: str
    order: str
    part: KeyPart


@dataclass(frozen=True, slots=True)
class TableSelect:
    """The statements for one table. `utf8`: the server stores text in UTF-8, so its C order is ours."""

    table: Table
    utf8: bool
    default_is_c: bool
    server_version: int
    """As 180006."""

    @property
    def can_locate(self) -> bool:
        """Whether a row can be found again by its place: all but those counted by `$dup`."""
        return bool(self.table.key)

    @property
    def is_indexed(self) -> bool:
        """Whether the key's index gives the rows in our order, so that a range of the key is found at once."""
        return bool(self.table.key) and all(
            term.order == quoted(name) for term, name in zip(self.key_terms, self.table.key, strict=True)
        )

    @property
    def key_terms(self) -> tuple[KeyTerm, ...]:
        """The columns of the key."""
        if not self.table.key:
            return (KeyTerm(quoted(ROW), quoted(ROW), KeyPart.TEXT), _DUP)
        return tuple(self._term(column) for column in self.table.key_columns)

    def rows(self, condition: str = "", *, with_lines: bool) -> str:
        """Return the SELECT of the rows for which `condition` holds, in key order."""
        return f"SELECT {self._line if with_lines else 'tableoid, ctid'}, {self._content} FROM {self._ordered(condition)} AS t"

    def lines(self, from_item: str, places: str) -> str:
        """Return the SELECT of the places and upsert lines of the rows at `places`, the text of an array of tid."""
        line = upsert_line(self.table.data_columns, self.server_version)
        return f"SELECT ctid, {line} FROM ONLY {from_item} WHERE ctid = ANY ({literal(places)}::tid[])"

    @property
    def _line(self) -> str:
        leading = "" if self.table.key else f"""concat('"{ROW}":"', {quoted(ROW)}, '","{DUP}":', {quoted(DUP)})"""
        return upsert_line(self.table.data_columns, self.server_version, leading)

    @property
    def _content(self) -> str:
        others = [column for column in self.table.data_columns if column.name not in self.table.key]
        return ", ".join([*(term.value for term in self.key_terms), *map(_exact, others)])

    def _ordered(self, condition: str) -> str:
        """The rows in order, as a subquery, so that lines are made after sorting and not sorted along."""
        order = ", ".join(term.order for term in self.key_terms)
        where = f" WHERE {condition}" if condition else ""
        columns = "".join(f", {quoted(column.name)}" for column in self.table.data_columns)
        if self.table.key:
            return f"(SELECT tableoid, ctid{columns} FROM {self.table.from_item} AS t{where} ORDER BY {order})"
        digested = f'SELECT ({self.table.digest}) COLLATE "C" AS {quoted(ROW)}{columns} FROM {self.table.from_item} AS t{where}'
        counted = f"row_number() OVER (PARTITION BY {quoted(ROW)}) - 1 AS {quoted(DUP)}"
        return f"(SELECT {quoted(ROW)}, {counted}{columns} FROM ({digested} OFFSET 0) AS d ORDER BY {order})"

    def _term(self, column: TableColumn) -> KeyTerm:
        name = quoted(column.name)
        if column.base_type == "float4":
            return KeyTerm(f"{column.text}::float8", name, KeyPart.FLOAT8)
        part = _PARTS.get(column.base_type)
        if part is not None:
            return KeyTerm(name, name, part)
        if column.wire.native_order:
            return KeyTerm(column.text, name, KeyPart.TEXT)
        value = name if column.base_type in ("text", "varchar") else column.text
        if not self.utf8:
            return KeyTerm(value, f"convert_to({value}, 'UTF8')", KeyPart.TEXT)
        return KeyTerm(value, self._in_c_order(column, value), KeyPart.TEXT)

    def _in_c_order(self, column: TableColumn, value: str) -> str:
        """Text in the order of its bytes; as the column stands where its own index has that order."""
        is_c = column.collation_oid in _C_COLLATIONS or (
            column.collation_oid == _DEFAULT_COLLATION and self.default_is_c
        )
        return value if is_c and value == quoted(column.name) else f'({value}) COLLATE "C"'


_PARTS = {
    "int2": KeyPart.INT2,
    "int4": KeyPart.INT4,
    "int8": KeyPart.INT8,
    "oid": KeyPart.OID,
    "bool": KeyPart.BOOL,
    "float8": KeyPart.FLOAT8,
    "bytea": KeyPart.BYTES,
}
_DEFAULT_COLLATION = 100
_C_COLLATIONS = (950, 951)
"""`default`, and `C` and `POSIX`: the same object ids in every database (pg_collation.dat)."""
_DUP = KeyTerm(quoted(DUP), quoted(DUP), KeyPart.INT8)


def _exact(column: TableColumn) -> str:
    """SQL for what stands for a value in the hash. concat makes '' of NULL, which the field beside it tells apart."""
    if column.wire.exact_binary:
        return quoted(column.name)
    return f"CASE WHEN {quoted(column.name)} IS NOT DISTINCT FROM NULL THEN NULL ELSE {column.text} END"
