"""Servers for tests: the message when one does not start, and that none is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest

from localstack.environment import ROOT
from localstack.provision import Access
from tests.servers.fixtures import serving
from tests.servers.process import ServerNotAvailableError, free_ports, running, temporary_directory
from tests.servers.seaweedfs import seaweedfs


class Absent(AbstractContextManager[None]):
    """A server that cannot be started."""

    def __enter__(self) -> None:
        raise ServerNotAvailableError("no such server")

    def __exit__(self, *exception: object) -> None:
        raise AssertionError("it was never started")


def test_a_missing_command_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerNotAvailableError, match="no-such-server"),
        running(["no-such-server"], tmp_path, {}, bool),
    ):
        pass


def test_the_last_output_of_a_server_that_ends_early_is_shown(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('the port is taken')"]
    with pytest.raises(ServerNotAvailableError, match="the port is taken"), running(command, tmp_path, {}, bool):
        pass


@pytest.mark.parametrize("on_terminate", ["default_int_handler", "SIG_IGN"])
def test_a_server_has_ended_when_the_block_fails(
    on_terminate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.servers.process._TERMINATE_SECONDS", 0.2)
    program = (
        f"import signal, time, pathlib; signal.signal(signal.SIGTERM, signal.{on_terminate});"
        "pathlib.Path('ready').touch(); time.sleep(60)"
    )
    seen: list[int] = []

    def fail_while_it_runs() -> None:
        with running([sys.executable, "-c", program], tmp_path, {}, (tmp_path / "ready").exists) as process_id:
            seen.append(process_id)
            assert psutil.pid_exists(process_id)
            raise LookupError

    with pytest.raises(LookupError):
        fail_while_it_runs()
    assert [psutil.pid_exists(process_id) for process_id in seen] == [False]


def test_a_server_is_killed_when_its_run_is(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, time; from tests.servers.process import running;\n"
        "with running([sys.executable, '-c', 'import time; time.sleep(60)'], pathlib.Path(sys.argv[1]), {}, lambda: True) as it:\n"
        "    print(it, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        run.kill()
    psutil.wait_procs([server], timeout=10)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_ports_are_free_and_different() -> None:
    assert len(set(free_ports(20))) == 20


def test_a_server_that_cannot_start_skips_the_test_and_fails_it_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such server"):
        next(serving(Absent()))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no such server"):
        next(serving(Absent()))


async def test_seaweedfs_holds_what_it_acknowledged_before_a_kill() -> None:
    with temporary_directory("seaweedfs") as directory:
        with seaweedfs(directory) as server:
            access = Access(server.endpoint_url, server.region, server.access_key_id, server.secret_access_key)
            async with access.s3() as s3:
                await s3.create_bucket(Bucket="kept")
                await s3.put_object(Bucket="kept", Key="a", Body=b"content")
            assert server.process_id is not None
            os.kill(server.process_id, signal.SIGKILL)
        with seaweedfs(directory) as server:
            access = Access(server.endpoint_url, server.region, server.access_key_id, server.secret_access_key)
            async with access.s3() as s3:
                got = await s3.get_object(Bucket="kept", Key="a")
                assert await got["Body"].read() == b"content"
