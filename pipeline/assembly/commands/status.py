"""What the store knows of Flows, and what their destinations have imported.

The store is the truth: a destination is only asked for its marks, read-only and for a short time. If it does not answer,
the marks of its Flow are unknown. A Flow whose documents cannot be read hides no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import anyio

from pipeline.assembly.commands.people_log import read_feedback
from pipeline.assembly.connectors import flow_destination
from pipeline.assembly.runtime import Runtime, limits, open_runtime
from pipeline.codec.documents.failures import Failure
from pipeline.codec.documents.maintenance import MaintenanceState
from pipeline.codec.documents.progress import Progress
from pipeline.codec.documents.work_error import WorkError
from pipeline.domain.errors import AbsentError, PipelineError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.flows.declaration import Side
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey
from pipeline.domain.lifecycle.table import State
from pipeline.domain.movement import Flow, GroupCounts, Movement
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.domain.planning.compaction import applicable
from pipeline.domain.planning.group_counts import count_group, counts_under_way
from pipeline.domain.planning.next_steps import NextSteps
from pipeline.domain.progress.shown import ShownProgress
from pipeline.engine.control.approvals import unapproved
from pipeline.engine.control.current_totals import read_totals
from pipeline.engine.control.state import movement_state, shown_progress, without_the_gone
from pipeline.engine.maintenance.state import read_maintenance
from pipeline.engine.movements.flow_store import WorkerSign
from pipeline.engine.movements.work_errors import read_errors
from pipeline.engine.notifications.endpoints import EndpointStore
from pipeline.engine.storage.concurrently import concurrently
from pipeline.ports.destination import Mark, MarksReader
from pipeline.ports.object_store import ObjectStore
from pipeline.settings import Settings, load_settings

MOVEMENTS_SHOWN = 10
"""How many of a Flow's Movements its status has: the latest ones."""
ANSWER_SECONDS = 2.0
"""How long a destination may take to return its marks."""

LIVE_FILES = 10_000
"""Of a settled Movement with more Event Files than this, the counts at its end are shown: to compare each with the
destination takes long."""
FAILED_FILES_READ = 20
"""From how many failed Event Files the failures of a settled Movement are read."""
CONCURRENT_FLOWS = 32
"""How many Flows are read at the same time, so that destinations that do not answer are waited for together."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What a destination has imported. `by_file` is None, and `unknown_because` says why, if it did not answer."""

    by_file: Mapping[EventFileId, Mark] | None
    unknown_because: str = ""


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """How many Event Files the File List of a group names, and how many of them the destination has, if it answered."""

    label: Label
    listed: int
    imported: int | None


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """A Flow, its latest Movements (oldest first), and the groups, failures, workers and their errors of the last.

    `imports_unknown_because` says why the destination could not be asked; empty if it answered, or if nothing was moved.
    `state` is that of the last Movement, `progress` how far it is while it is under way, `feedback` what each Importer has
    said of it. `disabled` are endpoints of notifications that get nothing of this Flow any more. `maintenance` is what was
    done by itself to keep its store small.
    """

    flow: Flow
    movements: tuple[Movement, ...] = ()
    groups: tuple[GroupStatus, ...] = ()
    failures: tuple[Failure, ...] = ()
    workers: tuple[Progress, ...] = ()
    errors: tuple[WorkError, ...] = ()
    imports_unknown_because: str = ""
    state: State | None = None
    progress: ShownProgress | None = None
    feedback: Mapping[str, object] = field(default_factory=dict)
    disabled: tuple[Endpoint, ...] = ()
    maintenance: MaintenanceState = MaintenanceState()  # noqa: RUF009  immutable


@dataclass(frozen=True, slots=True)
class UnreadableFlow:
    """A Flow whose documents in the store cannot be read, and why."""

    name: FlowName
    reason: str


@dataclass(frozen=True, slots=True)
class FileListing:
    """The Event Files of a Flow, in the order of its File Lists.

    `passed_over` are compacted files; the destination has all of their content from the history that they replace.
    """

    movement: Movement
    entries: tuple[FileEntry, ...]
    marks: Marks
    passed_over: frozenset[EventFileId] = frozenset()


