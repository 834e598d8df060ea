"""Values of files that an app uploads: none is changed on the way, and one that does not fit is named with file and line."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from pipeline.domain.errors import ConfigurationError, UnreadableError
from pipeline.domain.ids import FlowName, Label, StreamName
from pipeline.ports.object_store import OpenBody
from pipeline.remote.uploaded import UploadedRows, make_exporter
from pipeline.remote.uploads import CompleteGroup, Upload, UploadedColumn, UploadedStream, Uploads
from pipeline.testing.simulated.object_store import MemoryObjectStore


def stream(type_: str, name: str = "value", *, nullable: bool = True) -> UploadedStream:
    """Return a stream with one column of a type beside its key."""
    return UploadedStream("person", [UploadedColumn("id", "integer"), UploadedColumn(name, type_, nullable)], ["id"])


def body(data: bytes) -> OpenBody:
    """Return bytes as a body."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterable[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield data

        yield pieces()

    return opened


async def read(type_: str, *records: bytes, nullable: bool = True) -> Sequence[Any]:
    """Return the values of a column of a type, read from a file of these records."""
    uploads, name = Uploads(MemoryObjectStore(), FlowName("crm"), 1), StreamName("person")
    await uploads.put(Upload.file(name, 0), body(b"\n".join(records)))
    await uploads.complete(Label("person"), CompleteGroup({"person": 1}))
    rows = UploadedRows(stream(type_, nullable=nullable), uploads, lambda _: None)
    return [row["value"] async for row in rows.rows(None)]


async def test_a_value_that_is_nested_too_deeply_is_named() -> None:
    columns = [UploadedColumn("id", "integer"), UploadedColumn("price", "decimal"), UploadedColumn("tree", "json")]
    uploads, name = Uploads(MemoryObjectStore(), FlowName("crm"), 1), StreamName("person")
    record = b'{"upsert":{"id":1,"price":1.5,"tree":' + b"[" * 1015 + b"]" * 1015 + b"}}"
    await uploads.put(Upload.file(name, 0), body(record))
    await uploads.complete(Label("person"), CompleteGroup({"person": 1}))
    rows = UploadedRows(UploadedStream("person", columns, ["id"]), uploads, lambda _: None)
    with pytest.raises(UnreadableError, match="line 1, has lists or objects nested too deeply"):
        [row async for row in rows.rows(None)]


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("decimal", "99999999999999999999", Decimal(99999999999999999999)),
        ("decimal", "12345678901234567.89", Decimal("12345678901234567.89")),
        ("decimal", "1.10", Decimal("1.10")),
        ("decimal", '"1.10"', Decimal("1.10")),
        ("decimal", "7", Decimal(7)),
        ("integer", "9223372036854775807", 2**63 - 1),
        ("real", "3", 3),
        ("real", "0.1", 0.1),
        ("text", '"5"', "5"),
        ("boolean", "true", True),
        ("timestamptz", '"2026-01-01T00:00:00Z"', datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_value_comes_as_it_was_sent(type_: str, text: str, value: object) -> None:
    for given in (f'{{"id":1,"value":{text}}}', f"[1,{text}]"):
        [found] = await read(type_, f'{{"upsert":{given}}}'.encode())
        assert (found, type(found)) == (value, type(value))
        assert str(found) == str(value)


async def test_a_real_beside_an_exact_decimal_is_still_a_real() -> None:
    columns = [UploadedColumn("id", "integer"), UploadedColumn("d", "decimal"), UploadedColumn("r", "real")]
    uploads = Uploads(MemoryObjectStore(), FlowName("crm"), 1)
    await uploads.put(
        Upload.file(StreamName("person"), 0), body(b'{"upsert":{"id":1,"d":0.30000000000000000001,"r":1e300}}')
    )
    await uploads.complete(Label("person"), CompleteGroup({"person": 1}))
    rows = UploadedRows(UploadedStream("person", columns, ["id"]), uploads, lambda _: None)
    [row] = [row async for row in rows.rows(None)]
    assert row == {"id": 1, "d": Decimal("0.30000000000000000001"), "r": 1e300}
    assert type(row["r"]) is float


@pytest.mark.parametrize(
    ("type_", "text", "words"),
    [
        ("integer", '"5"', '"5", which is no integer'),
        ("integer", "true", "true, which is no integer"),
        ("integer", "1.5", "1.5, which is no integer"),
        ("integer", "99999999999999999999", "1e+20, which is no integer"),
        ("integer", "9223372036854775808", "more than 64 bits"),
        ("decimal", "true", "true, which is no decimal"),
        ("text", "5", "5, which is no text"),
        ("real", "9007199254740993", "which no real is equal to"),
        ("real", '"x"', "which is no real"),
        ("bytes", '"zz"', "which is no bytes"),
        ("uuid", '"x"', "which is no UUID"),
    ],
)
async def test_a_value_that_does_not_fit_is_named_with_file_and_line(type_: str, text: str, words: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        await read(type_, b"", f'{{"upsert":{{"id":1,"value":{text}}}}}'.encode())
    assert str(caught.value).startswith("file 0 of the stream 'person', line 2, has in the column 'value' ")
    assert words in str(caught.value)


async def test_a_value_that_must_be_there_is_named_when_it_is_missing() -> None:
    for record in (b'{"upsert":{"id":1}}', b'{"upsert":{"id":1,"value":null}}'):
        with pytest.raises(UnreadableError, match="line 1, has no value in the column 'value'"):
            await read("text", record, nullable=False)
    with pytest.raises(UnreadableError, match="line 1, has no value in the column 'id'"):
        await read("text", b'{"upsert":{"value":"a"}}')
    assert await read("text", b'{"upsert":{"id":1}}') == [None]


@pytest.mark.parametrize("name", ["a\0b", "\0"])
def test_a_name_that_no_destination_takes_is_refused_at_the_beginning(name: str) -> None:
    uploads = Uploads(MemoryObjectStore(), FlowName("crm"), 0)
    with pytest.raises(ConfigurationError, match=r"U\+0000"):
        make_exporter([stream("text", name)], uploads)
    with pytest.raises(ConfigurationError, match=r"U\+0000"):
        make_exporter([UploadedStream(name, [UploadedColumn("id", "integer")], ["id"])], uploads)
