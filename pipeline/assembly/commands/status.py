"""What the store and the destination know of Flows, gathered for `status` and `files`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.assembly.connectors import imported_marks
from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.codec.documents.failures import Failure
from pipeline.codec.documents.progress import Progress
from pipeline.domain.errors import AbsentError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.compaction import applicable
from pipeline.ports.destination import Mark
from pipeline.settings import Settings

MOVEMENTS_TOLD = 10
"""How many of a Flow's Movements are told, the latest ones."""


@dataclass(frozen=True, slots=True)
class GroupSurvey:
    """How many Event Files a group's File List names, and how many of them the destination has."""

    label: Label
    listed: int
    imported: int


@dataclass(frozen=True, slots=True)
class FlowSurvey:
    """A Flow, its latest Movements (oldest first), and the groups, failures and workers of the last of them."""

    flow: Flow
    movements: tuple[Movement, ...]
    groups: tuple[GroupSurvey, ...]
    failures: tuple[Failure, ...]
    workers: tuple[Progress, ...]
    destination_there: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """The Event Files of a Flow in the order of its File Lists; `marks` is None when the destination is not there.

    `passed_over` are compacted files of which the destination has all already, from the history they replace.
    """

    movement: Movement
    entries: tuple[FileEntry, ...]
    marks: Mapping[EventFileId, Mark] | None
    passed_over: frozenset[EventFileId] = frozenset()


async def survey_flows(settings: Settings, name: str | None) -> Sequence[FlowSurvey]:
    """Survey one Flow, or all. AbsentError when there is none of that name."""
    async with open_runtime(settings) as home:
        flows = await home.flows.list_flows() if name is None else [await home.flows.read_flow(FlowName(name))]
        return [await _survey(home, flow) for flow in flows]


async def list_files(settings: Settings, name: str, number: int | None) -> Listing:
    """List what a Flow has accumulated up to a Movement, the latest unless a number is given."""
    async with open_runtime(settings) as home:
        flow = await home.flows.read_flow(FlowName(name))
        movement = await _movement(home, flow, number)
        entries: list[FileEntry] = []
        for _, key in sorted(movement.file_lists.items()):
            entries += await _read_list(home, flow, movement, key)
        marks = await imported_marks(flow)
        needed = {entry.id for entry in applicable(entries, marks or {})}
        passed_over = frozenset(entry.id for entry in entries if entry.id not in needed)
        return Listing(movement, tuple(entries), marks, passed_over)


async def _read_list(home: Runtime, flow: Flow, movement: Movement, key: ObjectKey) -> Sequence[FileEntry]:
    try:
        return await home.flows.read_file_list(key)
    except AbsentError as error:
        raise AbsentError(
            f"What Movement {movement.number} of Flow {flow.name!r} listed has been pruned; the latest is {flow.movements}."
        ) from error


async def _movement(home: Runtime, flow: Flow, number: int | None) -> Movement:
    if number is None and not flow.movements:
        raise AbsentError(f"Flow {flow.name!r} has no Movement yet.")
    wanted = flow.movements if number is None else number
    try:
        return await home.flows.read_movement(flow.name, wanted)
    except AbsentError as error:
        raise AbsentError(f"Flow {flow.name!r} has no Movement {wanted}; its latest is {flow.movements}.") from error


async def _survey(home: Runtime, flow: Flow) -> FlowSurvey:
    first = max(1, flow.movements - MOVEMENTS_TOLD + 1)
    movements = [await home.flows.read_movement(flow.name, number) for number in range(first, flow.movements + 1)]
    if not movements:
        return FlowSurvey(flow, (), (), (), (), destination_there=False)
    marks = await imported_marks(flow)
    groups = []
    for label, key in sorted(movements[-1].file_lists.items()):
        entries = await home.flows.read_file_list(key)
        entries = applicable(entries, marks or {})
        imported = sum(entry.id in marks for entry in entries) if marks is not None else 0
        groups.append(GroupSurvey(label, len(entries), imported))
    return FlowSurvey(
        flow,
        tuple(movements),
        tuple(groups),
        failures=tuple(await home.flows.read_failures(flow.name, flow.movements)),
        workers=tuple(await home.flows.read_progress(flow.name, flow.movements)),
        destination_there=marks is not None,
    )
