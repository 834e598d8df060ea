"""What a source makes of the files of an export: order, deletes, damage, types, keys, and what is tolerated."""

from __future__ import annotations

import gzip
import os
import sys
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from pipeline.codec.event_files.compression import compress_frame
from pipeline.connectors.sam.reading.staged_stream import MOST_KEY_COLUMNS
from pipeline.domain.contents import parse_content
from pipeline.domain.errors import ConfigurationError, RefusedError
from tests.connectors.sam.exports import (
    COLUMNS,
    Names,
    Rows,
    hashes_of,
    header,
    names_of,
    read,
    row,
    source_of,
    write_file,
    write_listing,
)


async def test_a_later_file_of_the_listing_overrides_and_deletes(tmp_path: Path) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [row(1, "a"), row(2, "b")])
    write_file(tmp_path, "t_full_1.ndjson", [row(3, "c")])
    write_file(tmp_path, "t_incremental_0.ndjson", [row(1, "A"), row(2, deleted=True), row(9, deleted=True)])
    write_listing(tmp_path, "t_full_0.ndjson", "t_full_1.ndjson", "t_incremental_0.ndjson")
    found = (await read(source_of(tmp_path)))["t"]
    assert names_of(found.rows) == [(1, "A"), (3, "c")]
    assert (found.types, found.key) == ({"ID": "integer", "NAME": "text"}, ("ID",))


async def test_the_listing_gives_the_order_and_not_the_names(tmp_path: Path) -> None:
    write_file(tmp_path, "t_incremental_0.ndjson", [row(1, "first")])
    write_file(tmp_path, "t_incremental_1.ndjson", [row(1, "second")])
    write_listing(tmp_path, "t_incremental_1.ndjson", "t_incremental_0.ndjson")
    assert names_of((await read(source_of(tmp_path)))["t"].rows) == [(1, "first")]


@pytest.mark.parametrize(("order", "wanted"), [("sequence", [(1, "newer")]), ("listing", [(1, "older"), (2, "back")])])
async def test_a_row_does_not_replace_one_with_a_higher_sequence_number(
    tmp_path: Path, order: str, wanted: Names
) -> None:
    write_file(tmp_path, "t_incremental_1.ndjson", [row(1, "newer", at=7), row(2, at=9, deleted=True)])
    write_file(tmp_path, "t_incremental_0.ndjson", [row(1, "older", at=3), row(2, "back", at=8)])
    write_listing(tmp_path, "t_incremental_1.ndjson", "t_incremental_0.ndjson")
    assert names_of((await read(source_of(tmp_path, order=order)))["t"].rows) == wanted


async def test_a_row_without_a_sequence_number_counts_by_its_place(tmp_path: Path) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [row(1, "a", at=5), row(1, "b"), row(1, "c", at=2), row(1, "d", at=1)])
    assert names_of((await read(source_of(tmp_path)))["t"].rows) == [(1, "c")]


async def test_a_sequence_may_be_text_and_marks_may_be_texts_and_numbers(tmp_path: Path) -> None:
    rows = [
        {"ID": 1, "NAME": "a", "TXN_SEQUENCE": "10"},
        {"ID": 1, "NAME": "b", "TXN_SEQUENCE": "9", "DELETED": "false"},
        {"ID": 2, "NAME": "x", "DELETED": 0},
        {"ID": 2, "DELETED": "true"},
        {"ID": 3, "NAME": "y", "DELETED": None},
    ]
    write_file(tmp_path, "t_full_0.ndjson", rows)
    assert names_of((await read(source_of(tmp_path)))["t"].rows) == [(1, "a"), (3, "y")]


@pytest.mark.parametrize("value", ["--5", "²", "1.5", "9" * 30, {"a": 1}])
async def test_a_sequence_that_is_no_integer_rejects_its_row_alone(tmp_path: Path, value: object) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [{"ID": 1, "TXN_SEQUENCE": value}, row(2, "b")])
    found = (await read(source_of(tmp_path)))["t"]
    assert names_of(found.rows) == [(2, "b")]
    assert "is no integer of 64 bits (the file t_full_0.ndjson, line 2)" in found.rejected["[1]"]


