"""`pipeline move --dry-run`: what a Movement would do. Nothing is written: not at the destination, nor to the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.assembly.backends import open_queue, open_store
from pipeline.assembly.commands.flows import pair_to_move
from pipeline.assembly.connectors import Pair, PathText, copy_of_existing
from pipeline.assembly.place_checks import ensure_distinct
from pipeline.assembly.places.options import PluginSettings
from pipeline.assembly.runtime import SystemClock, limits, make_choices
from pipeline.domain.comparison.values import pair_columns
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.domain.movement import Choices, Flow, HeldDeletes, Movement
from pipeline.domain.planning.compaction import applicable
from pipeline.domain.planning.selection import selected
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.export.exporter import Exporter
from pipeline.engine.export.source_checks import read_streams
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import begin_movement
from pipeline.engine.storage.overlay_store import OverlayStore
from pipeline.engine.verify.existing_stream import ExistingStream, compare_existing
from pipeline.engine.verify.scope import counterpart
from pipeline.ports.destination import Destination, Mark, MarksReader
from pipeline.ports.reporter import SilentReporter
from pipeline.ports.source import Snapshot, Source
from pipeline.settings import Settings, load_settings
from pipeline.stores.directory.object_store import DirectoryObjectStore

WAIT_SECONDS = 2.0
"""How long a destination may take to return its marks."""


@dataclass(frozen=True, slots=True)
class StreamForecast:
    """What a Movement would do with one stream.

    `upserts` and `deletes` would be exported, `imported` counts records of all Event Files that the destination does not
    have yet. `held` are deletes that would need --allow-deletes. `is_created`: the destination has no such table, or
    tree; `new_columns` would be added. `existing` compares what the destination has before the first load.
    """

    stream: StreamName
    upserts: int = 0
    deletes: int = 0
    imported: int = 0
    held: HeldDeletes | None = None
    is_created: bool = False
    new_columns: tuple[str, ...] = ()
    existing: ExistingStream | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a Movement would do. `movement` is as it would be after the export; it exists nowhere.

    `is_destination_known`: the destination is a place that can be read; otherwise nothing is known of what it has.
    """

    movement: Movement
    streams: tuple[StreamForecast, ...]
    is_destination_known: bool
    overwrite: bool = False

    @property
    def problems(self) -> Sequence[str]:
        """Why it would not be a SUCCESS, and what to do, as far as that is known before."""
        held = [one.held.problem(one.stream) for one in self.streams if one.held is not None]
        rejected = [str(rejection) for rejection in self.movement.rejections.named]
        existing = [one.existing for one in self.streams if one.existing is not None and not self.overwrite]
        others = [str(one) for one in existing if one.overwritten]
        return [
            *held,
            *rejected,
            *(f"Needs --overwrite, since the destination has other records: {it}" for it in others),
        ]


async def dry_run(
    source: PathText | Source | None = None,
    destination: PathText | Destination | None = None,
    *,
    flow: str | None = None,
    files: tuple[PathText, PathText] | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    allow_deletes: Sequence[str] = (),
    overwrite: bool = False,
    source_settings: Mapping[str, str] | None = None,
    destination_settings: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> Forecast:
    """Return what `move` with these arguments would do. Source and destination are read, and nothing is written.

    What an export would store goes to a temporary directory, without the contents of Event Files and Binary Files.
    """
    settings = settings or load_settings()
    given = PluginSettings(source_settings or {}, destination_settings or {})
    pair = await pair_to_move(source, destination, files, flow, settings, given)
    await ensure_distinct(pair.sources, pair.destinations)
    with TemporaryDirectory(prefix="pipeline-") as scratch:
        own = replace(settings, home=Path(scratch))
        async with open_store(settings) as base, open_queue(own, "dry-run") as queue:
            clock, store = SystemClock(), OverlayStore(base, DirectoryObjectStore(own.home / "store"))
            flows = FlowStore(store, clock)
            context = EngineContext(store, queue, clock, SilentReporter(), flows, limits(settings, shard_files=0))
            choices = make_choices(only, exclude, allow_deletes, settings)
            return replace(await _forecast(context, pair, choices, settings), overwrite=overwrite)


async def _forecast(context: EngineContext, pair: Pair, choices: Choices, settings: Settings) -> Forecast:
    flows = context.flows
    is_new = not await flows.exists(pair.name)
    async with pair.source.open_snapshot() as snapshot:
        flow = await flows.connect(pair.name, pair.source.location, pair.destination.location)
        choices = choices.of_flow(flow.declared)
        schemas = await read_streams(snapshot, pair.source.location, choices, flow, flows)
        begun, _ = await begin_movement(flows, flow, choices)
        movement = await Exporter(context, snapshot, schemas, begun, flow.declared.groups).run()
        chosen = [one for one in schemas if selected(one.stream, choices.only, choices.exclude)]
        copy = copy_of_existing(pair, settings)
        marks = {} if is_new or copy is None else await _marks(pair, flow)
        there = {} if copy is None else await _at_destination(snapshot, chosen, copy, marks)
    listed = [entry for key in movement.file_lists.values() for entry in await flows.read_file_list(key)]
    is_known = pair.copy is not None
    known = {
        one.stream: StreamForecast(one.stream, is_created=is_known and one.stream not in SPECIAL_STREAMS)
        for one in chosen
    }
    known |= there
    for entry in listed:
        if entry.id.movement == movement.number:
            known.setdefault(entry.id.stream, StreamForecast(entry.id.stream))
    for stream in movement.held_deletes:  # also of a stream that the source no longer has
        known.setdefault(stream, StreamForecast(stream))
    found = [_stream(known[name], movement, listed, marks) for name in sorted(known)]
    return Forecast(movement, tuple(found), is_known)


async def _marks(pair: Pair, flow: Flow) -> Mapping[EventFileId, Mark]:
    """Return the marks of a Flow that exists. A destination that cannot be asked counts as without."""
    if not isinstance(pair.destination, MarksReader):
        return {}
    return await pair.destination.read_marks(flow.marks_namespace, wait_seconds=WAIT_SECONDS)


async def _at_destination(
    snapshot: Snapshot, schemas: Sequence[StreamSchema], copy: Source, marks: Mapping[EventFileId, Mark]
) -> Mapping[StreamName, StreamForecast]:
    """Return what the destination has of each stream that it has."""
    loaded = {file.stream for file in marks}
    found: dict[StreamName, StreamForecast] = {}
    async with copy.open_snapshot() as opened:
        there = await opened.streams()
        for schema in schemas:
            table = counterpart(schema.stream, there)
            if table is not None and schema.stream not in SPECIAL_STREAMS:
                new = schema.stream not in loaded
                existing = await compare_existing(schema, snapshot, opened, there) if new else None
                columns = pair_columns(schema, table).missing
                found[schema.stream] = StreamForecast(schema.stream, new_columns=columns, existing=existing)
    return found


def _stream(
    known: StreamForecast, movement: Movement, listed: Sequence[FileEntry], marks: Mapping[EventFileId, Mark]
) -> StreamForecast:
    """Add to what is known of a stream at the destination what would be exported and imported."""
    entries = [entry for entry in listed if entry.id.stream == known.stream]
    exported = [entry for entry in entries if entry.id.movement == movement.number]
    pending = [entry for entry in applicable(entries, marks) if entry.id not in marks]
    return replace(
        known,
        upserts=sum(entry.upserts for entry in exported),
        deletes=sum(entry.deletes for entry in exported),
        imported=sum(entry.upserts + entry.deletes for entry in pending),
        held=movement.held_deletes.get(known.stream),
    )
