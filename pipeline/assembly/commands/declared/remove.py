"""`pipeline flow remove`: what would be deleted from the store, what stays at the destination, and the deletion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.assembly.commands.status import ask_marks
from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.domain import object_keys
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.movement import Flow
from pipeline.engine.maintenance.pruning import ObjectTotals
from pipeline.engine.movements.derived_flows import derived_flows
from pipeline.engine.movements.lifecycle import ensure_not_pruned
from pipeline.engine.notifications.endpoints import EndpointStore
from pipeline.ports.object_store import list_pages
from pipeline.settings import Settings, load_settings

REMOVAL = "pipeline flow remove"
"""What a Flow that is being removed says in place of the process that prunes it: no Movement begins any more."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What removing a Flow means. `streams` counts the marked Event Files of each stream; None if that is unknown.

    `stored` is deleted from the store, by the kind of object (`events`, `binaries`, `imports`, …).
    """

    flow: Flow
    stored: Mapping[str, ObjectTotals]
    streams: Mapping[str, int] | None
    unknown_because: str = ""
    removed: bool = False


Confirm = Callable[[Removal], bool]
"""Shows a person what a removal means, and returns whether to remove the Flow."""


async def remove_flow(
    name: str, confirm: Confirm = lambda removal: True, *, settings: Settings | None = None
) -> Removal:
    """Delete all that is stored of a Flow, if `confirm` agrees. The destination is not touched.

    ConfigurationError while a Movement has not settled, and when derived Flows import what this one has stored.
    """
    async with open_runtime(settings or load_settings()) as runtime:
        flow = await runtime.flows.read_flow(FlowName(name))
        with runtime.lock(flow.name):
            await _ensure_unused(runtime, flow)
            removal = await _look(runtime, flow)
            if not confirm(removal):
                return removal
            await _claim(runtime, flow)
            await _delete(runtime, flow)
            return replace(removal, removed=True)


async def _ensure_unused(runtime: Runtime, flow: Flow) -> None:
    if derived := await derived_flows(runtime.flows, flow.name):
        names = ", ".join(repr(one.name) for one in derived)
        raise ConfigurationError(
            f"What Flow {flow.name!r} has stored is imported by {names} as well. Remove that first."
        )
    if flow.pruning == REMOVAL:
        return  # a removal was interrupted, and is carried on
    ensure_not_pruned(flow)
    latest = await runtime.flows.latest(flow)
    if latest is not None and not latest.settled:
        status = latest.status_at(runtime.clock.now())
        raise ConfigurationError(
            f"Movement {latest.number} of Flow {flow.name!r} is {status}. Wait until it settles, or stop it; then "
            "remove the Flow again."
        )


async def _look(runtime: Runtime, flow: Flow) -> Removal:
    stored: dict[str, ObjectTotals] = {}
    prefix = object_keys.flow_prefix(flow.name)
    async for page in list_pages(runtime.store, prefix):
        for info in page:
            kind = info.key.removeprefix(prefix).split("/")[0]
            stored.setdefault(kind, ObjectTotals()).add(info)
    marks = await ask_marks(flow, runtime.store)
    streams = None if marks.by_file is None else Counter(str(file.stream) for file in marks.by_file)
    return Removal(flow, stored, streams, marks.unknown_because)


async def _claim(runtime: Runtime, flow: Flow) -> None:
    """Keep Movements from beginning. One that has begun meanwhile keeps the Flow."""
    if flow.pruning == REMOVAL:
        return

    def claim(now: Flow) -> Flow:
        ensure_not_pruned(now)
        return replace(now, pruning=REMOVAL)

    claimed = await runtime.flows.update_flow(flow.name, claim)
    try:
        await _ensure_unused(runtime, replace(claimed, pruning=None))
    except ConfigurationError:
        await runtime.flows.update_flow(flow.name, lambda now: replace(now, pruning=None))
        raise


async def _delete(runtime: Runtime, flow: Flow) -> None:
    """Delete all objects of the Flow, flow.json last: until then, the command can be run again."""
    last = object_keys.flow_key(flow.name)
    keys: list[ObjectKey] = []
    async for page in list_pages(runtime.store, object_keys.flow_prefix(flow.name)):
        keys += [info.key for info in page if info.key != last]
    for key in _names_first(keys):
        await runtime.store.delete(key)
    await EndpointStore(runtime.store).forget(flow.name)
    await runtime.store.delete(object_keys.platform_app_key(flow.name))
    await runtime.store.delete(last)


def _names_first(keys: Sequence[ObjectKey]) -> Sequence[ObjectKey]:
    """Return the keys in an order in which an object that names others goes before them."""
    return sorted(keys, key=lambda key: ("/movements/" not in key, key))
