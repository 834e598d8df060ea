"""A function that yields is called again after `Again`, and after an error that passes; no row is lost or given twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import pipeline
from pipeline.kit import Again, Changes, Exporter, Stop
from pipeline.kit.reading.source import ExporterSource
from tests.cli.app import contents
from tests.kit.app import COLUMNS, move

Rows = AsyncIterator[dict[str, object]]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.kit.calls.FIRST_PAUSE_SECONDS", 0.001)


@dataclass
class Restless:
    """An app whose list breaks off: before the row at each position in `errors`, that error is raised once."""

    rows: list[int]
    errors: list[tuple[int, Exception]] = field(default_factory=list)
    calls: int = 0
    after_error: Callable[[], None] = lambda: None

    def exporter(self, *, ordered: bool, feed: bool = False) -> Exporter:
        exporter = Exporter("restless")

        @exporter.rows("things", row=dict, columns=COLUMNS, key="id", ordered=ordered)
        async def things(client: None) -> Rows:
            self.calls += 1
            for at, number in enumerate(list(self.rows)):
                if self.errors and self.errors[0][0] == at:
                    _, error = self.errors.pop(0)
                    self.after_error()
                    raise error
                yield {"id": number, "name": str(number)}

        if feed:

            @exporter.changes("things", row=dict, columns=COLUMNS, key="id")
            async def changes(client: None, since: str | None) -> Changes[dict[str, object]]:
                return Changes([], cursor="1")

        return exporter


def expected(rows: list[int]) -> list[tuple[object, ...]]:
    return [(number, str(number)) for number in sorted(rows)]


AWAY = [(2500, Again(after=0.001))] * 6 + [(0, OSError("reset")), (2999, OSError("reset")), (1000, OSError("reset"))]


@pytest.mark.parametrize("how", ["ordered", "unordered", "feed"])
async def test_rows_are_read_again_from_the_first_one(how: str, tmp_path: Path) -> None:
    rows = list(range(3000))
    app = Restless(rows if how == "ordered" else rows[::-1], list(AWAY))
    source = ExporterSource("app:source", app.exporter(ordered=how == "ordered", feed=how == "feed"), None)
    moved = await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert (moved.status, moved.totals.upserts) == (pipeline.Status.SUCCESS, 3000)
    assert contents(tmp_path / "copy.db", "things") == expected(rows)
    assert app.calls == len(AWAY) + 1
    assert (await move(source, str(tmp_path / "copy.db"), tmp_path)).totals.upserts == 0


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_list_that_comes_further_each_time_is_read_to_its_end(ordered: bool, tmp_path: Path) -> None:
    app = Restless(list(range(3000)), [(at, OSError("reset")) for at in (100, 700, 701, 1500, 1500, 1500, 2000, 2999)])
    source = ExporterSource("app:source", app.exporter(ordered=ordered), None)
    assert (await move(source, str(tmp_path / "copy.db"), tmp_path)).totals.upserts == 3000


async def test_a_list_that_comes_no_further_than_before_is_given_up(tmp_path: Path) -> None:
    app = Restless(list(range(3000)), [(at, OSError("reset")) for at in (1500, 700, 1499, 1500, 0)])
    source = ExporterSource("app:source", app.exporter(ordered=True), None)
    movement = await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert "OSError: reset" in movement.problems[0]
    assert app.calls == 4


async def test_a_row_that_is_gone_when_the_list_is_read_again_is_not_given(tmp_path: Path) -> None:
    app = Restless([1, 2, 3], [(2, OSError("reset"))])
    app.after_error = lambda: app.rows.remove(1)
    source = ExporterSource("app:source", app.exporter(ordered=False), None)
    await move(source, str(tmp_path / "copy.db"), tmp_path)
    assert contents(tmp_path / "copy.db", "things") == expected([2, 3])


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    ("error", "calls"), [(ConnectionError("reset"), 4), (ValueError("odd"), 4), (Stop("no more"), 1)]
)
async def test_an_error_that_stays_deletes_nothing(error: Exception, calls: int, ordered: bool, tmp_path: Path) -> None:
    app = Restless([1, 2, 3])
    source = ExporterSource("app:source", app.exporter(ordered=ordered), None)
    await move(source, str(tmp_path / "copy.db"), tmp_path)
    app.rows, app.calls, app.errors = [1, 2], 0, [(1, error)] * 4
    if isinstance(error, ConnectionError):
        with pytest.raises(
            pipeline.TransientError, match=r"ConnectionError: reset \(.*test_called_again.py, line \d+\)"
        ):
            await move(source, str(tmp_path / "copy.db"), tmp_path)
    else:
        assert (await move(source, str(tmp_path / "copy.db"), tmp_path)).status is pipeline.Status.INCOMPLETE
    assert app.calls == calls
    assert contents(tmp_path / "copy.db", "things") == expected([1, 2, 3])


async def test_an_app_that_asks_to_wait_is_connected_to_later(tmp_path: Path) -> None:
    exporter, tries = Exporter("busy"), list[int]()

    @exporter.connect
    async def connect() -> AsyncIterator[str]:
        tries.append(len(tries))
        if len(tries) < 7:
            raise Again(after=0.001) if len(tries) < 5 else OSError("reset")
        yield "client"

    @exporter.rows("things", row=dict, columns=COLUMNS, key="id")
    async def things(client: str) -> Rows:
        yield {"id": 1, "name": client}

    await move(ExporterSource("app:source", exporter, None), str(tmp_path / "copy.db"), tmp_path)
    assert contents(tmp_path / "copy.db", "things") == [(1, "client")]
    assert len(tries) == 7
