"""The order of keys in SQL, and text that is not valid in its encoding."""

from __future__ import annotations

import apsw

from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite.schema.tables import Table
from pipeline.domain.keys import KeyValue, RawText
from pipeline.domain.schema import StreamSchema

CODECS = {"UTF-8": "utf-8", "UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}
"""Python's names of SQLite's encodings."""


def order_terms(table: Table, schema: StreamSchema, *, text_is_utf8: bool) -> str:
    """Return the terms of ORDER BY for table `t` that give the order of `pipeline.domain.keys.order`.

    `COLLATE BINARY` is written only where it changes something, so that the key's own index can be used. In a UTF-16
    database BINARY compares UTF-16 bytes, which is another order; `pipeline_order` corrects it.
    """
    by_name = {column.name: column for column in table.columns}
    terms = []
    for name in schema.primary_keys:
        column, value = by_name.get(name), f"t.{quoted(name)}"
        if column is None or name == table.rowid_column:
            terms.append(value)
        elif text_is_utf8:
            terms.append(value if column.collation == "BINARY" else f"{value} COLLATE BINARY")
        else:
            terms.append(f"typeof({value}) = 'blob', typeof({value}) = 'text'")
            as_utf8 = f"pipeline_order(CAST({value} AS BLOB))"
            terms.append(f"CASE typeof({value}) WHEN 'text' THEN {as_utf8} ELSE {value} END")
    return ", ".join(terms)


def register_order(connection: apsw.Connection, encoding: str) -> None:
    """Register `pipeline_order(bytes)` in SQLite, for the ORDER BY of a UTF-16 database."""
    codec = CODECS[encoding]

    def pipeline_order(*values: apsw.SQLiteValue) -> bytes:
        (data,) = values
        assert isinstance(data, bytes)
        text = decoded_text(data, codec)
        return text.data if isinstance(text, RawText) else text.encode()

    connection.create_scalar_function("pipeline_order", pipeline_order, 1, deterministic=True)


def decoded_text(data: KeyValue, codec: str) -> str | RawText:
    """Return the bytes of a text as a string, or as `RawText` where they are not valid in `codec`."""
    assert isinstance(data, bytes)
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return RawText(data)
