"""A source that uploads: an Exporter whose rows are the files that an app has put into the object store.

It waits for each group until the app says that it is complete. So groups are exported, and imported, while the app still
uploads others.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import msgspec
import orjson

from pipeline.codec.event_files.array_lines import with_names
from pipeline.codec.event_files.compression import Decoder, sniff
from pipeline.codec.values import from_json
from pipeline.domain.errors import AbsentError, ConfigurationError, DamagedError, LeaseLostError, UnreadableError
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.schema import Column
from pipeline.kit.authors_line import MisuseError
from pipeline.kit.errors import Refused
from pipeline.kit.exporter import Exporter
from pipeline.kit.loading.python_values import DECODE_ERRORS, Decode, natural_decoder
from pipeline.kit.reading.source import ExporterSnapshot
from pipeline.kit.values import Binary, Changes, Json, NaiveDatetime
from pipeline.ports.object_store import ObjectStore
from pipeline.remote.uploads import CONTENT_NAME, Upload, UploadedColumn, UploadedStream, Uploads

FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.1, 2.0
TYPES: Mapping[str, Any] = {
    "boolean": bool,
    "integer": int,
    "real": float,
    "text": str,
    "bytes": bytes,
    "decimal": Decimal,
    "timestamptz": datetime,
    "timestamp": NaiveDatetime,
    "date": date,
    "time": time,
    "interval": timedelta,
    "uuid": UUID,
    "json": Json,
    "binary": Binary,
}
"""The types of columns that an app may upload, with what they are in Python."""
_PLAIN: Mapping[str, type] = {"boolean": bool, "integer": int, "real": float, "text": str, "bytes": bytes}
"""What a value of these types is in Python once it is read. All other types have decoders that refuse what is none."""
_INTEGERS = range(-(2**63), 2**63)


class UploadedSource:
    """The place of an app that uploads. `location` is `app://NAME`."""

    def __init__(
        self, location: str, store: ObjectStore | None = None, flow: FlowName | None = None, movement: int = 0
    ):
        self.location = location
        self._store, self._flow, self._movement = store, flow, movement

    def of_movement(self, store: ObjectStore, flow: FlowName, movement: int) -> UploadedSource:
        """Return the same source for the uploads of one Movement."""
        return UploadedSource(self.location, store, flow, movement)

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[ExporterSnapshot]:
        """Open the uploads. LeaseLostError while the app has not begun: it announces the Movement when it does."""
        if self._store is None or self._flow is None:
            raise ConfigurationError(
                f"What {self.location} holds cannot be read from here: it is an app over HTTP. Compare with the means of the "
                "app. As a source it uploads: start its Flow with `pipeline start`, and let a worker export it."
            )
        uploads = Uploads(self._store, self._flow, self._movement)
        begun = await uploads.begun()
        if begun is None:
            raise LeaseLostError(
                f"the app {self.location} has not begun to export; it announces the Movement when it does"
            )
        snapshot = UploadedSnapshot(begun.streams, uploads)
        try:
            yield snapshot
        finally:
            snapshot.close()


class UploadedSnapshot(ExporterSnapshot):
    """The uploads of one Movement. They are deleted when all is exported."""

    def __init__(self, streams: list[UploadedStream], uploads: Uploads) -> None:
        super().__init__(make_exporter(streams, uploads, self._note), None)
        self._uploads = uploads

    def _note(self, stream: StreamName) -> None:
        """Say that something has come, so that the Movement is not taken for one in which nothing moves."""
        if self._scope is not None:
            self._scope.progress.read(stream, 0)

    async def end_movement(self) -> None:
        await super().end_movement()
        await self._uploads.forget()


def _no_note(_stream: StreamName) -> None:
    """Say nothing."""


def make_exporter(
    streams: list[UploadedStream], uploads: Uploads, note: Callable[[StreamName], None] = _no_note
) -> Exporter:
    """Return an Exporter of these streams. `note` is called while it waits for one, whenever the app has sent a file.

    ConfigurationError says what is wrong with a stream.
    """
    exporter = Exporter("app")
    for stream in streams:
        try:
            _declare(exporter, stream, UploadedRows(stream, uploads, note))
        except MisuseError as error:  # its place is a line of this program
            raise ConfigurationError(f"The stream {stream.stream!r}: {error.fault}") from error
    return exporter


def _declare(exporter: Exporter, stream: UploadedStream, uploaded: UploadedRows) -> None:
    columns = {column.name: _annotation(stream, column.name, column.type, column.nullable) for column in stream.columns}
    if len(columns) != len(stream.columns):
        raise ConfigurationError(f"The stream {stream.stream!r} has two columns with one name.")
    if wrong := next((name for name in (stream.stream, stream.group, *columns) if "\0" in name), None):
        raise ConfigurationError(
            f"The stream {stream.stream!r} has the name {wrong!r}, with the character U+0000, which no destination takes."
        )
    key = tuple(stream.primary_keys)
    group, scopes = stream.group, stream.scopes
    if stream.mode == "full":
        exporter.rows(stream.stream, row=dict, key=key, group=group, columns=columns, scopes=scopes)(uploaded.rows)
    else:
        exporter.changes(stream.stream, row=dict, key=key, group=group, columns=columns, scopes=scopes)(
            uploaded.changes
        )


def _annotation(stream: UploadedStream, name: str, type_: str, nullable: bool) -> Any:
    if type_ not in TYPES:
        raise ConfigurationError(
            f"The column {name!r} of the stream {stream.stream!r} has the type {type_[:80]!r}. Types are: {', '.join(TYPES)}."
        )
    found = TYPES[type_]
    return found | None if nullable and name not in stream.primary_keys else found


class _Named(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """How a record names a content."""

    content: str
    name: str | None = None
    media_type: str | None = None


class UploadedRows:
    """The rows of one stream, read from its files as soon as its group is complete."""

    def __init__(self, stream: UploadedStream, uploads: Uploads, note: Callable[[StreamName], None]) -> None:
        self._stream, self._uploads, self._note = stream, uploads, note
        self._name = StreamName(stream.stream)
        self._decoders = {one.name: self._decoder(one) for one in stream.columns}
        self._types = {one.name: one.type for one in stream.columns}
        self._plain = {one.name: _PLAIN[one.type] for one in stream.columns if one.type in _PLAIN}
        self._decimals = frozenset(one.name for one in stream.columns if one.type == "decimal")
        self._required = {
            one.name
            for one in stream.columns
            if one.type != "json" and (not one.nullable or one.name in stream.primary_keys)
        }

    async def rows(self, _client: None) -> AsyncIterator[dict[str, Any]]:
        """Yield all rows."""
        for number in range(await self._file_count()):
            async for kind, row in self._records(number):
                if kind != "upsert":
                    raise UnreadableError(
                        f"{self._where(number)} has a record {kind!r}. A stream with all its rows has upserts alone"
                    )
                yield row

    async def changes(self, _client: None, since: str | None) -> Changes[dict[str, Any]]:
        """Return the records of the next file."""
        count, number = await self._file_count(), self._next(since)
        if number >= count:
            return Changes([], cursor=since or self._cursor(0))
        upserts: dict[Any, dict[str, Any]] = {}
        deletes: dict[Any, None] = {}
        async for kind, row in self._records(number):
            key = tuple([row[name] for name in self._stream.primary_keys])
            key = key if len(key) > 1 else key[0]
            upserts.pop(key, None)
            deletes.pop(key, None)
            if kind == "upsert":
                upserts[key] = row
            else:
                deletes[key] = None
        return Changes(list(upserts.values()), list(deletes), cursor=self._cursor(number + 1), more=number + 1 < count)

    def _cursor(self, number: int) -> str:
        return f"{self._uploads.movement}.{number}"

    def _next(self, since: str | None) -> int:
        movement, _, number = (since or "0.0").partition(".")
        return int(number) if int(movement) == self._uploads.movement else 0

    async def _file_count(self) -> int:
        """Wait until the group of the stream is complete; return how many files it has."""
        pause, last = FIRST_POLL_SECONDS, b""
        while (group := await self._uploads.group(self._stream.group)) is None:
            ended = await self._uploads.ended()
            if ended is not None:
                raise UnreadableError(f"the app has ended without the group {self._stream.group!r}: {ended.reason}")
            if (sign := await self._uploads.last_sign()) != last:
                last = sign
                self._note(self._name)
            await anyio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL_SECONDS)
        return group.files.get(self._stream.stream, 0)

    async def _records(self, number: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        line, names = 0, [column.name for column in self._stream.columns]
        async for block in self._lines(number):
            for text in block:
                line += 1
                if line == 1 and (order := _column_order(text)):
                    names = order
                record = self._parse(text, number, line, names)
                if record is not None:
                    yield record

    async def _lines(self, number: int) -> AsyncIterator[list[bytes]]:
        """Yield the lines of a file, compressed or not."""
        decoder: Decoder | None = None
        rest = b""
        try:
            async with self._uploads.open(Upload.file(self._name, number)) as pieces:
                async for piece in pieces:
                    decoder = decoder or Decoder(sniff(piece))
                    for part in decoder.feed(piece):
                        *lines, rest = (rest + part).split(b"\n")
                        yield lines
            if decoder is not None:
                decoder.close()
        except DamagedError as error:
            raise UnreadableError(f"{self._where(number)} is damaged: {error}. Send it in another Movement.") from error
        if rest:
            yield [rest]

    def _parse(self, text: bytes, number: int, line: int, names: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
        if not text.strip():
            return None
        where = f"{self._where(number)}, line {line},"
        try:
            document = orjson.loads(text)
            if line == 1 and document.get("metadata") is True:
                return None  # the header of an Event File
            ((kind, body),) = with_names(document, names).items()
            if isinstance(body, dict) and any(type(body.get(name)) is float for name in self._decimals):
                ((_, exact),) = with_names(json.loads(text, parse_float=Decimal), names).items()
                body |= {name: exact[name] for name in self._decimals & exact.keys()}  # a float has 53 bits
        except RecursionError as error:
            raise UnreadableError(
                f"{where} has lists or objects nested too deeply. Nest them less, or send text"
            ) from error
        except (ValueError, AttributeError) as error:
            raise UnreadableError(f'{where} is no record. Write {{"upsert": {{…}}}} or {{"delete": {{…}}}}') from error
        if kind == "upsert" and isinstance(body, list):
            raise UnreadableError(
                f"{where} has an array of {len(body)} values. It needs one for each of the {len(names)} columns, in their order"
            )
        if kind not in ("upsert", "delete") or not isinstance(body, dict):
            raise UnreadableError(f"{where} has a record {str(kind)[:40]!r}. Records are `upsert` or `delete`")
        members = self._decoders if kind == "upsert" else self._stream.primary_keys
        if unknown := sorted(set(body) - set(self._decoders)):
            raise UnreadableError(f"{where} has the column {unknown[0]!r}, which the stream does not have")
        return kind, {name: self._value(body.get(name), name, where) for name in members}

    def _value(self, value: Any, name: str, where: str) -> Any:
        kind = type(value)
        if kind is self._plain.get(name) and (kind is not int or value in _INTEGERS):
            return value
        if value is None:
            if name in self._required:
                raise UnreadableError(f"{where} has no value in the column {name!r}")
            return None
        decode: Decode = self._decoders[name]
        try:
            found = decode(value)
        except (*DECODE_ERRORS, DamagedError) as error:
            raise UnreadableError(f"{where} has in the column {name!r} {error}") from error
        type_ = self._types[name]
        if type_ in _PLAIN and (fault := _fault(found, value, type_)) is not None:
            raise UnreadableError(f"{where} has in the column {name!r} {fault}")
        return found

    def _decoder(self, column: UploadedColumn) -> Decode:
        if column.type == "binary":
            return self._content
        decode: Decode = natural_decoder(Column(column.name, column.type))
        if column.type == "decimal":
            return partial(_exact_decimal, decode)
        return lambda value: decode(from_json(value))

    def _content(self, value: Any) -> Binary:
        """Return the content that a record names: `NAME`, or `{"content": NAME, "name": …, "mediaType": …}`.

        Its name stands for its bytes: a content that was moved with its record before is not read.
        """
        given = {"content": value} if isinstance(value, str) else value
        try:
            named = msgspec.convert(given, _Named)
        except msgspec.ValidationError as error:
            raise ValueError(f'no content ({error}); write {{"content": NAME}}') from error
        if not CONTENT_NAME.fullmatch(named.content):
            raise ValueError(f"{named.content[:80]!r}, which is no name of a content")
        read = partial(self._read_content, named.content)
        return Binary(read, version=named.content, name=named.name, media_type=named.media_type)

    async def _read_content(self, name: str) -> AsyncIterator[bytes]:
        try:
            async with self._uploads.open(Upload.content(name)) as pieces:
                async for piece in pieces:
                    yield piece
        except AbsentError as error:
            raise Refused(f"the content {name!r} was not uploaded") from error

    def _where(self, number: int) -> str:
        return f"file {number} of the stream {self._stream.stream!r}"


def _exact_decimal(decode: Decode, value: Any) -> Any:
    """Return a number or its text, with all digits."""
    if isinstance(value, bool):
        raise TypeError(f"{_shown(value)}, which is no decimal")
    return Decimal(value) if isinstance(value, int | Decimal) else decode(from_json(value))


def _fault(found: Any, value: object, type_: str) -> str | None:
    """Return why `found`, read from the JSON `value`, cannot be in a column of this type; None if it can."""
    is_whole = type(found) is int
    if type(found) is not _PLAIN[type_] and not (is_whole and type_ == "real"):
        return f"{_shown(value)}, which is no {type_}"
    if is_whole and type_ == "integer" and found not in _INTEGERS:
        return "an integer of more than 64 bits; declare the column as decimal"
    if is_whole and type_ == "real" and float(found) != found:
        return f"{found}, which no real is equal to; declare the column as integer or decimal"
    return None


def _shown(value: object) -> str:
    return orjson.dumps(value).decode()[:80]


def _column_order(line: bytes) -> list[str]:
    """Return the names of the columns in the header of an Event File, in their order; none in any other line."""
    try:
        return [str(column["name"]) for column in orjson.loads(line)["columns"]]
    except (ValueError, TypeError, KeyError):
        return []
