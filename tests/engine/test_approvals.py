"""Workers export nothing of a Flow without the approvals that it requires, and go on once they are there."""

from __future__ import annotations

from dataclasses import replace

import anyio

from pipeline.domain.flows.approvals import Act, Approval, Terms
from pipeline.domain.flows.declaration import ApprovalTerms, Declaration, Side
from pipeline.domain.movement import Status
from pipeline.engine.control.approvals import record_approval
from pipeline.engine.movements.work_errors import read_errors
from tests.engine.fleet import Fleet, WorkerProcess
from tests.engine.mover_world import FLOW
from tests.fakes.source import MemorySource
from tests.loops import on_trio

TERMS = ApprovalTerms((Side.SOURCE,), "All of it.")


@on_trio
async def test_workers_wait_for_an_approval() -> None:
    fleet = Fleet({"a": {1: "x"}})
    await fleet.flows.connect(FLOW, MemorySource.location, fleet.destination.location)
    await fleet.flows.update_flow(FLOW, lambda flow: replace(flow, declared=Declaration(approvals=TERMS)))
    async with fleet.workers(WorkerProcess(fleet, "one")):
        number = (await fleet.start()).number
        await anyio.sleep(60)
        errors = await read_errors(fleet.store, FLOW, number)
        assert "needs the approval of the source's side, and has none" in errors[0].reason
        assert fleet.destination.tables == {}
        digest = Terms.of(TERMS, {}, "").text_sha256
        await record_approval(
            fleet.store, FLOW, Approval(0, Side.SOURCE, Act.APPROVE, "Ada", fleet.clock.now(), digest)
        )
        assert (await fleet.settled(number)).status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables
