"""JSON documents survive a round trip, and invalid ones are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from pipeline.codec.documents.failures import Failure, decode_failures, encode_failures
from pipeline.codec.documents.file_list import FileListDocument, ListPart, decode_file_list, encode_file_list
from pipeline.codec.documents.flow import decode_flow, decode_movement, encode_flow, encode_movement
from pipeline.codec.documents.message import GroupCompleted, decode_message, encode_message
from pipeline.codec.documents.progress import GroupProgress, Progress, decode_progress, encode_progress
from pipeline.codec.documents.work_error import WorkError, decode_work_error, encode_work_error
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.flows.declaration import (
    ApprovalTerms,
    Declaration,
    FlowLimits,
    GroupRule,
    Retention,
    Side,
    StreamRule,
    Windows,
)
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.movement import Flow, Movement, Totals

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FILE = EventFileId(2, StreamName("order details/ü"), Phase.FULL, 10)
ENTRY = FileEntry(FILE, Label("ü"), ObjectKey("flows/x/y"), Encoding.ZSTD, 5, "aa", 3, 2)


def movement() -> Movement:
    return Movement(
        FlowName("crm"), 2, MOMENT, MOMENT, 3, ("a*",), ("b",),
        {Label("ü"): ObjectKey("k")}, {StreamName("s"): ObjectKey("k2")}, True, Totals(upserts=5, seconds=1.5), ("bad",),
    )  # fmt: skip


DECLARED = Declaration(
    source_options={"url": "https://ü", "token": "env:TOKEN"},
    destination_options={"page": "5"},
    streams=(StreamRule("order*", Label("sales")), StreamRule("log", include=False)),
    groups=(GroupRule(Label("sales"), (Label("people"),)),),
    limits=FlowLimits(event_file_bytes=5_000_000),
    windows=Windows(inactivity_seconds=60, life_days=2, rerun_days=1, stop_grace_seconds=5, reruns=False),
    retention=Retention(7),
    requires="found",
    notifications=("ops",),
    approvals=ApprovalTerms((Side.SOURCE, Side.DESTINATION), "All of it.", ("https://policy",)),
)


def test_what_is_declared_of_a_flow_survives_a_round_trip() -> None:
    flow = Flow(FlowName("crm"), "a", "b", MOMENT, declared=DECLARED)
    assert decode_flow(encode_flow(flow), "flow.json") == flow


def test_a_flow_of_an_earlier_release_declares_nothing_and_has_the_defaults() -> None:
    document = orjson.loads(encode_flow(Flow(FlowName("crm"), "a", "b", MOMENT, 4)))
    del document["declared"]
    flow = decode_flow(orjson.dumps(document), "flow.json")
    assert flow.declared == Declaration()
    assert flow.declared.windows == Windows(900, 14, 12, 3600, reruns=True)


@pytest.mark.parametrize(
    "declared",
    [
        {"windows": {"life_days": -1}},
        {"windows": {"inactivity_seconds": 10**12}},
        {"windows": {"reruns": "no"}},
        {"limits": {"event_file_rows": -1}},
        {"retention": {"reports_days": 10**6}},
        {"approvals": {"required": ["everybody"]}},
        {"streams": [{"group": "a"}]},
        {"source_options": {"a": 1}},
    ],
)
def test_a_wrong_declaration_is_refused_by_name(declared: dict[str, object]) -> None:
    document = orjson.loads(encode_flow(Flow(FlowName("crm"), "a", "b", MOMENT)))
    with pytest.raises(DamagedError, match=r"flow\.json"):
        decode_flow(orjson.dumps(document | {"declared": declared}), "flow.json")


def test_documents_survive_a_round_trip() -> None:
    flow = Flow(FlowName("crm ü"), "a", "b", MOMENT, 4)
    assert decode_flow(encode_flow(flow), "flow.json") == flow
    assert decode_movement(encode_movement(movement()), "movement.json") == movement()
    failures = [Failure(FILE, 3, "[1]", None, "why"), Failure(FILE, None, None, None, "all of it")]
    assert decode_failures(encode_failures(failures), "x") == failures
    message = GroupCompleted(FlowName("crm"), 2, Label("ü"), ObjectKey("k"))
    assert decode_message(encode_message(message)) == message
    progress = Progress("w:1", MOMENT, MOMENT, {Label("ü"): GroupProgress(rows_read=4, complete=True)}, bytes_stored=9)
    assert decode_progress(encode_progress(progress), "x") == progress
    error = WorkError("import ü", "no such host", "w:1", 3, MOMENT, MOMENT)
    assert decode_work_error(encode_work_error(error), "x") == error
    parts = [ListPart(ObjectKey("flows/f/before"), 7)]
    assert decode_file_list(
        encode_file_list(FlowName("f"), Label("ü"), [ENTRY, ENTRY], parts), "x"
    ) == FileListDocument(Label("ü"), parts, [ENTRY, ENTRY])


@pytest.mark.parametrize(
    "change",
    [
        {"status": "DONE"},
        {"number": "2"},
        {"number": -1},
        {"created": "yesterday"},
        {"fileLists": []},
        {"totals": {"upserts": -1}},
        {"formatVersion": 2},
        {"only": "a*"},
    ],
)
def test_a_wrong_movement_is_refused_by_name(change: dict[str, object]) -> None:
    document = {**orjson.loads(encode_movement(movement())), **change}
    with pytest.raises(DamagedError, match=r"movement\.json"):
        decode_movement(orjson.dumps(document), "movement.json")


def test_members_that_this_release_does_not_know_are_ignored() -> None:
    document = orjson.loads(encode_movement(movement()))
    later = document | {"later": [1], "totals": document["totals"] | {"later": 1}}
    assert decode_movement(orjson.dumps(later), "movement.json") == movement()


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"formatVersion":1,"eventType":"other"}', b"null"])
def test_an_unknown_message_is_refused(body: bytes) -> None:
    with pytest.raises(DamagedError, match="message"):
        decode_message(body)


def test_a_truncated_file_list_is_refused() -> None:
    data = encode_file_list(FlowName("f"), Label("ü"), [ENTRY, ENTRY])
    with pytest.raises(DamagedError, match="announces 2 files and names 1"):
        decode_file_list(data[: data.rindex(b"\n", 0, -1) + 1], "x")
    with pytest.raises(DamagedError, match="truncated"):
        decode_file_list(data[:-1], "x")


@pytest.mark.parametrize("body", [b"\xff\x00", b"[]", b'{"formatVersion":1}'])
def test_a_damaged_object_of_a_flow_says_what_to_do(body: bytes) -> None:
    with pytest.raises(DamagedError) as caught:
        decode_movement(body, "flows/my%20crm/movements/1/movement.json")
    advice = "Restore it from a copy; without one, delete it, and run `pipeline rebuild 'my crm'`."
    assert str(caught.value).endswith(advice)
    assert str(caught.value).count("Restore") == 1


def test_a_truncated_object_of_a_flow_says_what_to_do() -> None:
    data = encode_file_list(FlowName("f"), Label("a"), [ENTRY, ENTRY])
    for body in (data[:-1], data[: data.rindex(b"\n", 0, -1) + 1]):
        with pytest.raises(DamagedError, match="delete it, and run `pipeline rebuild f`"):
            decode_file_list(body, "File List flows/f/movements/1/groups/a/files.1.jsonl")
