"""Verification of a Flow: compares its destination, read like a source, with its source, stream by stream.

Both are read once, in key order. Nothing is changed or locked. Each technology's snapshot decides whether concurrent
writes are seen.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence, Set
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

from pipeline.domain.comparison.report import Against, Difference, LatestMovement, StreamReport, Verification
from pipeline.domain.comparison.values import Pairing, pair_columns, why_not_comparable
from pipeline.domain.errors import ConfigurationError, UnreadableError
from pipeline.domain.ids import StreamName
from pipeline.domain.movement import Flow
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.verify.scope import FlowHistory, counterpart, read_history, wanted_streams
from pipeline.engine.verify.stored_snapshot import StoredSnapshot
from pipeline.engine.verify.stream_comparison import DifferenceSink, OpenRows, StreamComparison
from pipeline.log_events import log
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.ranged_source import open_rows_along
from pipeline.ports.source import Snapshot, Source

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
            scope = await _read_scope(history, here, stored, copy, request.streams)
            if request.against is Against.STORED:
                _ensure_hashes_compare(scope)
            comparison = _Comparison(request, history, here, copy, note)
            reports = [await comparison.compare(pair) for pair in scope.compared]
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
            only_at_destination=scope.only_at_destination,
        )


@dataclass(frozen=True, slots=True)
class _StreamPair:
    """A stream at the source and at the destination, if that has it. `gone`: the source no longer has it."""

    here: StreamSchema
    there: StreamSchema | None
    gone: bool


@dataclass(frozen=True, slots=True)
class _Comparison:
    request: VerifyRequest
    history: FlowHistory
    here: Snapshot | StoredSnapshot
    copy: Snapshot
    note: NoteDifference | None

    async def compare(self, pair: _StreamPair) -> StreamReport:
        """Compare one stream."""
        pairing = None if pair.there is None else pair_columns(pair.here, pair.there)
        report = StreamReport(
            pair.here.stream,
            absent=pair.there is None and not pair.gone,
            gone=pair.gone,
            missing_columns=pairing.missing if pairing else (),
            extra_columns=pairing.extra if pairing else (),
        )
        if pair.there and pairing and (reason := why_not_comparable(pair.here, pair.there, pairing)):
            return replace(report, incomparable=reason)
        rows = None if pair.gone else self.here.open_rows(pair.here)
        copied = self._copied(pair, pairing)
        try:
            report = await StreamComparison(report, pairing, self._sink(pair.here.stream)).run(rows, copied)
        except UnreadableError as error:
            return replace(report, incomparable=str(error))
        log.info("stream_verified", stream=report.stream, rows=report.source.rows, differences=report.differences)
        return report

    def _copied(self, pair: _StreamPair, pairing: Pairing | None) -> OpenRows | None:
        if pair.there is None or pairing is None:
            return None
        return partial(open_rows_along, self.copy, aligned(pair.here, pair.there, pairing))

    def _sink(self, stream: StreamName) -> DifferenceSink:
        def note(difference: Difference) -> None:
            if self.note is not None:
                self.note(stream, difference)

        return DifferenceSink(self.request.examples, self.history.rejected.get(stream, {}), note)


@dataclass(frozen=True, slots=True)
class _Scope:
    """The streams to compare, in order, and those that are not compared."""

    compared: tuple[_StreamPair, ...]
    not_selected: tuple[StreamName, ...]
    only_at_destination: tuple[StreamName, ...]


async def _read_scope(
    history: FlowHistory, here: Snapshot | StoredSnapshot, stored: StoredSnapshot, copy: Snapshot, wanted: Sequence[str]
) -> _Scope:
    present, there, known_before = await here.streams(), await copy.streams(), await stored.streams()
    left_out = SPECIAL_STREAMS - _comparable([*present, *known_before], there)
    present, there = _without(left_out, present), _without(left_out, there)
    names = {schema.stream for schema in present}
    gone = [schema for schema in _without(left_out, known_before) if schema.stream not in names]
    moved = [schema for schema in (*present, *gone) if history.moves(schema.stream)]
    compared = sorted(wanted_streams(moved, wanted), key=lambda schema: schema.stream)
    matched = {schema.stream: counterpart(schema.stream, there) for schema in (*present, *gone)}
    known = {found.stream for found in matched.values() if found is not None}
    return _Scope(
        tuple(_StreamPair(schema, matched[schema.stream], gone=schema.stream not in names) for schema in compared),
        not_selected=tuple(schema.stream for schema in present if not history.moves(schema.stream)),
        only_at_destination=tuple(schema.stream for schema in there if schema.stream not in known),
    )


def _comparable(here: Sequence[StreamSchema], there: Sequence[StreamSchema]) -> Set[StreamName]:
    """Return the special streams of the source that can be compared: the destination is of the same technology."""
    same = not there or bool(_technologies(here) & _technologies(there))
    return {schema.stream for schema in here if same} & SPECIAL_STREAMS


def _without(left_out: Container[StreamName], streams: Sequence[StreamSchema]) -> Sequence[StreamSchema]:
    return [schema for schema in streams if schema.stream not in left_out]


def _technologies(streams: Sequence[StreamSchema]) -> set[object]:
    natives = [native for schema in streams for native in schema.native.items()]
    nested = {value["technology"] for _, value in natives if isinstance(value, dict) and "technology" in value}
    return {name for name, _ in natives} | nested


def _ensure_hashes_compare(scope: _Scope) -> None:
    """Check that hashes alone can decide: they are of one technology and cover all of a row."""
    for pair in scope.compared:
        technologies = {frozenset(schema.native) for schema in (pair.here, pair.there) if schema is not None}
        is_tree = any(column.type == "binary" for column in pair.here.columns) and not pair.here.native
        if is_tree or len(technologies) > 1:
            why = "its hashes cover file times of the source" if is_tree else "the destination is of another technology"
            raise ConfigurationError(
                f"Stream {pair.here.stream!r} cannot be compared with the stored state: {why}. "
                "Name other streams with --stream, or compare with the source."
            )


def aligned(schema: StreamSchema, there: StreamSchema, pairing: Pairing) -> StreamSchema:
    """Return the destination's stream with the source's key, and with the source's columns in the source's order.

    Read in this form, equal rows have equal hashes if both places are of one technology, whatever the order of the
    destination's columns and whatever extra columns it has.
    """
    by_name = {column.name: column for column in there.columns}
    names = {pair.source: pair.destination for pair in pairing.pairs if pair.destination is not None}
    return replace(
        there,
        columns=tuple(by_name[name] for name in names.values()),
        primary_keys=tuple(names[name] for name in schema.primary_keys),
    )
