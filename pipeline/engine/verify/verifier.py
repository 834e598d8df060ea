"""Verification of a Flow: compares its destination, read like a source, with its source, stream by stream.

Both are read once, in key order. Nothing is changed or locked. Each technology's snapshot decides whether concurrent
writes are seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

from pipeline.domain.comparison.report import (
    Against,
    Difference,
    Finding,
    KnownRejection,
    LatestMovement,
    StreamReport,
    Verification,
)
from pipeline.domain.comparison.values import (
    Pairing,
    keys_of_any_kind,
    pair_columns,
    uuid_keys,
    why_not_comparable,
    without_columns,
)
from pipeline.domain.errors import ConfigurationError, UnreadableError
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import ATTRIBUTE_KINDS, InventoryItem
from pipeline.domain.movement import Flow
from pipeline.domain.schema import LARGE_OBJECT_STREAM, SCHEMA_STREAM, SPECIAL_STREAMS, StreamSchema
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.verify.object_comparison import compare_schema_objects
from pipeline.engine.verify.scope import FlowHistory, Scope, StreamPair, read_history, read_scope
from pipeline.engine.verify.stored_snapshot import StoredSnapshot
from pipeline.engine.verify.stream_comparison import DifferenceSink, FindRejection, OpenRows, StreamComparison
from pipeline.log_events import log
from pipeline.ports.app_copy import AppCopy
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.ranged_source import open_rows_along
from pipeline.ports.source import DefinitionReader, OmissionReporter, RowFetcher, Snapshot, Source

Definitions = Mapping[StreamName, Mapping[str, str]]
NoteDifference = Callable[[StreamName, Difference], None]

EXAMPLES_KEPT = 20
"""Differing keys of each stream that are named, by default."""


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What to compare: the streams that match one of `streams` (all if there are none), against the source or the state.

    `examples` limits how many differing keys of each stream are named.
    """

    streams: tuple[str, ...] = ()
    against: Against = Against.SOURCE
    examples: int = EXAMPLES_KEPT


class Verifier:
    """Compares a Flow's destination, read as the Source `copy`, with its `source`."""

    def __init__(
        self, store: ObjectStore, flows: FlowStore, clock: Clock, flow: Flow, *, source: Source, copy: Source
    ) -> None:
        self._store, self._flows, self._clock = store, flows, clock
        self._flow = flow
        self._source = source
        self._copy = copy

    async def run(self, request: VerifyRequest, note: NoteDifference | None = None) -> Verification:
        """Compare and return the result. `note` is called with every difference, stream by stream in key order."""
        begun = self._clock.now()
        log.info("verify_started", flow=self._flow.name, against=request.against.value)
        history = await read_history(self._flows, self._flow.name)
        async with AsyncExitStack() as stack:
            here: Snapshot | StoredSnapshot
            stored = here = StoredSnapshot(self._store, history.latest)
            if request.against is Against.SOURCE:
                here = await stack.enter_async_context(self._source.open_snapshot())
            copy = await stack.enter_async_context(self._copy.open_snapshot())
            scope = await read_scope(history, here, stored, copy, request.streams)
            if request.against is Against.STORED:
                _ensure_hashes_compare(scope)
            comparison = _Comparison(request, history, self._flow.accepted_missing, here, copy, note)
            await comparison.read_definitions()
            reports = [await comparison.compare(pair) for pair in scope.compared]
            await comparison.find_gaps(scope)
        log.info("verify_done", flow=self._flow.name, equal=all(report.equal for report in reports))
        return Verification(
            flow=self._flow.name,
            source=self._flow.source,
            destination=self._flow.destination,
            against=request.against,
            movement=LatestMovement(history.latest.number, history.latest.status.value, history.latest.updated),
            begun=begun,
            ended=self._clock.now(),
            streams=tuple(reports),
            not_selected=scope.not_selected,
            only_at_destination=(*scope.only_at_destination, *comparison.extra_objects),
            gaps=tuple(comparison.gaps),
            accepted=tuple(comparison.accepted),
            left_out=scope.left_out,
            unhandled=scope.unhandled,
            covers=tuple(covered(scope, request.against, definitions=comparison.has_definitions)),
        )


