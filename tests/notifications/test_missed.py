"""What an endpoint has missed stays its own: when it is changed, when events are replayed, when a Flow is made anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import pipeline
from pipeline.assembly.commands import notifications
from pipeline.assembly.commands.declared.remove import remove_flow
from pipeline.assembly.runtime import open_runtime
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.notifications.delivery import DOWN_AFTER, Deliveries, Position
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.engine.notifications.endpoints import EndpointStore
from pipeline.engine.notifications.feed import all_taken, list_events, pending
from pipeline.settings import Settings

CRM = FlowName("crm")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings, and an app in the current directory."""
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("app.db") as db:
        db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
        db.execute("INSERT INTO users VALUES (1, 'Ada')")
    return Settings(home=tmp_path / ".pipeline")


async def add(settings: Settings, *flows: str) -> None:
    """Add the endpoint, or change it."""
    wanted = Endpoint("ops", "sqs://events", datetime.now(UTC), flows=flows)
    await notifications.add_endpoint(wanted, "", settings=settings)


async def move(settings: Settings, flow: str = CRM) -> None:
    await pipeline.move("app.db", f"{flow}.db", flow=flow, settings=settings)


async def waiting(settings: Settings) -> Sequence[ObjectKey]:
    """Return the events that the endpoint is still to get."""
    async with open_runtime(settings) as runtime:
        endpoints = EndpointStore(runtime.store)
        endpoint, (state, _) = await endpoints.read("ops"), await endpoints.deliveries("ops")
        return [
            one.key
            for flow in await runtime.flows.list_names()
            if endpoint.wants_flow(flow)
            for one in pending(
                await list_events(runtime.store, flow, 1), state.positions.get(flow, Position()), endpoint
            )
        ]


async def take_all(settings: Settings, movement: int) -> None:
    """Let the endpoint have got all events of Movements up to this one."""
    async with open_runtime(settings) as runtime:
        position = all_taken(await list_events(runtime.store, CRM, 1), movement)
        await EndpointStore(runtime.store).update_deliveries("ops", lambda one: replace(one, positions={CRM: position}))


async def test_an_endpoint_that_is_changed_gets_what_it_has_missed(settings: Settings) -> None:
    await add(settings)
    await move(settings)
    missed = await waiting(settings)
    assert missed

    def failing(one: Deliveries) -> Deliveries:
        return replace(one, delivered=7, failures=DOWN_AFTER, failing_since=datetime.now(UTC) - timedelta(days=9))

    async with open_runtime(settings) as runtime:
        await EndpointStore(runtime.store).update_deliveries("ops", failing)
    await add(settings)
    assert await waiting(settings) == missed
    ((one),) = await notifications.list_endpoints(settings=settings)
    assert (one.deliveries.delivered, one.deliveries.failures, one.deliveries.failing_since) == (7, 0, None)


async def test_of_a_flow_that_an_endpoint_is_added_for_it_gets_what_happens_from_then_on(settings: Settings) -> None:
    await add(settings, "erp")
    await move(settings, "crm")
    await move(settings, "erp")
    missed = await waiting(settings)
    assert missed
    await add(settings)
    assert await waiting(settings) == missed
    await move(settings, "crm")
    assert len(await waiting(settings)) > len(missed)


async def test_a_replay_takes_nothing_away_that_an_endpoint_has_missed(settings: Settings) -> None:
    await add(settings)
    await move(settings)
    await take_all(settings, 1)
    await move(settings)
    missed = await waiting(settings)
    assert missed
    assert (await notifications.replay("ops", datetime.now(UTC), settings=settings))[1] == 0
    assert await waiting(settings) == missed
    _, again = await notifications.replay("ops", datetime.now(UTC) - timedelta(days=1), settings=settings)
    assert len(await waiting(settings)) == again > len(missed)


async def test_of_a_flow_that_is_made_anew_an_endpoint_gets_all_events(settings: Settings) -> None:
    await add(settings)
    for _ in range(3):
        await move(settings)
    await take_all(settings, 3)
    await remove_flow(CRM, lambda removal: True, settings=settings)
    await move(settings)
    assert len(await waiting(settings)) >= 2
