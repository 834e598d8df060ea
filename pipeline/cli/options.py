"""The options that every command has, and how a command starts: settings read, logs set up, coroutine run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from pipeline.settings import Settings

Command = TypeVar("Command", bound=Callable[..., object])
Result = TypeVar("Result")


def common_options(command: Command) -> Command:
    """Add --home, --config and --debug."""
    for option in (
        click.option("--debug", is_flag=True, help="Show where in the program an error arose."),
        click.option(
            "--config", type=click.Path(path_type=Path), metavar="FILE", help="Read settings from this TOML file."
        ),
        click.option(
            "--home",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="Where the embedded store and queue live [default: .pipeline, or PIPELINE_HOME].",
        ),
    ):
        command = option(command)
    return command


def json_option(command: Command) -> Command:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")(command)


def prepare(home: Path | None, config: Path | None, *, log_level: str | None = None) -> Settings:
    """Read the settings and begin to log as they say; of what `log_level` says when they say nothing.

    A command calls this before it imports what it works with.
    """
    from pipeline.processes.process_setup import configure_before_imports
    from pipeline.settings import load_settings

    configure_before_imports()
    from pipeline.cli.output.logs import configure_logs

    defaults = {} if log_level is None else {"log_level": log_level}
    settings = load_settings(config, {"home": home}, defaults=defaults)
    configure_logs(settings)
    return settings


def run_async(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run a coroutine function to its end."""
    import anyio

    from pipeline.processes.process_setup import configure_runtime

    configure_runtime()
    return anyio.run(work)


def existing_home(settings: Settings) -> Path:
    """Return the home directory; ConfigurationError when nothing was ever moved from here."""
    from pipeline.domain.errors import ConfigurationError

    if not settings.store and not settings.home.is_dir():
        raise ConfigurationError(
            f"There is no {settings.home} here: nothing has been moved from this directory yet. "
            "Name the home of your Flows with --home or PIPELINE_HOME."
        )
    return settings.home
