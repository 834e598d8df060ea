"""Identifiers, and the states of a Movement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain import object_keys
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import (
    SHORTENED_CHARACTERS,
    EventFileId,
    FlowName,
    Label,
    Phase,
    StreamName,
    decode_name,
    encode_name,
    is_key_segment,
    key_segment,
    parse_binary_id,
    parse_object_key,
)


@given(st.text(min_size=1))
def test_a_name_survives_and_is_one_harmless_segment(name: str) -> None:
    segment = encode_name(name)
    assert decode_name(segment) == name
    assert segment.isascii()
    assert "/" not in segment
    assert segment.strip(".")


@given(st.text(min_size=1), st.sampled_from(Phase), st.integers(0, 10**9))
def test_an_event_file_id_survives(stream: str, phase: Phase, chunk: int) -> None:
    id_ = EventFileId(3, StreamName(stream), phase, chunk)
    assert EventFileId.parse(str(id_)) == id_


@pytest.mark.parametrize("text", ["", "1/a/full", "x/a/full/0", "1/a/half/0", "1/a/full/-1", "1/a/full/0/1"])
def test_an_invalid_event_file_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|valid"):
        EventFileId.parse(text)


@pytest.mark.parametrize("text", ["", "AA" * 32, "0" * 63, "../" + "0" * 61, "0" * 64 + "\n"])
def test_an_invalid_binary_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a Binary File id"):
        parse_binary_id(text)


@given(st.text(), st.text(), st.integers(SHORTENED_CHARACTERS, 80))
def test_a_segment_of_an_object_key_always_fits_and_is_of_one_name(name: str, other: str, most: int) -> None:
    segment = key_segment(name, most)
    assert is_key_segment(segment)
    assert "/" not in segment
    assert len(segment) <= most
    assert (segment == key_segment(other, most)) == (name == other)


@given(st.text(min_size=1, max_size=60), st.text(max_size=400))
def test_every_key_of_a_stream_fits_into_a_store(flow: str, stream: str) -> None:
    file = EventFileId(2**63 - 1, StreamName(stream), Phase.INCREMENTAL, 2**63 - 1)
    for key in (
        object_keys.event_file_key(FlowName(flow), file),
        object_keys.failure_key(FlowName(flow), file.movement, file),
        object_keys.state_part_key(FlowName(flow), file.stream, "0" * 64),
        object_keys.state_part_key(FlowName(flow), file.stream, f"{file.movement}.{'0' * 64}"),
        object_keys.growing_list_key(FlowName(flow), file.movement, Label(stream), 10**9, 10**9),
    ):
        assert parse_object_key(key) == key


def test_a_flow_whose_name_leaves_no_room_is_the_users_mistake() -> None:
    with pytest.raises(ConfigurationError, match="shorter name with --flow"):
        object_keys.flow_key(FlowName("表" * 100))
