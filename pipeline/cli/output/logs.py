"""Log events, to standard error, as text or JSON lines. docs/reference/log-events.md lists them."""

from __future__ import annotations

import sys
from typing import Any, assert_never

import structlog

from pipeline.ports.reporter import (
    BinaryFileFailed,
    BinaryFileStored,
    BytesMoved,
    Event,
    EventFileFailed,
    EventFileImported,
    EventFileStored,
    GroupComplete,
    ImportPlanned,
    MovementBegun,
    MovementSettled,
    RecordRejected,
    RowsRead,
    ViolationFound,
)
from pipeline.settings import Settings

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _standard_error(*_: Any) -> structlog.PrintLogger:
    """Write to what standard error is at this moment: a live display replaces it while it is on the screen."""
    return structlog.PrintLogger(sys.stderr)


def configure_logs(settings: Settings) -> None:
    """Let everything that logs from now on do so as the settings say."""
    as_json = settings.log_format == "json"
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level]),
        logger_factory=_standard_error,
        cache_logger_on_first_use=False,
    )


class LogReporter:
    """Writes what happens in a Movement as log events."""

    def __init__(self) -> None:
        self._log = structlog.stdlib.get_logger()

    def report(self, event: Event) -> None:
        """Log `event`. What comes by the thousand is logged as debug, what a person must see as warning."""
        log = self._log
        match event:
            case RowsRead() | BytesMoved():
                pass
            case MovementBegun():
                log.info("movement_started", flow=event.flow, movement=event.movement, resumed=event.resumed)
            case EventFileStored():
                log.debug("event_file_stored", **_file(event), bytes=event.size, adopted=event.adopted)
            case BinaryFileStored():
                log.debug("binary_file_stored", bytes=event.size, reused=event.reused)
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
                self._rejected(event)
            case ViolationFound():
                violation = event.violation
                log.warning("violation_found", stream=violation.stream, reason=violation.message)
            case MovementSettled():
                log.info("movement_settled", flow=event.flow, movement=event.movement, status=event.status)
            case _ as never:
                assert_never(never)

    def _rejected(self, event: RecordRejected) -> None:
        rejection = event.rejection
        self._log.info(
            "record_rejected",
            group=event.label,
            file=str(rejection.file),
            line=rejection.line,
            key=rejection.key,
            reason=rejection.reason,
        )


def _file(event: EventFileStored | EventFileImported | EventFileFailed) -> dict[str, str]:
    return {"group": event.label, "file": str(event.id)}
