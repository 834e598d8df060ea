"""Who may load an Event File, and when: claims of marks, turns, and fences against Movements that were stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pipeline.connectors.postgres.loading.file_load import FileLoad
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import literal
from pipeline.connectors.sql.retry import retry_blocked
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.ports.destination import FileToLoad, Loaded, Mark

_STREAM_LOCK = 716_635_743
"""The class of the advisory locks of streams; the Flow's name and the stream's are the object."""
_COLLISIONS = ("40P01", "55P03")
"""A deadlock, and a lock that took too long: two loads wrote the same value of a unique index, say."""
FENCE_TRIES, FENCE_PAUSE_SECONDS = 20, 0.1
"""A session that is ended is gone within moments, unless its server is overloaded."""


def fence_flow(location: str, movement: int, connection: Connection, ledger: ImportLedger) -> None:
    """Fence the Flow. The sessions of loads in hand are ended, so that nobody waits for them."""
    for _ in range(FENCE_TRIES):
        if ledger.fence(movement):
            return
        ledger.end_loads()
        time.sleep(FENCE_PAUSE_SECONDS)
    raise TransientError(f"{location}: a load of Movement {movement} holds the database and cannot be ended.")


def turn_of(flow: FlowName, stream: StreamName, *, alone: bool) -> str:
    """Return the SQL that waits for the turn of a load, which holds it to the end of its transaction.

    Loads of a stream are in hand at the same time, except for one that is to be `alone`.
    """
    lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
    return f"SELECT {lock}({_STREAM_LOCK}, hashtext({literal(f'{flow} {stream}')}))"


def is_collision(error: BaseException) -> bool:
    """Whether a load has failed because of another one, so that it is better alone when it is repeated."""
    return isinstance(error, TransientError) and getattr(error.__cause__, "sqlstate", None) in _COLLISIONS


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
    mark = Mark(load.upserts, load.deletes, len(rejections), len(file.opened), file.movement)
    ledger.complete(file.entry.id, mark)
    return Loaded(mark, rejections, load.target.skipped)
