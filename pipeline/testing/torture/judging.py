"""Reading an app that was loaded, and what the oracle says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.domain.ids import FlowName
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.storage.binaries import open_contents
from pipeline.kit.dump.dumped_rows import dumped_rows
from pipeline.kit.importer import Importer
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.ports.destination import Rejection
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.reporter import SilentReporter
from pipeline.testing.torture.interception.journal import Journal
from pipeline.testing.torture.oracle import Dumped, Oracle, Rows, Verdict, key_text


async def still_rejected(
    destination: ImporterDestination, store: ObjectStore, flows: FlowStore, flow: FlowName
) -> Sequence[Rejection]:
    """Return the records that the app rejects when they are tried again. `store` has the contents of their fields."""
    found = await flows.read_flow(flow)
    latest = await flows.latest(found)
    async with destination.open(found.marks_namespace) as session:
        if latest is not None:
            open_contents(session, store, latest, SilentReporter())
        return await session.retry_rejected()


async def judged(
    importer: Importer, target: Any, journal: Journal, rejections: Sequence[Rejection], expected: Rows
) -> tuple[Verdict, Dumped]:
    """Return what is wrong with the app, and all that it holds. Rejected records are left out."""
    rejected = frozenset((one.file.stream, key_text(one)) for one in rejections)
    dumped = [(str(one.stream), one.key, one.row) async for one in dumped_rows(importer, target)]
    return Oracle(importer, journal, rejected).judge(expected, dumped), dumped