@pytest.mark.parametrize("marks", [b'"DELETED":false,"DELETED":true', b'"DELETED":true,"TXN_SEQUENCE":"x"'])
async def test_a_row_with_a_doubtful_mark_is_rejected_and_not_deleted(tmp_path: Path, marks: bytes) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [row(1, "a"), b'{"ID":1,%s}' % marks])
    found = (await read(source_of(tmp_path)))["t"]
    assert (found.rows, list(found.rejected)) == ([], ["[1]"])


@pytest.mark.parametrize(
    "value", [b'{"x":"\\ud800"}', b'{"\\ud800":1}', b'["\\ud800"]', b'{"a":' * 400 + b"1.10" + b"}" * 400]
)
async def test_json_that_cannot_be_kept_rejects_its_row_alone(tmp_path: Path, value: bytes) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [b'{"ID":1,"NAME":%s}' % value, row(2, "b")])
    found = (await read(source_of(tmp_path)))["t"]
    assert [one["ID"] for one in found.rows] == [2]
    assert "the member 'NAME': its JSON is nested too deeply, or has text that is not Unicode" in found.rejected["[1]"]


@pytest.mark.parametrize("value", ["maybe", 7, [1]])
async def test_a_mark_of_another_kind_rejects_its_row_alone(tmp_path: Path, value: object) -> None:
    write_file(
        tmp_path, "t_full_0.ndjson", [{"ID": 1, "DELETED": value}, row(2, "b"), {"ID": 3, "TXN_SEQUENCE": 2**63}]
    )
    found = (await read(source_of(tmp_path)))["t"]
    assert names_of(found.rows) == [(2, "b")]
    assert "is neither true nor false (the file t_full_0.ndjson, line 2)" in found.rejected["[1]"]
    assert "is no integer of 64 bits (the file t_full_0.ndjson, line 4)" in found.rejected["[3]"]


@pytest.mark.parametrize("form", ["gzip", "zstd", "byte order mark", "CRLF", "blank lines", "no end", "April 2026"])
async def test_a_file_has_any_form(tmp_path: Path, form: str) -> None:
    path = write_file(tmp_path, "t_full_0.ndjson", [row(1, "a"), row(2, "b")])
    plain = path.read_bytes()
    path.write_bytes(
        {
            "gzip": gzip.compress(plain),
            "zstd": compress_frame(plain, 3),
            "byte order mark": b"\xef\xbb\xbf" + plain,
            "CRLF": plain.replace(b"\n", b"\r\n"),
            "blank lines": plain.replace(b"\n", b"\n\n  \n"),
            "no end": plain.rstrip(),
            "April 2026": plain.replace(b'"metadata":true', b'"TYPE":"METADATA"'),
        }[form]
    )
    assert names_of((await read(source_of(tmp_path)))["t"].rows) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda data: data[:-20], "line 3: it is not JSON"),
        (lambda data: data[: data.rindex(b"\n", 0, -1) + 1], "half written or damaged: its header announces 2 rows, and"),
        (lambda data: data + data.splitlines(keepends=True)[-1], "not as it was written: its header announces 2 rows, and"),
        (lambda data: gzip.compress(data)[:-9], "half written or damaged"),
        (lambda data: b"", "is empty"),
        (lambda data: data.partition(b"\n")[2], "is no header: it has neither"),
        (lambda data: b"\xff\xfe" + data, "is UTF-16"),
        (lambda data: data.replace(b'"a"', b'"\xff"'), "line 2: it is not UTF-8"),
        (lambda data: data + b'{"upsert":{"ID":3},"upsert":{"ID":4}}', "line 4: it has several members 'upsert'"),
        (lambda data: data.replace(b'"ID":2,', b""), "line 3: 'ID', which belongs to the key, is missing or null"),
        (lambda data: data.replace(b'"ID":2,', b'"ID":[2],'), "line 3: 'ID', which belongs to the key, is no plain value"),
        (lambda data: data.replace(b'"ID":2,', b'"ID":["\\ud800"],'), "line 3: its JSON is nested too deeply, or has text"),
        (lambda data: data.replace(b'"NAME":"b"', b'"\\ud800":2'), "line 3: the name '\\ud800' is not Unicode"),
        (lambda data: data.replace(b'"ID":2,', b'"ID":2,"ID":3,'), "line 3: 'ID', which belongs to the key, comes twice"),
        (lambda data: data.replace(b'{"ID":2,', b'[{"ID":2,').replace(b'"b"}', b'"b"}]'), "it is not a JSON object"),
        (lambda data: data.replace(b'"b"', b"[" * 100_000 + b"]" * 100_000), "nested too deeply"),
    ],
)  # fmt: skip
async def test_a_damaged_file_is_one_message_and_stops_its_table_alone(
    tmp_path: Path, damage: object, fault: str
) -> None:
    path = write_file(tmp_path, "t_full_0.ndjson", [row(1, "a"), row(2, "b")])
    write_file(tmp_path, "u_full_0.ndjson", [row(3, "c")])
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]  # each is a function of bytes
    found = await read(source_of(tmp_path))
    assert fault in found["t"].error
    assert "t_full_0.ndjson" in found["t"].error
    assert names_of(found["u"].rows) == [(3, "c")]


@pytest.mark.parametrize("member", ["sha256", "checksum"])
async def test_a_digest_in_the_listing_is_checked(tmp_path: Path, member: str) -> None:
    path = write_file(tmp_path, "t_full_0.ndjson", [row(1, "a")])
    digest = sha256(path.read_bytes()).hexdigest()
    for wrong in (False, True):
        entry = {"fullName": "t_full_0.ndjson", "sha256": None, member: digest[::-1] if wrong else digest}
        (tmp_path / "listing.json").write_bytes(orjson.dumps(entry))
        found = (await read(source_of(tmp_path)))["t"]
        assert ("the file t_full_0.ndjson is damaged: its SHA-256" in found.error) is wrong


async def test_the_table_is_that_of_the_header_or_of_the_name(tmp_path: Path) -> None:
    write_file(tmp_path, "AO_1_X_full_0.ndjson", [row(1, "a")], table="other/table_full_7")
    assert list(await read(source_of(tmp_path))) == ["other/table_full_7"]
    assert list(await read(source_of(tmp_path, table="name"))) == ["AO_1_X"]


async def test_columns_come_and_go_and_unknown_members_are_columns(tmp_path: Path) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [{"ID": 1, "OLD": 5}], {"ID": "number", "OLD": "number"})
    rows = [{"ID": 2, "NEW": "n", "HIDDEN": True}]
    write_file(tmp_path, "t_incremental_0.ndjson", rows, {"ID": "number", "NEW": "varchar"})
    found = (await read(source_of(tmp_path)))["t"]
    assert found.types == {"ID": "integer", "OLD": "integer", "NEW": "text", "HIDDEN": "boolean"}
    assert found.rows == [
        {"ID": 1, "OLD": 5, "NEW": None, "HIDDEN": None},
        {"ID": 2, "OLD": None, "NEW": "n", "HIDDEN": True},
    ]


@pytest.mark.parametrize(
    ("declared", "values", "type_", "wanted"),
    [
        ("number", [b"1", b"-9223372036854775808"], "integer", [1, -(2**63)]),
        ("number", [b"1", b"1.5", b"1e3"], "real", [1.0, 1.5, 1000.0]),
        ("number", [b"9223372036854775808", b"7"], "decimal", ["9223372036854775808", "7"]),
        ("number", [b"12345678901234567890.123456789", b"0.5"], "decimal", ["12345678901234567890.123456789", "0.5"]),
        ("number", [b"9007199254740993", b"0.5"], "decimal", ["9007199254740993", "0.5"]),
        ("number", [b"1e400"], "decimal", ["1e400"]),
        ("number", [b"-0.0", b"NaN"], "real", [-0.0, {"$float": "nan"}]),
        ("varchar", [b'"x"', b'"\\ud83e\\udd94"'], "text", ["x", "🦔"]),
        ("varchar", [b'"\\ud800"'], "text", [{"$text": "7aCA"}]),
        ("varchar", [b'"1"', b"1"], "any", ["1", 1]),
        ("boolean", [b"true", b"null"], "boolean", [True, None]),
        ("varchar", [b'{"a": [1, 2.50]}', b"[]"], "json", ['{"a":[1,2.50]}', "[]"]),
        ("varchar", [b'{"a":1}', b'"text"', b"99999999999999999999"], "json", ['{"a":1}', '"text"', "99999999999999999999"]),
        ("varchar", [b'{"$bytes":"AAEC"}'], "json", ['{"$bytes":"AAEC"}']),
        ("timestamp", [b'"2026-08-18T00:16:51.5Z"'], "timestamptz", ["2026-08-18T00:16:51.5Z"]),
        ("timestamp", [b'"2026-08-18 00:16:51"'], "timestamp", ["2026-08-18 00:16:51"]),
        ("timestamp", [b'"2026-08-18T00:16:51.915527507Z"'], "text", ["2026-08-18T00:16:51.915527507Z"]),
        ("timestamp", [b"1755476211915"], "integer", [1755476211915]),
        ("timestamp", [b"null"], "timestamptz", [None]),
        ("number(64)", [b"null"], "integer", [None]),
        ("something else", [b"null"], "text", [None]),
    ],
)  # fmt: skip
async def test_values_decide_the_type_and_keep_what_they_are(
    tmp_path: Path, declared: str, values: list[bytes], type_: str, wanted: list[object]
) -> None:
    rows = [b'{"ID":%d,"V":%s}' % (number, value) for number, value in enumerate(values)]
    write_file(tmp_path, "t_full_0.ndjson", rows, {"ID": "number", "V": declared})
    found = (await read(source_of(tmp_path)))["t"]
    assert found.types["V"] == type_
    assert [repr(row["V"]) for row in found.rows] == list(map(repr, wanted))


