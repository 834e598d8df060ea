"""The COPY that reads a table: its fields, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.connectors.postgres.reading.any_keys import any_key_order
from pipeline.connectors.postgres.reading.fields import Field, copy_statement, fields_of
from pipeline.connectors.postgres.schema.tables import Table, TableColumn
from pipeline.connectors.postgres.schema.types import Form
from pipeline.connectors.sql.identifiers import quoted


@dataclass(frozen=True)
class TableSelect:
    """Reads one table, which `place` names in errors.

    `utf8`: the server stores text in UTF-8, so its C order is ours. `default_is_c`: the default collation is C. The values
    of the key columns `any_keys` stand for others, of whatever kind each is (any_keys.py).
    `most_bytes`: of a row that takes more, the large values are read as NULL; 0: no row does.
    """

    table: Table
    place: str
    utf8: bool
    default_is_c: bool
    any_keys: frozenset[str] = frozenset()
    most_bytes: int = 0

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The fields of a row, in order."""
        return fields_of(self.table)

    @property
    def key(self) -> tuple[str, ...]:
        """The names of the fields that are the key."""
        return self.table.key or self.table.row_key

    @property
    def is_indexed(self) -> bool:
        """Whether the key's index has our order, so that it finds a range of the key."""
        return bool(self.table.key) and list(self.order) == list(map(quoted, self.table.key))

    @property
    def order(self) -> Sequence[str]:
        """The SQL to order by, for each column of the key."""
        return [self._order(column) for column in self.table.key_columns] or list(map(quoted, self.table.row_key))

    def copy(self, condition: str = "") -> str:
        """Return the COPY of the rows for which `condition` holds, in key order."""
        return copy_statement(self.fields, f"{self._ordered(condition)} AS t")

    @cached_property
    def large_columns(self) -> Sequence[TableColumn]:
        """The columns that may have large values, without those of the key."""
        of_any_size = [column for column in self.table.data_columns if column.wire.form in _BYTES_OF]
        return [column for column in of_any_size if column.name not in self.table.key]

    def copy_of_sizes(self) -> tuple[Sequence[Field], str]:
        """Return the COPY of the keys and sizes of rows of more than `most_bytes`, and its fields."""
        size = Field(self.table.row_key[0], quoted(self.table.row_key[0]), Form.NUMBER)
        fields = [*(field for field in self.fields if field.name in self.table.key), size]
        columns = [quoted(column.name) for column in self.table.key_columns]
        row_bytes, of_table = self._row_bytes(), f"FROM {self.table.from_item} AS t"
        rows = (
            f"SELECT {', '.join(columns)}, {row_bytes} AS {size.sql} {of_table} WHERE {row_bytes} > {self.most_bytes}"
        )
        return fields, copy_statement(fields, f"({rows}) AS t")

    def _row_bytes(self) -> str:
        """Return the SQL of how many bytes the large values of a row take in an Event File, at least."""
        return " + ".join(_BYTES_OF[column.wire.form].format(quoted(column.name)) for column in self.large_columns)

    def _value(self, column: TableColumn) -> str:
        name = quoted(column.name)
        if not self.most_bytes or column not in self.large_columns:
            return name
        return f"CASE WHEN {self._row_bytes()} <= {self.most_bytes} THEN {name} END AS {name}"

    def _ordered(self, condition: str) -> str:
        """Return the rows in order, as a subquery, so that the server does not sort the values computed from them."""
        order = ", ".join(self.order)
        never_null = [f"{quoted(column.name)} IS NOT NULL" for column in self.table.key_columns if not column.not_null]
        conditions = " AND ".join(filter(None, [condition, *never_null]))
        where = f" WHERE {conditions}" if conditions else ""
        columns = list(map(self._value, self.table.data_columns))
        if self.table.key:
            return f"(SELECT {', '.join(columns)} FROM {self.table.from_item} AS t{where} ORDER BY {order})"
        row, dup = map(quoted, self.table.row_key)
        digest = f'({self.table.digest}) COLLATE "C" AS {row}'
        digested = f"SELECT {', '.join([digest, *columns])} FROM {self.table.from_item} AS t{where}"
        counted = f"row_number() OVER (PARTITION BY {row}) - 1 AS {dup}"
        return f"(SELECT {', '.join([row, counted, *columns])} FROM ({digested} OFFSET 0) AS d ORDER BY {order})"

    def _order(self, column: TableColumn) -> str:
        name = quoted(column.name)
        if column.name in self.any_keys:
            return any_key_order(name, column.base_type)
        if column.wire.native_order:
            return name
        text = f"{name}::numeric::text" if column.wire.form is Form.MONEY else column.text
        value = name if column.base_type in ("text", "varchar") else text
        if not self.utf8:
            return f"convert_to({value}, 'UTF8')"
        is_c = column.collation_oid in _C_COLLATIONS or (
            column.collation_oid == _DEFAULT_COLLATION and self.default_is_c
        )
        return name if is_c and value == name else f'({value}) COLLATE "C"'  # so that the column's own index is used


_BYTES_OF = {
    Form.BYTES: "coalesce(octet_length({0}), 0)::bigint * 4 / 3",
    Form.TEXT: "coalesce(octet_length({0}), 0)::bigint",
    Form.ESCAPED: "coalesce(pg_column_size({0}), 0)::bigint",
}
"""The SQL of the bytes of a value's JSON, at least, by its form. PostgreSQL answers it without reading the value.

Of other values than texts and bytes it knows how many they take where they are stored, maybe compressed.
"""
_DEFAULT_COLLATION = 100
_C_COLLATIONS = (950, 951)
"""`default`, and `C` and `POSIX`: the same object ids in every database (pg_collation.dat)."""
