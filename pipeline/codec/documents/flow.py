"""The documents that are changed by compare-and-set: flow.json and movement.json."""

from __future__ import annotations

import msgspec
import orjson
from msgspec import Struct, field

from pipeline.codec.wire import Count, Document, Time, decode_document, to_document
from pipeline.domain.flows.declaration import Declaration, Windows
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName, parse_object_key
from pipeline.domain.inventory import Fate
from pipeline.domain.lifecycle.status import SETTLED, Reason, Status
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.outbox.event import EventType
from pipeline.domain.progress.scores import Shown


class _AcceptedFinding(Document):
    id: str
    reason: str
    by: str
    at: Time


class _Choices(Struct):
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_deletes: tuple[str, ...] = field(name="allowDeletes", default=())
    overwrite: bool = False


class _QueuedStart(Document):
    when: Time
    who: str = ""
    choices: _Choices = field(default_factory=_Choices)


class _Flow(Document):
    name: FlowName
    source: str
    destination: str
    created: Time
    movements: Count
    origin: FlowName | None = field(name="shares", default=None)
    pruning: str | None = None
    accepted_missing: tuple[str, ...] = field(name="acceptedMissing", default=())
    rebuilt: Count = 0
    declared: Declaration = field(default_factory=Declaration)
    accepted_findings: tuple[_AcceptedFinding, ...] = field(name="acceptedFindings", default=())
    derived: tuple[FlowName, ...] | None = None
    queued: _QueuedStart | None = None


class _Totals(Struct):
    files_exported: Count = 0
    files_imported: Count = 0
    files_skipped: Count = 0
    files_failed: Count = 0
    upserts: Count = 0
    deletes: Count = 0
    rejected: Count = field(name="quarantined", default=0)
    waiting: Count = 0
    binaries_stored: Count = 0
    binaries_reused: Count = 0
    binaries_imported: Count = 0
    binaries_failed: Count = 0
    bytes_read: Count = 0
    bytes_stored: Count = 0
    seconds: float = 0.0


class _InventoryItem(Struct):
    kind: str
    name: str
    fate: Fate
    reason: str = ""
    asked: bool = False


class _Inventory(Struct):
    moved: dict[str, Count] = field(default_factory=dict)
    items: tuple[_InventoryItem, ...] = ()
    unnamed: dict[str, Count] = field(default_factory=dict)


class _SourceRejection(Struct):
    stream: StreamName
    key: str
    reason: str
    column: str | None = None


class _SourceRejections(Struct):
    named: tuple[_SourceRejection, ...] = ()
    count: Count = 0


class _HeldDeletes(Struct):
    deletes: Count
    rows: Count
    gone: bool = False


class _GroupCounts(Struct):
    listed: Count
    imported: Count
    records: Count | None = None
    bytes: Count | None = None


class _Added(Struct):
    files: Count
    records: Count
    bytes: Count
    streams: tuple[StreamName, ...] = ()


class _Wish(Struct):
    want: Want = Want.RUN
    who: str = ""
    when: Time | None = None
    why: str = ""
    until: Time | None = None
    changed: Time | None = None


class _FirstError(Struct):
    file: str
    reason: str
    line: Count | None = None
    key: str | None = None
    column: str | None = None
    exception: str = ""
    trace: tuple[str, ...] = ()


class _DueEvent(Document):
    type: EventType
    time: Time
    subject: str = ""
    data: dict[str, object] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


class _Movement(Document, rename="camel"):
    flow: FlowName
    number: Count
    created: Time
    updated: Time
    attempts: Count
    only: tuple[str, ...]
    exclude: tuple[str, ...]
    file_lists: dict[Label, ObjectKey]
    states: dict[StreamName, ObjectKey]
    exported: bool
    totals: _Totals
    problems: tuple[str, ...]
    unfinished: dict[StreamName, Count] = field(default_factory=dict)
    groups: tuple[Label, ...] = ()
    exporter: str = ""
    origin: FlowName | None = field(name="shares", default=None)
    origin_movement: Count = field(name="sharesMovement", default=0)
    compaction: bool = False
    inventory: _Inventory = field(default_factory=_Inventory)
    omitted: _Inventory = field(default_factory=_Inventory)
    rejections: _SourceRejections = field(default_factory=_SourceRejections)
    allow_deletes: tuple[str, ...] = ()
    held_deletes: dict[StreamName, _HeldDeletes] = field(default_factory=dict)
    violated: tuple[StreamName, ...] = ()
    counts: dict[Label, _GroupCounts] = field(default_factory=dict)
    marks: Count | None = None
    added: dict[Label, _Added] = field(default_factory=dict)
    reasons: dict[str, Count] = field(default_factory=dict)
    first_error: _FirstError | None = None
    outcome: Status | None = field(name="status", default=None)
    because: Reason = Reason.UNKNOWN
    wish: _Wish = field(default_factory=_Wish)
    group_wishes: dict[Label, _Wish] = field(default_factory=dict)
    original: Count = field(name="originalMovement", default=0)
    original_settled: Time | None = None
    windows: Windows | None = None
    retried: bool = False
    shown: tuple[Shown, ...] = ()
    flow_created: Time | None = None
    queued: Time | None = None
    refused: str = ""
    refused_since: Time | None = None
    last_queued: Time | None = None
    due: tuple[_DueEvent, ...] = ()
    overwrite: bool = False
    scopes: dict[StreamName, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outcome not in SETTLED:  # earlier releases stored the others as well
            self.outcome = None
        for key in (*self.file_lists.values(), *self.states.values()):
            parse_object_key(key)


def encode_flow(flow: Flow) -> bytes:
    """Return flow.json."""
    return _encode(msgspec.convert(flow, _Flow, from_attributes=True))


def decode_flow(data: bytes, what: str) -> Flow:
    """Read flow.json. DamagedError names `what`."""
    return msgspec.convert(decode_document(data, _Flow, what), Flow, from_attributes=True)


def encode_movement(movement: Movement) -> bytes:
    """Return movement.json."""
    return _encode(msgspec.convert(movement, _Movement, from_attributes=True))


def decode_movement(data: bytes, what: str) -> Movement:
    """Read movement.json. DamagedError names `what`."""
    return msgspec.convert(decode_document(data, _Movement, what), Movement, from_attributes=True)


def _encode(document: Document) -> bytes:
    return orjson.dumps(to_document(document), option=orjson.OPT_INDENT_2)
