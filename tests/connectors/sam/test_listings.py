"""What a source makes of the listings of an export: the order of files, missing ones, and damage."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipeline.domain.errors import DamagedError
from pipeline.domain.inventory import Fate
from tests.connectors.sam.exports import (
    Names,
    names_of,
    read,
    row,
    source_of,
    write_file,
    write_listing,
)


async def test_without_a_listing_the_names_give_the_order(tmp_path: Path) -> None:
    write_file(tmp_path, "t_incremental_0.ndjson", [row(1, "new")])
    for chunk in range(11):
        write_file(tmp_path, f"t_full_{chunk}.ndjson", [row(1, f"chunk {chunk}"), row(chunk + 10, "x")])
    found = (await read(source_of(tmp_path)))["t"]
    assert names_of(found.rows)[0] == (1, "new")
    assert len(found.rows) == 12


async def test_a_file_that_no_listing_names_is_named_and_read_on_request(tmp_path: Path) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [row(1, "a")])
    write_file(tmp_path, "u_full_0.ndjson", [row(2, "b")])
    (tmp_path / "README.txt").write_text("no part of it")
    write_listing(tmp_path, "t_full_0.ndjson")
    source = source_of(tmp_path)
    assert list(await read(source)) == ["t"]
    async with source.open_snapshot() as snapshot:
        (item,) = await snapshot.omissions()
    assert (item.kind, item.name, item.fate, item.is_gap) == ("file", "u_full_0.ndjson", Fate.NOT_MOVED, True)
    assert list(await read(source_of(tmp_path, unlisted="read"))) == ["t", "u"]


async def test_a_listed_file_that_is_not_there_stops_its_table_alone(tmp_path: Path) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [row(1, "a")])
    write_file(tmp_path, "u_full_0.ndjson", [row(1, "a")])
    write_listing(tmp_path, "t_full_0.ndjson", "t_full_1.ndjson", "u_full_0.ndjson")
    found = await read(source_of(tmp_path))
    assert "the listing names the file t_full_1.ndjson, which is not there; read the export when" in found["t"].error
    assert not found["u"].error


async def test_a_missing_chunk_stops_its_table_unless_gaps_are_accepted(tmp_path: Path) -> None:
    for chunk in (0, 2):
        write_file(tmp_path, f"t_full_{chunk}.ndjson", [row(chunk, "a")])
    assert "the file t_full_1.ndjson is missing" in (await read(source_of(tmp_path)))["t"].error
    assert len((await read(source_of(tmp_path, gaps="accept")))["t"].rows) == 2


@pytest.mark.parametrize("form", ["lines", "array", "object", "byte order mark and CRLF"])
async def test_a_listing_has_any_form_of_json(tmp_path: Path, form: str) -> None:
    write_file(tmp_path, "event_file/5-6.ndjson", [row(1, "a")], table="t")
    entry = {"fileId": "event_file/5-6", "fullName": "t_full_0.ndjson", "unknown": {"a": [1]}}
    data = {
        "lines": orjson.dumps(entry) + b"\n\n" + orjson.dumps(entry),
        "array": orjson.dumps([entry]),
        "object": orjson.dumps({"version": 1, "files": [entry]}),
        "byte order mark and CRLF": b"\xef\xbb\xbf" + orjson.dumps(entry) + b"\r\n",
    }[form]
    (tmp_path / "listing").mkdir()
    (tmp_path / "listing" / "a-metadata.json").write_bytes(data)
    assert names_of((await read(source_of(tmp_path)))["t"].rows) == [(1, "a")]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b'{"fileId":"a"}\n{"fileI', "line 2: it is not JSON"),
        (b'[{"fileId":"a"}', "is not JSON"),
        (b'{"fileId":"a"}\n{"other":1}\n', "entry 2: it has neither a fileId nor a fullName"),
        (b'{"other":1}', "does not have one list of files"),
        (b"[1]", "entry 1: it has neither a fileId nor a fullName"),
    ],
)
async def test_a_damaged_listing_is_one_message(tmp_path: Path, data: bytes, fault: str) -> None:
    (tmp_path / "listing.json").write_bytes(data)
    with pytest.raises(DamagedError, match=fault) as caught:
        await read(source_of(tmp_path))
    assert "The listing listing.json" in str(caught.value)


async def test_files_of_several_listings_are_read_once_those_of_the_newest_last(tmp_path: Path) -> None:
    """As after a second transfer, which exports the same table again under other ids."""
    for transfer, day, name in (("b", 18, "old"), ("a", 19, "new")):
        path = f"event_file/{transfer}"
        write_file(tmp_path, path, [row(1, name)], table="t", exportTime=f"2026-08-{day}T00:00:00.123456789Z")
        entry = {"fileId": path, "fullName": "t_full_0.ndjson"}
        (tmp_path / f"{transfer}-metadata.json").write_bytes(orjson.dumps(entry))
    (tmp_path / "c-metadata.json").write_bytes(b'{"fileId":"event_file/b","fullName":"t_full_0.ndjson"}')
    assert names_of((await read(source_of(tmp_path)))["t"].rows) == [(1, "new")]


@pytest.mark.parametrize(("snapshot", "wanted"), [("add", [(1, "a"), (2, "B")]), ("replace", [(2, "B")])])
async def test_a_second_snapshot_adds_or_replaces(tmp_path: Path, snapshot: str, wanted: Names) -> None:
    write_file(tmp_path, "event_file/1", [row(1, "a"), row(2, "b")], table="t")
    write_file(tmp_path, "event_file/2", [row(2, "B")], table="t")
    entries = [{"fileId": f"event_file/{number}", "fullName": "t_full_0.ndjson"} for number in (1, 2)]
    (tmp_path / "listing.jsonl").write_bytes(b"\n".join(map(orjson.dumps, entries)))
    assert names_of((await read(source_of(tmp_path, snapshot=snapshot)))["t"].rows) == wanted
