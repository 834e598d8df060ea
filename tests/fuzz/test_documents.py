"""Altered JSON documents of the store and the queue are refused by name, or read as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.documents.failures import Failure, decode_failures, encode_failures
from pipeline.codec.documents.file_list import FileListDocument, decode_file_list
from pipeline.codec.documents.flow import decode_flow, decode_movement, encode_flow, encode_movement
from pipeline.codec.documents.message import decode_message, encode_message
from pipeline.codec.documents.progress import Progress, decode_progress, encode_progress
from pipeline.codec.event_files.header import decode_header, encode_header
from pipeline.codec.state import decode_state_head
from pipeline.codec.values import from_json, key_from_json, key_text, key_to_json, to_json
from pipeline.domain.keys import order
from pipeline.domain.movement import Flow, Movement
from pipeline.stores.keys import check_key
from tests.fuzz import samples
from tests.fuzz.holding import fuzz, result_or_error
from tests.fuzz.hostile import HOSTILE_VALUES, altered_lines, documents

WHAT = "flows/crm/the-thing.json"
DOCUMENTS: dict[str, tuple[Any, Callable[[bytes, str], Any], Callable[[Any], bytes], Any]] = {
    "flow.json": (samples.FLOW_DOCUMENT, decode_flow, encode_flow, Flow),
    "movement.json": (samples.MOVEMENT_DOCUMENT, decode_movement, encode_movement, Movement),
    "progress": (samples.PROGRESS_DOCUMENT, decode_progress, encode_progress, Progress),
    "failures": (samples.FAILURES_DOCUMENT, decode_failures, encode_failures, list[Failure]),
}


def check_types(found: Any, kind: Any) -> None:
    """Every member is of the type it is declared with, as msgspec would have to leave it."""
    plain = [asdict(one) for one in found] if isinstance(found, list) else asdict(found)
    assert msgspec.convert(plain, kind) == found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_an_altered_document_is_refused_by_name_or_matches_its_types(name: str) -> None:
    document, decode, encode, kind = DOCUMENTS[name]

    @fuzz()
    @given(documents(document))
    def check(data: bytes) -> None:
        found = result_or_error(lambda: decode(data, WHAT), naming=WHAT)
        if found is not None:
            check_types(found, kind)
            assert decode(encode(found), WHAT) == found

    assert decode(orjson.dumps(document), WHAT)
    check()


@fuzz()
@given(st.sampled_from(samples.MESSAGES).flatmap(documents))
def test_an_altered_message_is_refused_or_survives_a_round_trip(body: bytes) -> None:
    found = result_or_error(lambda: decode_message(body), naming="message")
    if found is not None:
        assert decode_message(encode_message(found)) == found
        if hasattr(found, "key"):
            check_key(found.key)


@fuzz()
@given(documents(samples.EVENT_FILE[0]))
def test_an_altered_header_is_refused_by_name_or_survives_a_round_trip(line: bytes) -> None:
    found = result_or_error(lambda: decode_header(line, WHAT), naming=WHAT)
    if found is not None:
        assert found.row_count >= 0
        assert found.id.movement >= 0
        assert found.id.chunk >= 0
        assert len(set(found.schema.primary_keys)) == len(found.schema.primary_keys) > 0
        assert decode_header(encode_header(found), WHAT) == found


@fuzz()
@given(documents(orjson.loads(samples.STATE_HEAD)))
def test_an_altered_state_head_is_refused_by_name_or_read(line: bytes) -> None:
    result_or_error(lambda: decode_state_head(line, WHAT), naming=WHAT)


@fuzz(1)
@given(st.sampled_from([samples.FILE_LIST, samples.FILE_LIST_COMPACTED]).flatmap(altered_lines))
def test_an_altered_file_list_is_refused_by_name_or_names_valid_keys(data: bytes) -> None:
    found: FileListDocument | None = result_or_error(lambda: decode_file_list(data, WHAT), naming=WHAT)
    for part in found.parts if found else []:
        check_key(part.key)
    for entry in found.entries if found else []:
        check_key(entry.key)
        orjson.dumps([str(entry.id), entry.id.stream, entry.label, entry.checksum])
        assert str(entry.id).count("/") == 3


@fuzz()
@given(st.lists(HOSTILE_VALUES, max_size=3) | HOSTILE_VALUES)
def test_a_key_is_refused_or_can_be_sorted_and_written_again(values: Any) -> None:
    key = result_or_error(lambda: key_from_json(values))
    if key is not None:
        order(key)
        assert key_text(key_from_json(key_to_json(key))) == key_text(key)


@fuzz()
@given(HOSTILE_VALUES)
def test_a_value_is_refused_or_written_as_it_was_read(value: Any) -> None:
    found = result_or_error(lambda: from_json(value))
    if found is not None:
        assert orjson.dumps(to_json(found)) == orjson.dumps(to_json(from_json(to_json(found))))
