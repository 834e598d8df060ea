"""The records of an Event File as the rows of a file of the dialect, on a temporary file until they are complete."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import Any

import orjson
from anyio import to_thread

from pipeline.connectors.sam.header import encode_header
from pipeline.domain.contents import parse_content
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.domain.ids import BinaryId
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import FileToLoad

_IN_MEMORY_BYTES = 32 * 1024 * 1024
_PIECE_BYTES = 1 << 20
_UPSERT, _DELETE = b'{"upsert":{', b'{"delete":{'
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""A decimal that is a number of JSON as it stands."""


StoreContent = Callable[[BinaryId], Awaitable[None]]


class DataFile:
    """The bytes of a file of the dialect. `upserts`, `deletes`, `size` and `sha256` are known once it is written."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115  # `close` closes it
        self._digest = sha256()
        self.size = self.upserts = self.deletes = self.binaries = 0

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    @property
    def sha256(self) -> str:
        """The digest of the bytes."""
        return self._digest.hexdigest()

    async def write(self, file: FileToLoad, sequence: int, store: StoreContent) -> None:
        """Write header and rows. The first row has the number `sequence`; each following one has the next.

        `store` stores the content of a Binary File that a row names.
        """
        schema = file.header.schema
        _check_columns(schema, self._options)
        rows = _Rows(schema, self._options)
        contents = [column.name for column in schema.columns if column.type == "binary"]
        await to_thread.run_sync(self._add, encode_header(file.header, self._options))
        async for block in file.blocks:
            lines = block.split(b"\n")[:-1]
            at = sequence + self.upserts + self.deletes
            deletes = sum(line.startswith(_DELETE) for line in lines)
            self.deletes += deletes
            self.upserts += len(lines) - deletes
            for line in lines if contents else ():
                for binary in binaries_in(line, contents):
                    await store(binary)
                    self.binaries += 1
            await to_thread.run_sync(self._add, await to_thread.run_sync(rows.encode, lines, at))

    def _add(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise RefusedError(
                f"A file of the export cannot be prepared in the temporary directory (TMPDIR): {error.strerror}. Make room "
                "there, and run the command again."
            ) from error
        self._digest.update(data)
        self.size += len(data)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the bytes from their start, as the body of an object."""

        async def pieces() -> AsyncGenerator[bytes, None]:
            await to_thread.run_sync(self._file.seek, 0)
            while piece := await to_thread.run_sync(self._file.read, _PIECE_BYTES):
                yield piece

        async with aclosing(pieces()) as opened:
            yield opened


def binaries_in(line: bytes, columns: Sequence[str]) -> list[BinaryId]:
    """Return the ids of the Binary Files that a record names in these columns."""
    upsert = orjson.loads(line).get("upsert", {})
    return [parse_content(upsert[column]).id for column in columns if upsert.get(column) is not None]


class _Rows:
    """Makes rows of record lines: the members of the record, a tombstone mark and a sequence number."""

    def __init__(self, schema: StreamSchema, options: Mapping[str, str]) -> None:
        self._decimals = [column.name for column in schema.columns if column.type == "decimal"]
        self._deleted, self._sequence = options["deleted"], options["sequence"]

    def encode(self, lines: list[bytes], sequence: int) -> bytes:
        """Return the rows of these lines, each with a line feed."""
        return b"".join([self._row(line, number) for number, line in enumerate(lines, sequence)])

    def _row(self, line: bytes, number: int) -> bytes:
        is_delete = line.startswith(_DELETE)
        if self._decimals or not line.startswith((_UPSERT, _DELETE)):
            ((action, body),) = orjson.loads(line).items()
            is_delete, line = action == "delete", b'{"upsert":' + self._with_numbers(body) + b"}"
        mark = b"true" if is_delete else b"false"
        members = [line[len(_UPSERT) : -2], orjson.dumps(self._deleted) + b":" + mark]
        if self._sequence:
            members.append(orjson.dumps(self._sequence) + b":%d" % number)
        return b"{" + b",".join(members) + b"}\n"

    def _with_numbers(self, body: dict[str, Any]) -> bytes:
        """Return a record whose decimals are numbers, with all their digits, where JSON has such numbers."""
        for name in self._decimals:
            value = body.get(name)
            if isinstance(value, str) and _NUMBER.fullmatch(value):
                body[name] = orjson.Fragment(value)
        return orjson.dumps(body)


def _check_columns(schema: StreamSchema, options: Mapping[str, str]) -> None:
    for option in ("deleted", "sequence"):
        if options[option] in schema.column_names:
            raise ConfigurationError(
                f"Stream {schema.stream} cannot be exported: its column {options[option]} has the name of the column that "
                f"marks {'deletes' if option == 'deleted' else 'the order of changes'}; name another one with the option "
                f"{option}=NAME, or leave the stream out with --exclude"
            )
