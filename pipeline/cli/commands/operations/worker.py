"""`pipeline worker`: a process that runs for months."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from pipeline.assembly.commands.workers import Role, open_worker
from pipeline.assembly.reporters import LogReporter
from pipeline.cli.health import write_health
from pipeline.cli.options import common_options, metrics_option, prepare, run_async
from pipeline.cli.signals import set_at_signal
from pipeline.log_events import bound
from pipeline.settings import Settings


@click.command()
@click.argument("role", type=click.Choice([role.value for role in Role]))
@click.option(
    "--health-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a line of JSON to FILE every five seconds: how the worker is, and what does not answer it.",
)
@click.option("--flow", "flows", multiple=True, metavar="NAME", help="Serve this Flow only. May be given repeatedly.")
@metrics_option
@common_options
def worker(
    role: str,
    health_file: Path | None,
    flows: tuple[str, ...],
    metrics_listen: str | None,
    home: Path | None,
    config: Path | None,
) -> None:
    """Run a worker until it is stopped: an exporter, an importer, or both in one process.

    Exporters take up Movements that `pipeline start` has announced; importers take part in every group that is complete.
    Run as many of each as the work needs, on as many machines. When one dies, the others take over its work.

    The first SIGTERM, SIGINT or SIGHUP drains: the transaction in hand ends, and messages are given back. The second
    ends the process at once. Exit code: 0 drained; 129, 130 or 143 ended at once; 1 the work failed; 2 wrong usage or settings.
    Logs go to standard error, from level info on unless the settings say otherwise.
    """
    settings = prepare(home, config, log_level="info", flags={"metrics_listen": metrics_listen})
    run_async(lambda: _run(Role(role), settings, health_file, flows))


async def _run(role: Role, settings: Settings, health_file: Path | None, flows: tuple[str, ...]) -> None:
    stop = anyio.Event()
    async with open_worker(role, flows=flows, settings=settings, reporter=LogReporter()) as ready:
        with bound(worker=ready.name):
            async with anyio.create_task_group() as group:
                await group.start(set_at_signal, stop)
                if health_file is not None:
                    await group.start(write_health, health_file, ready, stop)
                await ready.run(stop)
                group.cancel_scope.cancel()
