"""`pipeline log`: what Importers have told people in the Movements of a Flow."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.codec.documents.people import LogLine, decode_feedback, decode_log
from pipeline.domain import object_keys
from pipeline.domain.ids import FlowName
from pipeline.ports.object_store import list_pages
from pipeline.settings import Settings, load_settings

LOG_COLUMNS = ("time", "flow", "movement", "file", "line", "text")


@dataclass(frozen=True, slots=True)
class Told:
    """A line of the log, and its Movement."""

    movement: int
    line: LogLine


async def read_log(
    flow: str, number: int | None = None, *, settings: Settings | None = None
) -> AsyncGenerator[Told, None]:
    """Yield what Importers told people in a Flow, Movement by Movement, in the order of time. AbsentError: no such Movement."""
    async with open_runtime(settings or load_settings()) as runtime:
        found = await runtime.flows.read_flow(FlowName(flow))
        name = found.name
        if number is not None:
            await runtime.flows.read_of(found, number)
        prefix, told, movement = object_keys.log_prefix(name), list[Told](), 0
        async for page in list_pages(runtime.store, object_keys.log_prefix(name, number)):
            for info in page:
                part = int(info.key.removeprefix(prefix).split("/")[0])
                if part != movement:
                    for one in _in_order(told):
                        yield one
                    told, movement = [], part
                lines = decode_log((await runtime.store.get(info.key)).data, info.key)
                told += [Told(part, line) for line in lines]
        for one in _in_order(told):
            yield one


def log_values(flow: str, one: Told) -> tuple[object, ...]:
    """Return the values of a line for `LOG_COLUMNS`."""
    time = one.line.time.isoformat().replace("+00:00", "Z")
    return time, flow, one.movement, one.line.file, one.line.line, one.line.text


def _in_order(told: list[Told]) -> list[Told]:
    return sorted(told, key=lambda one: one.line.time)


async def read_feedback(runtime: Runtime, flow: FlowName, number: int) -> Mapping[str, Any]:
    """Return the newest feedback of each Importer in a Movement."""
    page = await runtime.store.list_page(object_keys.feedback_prefix(flow, number))
    found = [decode_feedback((await runtime.store.get(info.key)).data, info.key) for info in page]
    return {feedback.importer: feedback.document for feedback in found}
