"""Finds an Event File and prints it block by block, in constant memory."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import orjson

from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.cli.output.text import columns, count, printable
from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.codec.event_files.header import encode_header
from pipeline.codec.values import parse_line
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, ConfigurationError, RefusedError
from pipeline.domain.event_file import Header
from pipeline.domain.ids import EventFileId, ObjectKey
from pipeline.settings import Settings

READ_BYTES = 1 << 20
LONGEST_VALUE = 200
"""Characters of one value that are shown; --json shows all."""


class EventFilePrinter:
    """Prints what it is fed: the stored bytes of one Event File, in order."""

    def __init__(self, *, as_json: bool, limit: int | None) -> None:
        self._as_json = as_json
        self._limit = limit
        self._printed = 0
        self._header_printed = False

    def feed(self, reader: EventFileReader, data: bytes) -> None:
        """Print the records that `data` completes, after the header if that has not been printed."""
        for block in reader.feed(data):
            self._print_header(reader)
            for line in block.splitlines():
                if self._limit is None or self._printed < self._limit:
                    self._print_record(line)

    def finish(self, reader: EventFileReader) -> None:
        """Check that the file was whole and say what was left out."""
        self._print_header(reader)
        reader.close()
        if reader.lines > self._printed and not self._as_json:
            click.echo(f"… and {count(reader.lines - self._printed, 'more record', 'more records')}")

    def _print_header(self, reader: EventFileReader) -> None:
        if self._header_printed or reader.header is None:
            return
        self._header_printed = True
        if self._as_json:
            click.echo(encode_header(reader.header), nl=False)
        else:
            click.echo("\n".join(_header_lines(reader.header)))

    def _print_record(self, line: bytes) -> None:
        self._printed += 1
        if self._as_json:
            click.echo(line)
            return
        record = parse_line(line, f"record {self._printed}")
        for kind, values in record.items():
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
            shown = f"x'{data[:32].hex()}'" + (f"… ({len(data):,} bytes)" if len(data) > 32 else "")
        case {"$text": str(text)}:
            shown = f"text x'{b64decode(text)[:32].hex()}'"
        case {"$float": str(text)}:
            shown = text
        case _:
            shown = printable(orjson.dumps(value).decode())
    return shown if len(shown) <= LONGEST_VALUE else shown[:LONGEST_VALUE] + f"… ({len(shown):,} characters)"


def show_from_path(path: Path, printer: EventFilePrinter) -> None:
    """Print a file of this computer."""
    reader = EventFileReader(None, what=str(path))
    try:
        with path.open("rb") as file:
            while data := file.read(READ_BYTES):
                printer.feed(reader, data)
    except PermissionError as error:
        raise RefusedError(f"{path} may not be read. Ask for the permission.") from error
    printer.finish(reader)


async def show_from_store(settings: Settings, name: str, flow: str | None, printer: EventFilePrinter) -> None:
    """Print a stored Event File."""
    async with open_runtime(settings) as home:
        key = await _find(home, name, flow)
        reader = EventFileReader(None, what=key)
        async with home.store.open_stream(key) as pieces:
            async for piece in pieces:
                printer.feed(reader, piece)
        printer.finish(reader)


async def _find(home: Runtime, name: str, flow: str | None) -> ObjectKey:
    """Return the key of the one Event File that `name` can mean."""
    if name.startswith(object_keys.FLOWS):
        return ObjectKey(name)
    try:
        file = EventFileId.parse(name)
    except ValueError:
        raise ConfigurationError(
            f"There is no file {name} here, and it is no Event File id either (movement/stream/phase/chunk, such as "
            "1/users/full/0). `pipeline files FLOW` lists the ids."
        ) from None
    names = [one.name for one in await home.flows.list_flows() if flow in (None, one.name)]
    found = [one for one in names if await home.store.stat(object_keys.event_file_key(one, file))]
    if not found:
        where = f"Flow {flow!r}" if flow else "any Flow here"
        raise AbsentError(f"There is no Event File {file} in {where}. `pipeline files FLOW` lists the ids.")
    if len(found) > 1:
        raise ConfigurationError(
            f"Several Flows have an Event File {file}: {', '.join(found)}. Choose one with --flow."
        )
    return object_keys.event_file_key(found[0], file)
