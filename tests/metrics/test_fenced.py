"""Event Files that a destination refuses because their Movement was stopped are counted, by Flow."""

from __future__ import annotations

from pathlib import Path

from pipeline.assembly.metering.meter import create_meter
from pipeline.domain.movement import Status
from pipeline.settings import Settings
from tests.engine.mover_world import FLOW, World
from tests.metrics.scraping import samples


async def test_a_fenced_movement_is_counted(tmp_path: Path) -> None:
    world, meter = World({"a": {1: "one"}}), create_meter(Settings(home=tmp_path))
    assert (await world.move()).status is Status.SUCCESS
    flow = await world.flows.read_flow(FLOW)
    world.tables["a"][2] = "two"
    world.destination.fences[flow.marks_namespace] = 2
    with meter.watch():
        world.reporter = meter.reporter(world.reporter)  # type: ignore[assignment]
        assert (await world.move()).status is Status.INCOMPLETE
    found = samples(meter.metrics.render().decode())
    assert found["pipeline_gave_way_total", f"flow={FLOW}"] == found["pipeline_fenced_total", f"flow={FLOW}"] == 1
    assert found["pipeline_files_total", f"flow={FLOW}", "outcome=failed"] == 1
