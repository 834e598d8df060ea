"""The public interface, which `import pipeline` offers. docs/reference/python.md describes it."""

from __future__ import annotations

from pipeline.assembly.commands.dry_run import Forecast, StreamForecast, dry_run
from pipeline.assembly.commands.flows import create_flow, flows
from pipeline.assembly.commands.maintenance import compact, prune
from pipeline.assembly.commands.move import move
from pipeline.assembly.commands.status import FlowStatus, GroupStatus, UnreadableFlow, status
from pipeline.assembly.commands.verify import Repair, repair, verify
from pipeline.assembly.commands.workers import Role, run_worker, start, wait_settled
from pipeline.assembly.progress_counts import GroupTally, Tally
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
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, Label, Phase, StreamName
from pipeline.domain.keys import Key
from pipeline.domain.movement import Flow, Movement, Status, Totals
from pipeline.domain.schema import Column, StreamSchema
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
    GroupComplete,
    ImportPlanned,
    MovementBegun,
    MovementSettled,
    RecordRejected,
    Reporter,
    RowsExpected,
    RowsFetched,
    RowsRead,
    SilentReporter,
    SourceRecordRejected,
    StreamUnreadable,
    ViolationFound,
)
from pipeline.ports.source import HashedBlock, RowBlock, RowRejection, Snapshot, Source, StoreBinary, UpsertSink
from pipeline.settings import Settings, load_settings

__all__ = [
    "AbsentError",
    "Against",
    "BinaryFileFailed",
    "BinaryFileStored",
    "BinaryId",
    "Busy",
    "BytesMoved",
    "Column",
    "Compaction",
    "ConfigurationError",
    "ConflictError",
    "Connector",
    "DamagedError",
    "DefectError",
    "Destination",
    "DestinationSession",
    "Event",
    "EventFileFailed",
    "EventFileId",
    "EventFileImported",
    "EventFileStored",
    "ExportPlanned",
    "FileEntry",
    "FileToLoad",
    "Flow",
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
    "MovementSettled",
    "Phase",
    "PipelineError",
    "Pruning",
    "ReadOptions",
    "RecordRejected",
    "RefusedError",
    "Rejection",
    "Reopen",
    "Repair",
    "Reporter",
    "Role",
    "RowBlock",
    "RowRejection",
    "RowsExpected",
    "RowsFetched",
    "RowsRead",
    "Settings",
    "SilentReporter",
    "Snapshot",
    "Source",
    "SourceRecordRejected",
    "Status",
    "StoreBinary",
    "StreamForecast",
    "StreamName",
    "StreamReport",
    "StreamSchema",
    "StreamUnreadable",
    "Tally",
    "Totals",
    "TransientError",
    "UnreadableError",
    "UnreadableFlow",
    "UpsertSink",
    "Verification",
    "Violation",
    "ViolationFound",
    "compact",
    "create_flow",
    "dry_run",
    "flows",
    "load_settings",
    "move",
    "prune",
    "repair",
    "run_worker",
    "start",
    "status",
    "verify",
    "wait_settled",
]
