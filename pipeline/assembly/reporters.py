"""Reporters: one that passes events to several others, and one that logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from pipeline.log_events import log
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
    SourceRecordRejected,
    StreamGone,
    StreamUnreadable,
    ViolationFound,
)


class Fanout:
    """A Reporter that passes every event to several others."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = reporters

    def report(self, event: Event) -> None:
        """Pass `event` on."""
        for reporter in self._reporters:
            reporter.report(event)


class LogReporter:
    """A Reporter that writes log events. docs/reference/log-events.md lists them."""

    def report(self, event: Event) -> None:
        """Log `event`: at level debug if there may be thousands of its kind, as a warning if a person must see it."""
        match event:
            case ExportPlanned() | FinishPlanned() | RowsRead() | RowsExpected() | RowsFetched() | BytesMoved():
                pass
            case ProgressStored() | MovementPaused():  # the engine logs a pause, with who wished it and why
                pass
            case MovementBegun():
                log.info("movement_started", flow=event.flow, movement=event.movement, resumed=event.resumed)
            case EventFileStored():
                log.debug("event_file_stored", **_file(event), bytes=event.size, adopted=event.adopted)
            case BinaryFileStored():
                log.debug("binary_file_stored", bytes=event.size, reused=event.reused, count=event.count)
            case Busy():
                self._log_busy(event)
            case BinaryFileFailed():
                log.warning("binary_file_failed", binary_file=event.id, reason=event.reason)
            case GroupComplete():
                log.info("group_completed", group=event.label, event_files=event.listed, new=event.new)
            case ImportPlanned():
                log.info("import_started", group=event.label, pending=event.pending, skipped=event.skipped)
            case EventFileImported():
                log.debug("import_done", **_file(event), bytes=event.size, seconds=round(event.seconds, 3))
            case EventFileFailed():
                log.warning("import_failed", **_file(event), reason=event.reason)
            case RecordRejected():
                self._log_rejected(event)
            case RejectedRetried(label, accepted, rejected, waiting):
                log.info("rejected_records_retried", group=label, accepted=accepted, rejected=rejected, waiting=waiting)
            case StreamGone(stream, deletes):
                log.warning("stream_gone", stream=stream, deletes=deletes)
            case StreamUnreadable(stream, reason):
                log.warning("stream_unreadable", stream=stream, reason=reason)
            case SourceRecordRejected(label, rejection):
                log.info(
                    "source_record_rejected",
                    group=label,
                    stream=rejection.stream,
                    key=rejection.key,
                    reason=rejection.reason,
                )
            case ViolationFound():
                violation = event.violation
                log.warning("violation_found", stream=violation.stream, reason=violation.message)
            case MovementSettled():
                log.info("movement_settled", flow=event.flow, movement=event.movement, status=event.status)
            case _ as never:
                assert_never(never)

    def _log_busy(self, event: Busy) -> None:
        if event.is_over:
            log.debug("busy_ended", text=event.text)
        else:
            log.debug("busy_began", text=event.text)

    def _log_rejected(self, event: RecordRejected) -> None:
        rejection = event.rejection
        log.info(
            "record_rejected",
            group=event.label,
            file=str(rejection.file),
            line=rejection.line,
            key=rejection.key,
            reason=rejection.reason,
        )


def _file(event: EventFileStored | EventFileImported | EventFileFailed) -> dict[str, str]:
    return {"group": event.label, "file": str(event.id)}
