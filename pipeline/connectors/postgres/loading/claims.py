"""Who may load an Event File: claims of marks, and fences against Movements that were stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pipeline.connectors.postgres.loading.file_load import FileLoad
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.retry import retry_blocked
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import EventFileId
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.ports.destination import FileToLoad, Loaded, Mark

FENCE_TRIES, FENCE_PAUSE_SECONDS = 20, 0.1
"""A session that is ended is gone within moments, unless its server is overloaded."""


def fence_flow(location: str, movement: int, connection: Connection, ledger: ImportLedger) -> None:
    """Fence the Flow. Who asks for it waits no longer for the loads in hand, so their sessions are ended."""
    for _ in range(FENCE_TRIES):
        if ledger.fence(movement):
            return
        ledger.end_loads()
        time.sleep(FENCE_PAUSE_SECONDS)
    raise TransientError(f"{location}: a load of Movement {movement} holds the database and cannot be ended.")


def reason_not_to_begin(ledger: ImportLedger, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
    """Return why the file must not be loaded, judged before the transaction."""
    id_ = file.entry.id
    return reason_to_give_way(id_, file.movement, after, marked=ledger.marked_among([id_, *after]), latest_movement=0)


def claim(ledger: ImportLedger, file: FileToLoad) -> str | None:
    """Claim the file's mark for this transaction; return why another worker is ahead, if it is."""
    id_ = file.entry.id
    fenced, latest = ledger.fenced(), ledger.latest_movement(id_.stream)
    marked = () if ledger.claim(id_, file.movement) else (id_,)
    return reason_to_give_way(id_, file.movement, (), marked=marked, latest_movement=latest, fenced=fenced)


def complete(ledger: ImportLedger, load: FileLoad, file: FileToLoad) -> Loaded:
    if load.has_rejected:
        retry_blocked(ledger, load, file.entry.id)
    load.end()
    rejections = tuple(ledger.rejections(file.entry.id))
    mark = Mark(load.upserts, load.deletes, len(rejections), movement=file.movement)
    ledger.complete(file.entry.id, mark)
    return Loaded(mark, rejections, load.target.skipped)
