"""One valid document of each kind, as it is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from pipeline.codec.documents.failures import Failure, encode_failures
from pipeline.codec.documents.file_list import encode_file_list
from pipeline.codec.documents.flow import encode_flow, encode_movement
from pipeline.codec.documents.message import GroupCompleted, MovementExported, MovementStarted, encode_message
from pipeline.codec.documents.progress import GroupProgress, Progress, encode_progress
from pipeline.codec.event_files.constraints import constraints_to_json
from pipeline.codec.event_files.header import encode_header
from pipeline.codec.state import encode_range, encode_state_head
from pipeline.domain.constraints import Action, ForeignKey, Index, IndexColumn, TableConstraints, UnsupportedConstraint
from pipeline.domain.event_file import Encoding, FileEntry, Header, KeyRange
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.movement import Flow, Movement, Status, Totals
from pipeline.domain.planning.import_plan import Shard
from pipeline.domain.schema import Column, StreamSchema

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FLOW = FlowName("crm")
STREAM = StreamName("t")
FILE = EventFileId(1, STREAM, Phase.FULL, 0)
LABEL = Label("t")
LIST_KEY = ObjectKey("flows/crm/movements/1/groups/t/files.1.jsonl")
SCHEMA = StreamSchema(
    STREAM,
    LABEL,
    (
        Column("id", "integer", nullable=False, native_type="INTEGER"),
        Column("name", "text", default="'x'", native_type="TEXT"),
        Column("data", "any"),
    ),
    ("id",),
)


def header_of(rows: int, file: EventFileId = FILE, schema: StreamSchema = SCHEMA) -> Header:
    """Return a header for a file of this many records."""
    return Header(FLOW, file, schema, rows, MOMENT, KeyRange(None, (5, "a", b"\0")), "ab" * 32)


RECORDS: list[Any] = [
    {"upsert": {"id": 1, "name": "one", "data": None}},
    {"upsert": {"id": 2, "name": "two", "data": {"$bytes": "AAEC"}}},
    {"upsert": {"id": 3, "name": "three", "data": 1.5}},
    {"delete": {"id": 2}},
    {"upsert": {"id": 4, "name": {"$text": "/w=="}, "data": {"$float": "inf"}}},
]
EVENT_FILE: list[Any] = [orjson.loads(encode_header(header_of(len(RECORDS)))), *RECORDS]

CONSTRAINTS: Any = constraints_to_json(
    TableConstraints(
        (Index("by_name", (IndexColumn("name", descending=True), IndexColumn("id")), unique=True, constraint=True),),
        (ForeignKey("", ("name",), StreamName("sentinel"), ("id",), Action.CASCADE, Action.SET_NULL, deferred=True),),
        (UnsupportedConstraint("check", "(id > 0)", "it is in another language"),),
    )
)


def entry_of(file: EventFileId, data: bytes = b"x", checksum: str = "ab" * 32) -> FileEntry:
    """Return an entry of a File List."""
    key = ObjectKey(f"flows/crm/events/{file}.jsonl.zst")
    return FileEntry(file, LABEL, key, Encoding.ZSTD, len(data), checksum, 4, 1)


FILE_LIST: list[Any] = [
    orjson.loads(line)
    for line in encode_file_list(
        FLOW, LABEL, [entry_of(FILE), entry_of(EventFileId(2, STREAM, Phase.INCREMENTAL, 0))]
    ).splitlines()
]
FILE_LIST_COMPACTED: list[Any] = [
    FILE_LIST[0]
    | {
        "files": 9,
        "parts": [{"key": LIST_KEY, "files": 7}],
        "compactions": [{"table": "t", "movement": 2, "replaces": ["1/t/full/0"]}],
    },
    *FILE_LIST[1:],
]
MESSAGES: list[Any] = [
    orjson.loads(encode_message(message))
    for message in (
        MovementStarted(FLOW, 3),
        MovementExported(FLOW, 3),
        GroupCompleted(FLOW, 3, LABEL, LIST_KEY, Shard(1, 3)),
    )
]
FLOW_DOCUMENT: Any = orjson.loads(
    encode_flow(Flow(FLOW, "sqlite:///a", "sqlite:///b", MOMENT, 7, origin=FlowName("x"), pruning="host"))
)
MOVEMENT_DOCUMENT: Any = orjson.loads(
    encode_movement(
        Movement(
            flow=FLOW,
            number=3,
            outcome=Status.INCOMPLETE,
            created=MOMENT,
            updated=MOMENT,
            attempts=2,
            only=("a", "b"),
            exclude=("c",),
            file_lists={LABEL: LIST_KEY},
            states={STREAM: ObjectKey("flows/crm/snapshots/t/3.1")},
            exported=True,
            totals=Totals(files_exported=3, seconds=1.5),
            problems=("one", "two"),
            groups=(LABEL,),
            exporter="w",
        )
    )
)
PROGRESS_DOCUMENT: Any = orjson.loads(
    encode_progress(
        Progress("w", MOMENT, MOMENT, {LABEL: GroupProgress(rows_read=3, complete=True)}, 1, 2, 3, 4, 5, 6, [LABEL])
    )
)
FAILURES_DOCUMENT: Any = orjson.loads(
    encode_failures([Failure(FILE, 3, "[1]", "name", "too long"), Failure(FILE, None, None, None, "gone")])
)
STATE_HEAD: bytes = encode_state_head(SCHEMA)
STATE_FRAMES: list[bytes] = [
    encode_range((5,), [(1,), (3,), (5,)], b"12345678" * 3),
    encode_range((9,), [(7,), (9,)], b"abcdefgh" * 2),
    encode_range((float("inf"), b"\0"), [(1.5, b"\0")], b"ABCDEFGH"),
]
