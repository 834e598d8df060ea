"""Runs the checks of two places, or of a Flow, and keeps what a person accepts."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from pipeline.assembly.commands.checks.flow import (
    approvals_finding,
    declared_finding,
    handlers_finding,
    history_finding,
    inventory_finding,
    movements_of,
    streams_finding,
)
from pipeline.assembly.commands.checks.places import (
    ask_places,
    clocks_finding,
    connection_finding,
    rights_finding,
    space_finding,
    tree_bytes,
)
from pipeline.assembly.commands.checks.quick import find_flow
from pipeline.assembly.commands.declared.changes import endpoint_problems
from pipeline.assembly.commands.flows import pair_to_move
from pipeline.assembly.connectors import Pair, PathText, copy_of_existing
from pipeline.assembly.places.options import PluginSettings
from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.connectors.locations import Location
from pipeline.connectors.registry import FILES_STREAM
from pipeline.connectors.sql.schema_stream import object_technology
from pipeline.domain.errors import ConfigurationError, PipelineError
from pipeline.domain.flows.approvals import missing_approvals
from pipeline.domain.flows.findings import AcceptedFinding, CheckFinding, Severity, finding_of, judged, worst
from pipeline.domain.flows.groups import grouped
from pipeline.domain.ids import FlowName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.movement import NO_CHOICES, Flow, Movement
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.domain.planning.selection import selected
from pipeline.domain.schema import SCHEMA_STREAM, StreamSchema
from pipeline.engine.checks.sam_limits import sam_limits_finding
from pipeline.engine.checks.scan import Scan, contents_finding, file_names_finding, lengths_finding, scan
from pipeline.engine.checks.schemas import keys_finding, length_limits, names_finding, types_finding
from pipeline.engine.control.approvals import read_approvals, terms_of
from pipeline.engine.export.source_checks import stored_streams
from pipeline.engine.outbox.outbox import Outbox
from pipeline.paths import is_directory
from pipeline.ports.checks import AppChecks
from pipeline.ports.destination import Destination
from pipeline.ports.source import OmissionReporter, ReferenceChecker, Snapshot, Source
from pipeline.settings import Settings, load_settings

OF_HISTORY = (0.7, 1.5)
OF_READING = (1.0, 4.0)
"""From the least to the most: how many times as long as the latest one, for as many bytes, or as reading, a Movement takes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a first Movement would move, and how many seconds it is expected to take, at least and at most."""

    rows: int
    bytes: int
    seconds: tuple[float, float]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The findings of all checks. `flow` is None where there is no Flow yet; without a scan there is no estimate."""

    flow: FlowName | None
    source: str
    destination: str
    findings: Sequence[CheckFinding]
    estimate: Estimate | None = None

    @property
    def verdict(self) -> Severity:
        """The severity of the most serious finding."""
        return worst(self.findings)


class _Everything:
    def __contains__(self, one: object) -> bool:
        return True


async def check(
    source: PathText | Source | None = None,
    destination: PathText | Destination | None = None,
    *,
    flow: str | None = None,
    files: tuple[PathText, PathText] | None = None,
    source_settings: Mapping[str, str] | None = None,
    destination_settings: Mapping[str, str] | None = None,
    accept: Sequence[str] = (),
    reason: str = "",
    quick: bool = False,
    lint: str = "",
    settings: Settings | None = None,
) -> CheckReport:
    """Check two places, or a declared Flow, before data moves. Nothing is changed, but for what is accepted.

    `accept` names findings that need not block any more, for a `reason` that the Flow keeps. `quick`: no rows are read.
    `lint` "sam" adds the public platform's limits to checks of an app.
    """
    settings = settings or load_settings()
    if accept and not reason.strip():
        raise ConfigurationError("Say why the finding is accepted, with --reason. It is kept in the Flow.")
    given = PluginSettings(source_settings or {}, destination_settings or {})
    pair = await pair_to_move(source, destination, files, flow, settings, given)
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(_open_runtime(settings))
        stored = await find_flow(runtime, pair.name)
        report = await _Checks(pair, stored, runtime, settings).run(quick=quick, lint=lint)
        if runtime is not None and stored is not None:
            await Outbox(runtime.store).note([_finished(report, stored, runtime.clock.now())])
        if not accept:
            return report
        if runtime is None or stored is None:
            raise ConfigurationError(
                f"There is no Flow {pair.name!r} yet, and what is accepted is kept in the Flow. Create it first with "
                "`pipeline flow create`, or declare it in a file."
            )
        now = await accept_findings(runtime, stored, report.findings, accept, reason)
        return replace(report, findings=judged(report.findings, now.accepted_findings))


