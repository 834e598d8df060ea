"""Defects that altered input has revealed, each with the smallest input that revealed it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.codec.documents.failures import decode_failures
from pipeline.codec.documents.file_list import decode_file_list
from pipeline.codec.documents.flow import decode_movement
from pipeline.codec.documents.message import decode_message
from pipeline.codec.documents.progress import decode_progress
from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.codec.event_files.header import decode_header
from pipeline.codec.event_files.upsert_lines import UpsertLines
from pipeline.codec.state import StateReader, encode_range
from pipeline.codec.values import parse_line
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import Encoding
from tests.fuzz import samples
from tests.fuzz.holding import in_time
from tests.fuzz.hostile import dump, nested


def altered(document: Any, *path: Any, to: Any) -> bytes:
    """Return the document with the value at `path` replaced."""
    copy = orjson.loads(orjson.dumps(document))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return orjson.dumps(copy)


@pytest.mark.parametrize("depth", [900, 1000, 100_000])
def test_deep_nesting_raises_no_recursion_error(depth: int) -> None:
    with pytest.raises(DamagedError, match="x"):
        parse_line(b"[" * depth + b"]" * depth, "x")


def test_a_message_about_a_large_value_is_short() -> None:
    with pytest.raises(DamagedError) as caught:
        decode_movement(altered(samples.MOVEMENT_DOCUMENT, "flow", to=["x" * 100_000] * 10), "x")
    assert len(str(caught.value)) < 1000


def test_totals_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(DamagedError, match="files_imported"):
        decode_movement(altered(samples.MOVEMENT_DOCUMENT, "totals", "files_imported", to="many"), "x")


def test_progress_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(DamagedError, match="rows_read"):
        decode_progress(altered(samples.PROGRESS_DOCUMENT, "groups", "t", "rows_read", to="many"), "x")


def test_a_failure_whose_line_is_not_a_number_is_refused() -> None:
    with pytest.raises(DamagedError, match="line"):
        decode_failures(altered(samples.FAILURES_DOCUMENT, "failures", 0, "line", to="three"), "x")


@pytest.mark.parametrize("moment", ["2026-01-01T00:00:00", "0001-01-01T00:00:00+23:59"])
def test_a_time_without_an_equivalent_in_utc_is_refused(moment: str) -> None:
    with pytest.raises(DamagedError, match="is damaged"):
        decode_header(altered(samples.EVENT_FILE[0], "exportTime", to=moment), "x")


def test_a_header_with_invalid_numbers_or_names_is_refused() -> None:
    for name, value in [("rowCount", -1), ("movement", True), ("table", ["t"]), ("primaryKeys", ["id", "id"])]:
        with pytest.raises(DamagedError, match="is damaged"):
            decode_header(altered(samples.EVENT_FILE[0], name, to=value), "x")


@pytest.mark.parametrize("key", ["flows/../../etc/passwd", "/etc/passwd", "a//b", "a\0b", "", "x" * 1025])
def test_a_key_that_no_store_can_hold_is_damage_and_not_a_defect(key: str) -> None:
    with pytest.raises(DamagedError, match="an object key"):
        decode_message(altered(samples.MESSAGES[2], "key", to=key))
    entry = altered(samples.FILE_LIST[1], "key", to=key)
    with pytest.raises(DamagedError, match=r"line 2 .*an object key"):
        decode_file_list(b"\n".join([altered(samples.FILE_LIST[0], "files", to=1), entry, b""]), "x")


@pytest.mark.parametrize("file", ["1/%ED%A0%80/full/0", "01/t/full/0", f"{10**19}/t/full/0"])
def test_an_event_file_id_in_another_spelling_is_refused(file: str) -> None:
    entry = altered(samples.FILE_LIST[1], "fileId", to=file)
    with pytest.raises(DamagedError, match="is damaged"):
        decode_file_list(b"\n".join([altered(samples.FILE_LIST[0], "files", to=1), entry, b""]), "x")


@pytest.mark.parametrize("frame", [{"rows": -3, "keys": 0}, {"rows": 0, "keys": -30}, {"rows": -1, "keys": 8}])
def test_a_state_range_of_negative_length_is_refused_and_does_not_hang(frame: dict[str, int]) -> None:
    with in_time(5), pytest.raises(DamagedError, match="is damaged"):
        for _ in StateReader(headed=False, what="x").feed(orjson.dumps({"until": [1], **frame}) + b"\n" + b"y" * 100):
            pass


def test_a_state_range_that_is_too_long_is_refused_before_it_is_read() -> None:
    frame = orjson.dumps({"until": [1], "rows": 2**60, "keys": 0})
    with pytest.raises(DamagedError, match="claims"):
        list(StateReader(headed=False, what="x").feed(frame + b"\n"))


def test_json_nested_too_deeply_to_be_written_again_is_refused() -> None:
    with pytest.raises(DamagedError, match="is damaged"):
        decode_header(dump(samples.EVENT_FILE[0] | {"native": {"a": nested(300)}}), "x")


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_an_integer_of_more_than_64_bits_is_not_a_plain_value(number: int) -> None:
    assert UpsertLines(["id"]).decode(b'{"upsert":{"id":%d}}\n' % number) is None


def test_reading_ends_at_the_first_record_beyond_the_row_count() -> None:
    reader = EventFileReader(Encoding.PLAIN, what="x")
    list(reader.feed(orjson.dumps(samples.EVENT_FILE[0] | {"rowCount": 1}) + b"\n"))
    with pytest.raises(DamagedError, match="x is damaged: its header announces 1 records, and it has more"):
        list(reader.feed(b"{}\n{}\n"))


def test_a_state_with_one_altered_key_is_refused() -> None:
    frame = encode_range((3,), [(1,), (2,), (3,)], bytes(24))
    assert [part.rows for part in StateReader(headed=False, what="x").feed(frame)] == [3]
    for before, after in [(b"[2]", b"[1]"), (b'"until":[3]', b'"until":[4]'), (bytes(9), bytes(8) + b"\1")]:
        assert frame.count(before) >= 1
        with pytest.raises(DamagedError, match="x is damaged: a range is altered"):
            list(StateReader(headed=False, what="x").feed(frame.replace(before, after, 1)))
