"""What runs at the same time while an Event File is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.connectors.postgres import PostgresDestination
from pipeline.connectors.postgres.loading import file_load as load
from pipeline.connectors.postgres.loading.copy_in import Staging
from pipeline.connectors.postgres.loading.csv_lines import Lines
from pipeline.domain.ids import Phase
from pipeline.ports.destination import Loaded
from tests.connectors.postgres.loading import FLOW, schema, upsert
from tests.connectors.postgres.places import Place
from tests.contracts.destination import file_to_load

STREAM = schema({"id": "integer", "v": "text"})
BLOCKS = [upsert(id=number, v="x" * 1000) for number in range(8)]


@pytest.mark.parametrize(("phase", "beside"), [(Phase.INCREMENTAL, False), (Phase.FULL, True)])
async def test_rows_are_decoded_during_a_copy_into_the_table_and_not_while_staged_rows_are_sent(
    place: Place, monkeypatch: pytest.MonkeyPatch, phase: Phase, beside: bool
) -> None:
    busy: list[str] = []
    met: list[set[str]] = []

    def slowly(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: object, **named: object) -> object:
            busy.append(name)
            met.append(set(busy))
            try:
                time.sleep(0.02)
                met.append(set(busy))
                return work(*arguments, **named)
            finally:
                busy.remove(name)

        return run

    monkeypatch.setattr(load, "BATCH_BYTES", 1)
    monkeypatch.setattr(load, "COPY_BYTES", 1)
    monkeypatch.setattr(Lines, "decode", slowly("decoding", Lines.decode))
    monkeypatch.setattr(Staging, "_copy", slowly("sending", Staging._copy))
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file_to_load(STREAM, BLOCKS, phase=phase), after=[])
    assert isinstance(outcome, Loaded)
    assert outcome.mark.upserts == len(BLOCKS)
    assert {"sending"} in met
    assert ({"sending", "decoding"} in met) is beside
