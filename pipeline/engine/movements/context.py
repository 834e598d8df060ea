"""What every part of the engine works with: the ports of this process, and its limits."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.ids import FlowName
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.ports.clock import Clock
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.reporter import Reporter


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers of a run; each is a setting.

    Snapshot state is kept in ranges of `range_rows`: fewer cost more frames, more cost more work around a change.
    An Event File is cut at `event_file_bytes` of JSON lines or `event_file_rows` records. `importers` Event Files are
    imported side by side. A message is invisible for `visibility_seconds`, and its lease renewed at a third of that.
    A group of more than `shard_files` pending Event Files is shared out among workers, `shard_files` to a share, in at
    most `max_shares` of them; with 0 it is not.
    """

    event_file_bytes: int = 16_000_000
    event_file_rows: int = 250_000
    zstd_level: int = 1
    range_rows: int = 4096
    importers: int = 4
    shard_files: int = 0
    max_shards: int = 64
    visibility_seconds: float = 60.0
    sweep_seconds: float = 5.0
    idle_timeout_seconds: float = 900.0
    lifetime_seconds: float = 14 * 86400.0
    progress_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class EngineContext:
    """The ports, the Flows read through them, and the limits."""

    store: ObjectStore
    queue: EventQueue
    clock: Clock
    reporter: Reporter
    flows: FlowStore
    limits: Limits
    only_flows: frozenset[FlowName] = frozenset()

    def serves(self, flow: FlowName) -> bool:
        """Whether this process works for a Flow. Without `only_flows` it does for all."""
        return not self.only_flows or flow in self.only_flows
