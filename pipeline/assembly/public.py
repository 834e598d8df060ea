"""The public interface, which `import pipeline` offers. docs/reference/python.md describes it."""

from __future__ import annotations

from pipeline.assembly.commands.checks.run import CheckReport, Estimate, check
from pipeline.assembly.commands.declared.apply import apply_flows, set_flow
from pipeline.assembly.commands.declared.approve import Asked, approve, revoke
from pipeline.assembly.commands.declared.changes import FlowChange
from pipeline.assembly.commands.declared.remove import Removal, remove_flow
from pipeline.assembly.commands.dry_run import Forecast, StreamForecast, dry_run
from pipeline.assembly.commands.flows import create_flow, flows
from pipeline.assembly.commands.history import FlowHistory, history
from pipeline.assembly.commands.lifecycle.corrections import Correction, RejectedRow
from pipeline.assembly.commands.lifecycle.rejected import Retried, load_corrected
from pipeline.assembly.commands.lifecycle.rejected import list_rejected as rejected
from pipeline.assembly.commands.lifecycle.rejected import retry_rejected as retry
from pipeline.assembly.commands.lifecycle.reruns import reload, rerun
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.assembly.commands.lifecycle.wishes import Wished, pause, resume, stop
from pipeline.assembly.commands.maintenance.manual import compact, prune
from pipeline.assembly.commands.move import move
from pipeline.assembly.commands.status import FlowStatus, GroupStatus, UnreadableFlow, status
from pipeline.assembly.commands.verify import Repair, repair, verify
from pipeline.assembly.commands.workers import Role, run_worker, wait_settled
from pipeline.assembly.progress_counts import Tally
from pipeline.assembly.reporters import LogReporter
from pipeline.connectors.locations import Location
from pipeline.connectors.registry import Connector, ReadOptions
from pipeline.domain.comparison.report import Against, StreamReport, Verification
from pipeline.domain.errors import (
    AbsentError,
    ConfigurationError,
    ConflictError,
    DamagedError,
    DefectError,
    LeaseLostError,
    PipelineError,
    RefusedError,
    TransientError,
    UnreadableError,
)
from pipeline.domain.event_file import FileEntry, Header
from pipeline.domain.flows.approvals import Approval
from pipeline.domain.flows.declaration import Declaration, Side
from pipeline.domain.flows.findings import CheckFinding, Severity
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, Label, Phase, StreamName
from pipeline.domain.keys import Key
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.lifecycle.table import State
from pipeline.domain.lifecycle.wish import Want, Wish
from pipeline.domain.movement import Flow, Movement, Status, Totals
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.domain.progress.model import TimeLeft
from pipeline.domain.progress.shown import ShownProgress
from pipeline.domain.schema import Column, StreamSchema
from pipeline.engine.estimates.group_tally import GroupTally
from pipeline.engine.maintenance.compaction import Compaction
from pipeline.engine.maintenance.pruning import Pruning
from pipeline.ports.destination import (
    Destination,
    DestinationSession,
    FileToLoad,
    GaveWay,
    Loaded,
    LoadOutcome,
    Mark,
    MarksReader,
    Rejection,
    Reopen,
    Violation,
)
from pipeline.ports.reporter import (
    BinaryFileFailed,
    BinaryFileStored,
    Busy,
    BytesMoved,
    Event,
    EventFileFailed,
    EventFileImported,
    EventFileStored,
    ExportPlanned,
    FinishPlanned,
    GroupComplete,
    ImportPlanned,
    MovementBegun,
    MovementPaused,
    MovementSettled,
    ProgressStored,
    RecordRejected,
    RejectedRetried,
    Reporter,
    RowsExpected,
    RowsFetched,
    RowsRead,
    SilentReporter,
    SourceRecordRejected,
    StreamGone,
    StreamUnreadable,
    ViolationFound,
)
from pipeline.ports.source import HashedBlock, RowBlock, RowRejection, Snapshot, Source, StoreBinary, UpsertSink
from pipeline.settings import Settings, load_settings

__all__ = [
    "AbsentError",
    "Against",
    "Approval",
    "Asked",
    "BinaryFileFailed",
    "BinaryFileStored",
    "BinaryId",
    "Busy",
    "BytesMoved",
    "CheckFinding",
    "CheckReport",
    "Column",
    "Compaction",
    "ConfigurationError",
    "ConflictError",
    "Connector",
    "Correction",
    "DamagedError",
    "Declaration",
    "DefectError",
    "Destination",
    "DestinationSession",
    "Estimate",
    "Event",
    "EventFileFailed",
    "EventFileId",
    "EventFileImported",
    "EventFileStored",
    "EventType",
    "ExportPlanned",
    "FileEntry",
    "FileToLoad",
    "FinishPlanned",
    "Flow",
    "FlowChange",
    "FlowHistory",
    "FlowName",
    "FlowStatus",
    "Forecast",
    "GaveWay",
    "GroupComplete",
    "GroupStatus",
    "GroupTally",
    "HashedBlock",
    "Header",
    "ImportPlanned",
    "Key",
    "Label",
    "LeaseLostError",
    "LoadOutcome",
    "Loaded",
    "Location",
    "LogReporter",
    "Mark",
    "MarksReader",
    "Movement",
    "MovementBegun",
    "MovementPaused",
    "MovementSettled",
    "OutboxEvent",
    "Phase",
    "PipelineError",
    "ProgressStored",
    "Pruning",
    "ReadOptions",
    "Reason",
    "RecordRejected",
    "RefusedError",
    "RejectedRetried",
    "RejectedRow",
    "Rejection",
    "Removal",
    "Reopen",
    "Repair",
    "Reporter",
    "Retried",
    "Role",
    "RowBlock",
    "RowRejection",
    "RowsExpected",
    "RowsFetched",
    "RowsRead",
    "Settings",
    "Severity",
    "ShownProgress",
    "Side",
    "SilentReporter",
    "Snapshot",
    "Source",
    "SourceRecordRejected",
    "State",
    "Status",
    "StoreBinary",
    "StreamForecast",
    "StreamGone",
    "StreamName",
    "StreamReport",
    "StreamSchema",
    "StreamUnreadable",
    "Tally",
    "TimeLeft",
    "Totals",
    "TransientError",
    "UnreadableError",
    "UnreadableFlow",
    "UpsertSink",
    "Verification",
    "Violation",
    "ViolationFound",
    "Want",
    "Wish",
    "Wished",
    "apply_flows",
    "approve",
    "check",
    "compact",
    "create_flow",
    "dry_run",
    "flows",
    "history",
    "load_corrected",
    "load_settings",
    "move",
    "pause",
    "prune",
    "rejected",
    "reload",
    "remove_flow",
    "repair",
    "rerun",
    "resume",
    "retry",
    "revoke",
    "run_worker",
    "set_flow",
    "start",
    "status",
    "stop",
    "verify",
    "wait_settled",
]
