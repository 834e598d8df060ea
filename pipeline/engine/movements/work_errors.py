"""Errors of workers, kept beside the Movement: a worker's log is not where a person looks first."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from pipeline.codec.documents.message import GroupCompleted, MovementStarted, QueueMessage
from pipeline.codec.documents.work_error import WorkError, decode_work_error, encode_work_error
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, DamagedError, PipelineError
from pipeline.domain.ids import FlowName
from pipeline.engine.outbox.safe_trace import exception_type, safe_trace
from pipeline.log_events import log
from pipeline.ports.object_store import ObjectStore, PutCondition


def work_of(message: QueueMessage) -> str:
    """Return the name of the work that a message asks for."""
    if isinstance(message, MovementStarted):
        return "export"
    return f"import {message.label}" if isinstance(message, GroupCompleted) else "settle"


async def record_error(
    store: ObjectStore, message: QueueMessage, worker: str, error: PipelineError, now: datetime
) -> None:
    """Count an error of this work. If that fails, it is logged: the work is tried again in any case.

    Nothing is stored when there is no such Movement: the message may come from another bucket.
    """
    work, reason = work_of(message), str(error).encode(errors="backslashreplace").decode()
    key = object_keys.work_error_key(message.flow, message.movement, work)
    try:
        if await store.stat(object_keys.movement_key(message.flow, message.movement)) is None:
            return
        try:
            before = decode_work_error((await store.get(key)).data, key)
            found = replace(before, reason=reason, worker=worker, count=before.count + 1, last=now)
        except (AbsentError, DamagedError):
            found = WorkError(work, reason, worker, 1, now, now)
        found = replace(found, exception=exception_type(error), trace=safe_trace(error))
        await store.put(key, encode_work_error(found), PutCondition.NONE)
    except PipelineError as problem:
        log.warning("error_not_recorded", key=key, reason=str(problem))


async def read_errors(store: ObjectStore, flow: FlowName, number: int) -> Sequence[WorkError]:
    """Return the errors of workers in a Movement. A document that is damaged, or pruned meanwhile, hides no other."""
    errors: list[WorkError] = []
    for info in await store.list_page(object_keys.work_errors_prefix(flow, number)):
        with suppress(AbsentError, DamagedError):
            errors.append(decode_work_error((await store.get(info.key)).data, info.key))
    return errors
