"""Reading a PostgreSQL source in tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import psycopg

from pipeline.codec.values import from_json
from pipeline.connectors.postgres import PostgresSource
from pipeline.domain.keys import KeyValue
from pipeline.domain.schema import StreamSchema
from tests.contracts.source import StreamContent, read_stream


@dataclass(frozen=True, slots=True)
class ReadStream:
    """A stream and its content."""

    schema: StreamSchema
    content: StreamContent

    @property
    def rows(self) -> list[dict[str, object]]:
        """The rows as JSON objects."""
        return [orjson.loads(line)["upsert"] for line in self.content.lines]


async def read_all(source: PostgresSource) -> dict[str, ReadStream]:
    """Return all streams by name."""
    async with source.open_snapshot() as snapshot:
        return {
            schema.stream: ReadStream(schema, await read_stream(snapshot, schema))
            for schema in await snapshot.streams()
        }


def as_input(value: object) -> str | None:
    """Return the text from which PostgreSQL reads a value of a record."""
    plain: KeyValue = from_json(value)
    match plain:
        case bytes():
            return "\\x" + plain.hex()
        case bool():
            return str(plain).lower()
        case int() | float():
            return repr(plain)
        case str() | None:
            return plain
        case other:
            raise AssertionError(other)


def differing(uri: str, table: int, declared: str, values: Sequence[object]) -> list[object]:
    """Return the values that differ, in any bit, from those of the column `v` of the table `t{table}`, ordered by `id`."""
    inputs = [as_input(value) for value in values]
    query = f"""
        SELECT t.id, concat(t.v), given.v
        FROM unnest(%s::int[], %s::text[]) AS given(id, v) JOIN t{table} AS t USING (id)
        WHERE record_send(ROW(t.v)) IS DISTINCT FROM record_send(ROW(given.v::{declared}))
    """
    with psycopg.connect(uri) as connection:
        found = connection.execute(query.encode(), (list(range(len(inputs))), inputs)).fetchall()
    return list(found)
