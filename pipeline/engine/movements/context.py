"""The context of all engine parts: the ports of this process, and its limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from pipeline.domain.flows.declaration import FlowLimits
from pipeline.domain.ids import FlowName
from pipeline.engine.movements.answers import Answers
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.ports.clock import Clock
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.reporter import Reporter
from pipeline.ports.tracer import SilentTracer, Tracer


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers of a run. Each is a setting, except `range_rows` and `max_shards`."""

    event_file_bytes: int = 16_000_000
    """An Event File is cut at this many bytes of JSON lines, before compression."""
    event_file_rows: int = 250_000
    """An Event File is cut at this many records."""
    zstd_level: int = 1
    delete_guard_rows: int = 100
    """More deletes than this need to be allowed if they are more than a fifth of a stream."""
    range_rows: int = 4096
    """Rows in a range of snapshot state. Small ranges cost more frames; large ones cost more work around a change."""
    importers: int = 4
    """Event Files that one process imports at the same time."""
    shard_files: int = 0
    """A group of more pending Event Files is split into shards of about this many. 0: groups are not split, which a
    process needs that has no fleet of workers."""
    max_shards: int = 64
    """The most shards of a group, so that a huge group does not flood the queue."""
    visibility_seconds: float = 60.0
    """A received message is invisible to others for this long; its lease is renewed at a third of that."""
    sweep_seconds: float = 5.0
    """The sweep looks, and a mover announces its pending groups again, this often. An idle sweep looks less often."""
    idle_timeout_seconds: float = 900.0
    """A Movement in which nothing has moved for this long is ended."""
    lifetime_seconds: float = 14 * 86400.0
    """A Movement older than this is settled TIMED_OUT."""
    progress_seconds: float = 2.0
    """A worker writes its progress this often."""

    def of_flow(self, declared: FlowLimits) -> Limits:
        """Return the limits with those that a Flow declares."""
        own = {name: value for name, value in asdict(declared).items() if value is not None}
        return replace(self, **own)


@dataclass(frozen=True, slots=True)
class EngineContext:
    """The ports of this process, the Flows read through them, and the limits of the run."""

    store: ObjectStore
    queue: EventQueue
    clock: Clock
    reporter: Reporter
    flows: FlowStore
    limits: Limits
    only_flows: frozenset[FlowName] = frozenset()
    answers: Answers = field(default_factory=Answers)
    tracer: Tracer = field(default_factory=SilentTracer)

    def serves(self, flow: FlowName) -> bool:
        """Return whether this process works for a Flow. Without `only_flows` it works for all."""
        return not self.only_flows or flow in self.only_flows
