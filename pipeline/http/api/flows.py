"""Flows."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from fastapi import APIRouter, Request

from pipeline.assembly.commands.status import progress_with, state_with
from pipeline.domain.flows.declaration import Side
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.control.approvals import unapproved
from pipeline.http.access import Viewer
from pipeline.http.api.models import FlowModel, MovementModel, Page
from pipeline.http.api.paths import After, FlowPath, Limit, page_of
from pipeline.http.site import Site, site_of

CONCURRENT_FLOWS = 16

router = APIRouter(tags=["flows"])


@router.get("/flows")
async def list_flows(request: Request, _: Viewer, after: After = None, limit: Limit = 100) -> Page[FlowModel]:
    """List the Flows by name, each with its latest Movement."""
    site = site_of(request)
    names = page_of(await site.runtime.flows.list_names(), str, after, limit)
    return Page(items=await _read_all(site, names.items), next=names.next)


@router.get("/flows/{flow}")
async def read_flow(request: Request, _: Viewer, flow: FlowPath) -> FlowModel:
    """Return a Flow with its latest Movement."""
    return await _read(site_of(request), flow)


async def _read_all(site: Site, names: list[FlowName]) -> list[FlowModel]:
    found: dict[FlowName, FlowModel] = {}
    limiter = anyio.CapacityLimiter(CONCURRENT_FLOWS)

    async def read(name: FlowName) -> None:
        async with limiter:
            found[name] = await _read(site, name)

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(read, name)
    return [found[name] for name in names]


async def _read(site: Site, name: FlowName) -> FlowModel:
    flow = await site.runtime.flows.read_flow(name)
    latest = await site.runtime.flows.read_movement(name, flow.movements) if flow.movements else None
    missing = await unapproved(site.runtime.store, flow)
    return FlowModel.of(flow, None if latest is None else await movement_model(site, flow, latest, missing))


async def movement_model(site: Site, flow: Flow, movement: Movement, missing: Sequence[Side]) -> MovementModel:
    """Return the document of a Movement as it is now; `missing` are approvals that its Flow lacks."""
    signs, unread = await site.signs.of_open(movement)
    state = state_with(site.runtime, flow, movement, signs, missing)
    shown = None if unread else progress_with(site.runtime, movement, signs)  # it would be too low
    return MovementModel.of(movement, state, shown)
