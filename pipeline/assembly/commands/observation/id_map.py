"""The id map of a Flow, for people and apps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.assembly.runtime import Runtime
from pipeline.domain.ids import FlowName
from pipeline.kit.ledger.id_map import StoredIds
from pipeline.kit.ledger.kept import Kept


@asynccontextmanager
async def open_id_map(runtime: Runtime, flow: FlowName) -> AsyncIterator[StoredIds]:
    """Open the id map of a Flow as it is now. AbsentError when there is no such Flow."""
    ids = StoredIds(Kept(runtime.store, (await runtime.flows.read_flow(flow)).marks_namespace))
    try:
        await ids.refresh()
        yield ids
    finally:
        ids.close()
