"""`/metrics` of a server: the whole fleet, for those who may read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.assembly.commands.flows import create_flow
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.assembly.commands.notifications import add_endpoint
from pipeline.domain import object_keys
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Status
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.http.tokens import Role, Side
from pipeline.ports.object_store import PutCondition
from pipeline.settings import Settings
from tests.http.conftest import START_TOKEN, Server
from tests.metrics.scraping import samples


async def scrape(server: Server, token: str = START_TOKEN) -> Mapping[tuple[str, ...], float]:
    headers = {"Authorization": f"Bearer {token}"}
    async with server.client.get(f"{server.url}/metrics", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/plain"
        return samples(await answer.text())


async def test_the_fleet_is_shown_as_it_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    settings = Settings(home=server.directory / "home")
    begun = datetime.now(UTC).timestamp()
    await create_flow("shop", server.directory / "app.db", server.directory / "shop.db", settings=settings)
    endpoint = Endpoint("ops", "https://203.0.113.9/hook", datetime.now(UTC), allow_private=("203.0.113.0/24",))
    await add_endpoint(endpoint, "env:HOOK_SECRET", settings=settings)
    await start("shop", settings=settings)
    found = await scrape(server)
    assert found["pipeline_movements", "flow=crm", "status=SUCCESS"] == 1
    assert found["pipeline_movements", "flow=shop", "status=READY"] == 1
    assert begun - 300 < found["pipeline_last_success_timestamp_seconds", "flow=crm"] <= datetime.now(UTC).timestamp()
    assert ("pipeline_last_success_timestamp_seconds", "flow=shop") not in found
    assert found["pipeline_set_aside_records", "flow=crm"] == 0
    assert found["pipeline_movement_age_seconds", "flow=shop"] >= 0
    assert ("pipeline_movement_age_seconds", "flow=crm") not in found
    assert found["pipeline_queue_visible", "queue=exports"] == 1
    assert found["pipeline_queue_oldest_seconds", "queue=exports"] > 0
    assert found["pipeline_queue_inflight", "queue=imports"] == found["pipeline_queue_dead", "queue=imports"] == 0
    assert found["pipeline_notifications_pending", "endpoint=ops"] == 1  # movement.started of shop
    assert found["pipeline_store_request_seconds_count", "op=get"] > 0


async def test_metrics_need_a_viewer(server: Server) -> None:
    async with server.client.get(f"{server.url}/metrics") as answer:
        assert answer.status == 401
    app = await server.token(Role.APP, "crm", Side.SOURCE)
    async with server.client.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {app}"}) as answer:
        assert answer.status == 403
    assert await scrape(server, await server.token(Role.VIEWER))


async def test_a_flow_that_cannot_be_read_hides_no_other(server: Server) -> None:
    await server.site.runtime.store.put(object_keys.flow_key(FlowName("broken")), b"no JSON", PutCondition.ABSENT)
    found = await scrape(server)
    assert found["pipeline_movements", "flow=crm", "status=SUCCESS"] == 1
    assert not [name for name in found if "flow=broken" in name]


async def test_a_compaction_does_not_hide_that_the_movement_before_is_incomplete(server: Server) -> None:
    flows = server.site.runtime.flows
    number = (await flows.read_flow(FlowName("crm"))).movements
    latest = await flows.read_movement(FlowName("crm"), number)
    totals = replace(latest.totals, rejected=3)
    incomplete = replace(latest, number=number + 1, outcome=Status.INCOMPLETE, totals=totals)
    await flows.create(incomplete, latest)
    await flows.create(replace(latest, number=number + 2, compaction=True), incomplete)
    found = await scrape(server)
    assert found["pipeline_movements", "flow=crm", "status=INCOMPLETE"] == 1
    assert ("pipeline_movements", "flow=crm", "status=SUCCESS") not in found
    assert found["pipeline_set_aside_records", "flow=crm"] == 3