async def status(flow: str | None = None, *, settings: Settings | None = None) -> Sequence[FlowStatus | UnreadableFlow]:
    """Return the status of one Flow, or of all, by name. AbsentError when there is none of that name."""
    async with open_runtime(settings or load_settings()) as runtime:
        if flow is not None:
            return [await read_status(runtime, await runtime.flows.read_flow(FlowName(flow)))]

        async def read(name: FlowName) -> FlowStatus | UnreadableFlow:
            try:
                return await read_status(runtime, await runtime.flows.read_flow(name))
            except PipelineError as error:
                return UnreadableFlow(name, str(error))

        return await concurrently(read, await runtime.flows.list_names(), CONCURRENT_FLOWS)


async def list_files(flow: str, number: int | None = None, *, settings: Settings | None = None) -> FileListing:
    """Return the Event Files that a Flow has accumulated up to a Movement, by default the latest."""
    async with open_runtime(settings or load_settings()) as runtime:
        listed = await runtime.flows.read_flow(FlowName(flow))
        movement = await _read_movement(runtime, listed, number)
        entries: list[FileEntry] = []
        for _, key in sorted(movement.file_lists.items()):
            entries += await _read_list(runtime, listed, movement, key)
        marks = await ask_marks(listed, runtime.store)
        needed = {entry.id for entry in applicable(entries, marks.by_file or {})}
        passed_over = frozenset(entry.id for entry in entries if entry.id not in needed)
        return FileListing(movement, tuple(entries), marks, passed_over)


async def ask_marks(flow: Flow, store: ObjectStore) -> Marks:
    """Ask a Flow's destination what it has imported. It is not opened for writing, and nothing is created in it."""
    try:
        destination = flow_destination(flow, store)
        if not isinstance(destination, MarksReader):
            return Marks(None, f"{flow.destination}: this connector cannot read marks without writing")
        with anyio.fail_after(ANSWER_SECONDS + 0.5):  # more than a driver waits, so that its own words are shown
            return Marks(await destination.read_marks(flow.marks_namespace, wait_seconds=ANSWER_SECONDS))
    except TimeoutError:
        return Marks(None, f"{flow.destination}: no answer within {ANSWER_SECONDS:.0f} seconds")
    except PipelineError as error:
        return Marks(None, str(error))


async def read_status(runtime: Runtime, flow: Flow) -> FlowStatus:
    """Return the status of a Flow."""
    first = max(1, flow.movements - MOVEMENTS_SHOWN + 1)
    movements = [
        await runtime.flows.read_movement(flow.name, number)
        for number in range(max(first, flow.rebuilt), flow.movements + 1)
    ]
    found = FlowStatus(flow, tuple(movements))
    if not movements:
        return found
    latest = movements[-1]
    groups, marks = await _read_groups(runtime, flow, latest)
    at_most = FAILED_FILES_READ if latest.settled else None
    failures = await runtime.flows.read_failures(flow.name, flow.movements, at_most)
    signs = await runtime.flows.read_signs(flow.name, flow.movements)
    if not latest.settled:
        workers, now = [sign.progress for sign in signs], runtime.clock.now()
        totals = await read_totals(runtime.flows, latest, marks.by_file, workers, failures, now)
        movements[-1] = replace(latest, totals=totals)
    return replace(
        found,
        movements=tuple(movements),
        groups=groups,
        failures=tuple(failures),
        workers=tuple(workers_of(runtime, latest, signs)),
        progress=progress_with(runtime, latest, signs),
        state=state_with(runtime, flow, latest, signs, await unapproved(runtime.store, flow)),
        errors=tuple(await read_errors(runtime.store, flow.name, flow.movements)),
        imports_unknown_because=marks.unknown_because,
        feedback=await read_feedback(runtime, flow.name, latest.number),
        disabled=await _disabled_endpoints(runtime, flow.name),
        maintenance=(await read_maintenance(runtime.store, flow.name))[0],
    )