class _Comparison:
    """The comparison of the streams of a scope. Its attributes gather what it finds beside their reports."""

    def __init__(
        self,
        request: VerifyRequest,
        history: FlowHistory,
        accepted_kinds: Sequence[str],
        here: Snapshot | StoredSnapshot,
        copy: Snapshot,
        note: NoteDifference | None,
    ) -> None:
        self._request, self._history, self._accepted_kinds = request, history, accepted_kinds
        self._here, self._copy, self._note = here, copy, note
        self._definitions: tuple[Definitions, Definitions] = {}, {}
        self.has_definitions = False
        self.gaps: list[InventoryItem] = []
        self.accepted: list[InventoryItem] = []
        self.extra_objects: list[str] = []

    async def read_definitions(self) -> None:
        """Read what tables have beside rows, if both sides can say so."""
        if isinstance(self._here, DefinitionReader) and isinstance(self._copy, DefinitionReader):
            self._definitions = await self._here.definitions(), await self._copy.definitions()
            self.has_definitions = True

    async def find_gaps(self, scope: Scope) -> None:
        """Find what the source has and no stream holds. Called after the rows have been read."""
        if self._request.streams or self._request.against is Against.STORED:
            return
        items = list(await self._here.omissions()) if isinstance(self._here, OmissionReporter) else []
        named, known = self._history.latest.inventory.items, set(items)
        items += [it for it in named if it not in known and (scope.left_out or it.kind in ATTRIBUTE_KINDS)]
        for item in (item for item in items if item.is_gap):
            (self.accepted if item.kind in self._accepted_kinds else self.gaps).append(item)

    async def compare(self, pair: StreamPair) -> StreamReport:
        """Compare one stream."""
        pairing = None if pair.there is None else pair_columns(pair.here, pair.there)
        app = self._copy if isinstance(self._copy, AppCopy) else None
        ignored = tuple(app.ignored_columns(pair.here)) if app else tuple(self._accepted_columns(pair, pairing))
        pairing = pairing and without_columns(pairing, ignored)
        report = StreamReport(
            pair.here.stream,
            ignored_columns=ignored,
            absent=pair.there is None and not pair.gone,
            gone=pair.gone,
            missing_columns=pairing.missing if pairing else (),
            extra_columns=pairing.extra if pairing else (),
            definitions=self._missing_definitions(pair),
            case_twins=(*pair.case_twins, *(pairing.case_twins if pairing else ())),
        )
        if app and app.why_not:
            return replace(report, incomparable=app.why_not)
        uuids = uuid_keys(pair.here, pair.there, pairing) if pair.there and pairing else {}
        if pair.there and pairing and (reason := why_not_comparable(pair.here, pair.there, pairing, uuids)):
            return replace(report, incomparable=reason)
        if pair.here.stream == SCHEMA_STREAM and not isinstance(self._here, StoredSnapshot):
            return await self._compare_objects(report, pair, self._here)
        rows = None if pair.gone else self._here.open_rows(pair.here)
        copied = self._copied(pair, pairing)
        try:
            is_id_of = app.is_id_of if app else None
            fetcher = self._here if isinstance(self._here, RowFetcher) and not pair.gone else None
            fetch = None if fetcher is None else partial(fetcher.fetch_rows, pair.here)
            comparison = StreamComparison(
                report, pairing, self._sink(pair.here.stream), is_id_of, fetch, [*uuids.values()]
            )
            report = _with_objects(await comparison.run(rows, copied), app, self._request.examples)
        except UnreadableError as error:
            return replace(report, incomparable=str(error))
        log.info("stream_verified", stream=report.stream, rows=report.source.rows, differences=report.differences)
        return report

    async def _compare_objects(self, report: StreamReport, pair: StreamPair, here: Snapshot) -> StreamReport:
        sides = (here, None if pair.gone else pair.here), (self._copy, pair.there)
        found = await compare_schema_objects(
            report, sides, self._history.latest.inventory, self._accepted_kinds, self._sink(report.stream)
        )
        self.accepted += found.accepted
        self.extra_objects += found.extra
        return found.report

    def _accepted_columns(self, pair: StreamPair, pairing: Pairing | None) -> Iterator[str]:
        """Give the columns that the destination lacks and may lack: those of a kind that the user accepts as missing."""
        kinds = {it.name: it.kind for it in self._history.latest.inventory.items if it.is_gap}
        for name in pairing.missing if pairing else ():
            if kinds.get(f"{pair.here.stream}.{name}") in self._accepted_kinds:
                yield name

    def _missing_definitions(self, pair: StreamPair) -> tuple[str, ...]:
        """Return what the destination's table of the same technology lacks."""
        if pair.there is None or set(pair.here.native) != set(pair.there.native):
            return ()
        wanted = self._definitions[0].get(pair.here.stream, {})
        present = self._definitions[1].get(pair.there.stream, {})
        texts = set(present.values())
        lacking = [name for name, text in wanted.items() if name not in present and text not in texts]
        return tuple(name for name in lacking if not name.startswith(tuple(self._accepted_kinds)))

    def _copied(self, pair: StreamPair, pairing: Pairing | None) -> OpenRows | None:
        if pair.there is None or pairing is None:
            return None
        return partial(open_rows_along, self._copy, aligned(pair.here, pair.there, pairing))

    def _sink(self, stream: StreamName) -> DifferenceSink:
        def note(difference: Difference) -> None:
            if self._note is not None:
                self._note(stream, difference)

        return DifferenceSink(self._request.examples, note, self._rejections(stream))

    def _rejections(self, stream: StreamName) -> FindRejection | None:
        known = self._history.rejected.get(stream, {})
        app = self._copy if isinstance(self._copy, AppCopy) else None

        def find(key: str) -> KnownRejection | None:
            if app is not None and (kept := app.rejection(stream, key)) is not None:
                return KnownRejection(kept.reason, kept.waits)
            return KnownRejection(known[key]) if key in known else None

        return find if known or app is not None else None


