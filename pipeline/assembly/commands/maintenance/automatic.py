"""Maintenance by itself, after a Movement in this process."""

from __future__ import annotations

from pipeline.assembly.runtime import worker_name
from pipeline.domain.errors import PipelineError
from pipeline.domain.ids import FlowName
from pipeline.engine.maintenance.state import flow_to_maintain
from pipeline.engine.movements.context import EngineContext
from pipeline.log_events import log
from pipeline.settings import Settings


async def maintain(context: EngineContext, flow: FlowName, settings: Settings) -> None:
    """Compact and prune a Flow whose lock is held here, if that is due. Nothing is raised for an error of the pipeline."""
    try:
        if await flow_to_maintain(context, flow) is None:
            return
    except PipelineError as error:
        log.warning("maintenance_failed", flow=flow, reason=str(error))
        return
    from pipeline.engine.maintenance.automatic import AutomaticMaintenance  # most Movements are followed by nothing

    # Other computers may read what a bucket holds.
    await AutomaticMaintenance(context, worker_name(), alone=not settings.store).run(flow)
