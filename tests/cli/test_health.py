"""The health file of a worker."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import orjson
import pytest

from pipeline.assembly.commands.workers import Role, Worker
from pipeline.cli import health
from pipeline.cli.health import write_health
from pipeline.domain.errors import ConfigurationError


def worker(missing: Callable[[], Sequence[str]] = list) -> Worker:
    return Worker("host:1", Role.ALL, (), missing)


async def test_the_file_says_which_services_do_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "HEALTH_SECONDS", 0.01)
    missing: list[str] = []
    file = tmp_path / "health"

    async def until(status: str) -> dict[str, object]:
        with anyio.fail_after(60):
            while (document := orjson.loads(file.read_bytes()))["status"] != status:  # noqa: ASYNC110  a file
                await anyio.sleep(0.01)
        return document  # type: ignore[no-any-return]

    async with anyio.create_task_group() as group:
        await group.start(write_health, file, worker(lambda: missing), stop := anyio.Event())
        assert (await until("running"))["not_answering"] == []
        missing.append("store")
        assert (await until("not_answered"))["not_answering"] == ["store"]
        missing.clear()
        await until("running")
        stop.set()
        await until("draining")
        group.cancel_scope.cancel()
    assert [entry async for entry in anyio.Path(tmp_path).iterdir()] == []


async def test_a_full_disk_does_not_end_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health, "HEALTH_SECONDS", 0.01)
    writes = 0

    async def full(*_: object) -> None:
        nonlocal writes
        writes += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    async with anyio.create_task_group() as group:
        await group.start(write_health, tmp_path / "health", worker(), anyio.Event())
        monkeypatch.setattr(anyio.Path, "write_bytes", full)
        with anyio.fail_after(60):
            while writes < 3:  # noqa: ASYNC110  the writer knows no event
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert "health_write_failed" in "".join(capsys.readouterr())  # logs go where an earlier test had them configured


async def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        async with anyio.create_task_group() as group:
            await group.start(write_health, tmp_path / "absent" / "health", worker(), anyio.Event())
    assert raised.group_contains(ConfigurationError, match="cannot be written: No such file")