def _with_objects(report: StreamReport, app: AppCopy | None, keep: int) -> StreamReport:
    """Add the objects of an app that the Flow has not put there, and those too many of one key. No repair deletes them."""
    if app is None:
        return report
    (unknown, keys), repeats = app.unknown(report.stream), app.repeats(report.stream)
    added = [Difference(key, Finding.TWICE) for key in repeats.first]
    added += [Difference(key, Finding.EXTRA) for key in keys]
    return replace(
        report,
        extra=report.extra + unknown,
        twice=repeats.keys,
        examples=(*report.examples, *added[: max(0, keep - len(report.examples))]),
        destination=replace(report.destination, rows=report.destination.rows + unknown + repeats.objects),
    )


def covered(scope: Scope, against: Against, *, definitions: bool) -> Iterator[str]:
    """Yield what a comparison covers, in words."""
    streams = {pair.here.stream: pair.here for pair in scope.compared}
    tables = [name for name, schema in streams.items() if name not in SPECIAL_STREAMS and not _is_tree(schema)]
    if tables:
        yield f"the rows of {len(tables):,} {'table' if len(tables) == 1 else 'tables'}"
        if against is Against.SOURCE:
            yield "generated columns"
        alike = {
            pair.here.stream
            for pair in scope.compared
            if pair.there and set(pair.here.native) == set(pair.there.native)
        }
        if definitions and not alike.isdisjoint(tables) and not scope.left_out:
            yield "indexes, constraints and defaults"
    if SCHEMA_STREAM in streams:
        yield "views, functions and other schema objects"
        yield "the next numbers of sequences"
    if LARGE_OBJECT_STREAM in streams:
        yield "large objects"
    if any(map(_is_tree, streams.values())):
        yield "the kinds, contents, permissions, times and link targets of files"


def _is_tree(schema: StreamSchema) -> bool:
    is_table = schema.stream in SPECIAL_STREAMS or not schema.stream.startswith("@")
    return not is_table and any(column.type == "binary" for column in schema.columns)


def _ensure_hashes_compare(scope: Scope) -> None:
    """Check that hashes alone can decide: they are of one technology and cover all of a row."""
    for pair in scope.compared:
        technologies = {frozenset(schema.native) for schema in (pair.here, pair.there) if schema is not None}
        is_tree = _is_tree(pair.here)
        if is_tree or len(technologies) > 1:
            why = "its hashes cover file times of the source" if is_tree else "the destination is of another technology"
            raise ConfigurationError(
                f"Stream {pair.here.stream!r} cannot be compared with the stored state: {why}. "
                "Name other streams with --stream, or compare with the source."
            )


def aligned(schema: StreamSchema, there: StreamSchema, pairing: Pairing) -> StreamSchema:
    """Return the destination's stream with the source's key, and with the source's columns in the source's order.

    Read in this form, equal rows have equal hashes if both places are of one technology, whatever the order of the
    destination's columns and whatever extra columns it has. A key column whose values stand for those of any kind has the
    type `any`.
    """
    as_any = keys_of_any_kind(schema, there, pairing)
    by_name = {it.name: replace(it, type="any") if it.name in as_any else it for it in there.columns}
    names = {pair.source: pair.destination for pair in pairing.pairs if pair.destination is not None}
    return replace(
        there,
        columns=tuple(by_name[name] for name in names.values()),
        primary_keys=tuple(names[name] for name in schema.primary_keys),
    )
