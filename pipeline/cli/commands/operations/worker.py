"""`pipeline worker`: a process that runs for months."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import exit_codes
from pipeline.cli.options import common_options, prepare, run_async

if TYPE_CHECKING:
    from pipeline.settings import Settings


@click.command(short_help="Run a worker that exports, imports, or does both.")
@click.argument("role", type=click.Choice(["export", "import", "all"]))
@click.option(
    "--health-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a line of JSON here every few seconds while the worker is well.",
)
@click.option("--flow", "flows", multiple=True, metavar="NAME", help="Serve this Flow only. May be given repeatedly.")
@common_options
def worker(
    role: str, health_file: Path | None, flows: tuple[str, ...], home: Path | None, config: Path | None, debug: bool
) -> int:
    """Run a worker until it is told to stop: an exporter, an importer, or both in one process.

    Exporters take up Movements that `pipeline start` has announced; importers take part in any group that is complete.
    Run as many of each as the work needs, on as many machines. What dies is replaced by the others.

    The first SIGTERM or SIGINT drains: the transaction in hand ends, messages are given back. The second ends the
    process at once. Exit code: 0 drained; 130 or 143 ended at once; 1 something stood in the way; 2 the settings
    cannot be right. Logs go to standard error, from level info on unless the settings say otherwise.
    """
    settings = prepare(home, config, log_level="info")
    run_async(lambda: _run(role, settings, health_file, flows))
    return exit_codes.SUCCESS


async def _run(role: str, settings: Settings, health_file: Path | None, flows: tuple[str, ...]) -> None:
    import anyio
    import structlog

    from pipeline.assembly.commands.workers import Role, open_worker
    from pipeline.cli.health import tell_health
    from pipeline.cli.output.logs import LogReporter
    from pipeline.cli.worker_signals import set_at_signal
    from pipeline.domain.ids import FlowName

    stop = anyio.Event()
    only = frozenset(map(FlowName, flows))
    async with open_worker(Role(role), settings, LogReporter(), only) as ready:
        structlog.contextvars.bind_contextvars(worker=ready.name)
        async with anyio.create_task_group() as group:
            await group.start(set_at_signal, stop)
            if health_file is not None:
                await group.start(tell_health, health_file, ready.name, role, stop)
            await ready.run(stop)
            group.cancel_scope.cancel()
