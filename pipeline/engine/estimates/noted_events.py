"""Notes the events of a Movement in the model of its progress."""

from __future__ import annotations

from pipeline.domain.progress.model import ProgressModel
from pipeline.ports.reporter import (
    FINISHING,
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
    RowsExpected,
    RowsFetched,
    RowsRead,
)


def note_event(model: ProgressModel, event: Event, at: float) -> None:
    """Note an event that is reported at this time, in seconds of the clock of the model."""
    match event:
        case ExportPlanned(label, streams):
            model.plan(label, streams)
        case RowsExpected(label, stream, rows, content_bytes):
            model.expect(label, stream, rows, content_bytes)
        case RowsRead(label, rows, encoded_bytes, stored, unchanged):
            model.read(label, rows, at, changed=encoded_bytes > 0, content_bytes=stored, unchanged_bytes=unchanged)
        case EventFileStored(label, file, _, upserts, deletes):
            model.stored(label, file, upserts + deletes, at, content_bytes=event.content_bytes)
        case GroupComplete(label):
            model.completed(label, at)
        case ImportPlanned(label, pending):
            model.waiting(label, pending)
        case EventFileImported(label, file, _, mark, seconds):
            model.imported(label, file, mark.upserts + mark.deletes + mark.rejected, seconds, at)
        case EventFileFailed(_, file):
            model.ended(file, at)
        case FinishPlanned(passes):
            model.passes(passes)
        case Busy(text, is_over):
            model.busy(at, is_over=is_over)
            if text == FINISHING and not is_over:
                model.finishing(at)
        case BytesMoved() | RowsFetched():
            model.moved(at)
        case _:
            pass
