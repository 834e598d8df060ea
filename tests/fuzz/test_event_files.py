"""Event Files and snapshot states, altered as bytes, records and frames, and fed in pieces of any size."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.codec.event_files.upsert_lines import UpsertLines
from pipeline.codec.state import StateReader, encode_stored
from pipeline.domain.comparison.diff import StateRange
from pipeline.domain.event_file import Encoding, Header
from pipeline.domain.keys import order
from tests.fuzz import samples
from tests.fuzz.holding import fuzz, result_or_error
from tests.fuzz.hostile import HOSTILE_VALUES, altered_bytes, altered_lines, dump, packed, pieces

WHAT = "Event File flows/crm/events/1/t/full/0.jsonl.zst"
VALID = b"".join(orjson.dumps(line) + b"\n" for line in samples.EVENT_FILE)


def read_event_file(encoding: Encoding | None, parts: list[bytes]) -> tuple[Header, bytes]:
    """Read a whole Event File from these pieces."""
    reader = EventFileReader(encoding, what=WHAT)
    blocks = [block for part in parts for block in reader.feed(part)]
    reader.close()
    assert reader.header is not None
    assert all(block.endswith(b"\n") for block in blocks)
    return reader.header, b"".join(blocks)


@fuzz(1.5)
@given(packed(altered_lines(samples.EVENT_FILE)).flatmap(lambda it: st.tuples(st.just(it), pieces(it[1]))))
def test_an_altered_event_file_is_refused_by_name_or_has_its_row_count(
    example: tuple[tuple[str, bytes], list[bytes]],
) -> None:
    (encoding, _), parts = example
    found = result_or_error(lambda: read_event_file(Encoding(encoding), parts), naming=WHAT)
    if found is not None:
        header, records = found
        assert records.count(b"\n") == header.row_count


@fuzz()
@given(packed(altered_lines(samples.EVENT_FILE)).flatmap(lambda it: st.tuples(pieces(it[1]), pieces(it[1]))))
def test_the_size_of_the_pieces_makes_no_difference(example: tuple[list[bytes], list[bytes]]) -> None:
    one, other = example
    assert result_or_error(lambda: read_event_file(None, one)) == result_or_error(lambda: read_event_file(None, other))


@fuzz()
@given(st.binary(max_size=200), st.sampled_from([None, *Encoding]))
def test_random_bytes_are_refused_by_name(data: bytes, encoding: Encoding | None) -> None:
    assert result_or_error(lambda: read_event_file(encoding, [data]), naming=WHAT) is None


@fuzz()
@given(altered_lines(samples.RECORDS[:3]))
def test_lines_are_whole_plain_rows_or_left_to_the_slow_path(block: bytes) -> None:
    values = result_or_error(lambda: UpsertLines(["id", "name", "data"]).decode(block))
    if values is not None:
        assert len(values) == 3 * block.count(b"\n")
        assert all(isinstance(value, int | float | str | None) for value in values)


STATE = b"".join([samples.STATE_HEAD, *samples.STATE_FRAMES])
STATE_KEY = "flows/crm/snapshots/t/1.1"


def read_state(parts: list[bytes]) -> list[StateRange]:
    """Read a whole state, including its keys."""
    reader = StateReader(headed=True, what=STATE_KEY)
    ranges = [found for part in parts for found in reader.feed(part)]
    reader.close()
    for found in ranges:
        keys = found.load_keys()
        assert len(keys) == found.rows
        sorted(map(order, [*keys, found.until]))
        encode_stored(found)
    return ranges


@fuzz(1)
@given(altered_bytes(STATE).flatmap(pieces))
def test_an_altered_state_is_refused_by_name_or_read(parts: list[bytes]) -> None:
    result_or_error(lambda: read_state(parts), naming=STATE_KEY)


@fuzz()
@given(
    st.dictionaries(st.sampled_from(["until", "rows", "keys"]), HOSTILE_VALUES, min_size=1),
    st.sampled_from(samples.STATE_FRAMES),
    st.data(),
)
def test_a_range_with_a_false_head_is_refused_by_name_or_read(
    lies: dict[str, object], frame: bytes, data: st.DataObject
) -> None:
    line, _, rest = frame.partition(b"\n")
    altered = dump(orjson.loads(line) | lies) + b"\n" + rest
    parts = data.draw(pieces(samples.STATE_HEAD + altered + samples.STATE_FRAMES[0]))
    result_or_error(lambda: read_state(parts), naming=STATE_KEY)