def _finished(report: CheckReport, flow: Flow, at: datetime) -> OutboxEvent:
    """Return the event that a Flow was checked."""
    counts = Counter(one.severity for one in report.findings)
    data = {
        "verdict": report.verdict.value,
        "checks": len(report.findings),
        "warnings": counts[Severity.WARNING],
        "blocking": counts[Severity.BLOCKS],
    }
    blocking = tuple(one.title for one in report.findings if one.blocks)
    return OutboxEvent(EventType.CHECK_FINISHED, flow.name, 0, at, at.isoformat(), data, blocking)


@asynccontextmanager
async def _open_runtime(settings: Settings) -> AsyncIterator[Runtime | None]:
    """Open the store, if there is one yet."""
    if not settings.store and not is_directory(settings.home):
        yield None
        return
    async with open_runtime(settings) as runtime:
        yield runtime


async def accept_findings(
    runtime: Runtime, flow: Flow, findings: Sequence[CheckFinding], ids: Sequence[str], reason: str
) -> Flow:
    """Keep in the Flow that these findings are accepted. ConfigurationError when one cannot be."""
    known = {one.id: one for one in findings}
    for one in ids:
        found = known.get(one)
        if found is None:
            raise ConfigurationError(f"There is no check {one[:80]!r}. The checks are: {', '.join(sorted(known))}.")
        if not found.excludable:
            raise ConfigurationError(f"What the check {one!r} finds cannot be accepted. {found.title} {found.steps}")
    moment, by = runtime.clock.now(), getpass.getuser()
    new = [AcceptedFinding(one, reason.strip(), by, moment) for one in ids]

    def take(now: Flow) -> Flow:
        kept = tuple(one for one in now.accepted_findings if one.id not in ids)
        return replace(now, accepted_findings=(*kept, *new))

    return await runtime.flows.update_flow(flow.name, take)


