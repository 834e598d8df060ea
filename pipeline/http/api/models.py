"""The documents of the API. Times are in UTC, as RFC 3339; sizes are in bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel

from pipeline.codec.documents.failures import Failure
from pipeline.codec.documents.progress import Progress
from pipeline.domain.event_file import FileEntry
from pipeline.domain.lifecycle.table import State
from pipeline.domain.lifecycle.wish import Wish
from pipeline.domain.movement import Flow, Movement, QueuedStart
from pipeline.domain.progress.shown import ShownProgress

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A part of a list. `next` is the cursor of the following part, null at the end."""

    items: list[Item]
    next: str | None = None


class QueuedModel(BaseModel):
    """A start that waits until the latest Movement has settled: since when, who wants it, and its choices."""

    when: datetime
    who: str
    only: list[str]
    exclude: list[str]
    allow_deletes: list[str]

    @classmethod
    def of(cls, queued: QueuedStart) -> QueuedModel:
        """Return the document of a queued start."""
        its = queued.choices
        return cls(
            when=queued.when,
            who=queued.who,
            only=list(its.only),
            exclude=list(its.exclude),
            allow_deletes=list(its.allow_deletes),
        )


class FlowModel(BaseModel):
    """A Flow, and its latest Movement. `queued` is a start that waits."""

    name: str
    source: str
    destination: str
    created: datetime
    movements: int
    origin: str | None
    queued: QueuedModel | None
    latest: MovementModel | None = None

    @classmethod
    def of(cls, flow: Flow, latest: MovementModel | None = None) -> FlowModel:
        """Return the document of a Flow."""
        return cls(
            name=flow.name,
            source=flow.source,
            destination=flow.destination,
            created=flow.created,
            movements=flow.movements,
            origin=flow.origin,
            queued=None if flow.queued is None else QueuedModel.of(flow.queued),
            latest=latest,
        )


class WishModel(BaseModel):
    """What a person wants of a Movement or a group: run, pause or stop; who, since when, why, and until when."""

    want: str
    who: str
    when: datetime | None
    why: str
    until: datetime | None

    @classmethod
    def of(cls, wish: Wish) -> WishModel:
        """Return the document of a wish."""
        return cls(want=wish.want.value, who=wish.who, when=wish.when, why=wish.why, until=wish.until)


class ProgressModel(BaseModel):
    """How far a Movement under way is. `seconds_left` is a range, `low` to `high`, and null while it cannot be known."""

    percent: int
    seconds_left: dict[str, float] | None
    stalled_seconds: float
    paused: bool
    paused_groups: list[str]

    @classmethod
    def of(cls, shown: ShownProgress) -> ProgressModel:
        """Return the document of how far a Movement is."""
        left = shown.left
        return cls(
            percent=shown.percent,
            seconds_left=None if left is None else {"low": round(left.low, 1), "high": round(left.high, 1)},
            stalled_seconds=shown.stalled_seconds,
            paused=shown.paused,
            paused_groups=list(shown.paused_groups),
        )


class MovementModel(BaseModel):
    """A Movement, with its totals. `original_movement` is the Movement of which this is a re-run.

    Of the `rejected` records, those `waiting` need the id of another record. `progress` is null when
    no process says how far it is.
    """

    flow: str
    movement: int
    original_movement: int | None
    status: str
    reason: str
    sentence: str
    wish: WishModel
    settled: bool
    created: datetime
    updated: datetime
    exported: bool
    attempts: int
    groups: list[str]
    event_files: dict[str, int]
    records: dict[str, int]
    binary_files: dict[str, int]
    bytes: dict[str, int]
    seconds: float
    problems: list[str]
    progress: ProgressModel | None = None

    @classmethod
    def of(cls, movement: Movement, state: State, shown: ShownProgress | None) -> MovementModel:
        """Return the document of a Movement in its state, which is so far."""
        totals = movement.totals
        return cls(
            flow=movement.flow,
            movement=movement.number,
            original_movement=movement.original or None,
            status=state.status.value,
            reason=state.reason.value,
            sentence=state.sentence,
            wish=WishModel.of(movement.wish),
            settled=movement.settled,
            created=movement.created,
            updated=movement.updated,
            exported=movement.exported,
            attempts=movement.attempts,
            groups=sorted(movement.groups or movement.file_lists),
            event_files={
                "exported": totals.files_exported,
                "imported": totals.files_imported,
                "skipped": totals.files_skipped,
                "failed": totals.files_failed,
            },
            records={
                "upserts": totals.upserts,
                "deletes": totals.deletes,
                "rejected": totals.rejected,
                "waiting": totals.waiting,
            },
            binary_files={
                "stored": totals.binaries_stored,
                "reused": totals.binaries_reused,
                "imported": totals.binaries_imported,
                "failed": totals.binaries_failed,
            },
            bytes={"read": totals.bytes_read, "stored": totals.bytes_stored},
            seconds=totals.seconds,
            problems=list(movement.problems),
            progress=None if shown is None else ProgressModel.of(shown),
        )


class GroupModel(BaseModel):
    """A File Group of a Movement. `imported` is null when the destination did not answer.

    `records` and `bytes` are null when its File List has been pruned.
    """

    label: str
    listed: int
    imported: int | None
    records: int | None
    bytes: int | None


class FileModel(BaseModel):
    """An Event File. `imported` is null when the destination did not answer."""

    file: str
    label: str
    stream: str
    phase: str
    size: int
    checksum: str
    upserts: int
    deletes: int
    imported: bool | None = None
    rejected: int = 0

    @classmethod
    def of(cls, entry: FileEntry) -> FileModel:
        """Return the document of an Event File of which nothing is known at the destination."""
        return cls(
            file=str(entry.id),
            label=entry.label,
            stream=entry.id.stream,
            phase=entry.id.phase.value,
            size=entry.size,
            checksum=entry.checksum,
            upserts=entry.upserts,
            deletes=entry.deletes,
        )


class RejectedModel(BaseModel):
    """A rejected record: in which Event File and line, and why. Without a line, the whole file has failed."""

    file: str
    line: int | None
    key: str | None
    column: str | None
    reason: str

    @classmethod
    def of(cls, failure: Failure) -> RejectedModel:
        """Return the document of a failure."""
        return cls(
            file=str(failure.file), line=failure.line, key=failure.key, column=failure.column, reason=failure.reason
        )


class WorkerModel(BaseModel):
    """A worker in a Movement: what it holds, and when it last wrote."""

    worker: str
    started: datetime
    updated: datetime
    holding: list[str]
    files_stored: int
    files_imported: int
    records_imported: int

    @classmethod
    def of(cls, progress: Progress) -> WorkerModel:
        """Return the document of a worker's progress."""
        groups = progress.groups.values()
        return cls(
            worker=progress.worker,
            started=progress.started,
            updated=progress.updated,
            holding=list(progress.holding),
            files_stored=sum(group.files_stored for group in groups),
            files_imported=sum(group.files_imported for group in groups),
            records_imported=sum(group.records_imported for group in groups),
        )