async def test_a_member_that_comes_twice_rejects_its_row_unless_the_values_are_equal(tmp_path: Path) -> None:
    rows = [b'{"ID":1,"NAME":"a","NAME":"b"}', b'{"ID":2,"NAME":"c","NAME":"c"}', b'{"ID":3,"NAME":{"x":1,"x":2}}']
    write_file(tmp_path, "t_full_0.ndjson", rows)
    found = (await read(source_of(tmp_path)))["t"]
    assert names_of(found.rows) == [(2, "c")]
    reason = "the member 'NAME' comes twice with different values (the file t_full_0.ndjson, line 2)"
    assert reason in found.rejected["[1]"]
    assert list(found.rejected) == ["[1]", "[3]"]


@pytest.mark.parametrize(
    ("columns", "options", "key"),
    [
        (("NAME", "Id"), {}, ("Id",)),
        (("NAME", "CODE"), {}, ("NAME", "CODE")),
        (("NAME", "ID", "CODE"), {"key": "CODE"}, ("CODE",)),
        (("NAME", "ID", "CODE"), {"key_t": "NAME,CODE"}, ("NAME", "CODE")),
        (("NAME", "ID"), {"key": "CODE"}, ("ID",)),
        (("DELETED", "NAME", "TXN_SEQUENCE"), {}, ("NAME",)),
        (
            ("entityType", "sourceId", "targetId", "migrationScopeId"),
            {},
            ("migrationScopeId", "entityType", "sourceId"),
        ),
    ],
)
async def test_a_key_that_the_header_does_not_state_is_guessed_or_given(
    tmp_path: Path, columns: tuple[str, ...], options: dict[str, str], key: tuple[str, ...]
) -> None:
    values = {"DELETED": False, "TXN_SEQUENCE": 1}
    rows = [{name: values.get(name, number) for name in columns} for number in range(3)]
    write_file(tmp_path, "t_full_0.ndjson", rows, dict.fromkeys(columns, "varchar"), primaryKeys=None)
    found = (await read(source_of(tmp_path, **options)))["t"]
    assert (found.key, len(found.rows), found.error) == (key, 3, "")


async def test_a_given_key_is_that_of_its_table_even_if_the_header_states_one(tmp_path: Path) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [{"ID": 1, "NAME": "a"}, {"ID": 1, "NAME": "b"}])
    found = (await read(source_of(tmp_path, key_t="NAME", key="ID")))["t"]
    assert (found.key, len(found.rows)) == (("NAME",), 2)


async def test_another_key_in_a_later_file_is_one_message(tmp_path: Path) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [row(1, "a")])
    write_file(tmp_path, "t_incremental_0.ndjson", [row(1, "a")], primaryKeys=["ID", "NAME"])
    error = (await read(source_of(tmp_path)))["t"].error
    assert "t_incremental_0.ndjson has the key ID, NAME, and the files before it ID; name the key columns" in error


async def test_keys_of_all_kinds_come_in_order(tmp_path: Path) -> None:
    keys = [b"10", b"9", b"-1", b"2.5", b"18446744073709551616", b"18446744073709551617"]
    write_file(tmp_path, "t_full_0.ndjson", [b'{"ID":%s}' % key for key in keys])
    found = (await read(source_of(tmp_path)))["t"]
    assert found.types["ID"] == "decimal"
    texts = sorted(["10", "9", "-1", "2.5", "18446744073709551616", "18446744073709551617"])
    assert [row["ID"] for row in found.rows] == texts


async def test_mapping_files_are_tables_named_by_their_entity_type(tmp_path: Path) -> None:
    columns = {
        "entityType": "varchar", "sourceId": "number", "targetId": "number", "migrationScopeId": "varchar",
        "createdAtTimestamp": "timestamp", "DELETED": "boolean", "TXN_SEQUENCE": "integer",
    }  # fmt: skip
    name = "id_mapping-jira/classic:customField_full_0.ndjson"
    base: dict[str, object] = {
        "entityType": "jira:comment",
        "migrationScopeId": "s",
        "createdAtTimestamp": "2026-08-18T00:16:51Z",
    }
    rows: Rows = [
        {**base, "sourceId": 2**62, "targetId": 1, "TXN_SEQUENCE": 1},
        {**base, "sourceId": 2**62, "targetId": 2, "TXN_SEQUENCE": 4},
        {**base, "sourceId": 8, "targetId": 3, "TXN_SEQUENCE": 2},
        {**base, "sourceId": 8, "DELETED": True, "TXN_SEQUENCE": 3},
    ]
    write_file(tmp_path, name, rows, columns, table="jira:comment", primaryKeys=None)
    write_listing(tmp_path, name)
    found = (await read(source_of(tmp_path)))["jira:comment"]
    assert [(row["sourceId"], row["targetId"]) for row in found.rows] == [(2**62, 2)]
    assert found.types["createdAtTimestamp"] == "timestamptz"
    assert "DELETED" not in found.types


async def test_records_of_the_building_blocks_form_are_read(tmp_path: Path) -> None:
    rows: Rows = [{"upsert": {"ID": 1, "NAME": "a"}}, {"upsert": {"ID": 2, "NAME": "b"}}, {"delete": {"ID": 1}}]
    write_file(tmp_path, "t_full_0.ndjson", rows)
    assert names_of((await read(source_of(tmp_path)))["t"].rows) == [(2, "b")]


async def test_a_record_that_names_its_action_twice_stops_its_table(tmp_path: Path) -> None:
    twice = b'{"upsert":{"ID":1,"NAME":"a"},"upsert":{"ID":1,"NAME":"b"}}'
    within = b'{"upsert":{"ID":1,"NAME":"a"},"upsert":{"ID":1,"NAME":"b","NAME":"c"}}'
    for line in (twice, within):
        write_file(tmp_path, "t_full_0.ndjson", [line])
        assert "it has several members 'upsert'" in (await read(source_of(tmp_path)))["t"].error
    write_file(tmp_path, "t_full_0.ndjson", [b'{"upsert":{"ID":1,"NAME":"a","NAME":"b"}}', {"upsert": {"ID": 2}}])
    found = (await read(source_of(tmp_path)))["t"]
    assert (names_of(found.rows), list(found.rejected)) == ([(2, None)], ["[1]"])


async def test_a_key_of_too_many_columns_stops_its_table_alone(tmp_path: Path) -> None:
    names = [f"c{number:04}" for number in range(MOST_KEY_COLUMNS + 1)]
    for table, count in (("wide", MOST_KEY_COLUMNS + 1), ("widest", MOST_KEY_COLUMNS)):
        row_ = dict.fromkeys(names[:count], 1)
        write_file(tmp_path, f"{table}_full_0.ndjson", [row_], dict.fromkeys(row_, "number"), primaryKeys=list(row_))
    write_file(tmp_path, "t_full_0.ndjson", [row(1, "a")])
    found = await read(source_of(tmp_path))
    assert (
        "has a key of 1,991 columns, and 1,990 are possible; name fewer with the option key.wide="
        in found["wide"].error
    )
    assert (len(found["widest"].rows), names_of(found["t"].rows)) == (1, [(1, "a")])
    assert len((await read(source_of(tmp_path, key_wide="c0000")))["wide"].rows) == 1