class _Checks:
    """The checks of one pair of places."""

    def __init__(self, pair: Pair, flow: Flow | None, runtime: Runtime | None, settings: Settings) -> None:
        self._pair, self._flow, self._runtime, self._settings = pair, flow, runtime, settings
        self._findings: list[CheckFinding] = []
        self._estimate: Estimate | None = None

    async def run(self, *, quick: bool, lint: str) -> CheckReport:
        pair = self._pair
        asked = await ask_places(pair)
        needed = 0
        try:
            source = pair.source.accepting(_Everything()) if isinstance(pair.source, AppChecks) else pair.source
            async with source.open_snapshot() as snapshot:
                schemas = await self._check_schemas(snapshot, asked.errors)
                if not quick:
                    needed = await self._check_rows(snapshot, schemas)
        except PipelineError as error:
            asked.errors.append(f"source: {error}")
        places = [
            connection_finding(tuple(dict.fromkeys(asked.errors))),
            rights_finding(asked),
            space_finding(asked.free_bytes, self._settings, needed),
            clocks_finding(asked),
        ]
        history = [] if self._flow is None else [history_finding(await self._movements())]
        findings = [*places, *self._findings, *history, *asked.app]
        if lint:
            apps = [end.check_titles for end in (pair.source, pair.destination) if isinstance(end, AppChecks)]
            findings.append(sam_limits_finding(apps, asked.app))
        accepted = () if self._flow is None else self._flow.accepted_findings
        name = None if self._flow is None else self._flow.name
        return CheckReport(
            name, pair.source.location, pair.destination.location, judged(findings, accepted), self._estimate
        )

    async def _approvals(self, flow: Flow, snapshot: Snapshot, schemas: Sequence[StreamSchema]) -> CheckFinding:
        assert self._runtime is not None
        acts = await read_approvals(self._runtime.store, flow.name)
        required = flow.declared.approvals.required
        return approvals_finding(missing_approvals(flow.name, required, acts, terms_of(flow, snapshot, schemas)))

    async def _movements(self) -> Sequence[Movement]:
        assert self._runtime is not None
        assert self._flow is not None
        return await movements_of(self._runtime, self._flow)

    async def _check_schemas(self, snapshot: Snapshot, errors: list[str]) -> Sequence[StreamSchema]:
        schemas = await snapshot.streams()
        flow = self._flow
        if flow is not None:
            schemas = grouped(schemas, flow.declared)
            assert self._runtime is not None
            endpoints = await endpoint_problems(self._runtime, flow)
            stored = await stored_streams(self._runtime.flows, flow)
            self._findings.append(declared_finding(schemas, stored, self._pair, flow, endpoints))
            choices = NO_CHOICES.of_flow(flow.declared)
            schemas = [one for one in schemas if selected(one.stream, choices.only, choices.exclude)]
            self._findings.append(await self._approvals(flow, snapshot, schemas))
        self._there: Sequence[StreamSchema] = ()
        copy = copy_of_existing(self._pair, self._settings)
        if copy is not None:
            try:
                async with copy.open_snapshot() as opened:
                    self._there = await opened.streams()
            except PipelineError as error:
                errors.append(f"destination: {error}")
        self._findings += [
            keys_finding(schemas),
            names_finding(schemas, self._there),
            types_finding(schemas, self._there),
            streams_finding(schemas, self._pair),
            handlers_finding(schemas, self._pair),
        ]
        return schemas

    async def _check_rows(self, snapshot: Snapshot, schemas: Sequence[StreamSchema]) -> int:
        """Check all rows; return how many bytes a first Movement moves."""
        found = await scan(snapshot, schemas, length_limits(schemas, self._there), FILES_STREAM)
        needed = found.bytes + await tree_bytes(self._pair)
        self._estimate = Estimate(found.rows, needed, await self._expected_seconds(found, needed))
        self._findings += [
            lengths_finding(found),
            file_names_finding(found),
            contents_finding(found),
            await _references_finding(snapshot, schemas),
            estimate_finding(self._estimate),
            inventory_finding(await self._left_out(snapshot, schemas), self._flow),
        ]
        return needed

    async def _expected_seconds(self, found: Scan, needed: int) -> tuple[float, float]:
        movements = await self._movements() if self._flow is not None else ()
        for movement in movements:
            totals = movement.totals
            if movement.settled and totals.bytes_read > 1_000_000 and totals.seconds > 0:
                seconds = needed * totals.seconds / totals.bytes_read
                return seconds * OF_HISTORY[0], seconds * OF_HISTORY[1]
        return found.seconds * OF_READING[0], found.seconds * OF_READING[1]

    async def _left_out(self, snapshot: Snapshot, schemas: Sequence[StreamSchema]) -> Sequence[InventoryItem]:
        items = list(await snapshot.omissions()) if isinstance(snapshot, OmissionReporter) else []
        schema = next((one for one in schemas if one.stream == SCHEMA_STREAM), None)
        there = self._pair.destinations[0]
        if schema is None or (isinstance(there, Location) and there.scheme == object_technology(schema)):
            return items
        reason = "a destination of another technology cannot have it as it is"
        async with snapshot.open_rows(schema) as blocks:
            async for block in blocks:
                keys = block.keys() if hasattr(block, "keys") else ()
                items += [InventoryItem(str(key[0]), str(key[1]), Fate.NOT_MOVED, reason) for key in keys]
        return items


async def _references_finding(snapshot: Snapshot, schemas: Sequence[StreamSchema]) -> CheckFinding:
    """Foreign keys that the source's own rows break."""
    streams = [schema.stream for schema in schemas]
    broken = await snapshot.broken_references(streams) if isinstance(snapshot, ReferenceChecker) else frozenset()
    return finding_of(
        "references",
        [f"{stream} ({', '.join(columns)})" for stream, columns in sorted(broken)],
        Severity.WARNING,
        fine="No row of the source refers to one that is missing.",
        title="Foreign keys that rows of the source break.",
        steps="Mend these rows at the source. Otherwise the destination has the same violation, and the Movement is "
        "INCOMPLETE.",
    )


def estimate_finding(found: Estimate) -> CheckFinding:
    """How much a first Movement moves, and how long it may take."""
    low, high = found.seconds
    title = f"{found.rows:,} rows and {found.bytes / 1e6:,.1f} MB; expected to take {low:,.1f} to {high:,.1f} seconds."
    return CheckFinding("estimate", Severity.OK, title, found.rows)
