"""Prints an Event File block by block."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping

import click
import orjson

from pipeline.cli.output.json_output import print_json
from pipeline.cli.output.text import columns, count, printable
from pipeline.codec.event_files.header import encode_header
from pipeline.codec.values import parse_line
from pipeline.domain.event_file import Header

MAX_VALUE_CHARACTERS = 200
"""How much of one value is shown. --json shows all of it."""
_MAX_VALUE_BYTES = 32


class EventFilePrinter:
    """Prints the header of an Event File and at most `limit` of its records."""

    def __init__(self, *, as_json: bool, limit: int | None) -> None:
        self._as_json = as_json
        self._limit = limit
        self._records = 0

    def print_part(self, part: Header | bytes) -> None:
        """Print the header, or a block of whole record lines."""
        if isinstance(part, Header):
            self._print_header(part)
            return
        for line in part.splitlines():
            self._records += 1
            if self._limit is None or self._records <= self._limit:
                self._print_record(line)

    def print_end(self) -> None:
        """Print how many records were left out."""
        left_out = 0 if self._limit is None else self._records - self._limit
        if left_out > 0 and not self._as_json:
            click.echo(f"… and {count(left_out, 'more record')}")

    def _print_header(self, header: Header) -> None:
        if self._as_json:
            print_json(encode_header(header).decode())
        else:
            click.echo("\n".join(_header_lines(header)))

    def _print_record(self, line: bytes) -> None:
        if self._as_json:
            print_json(f"{line.decode()}\n")
            return
        for kind, values in parse_line(line, f"record {self._records}").items():
            sign = {"upsert": "+", "delete": "-"}.get(kind, "?")
            text = ", ".join(_pairs(values)) if isinstance(values, dict) else repr(values)
            click.echo(f"{sign} {text}")


def _header_lines(header: Header) -> Iterator[str]:
    schema = header.schema
    yield f"Event File {header.id} of Flow {printable(header.flow)}"
    yield f"  stream {printable(schema.stream)}, group {printable(schema.label)}, {header.id.phase.value}"
    yield f"  {count(header.row_count, 'record')}, exported {header.export_time:%Y-%m-%d %H:%M:%S.%f} UTC"
    rows = [("column", "type", "declared as", "key")]
    for column in schema.columns:
        position = schema.primary_keys.index(column.name) + 1 if column.name in schema.primary_keys else 0
        null = "" if column.nullable else " not null"
        rows.append((printable(column.name), column.type + null, printable(column.native_type), str(position or "")))
    yield from columns(rows)
    yield ""


def _pairs(values: Mapping[str, object]) -> Iterator[str]:
    for name, value in values.items():
        yield f"{printable(name)}={_value_text(value)}"


def _value_text(value: object) -> str:
    match value:
        case {"$bytes": str(text)}:
            data = b64decode(text)
            more = f"… ({len(data):,} bytes)" if len(data) > _MAX_VALUE_BYTES else ""
            shown = f"x'{data[:_MAX_VALUE_BYTES].hex()}'{more}"
        case {"$text": str(text)}:
            shown = f"text x'{b64decode(text)[:_MAX_VALUE_BYTES].hex()}'"
        case {"$float": str(text)}:
            shown = text
        case _:
            shown = printable(orjson.dumps(value).decode())
    if len(shown) <= MAX_VALUE_CHARACTERS:
        return shown
    return f"{shown[:MAX_VALUE_CHARACTERS]}… ({len(shown):,} characters)"
