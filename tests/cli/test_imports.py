"""What is imported, and what is not: a command answers as fast as it imports."""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from pipeline.assembly.import_helper import ImportHelper
from pipeline.connectors.sqlite import SqliteDestination
from pipeline.connectors.sqlite.reading.scan_worker import open_scanner
from pipeline.domain.ids import FlowName
from pipeline.processes import channel
from pipeline.settings import Settings
from tests.cli.app import make_database, process_environment

OF_OTHERS = {
    *("aiobotocore", "botocore", "boto3", "psycopg", "trio", "sqlite3", "httpx", "starlette", "prometheus_client"),
    *(
        "pipeline.assembly.apps.sam_connector",
        "pipeline.assembly.apps.remote_connector",
        "pipeline.domain.notifications.endpoint",
    ),
}
"""What only other places and other backends need."""
UNUSED = {"rich", "structlog", "tomllib", "importlib.metadata", "aiofiles", "sysconfig"}
"""What only a terminal, log events, settings, errors or large files need; `importlib.metadata` finds plugins of libraries."""
OF_SUBPROCESSES = {"multiprocessing", "pipeline.processes.channel"}
OF_CHANGES = {*OF_SUBPROCESSES, "pipeline.engine.verify.verifier", "tenacity"}
"""What only an import, its helper, or the first load of a stream into a place that exists needs."""
HEAVY = {"rich", "msgspec", "orjson", "apsw", "anyio", "structlog", "blake3", "asyncio", "sqlite3"}


SUBPROCESS = f"""
import sys
sys.argv[1:] = ["purpose", "0", *sys.path]
{channel._START.replace("main(int(descriptor))", "")}
import pickle
pickle.load(sys.stdin.buffer)
"""
"""What a subprocess does before it opens its service, which comes on its standard input."""


def imported_by(program: str, directory: Path, data: bytes = b"") -> set[str]:
    """Return the names of all modules that a process has imported after it has run a program."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys; print(chr(10), *sys.modules)"],
        input=data,
        env=process_environment(),
        cwd=directory,
        capture_output=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.splitlines()[-1].decode().split())


def imported_by_command(directory: Path, *arguments: str) -> set[str]:
    program = f"from pipeline.cli.main import run; assert run({list(arguments)!r}) == 0"
    return imported_by(program, directory)


def adapters(imported: set[str]) -> set[str]:
    """Return the connectors and stores that are imported, by name, but for the embedded store."""
    found = [name.split(".") for name in imported if name.startswith(("pipeline.connectors.", "pipeline.stores.s3"))]
    return {name[2] for name in found}


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    assert imported_by_command(tmp_path, "--help") & HEAVY == set()


@pytest.mark.parametrize("flags", [[], ["--json"], ["--home", "elsewhere"]])
def test_a_move_between_databases_loads_what_it_uses(tmp_path: Path, flags: list[str]) -> None:
    make_database(tmp_path / "app.db")
    imported = imported_by_command(tmp_path, "move", "app.db", "copy.db", *flags)
    assert "apsw" in imported
    assert imported & OF_SUBPROCESSES == set()
    assert imported_by_command(tmp_path, "move", "app.db", "copy.db", *flags) & OF_CHANGES == set()
    assert imported & (OF_OTHERS | UNUSED) == set()
    assert adapters(imported) == {"sqlite", "sql", "combined", "locations", "registry"}


@pytest.mark.parametrize("what", ["a first Movement", "nothing changed"])
def test_a_move_between_trees_loads_what_it_uses(tmp_path: Path, what: str) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "file").write_text("content")
    move = "move", "app/", "copy/"
    imported = imported_by_command(tmp_path, *move)
    if what == "nothing changed":
        imported = imported_by_command(tmp_path, *move)
        assert imported & OF_CHANGES == set()
    assert imported & (OF_OTHERS | UNUSED) == set()
    assert adapters(imported) == {"files", "combined", "locations", "registry"}


def test_a_place_loads_the_connector_of_its_scheme_alone() -> None:
    program = (
        "import pipeline.assembly.connectors, sys\n"
        "from pipeline.connectors.registry import find_connector, parse_location\n"
        "assert parse_location('sam').scheme == 'sqlite'\n"
        "for scheme in {0!r}: assert scheme in find_connector(scheme).schemes"
    )
    sam, app = "pipeline.assembly.apps.sam_connector", "pipeline.assembly.apps.remote_connector"
    for schemes, loaded in {
        ("file",): set(),
        ("sam",): {sam},
        ("app", "https", "http"): {app},
        ("python",): set(),
    }.items():
        assert imported_by(program.format(schemes), Path.cwd()) & {sam, app} == loaded


def test_its_helper_loads_what_it_uses(tmp_path: Path) -> None:
    helper = ImportHelper(FlowName("f"), partial(SqliteDestination, tmp_path / "copy.db"), Settings(importers=2))
    imported = imported_by(SUBPROCESS, tmp_path, pickle.dumps(partial(helper.run, 1)))
    assert "apsw" in imported
    assert imported & (OF_OTHERS | UNUSED) == set()
    assert imported & {"click", "pipeline.engine.export.exporter"} == set()


def test_a_scan_worker_loads_what_it_uses(tmp_path: Path) -> None:
    open_service = partial(open_scanner, tmp_path / "app.db", 1.0, (0, 0))
    imported = imported_by(SUBPROCESS, tmp_path, pickle.dumps(open_service))
    assert "apsw" in imported
    assert imported & (OF_OTHERS | UNUSED) == set()
    assert not any(name.startswith(("pipeline.engine", "pipeline.assembly", "pipeline.cli")) for name in imported)
