"""The channel to a subprocess: what crosses it, and what happens when one end of it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from pipeline.domain.errors import ConfigurationError, RefusedError, TransientError
from pipeline.processes import channel
from pipeline.processes.channel import Reply, Subprocess, SubprocessGoneError, open_subprocess
from tests.processes.service import Calculator, Waiting, open_calculator, open_waiting, refuse_to_open

PURPOSE = "calculates"


def on(loop: str, main: Callable[[], object]) -> None:
    """Run an async function to its end on an event loop."""
    anyio.run(main, backend=loop)  # type: ignore[arg-type]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_replies_come_in_the_order_of_requests_that_are_sent_ahead(loop: str) -> None:
    async def main() -> None:
        async with open_subprocess(open_calculator, PURPOSE) as calculator:
            two = calculator.call(Calculator.double, 1)
            numbers = calculator.stream(Calculator.numbers, 3, 0)
            six = calculator.call(Calculator.double, 3)
            assert await six.value() == 6
            assert [number async for number, _ in numbers.values()] == [0, 1, 2]
            assert two.value_blocking() == 2

    on(loop, main)


async def test_several_tasks_may_wait_for_their_replies() -> None:
    found = []

    async def ask(number: int) -> None:
        found.append(await calculator.call(Calculator.double, number).value())

    async with open_subprocess(open_calculator, PURPOSE) as calculator, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(ask, number)
    assert sorted(found) == list(range(0, 40, 2))


async def test_a_request_is_accepted_however_many_values_wait_to_be_received() -> None:
    """More values than a socket holds wait on one side, and a request of more than a socket holds is sent on the other."""
    async with open_subprocess(open_calculator, PURPOSE) as calculator:
        numbers = calculator.stream(Calculator.numbers, 500, 100_000)
        length = calculator.call(Calculator.length, bytes(20_000_000))
        assert await length.value() == 20_000_000
        assert [number async for number, _ in numbers.values()] == list(range(500))


async def test_errors_of_the_service_are_raised_where_the_reply_is_read() -> None:
    async with open_subprocess(open_calculator, PURPOSE) as calculator:
        with pytest.raises(RefusedError, match="the disk is full"):
            await calculator.call(Calculator.refuse).value()
        numbers = calculator.stream(Calculator.numbers_until_refused).values()
        assert await anext(numbers) == 1
        with pytest.raises(RefusedError, match="the disk is full"):
            await anext(numbers)
        assert await calculator.call(Calculator.double, 4).value() == 8


async def test_a_service_that_cannot_be_opened_raises_its_error() -> None:
    with pytest.raises(ConfigurationError, match="there is no such place"):
        async with open_subprocess(refuse_to_open, PURPOSE):
            pass


async def test_log_events_of_the_subprocess_are_logged_by_the_parent() -> None:
    async with open_subprocess(open_calculator, PURPOSE) as calculator:
        with capture_logs() as logs:
            await calculator.call(Calculator.log).value()
    assert logs == [
        {"event": "disk_full", "log_level": "warning", "flow": "crm", "path": "/data", "files": 3, "ratio": 0.5}
    ]


@pytest.mark.parametrize("method", [Calculator.end, Calculator.fail, Calculator.unsendable])
async def test_a_subprocess_that_ends_before_it_replies_raises_a_transient_error(
    method: Callable[[Calculator], Coroutine[Any, Any, object]],
) -> None:
    async with open_subprocess(open_calculator, PURPOSE) as calculator:
        replies: list[Reply[Any]] = [calculator.call(method), calculator.call(Calculator.double, 1)]
        for one in (*replies, calculator.call(Calculator.double, 2)):
            with pytest.raises(SubprocessGoneError, match="The subprocess that calculates ended unexpectedly"):
                await one.value()


async def test_a_request_that_cannot_be_sent_does_not_shift_later_replies() -> None:
    async with open_subprocess(open_calculator, PURPOSE) as calculator:
        with pytest.raises(TypeError, match="cannot pickle"):
            calculator.call(Calculator.length, memoryview(b""))  # type: ignore[arg-type]
        assert await calculator.call(Calculator.double, 4).value() == 8


async def test_a_subprocess_that_cannot_be_started_raises_a_transient_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no such file")
    with pytest.raises(TransientError, match="The subprocess that calculates cannot be started"):
        Subprocess(open_calculator, PURPOSE)


async def test_the_subprocess_has_ended_when_the_context_ends() -> None:
    async def fail() -> None:
        async with open_subprocess(open_calculator, PURPOSE) as calculator:
            ids.append(await calculator.call(Calculator.process_id).value())
            os.kill(ids[0], 0)
            raise KeyError

    ids: list[int] = []
    with pytest.raises(KeyError):
        await fail()
    with pytest.raises(ProcessLookupError):
        os.kill(ids[0], 0)


async def test_a_service_that_waits_is_closed_in_order_when_the_parent_closes_the_channel(tmp_path: Path) -> None:
    path = tmp_path / "closed"
    async with open_subprocess(partial(open_waiting, str(path)), PURPOSE) as waiting:
        async for state in waiting.stream(Waiting.wait).values():
            assert state == "waiting"
            break
    assert path.read_text() == "closed"


async def test_a_subprocess_that_does_not_end_is_killed() -> None:
    async with open_subprocess(open_calculator, PURPOSE, join_seconds=0.01) as calculator:
        process_id = await calculator.call(Calculator.process_id).value()
        os.kill(process_id, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


async def test_no_script_of_the_caller_runs_in_the_subprocess(tmp_path: Path) -> None:
    """As multiprocessing runs it, which needs a guard around what a script does."""
    script = tmp_path / "script.py"
    script.write_text(
        "import anyio\n"
        "from pipeline.processes.channel import open_subprocess\n"
        "from tests.processes.service import Calculator, open_calculator\n"
        "async def main():\n"
        "    async with open_subprocess(open_calculator, 'calculates') as calculator:\n"
        "        print(await calculator.call(Calculator.double, 21).value())\n"
        "anyio.run(main)\n"
    )
    root = Path(channel.__file__).parents[2]
    done = await anyio.run_process([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(root)})
    assert done.stdout == b"42\n"


def test_the_subprocess_of_a_killed_parent_ends_in_order(tmp_path: Path) -> None:
    script = (
        "import sys, anyio\n"
        "from functools import partial\n"
        "from pipeline.processes.channel import open_subprocess\n"
        "from tests.processes.service import Waiting, open_waiting\n"
        "async def main():\n"
        "    async with open_subprocess(partial(open_waiting, sys.argv[1]), 'waits') as waiting:\n"
        "        async for state in waiting.stream(Waiting.wait).values():\n"
        "            print(state, flush=True)\n"
        "anyio.run(main)\n"
    )
    path = tmp_path / "closed"
    read_end, write_end = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        stderr=write_end,
        env={**os.environ, "PYTHONPATH": str(Path(channel.__file__).parents[2])},
    ) as parent:
        os.close(write_end)
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"waiting\n"
        parent.kill()
    with os.fdopen(read_end) as inherited:
        assert inherited.read() == ""  # until the last process that holds the other end has ended
    assert path.read_text() == "closed"