async def _disabled_endpoints(runtime: Runtime, flow: FlowName) -> tuple[Endpoint, ...]:
    found = await EndpointStore(runtime.store).list()
    return tuple(one for one in found if one.disabled and one.wants_flow(flow))


async def _read_groups(runtime: Runtime, flow: Flow, latest: Movement) -> tuple[tuple[GroupStatus, ...], Marks]:
    """Return the groups of the latest Movement, and the answer of the destination, which is not always needed."""
    at_end = counts_at_end(latest)
    if at_end is not None and sum(one.listed for one in at_end.values()) > LIVE_FILES:
        return _group_status(at_end), Marks(None)
    marks = await ask_marks(flow, runtime.store)
    if at_end is not None and marks.by_file is not None and len(marks.by_file) == latest.marks:
        return _group_status(at_end), marks
    known = known_counts(latest, marks)
    counts = {
        label: known.get(label) or count_group(await runtime.flows.read_file_list(key), marks.by_file)
        for label, key in sorted(latest.file_lists.items())
    }
    return _group_status(counts), marks


def known_counts(movement: Movement, marks: Marks) -> Mapping[Label, GroupCounts]:
    """Return the counts of those groups of a Movement under way of which it takes no File List to know them."""
    return {} if movement.settled or marks.by_file is None else counts_under_way(movement, marks.by_file)


def counts_at_end(movement: Movement) -> Mapping[Label, GroupCounts] | None:
    """Return the counts of all groups of a Movement when it settled, by label; None while it is under way."""
    if not movement.settled or not movement.counts.keys() >= movement.file_lists.keys():
        return None
    return {label: movement.counts[label] for label in sorted(movement.file_lists)}


def state_with(
    runtime: Runtime, flow: Flow, movement: Movement, signs: Sequence[WorkerSign], missing: Sequence[Side] = ()
) -> State:
    """Return the state of a Movement with these signs of its workers; `missing` are approvals that its Flow lacks.

    Nothing is written here, so the time is this computer's, or a later date in the store.
    """
    steps = NextSteps(movement, _now(runtime, signs), flow, missing)
    return movement_state(steps, signs, limits(runtime.settings))


def progress_with(runtime: Runtime, movement: Movement, signs: Sequence[WorkerSign]) -> ShownProgress | None:
    """Return how far a Movement under way is, with these signs of its workers; None if no process has said that."""
    return shown_progress(movement, signs, limits(runtime.settings), _now(runtime, signs))


def workers_of(runtime: Runtime, movement: Movement, signs: Sequence[WorkerSign]) -> Sequence[Progress]:
    """Return the progress of each worker; of a Movement under way without the estimates of those that are gone."""
    if movement.settled:
        return [sign.progress for sign in signs]
    return without_the_gone(signs, limits(runtime.settings), _now(runtime, signs))


def _now(runtime: Runtime, signs: Sequence[WorkerSign]) -> datetime:
    return max((runtime.clock.now(), *(sign.stored for sign in signs)))


def _group_status(counts: Mapping[Label, GroupCounts]) -> tuple[GroupStatus, ...]:
    return tuple(GroupStatus(label, one.listed, one.imported) for label, one in counts.items())


async def _read_list(runtime: Runtime, flow: Flow, movement: Movement, key: ObjectKey) -> Sequence[FileEntry]:
    try:
        return await runtime.flows.read_file_list(key)
    except AbsentError as error:
        raise AbsentError(
            f"The File Lists of Movement {movement.number} of Flow {flow.name!r} have been pruned; "
            f"the latest Movement is {flow.movements}."
        ) from error


async def _read_movement(runtime: Runtime, flow: Flow, number: int | None) -> Movement:
    if number is None and not flow.movements:
        raise AbsentError(f"Flow {flow.name!r} has no Movement yet.")
    return await runtime.flows.read_of(flow, flow.movements if number is None else number)