async def test_marks_have_other_names_or_none(tmp_path: Path) -> None:
    rows = [{"ID": 1, "DELETED": "a note", "gone": False}, {"ID": 2, "DELETED": "x", "gone": True}]
    write_file(tmp_path, "t_full_0.ndjson", rows, {"ID": "number", "DELETED": "varchar", "gone": "boolean"})
    found = (await read(source_of(tmp_path, deleted="gone")))["t"]
    assert found.rows == [{"ID": 1, "DELETED": "a note"}]
    found = (await read(source_of(tmp_path, deleted="")))["t"]
    assert [row["gone"] for row in found.rows] == [False, True]


async def test_contents_of_binary_files_belong_to_their_rows(tmp_path: Path) -> None:
    columns = {"fileId": "varchar", "path": "varchar", "size": "number", "sha256": "varchar"}
    (tmp_path / "binary").mkdir()
    for name in "abc":
        (tmp_path / "binary" / name).write_bytes(b"content of " + name.encode())
    good = sha256(b"content of a").hexdigest()
    rows: Rows = [
        {"fileId": "binary/a", "path": "x/a.png", "size": 12, "sha256": good},
        {"fileId": "binary/b", "path": "x/b.png", "sha256": good},
        {"fileId": "binary/c", "path": "x/c.png", "size": 99},
        {"fileId": "binary/d", "path": "x/d.png"},
        {"fileId": None, "path": "x/e.png"},
    ]
    write_file(tmp_path, "files_full_0.ndjson", rows, columns, primaryKeys=["path"])
    found = (await read(source_of(tmp_path)))["files"]
    (moved, without) = found.rows
    content = parse_content(moved["content"])
    assert (found.content.stored[content.id], content.name, without["content"]) == (b"content of a", "a.png", None)
    assert found.types["content"] == "binary"
    assert "is damaged: its SHA-256 is not" in found.rejected['["x/b.png"]']
    assert "has 12 bytes, and the row says 99" in found.rejected['["x/c.png"]']
    assert "the binary file 'binary/d' is missing" in found.rejected['["x/d.png"]']
    assert "content" not in (await read(source_of(tmp_path, binary="")))["files"].types


async def test_a_content_that_changes_alone_changes_its_row(tmp_path: Path) -> None:
    (tmp_path / "binary").mkdir()
    for name in "ab":
        (tmp_path / "binary" / name).write_bytes(b"content")
    rows: Rows = [{"fileId": f"binary/{name}", "path": name} for name in "abc"]
    write_file(tmp_path, "files_full_0.ndjson", rows, {"fileId": "varchar", "path": "varchar"}, primaryKeys=["path"])
    before = await hashes_of(source_of(tmp_path), "files")
    assert await hashes_of(source_of(tmp_path), "files") == before
    (tmp_path / "binary" / "b").write_bytes(b"CONTENT")
    (tmp_path / "binary" / "c").write_bytes(b"come later")
    after = await hashes_of(source_of(tmp_path), "files")
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False]


async def test_a_place_that_is_no_export_is_named(tmp_path: Path) -> None:
    (tmp_path / "app.db").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="this is no export: it has neither a listing"):
        await read(source_of(tmp_path))
    with pytest.raises(ConfigurationError, match=r"there is no listing 'x\.json'"):
        await read(source_of(tmp_path, listing="x.json"))
    with pytest.raises(ConfigurationError, match="it is a file"):
        await read(source_of(tmp_path / "app.db"))
    with pytest.raises(RefusedError, match=r"cannot read .* File name too long; correct the cause"):
        await read(source_of(tmp_path / ("x" * 300)))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
async def test_a_file_whose_name_is_not_utf_8_is_named(tmp_path: Path) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [row(1, "a")])
    write_file(tmp_path, os.fsdecode(b"u\xff_full_0.ndjson"), [row(1, "a")], table="u")
    with pytest.raises(ConfigurationError, match=r"the file 'u\\udcff_full_0\.ndjson' is not UTF-8; rename it"):
        await read(source_of(tmp_path))


async def test_a_header_without_columns_or_count_is_enough(tmp_path: Path) -> None:
    (tmp_path / "t_full_0.ndjson").write_bytes(b'{"metadata":true,"primaryKeys":["ID"]}\n{"ID":1,"NAME":"a"}\n')
    assert names_of((await read(source_of(tmp_path)))["t"].rows) == [(1, "a")]
    (tmp_path / "t_full_0.ndjson").write_bytes(header("t", None, COLUMNS) + b"\n")
    assert (await read(source_of(tmp_path)))["t"].rows == []
