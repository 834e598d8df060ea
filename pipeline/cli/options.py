"""The options that every command has, and how a command starts: settings read, logs configured, coroutine run."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import anyio
import click

from pipeline.cli.output.json_output import json_alone
from pipeline.cli.output.logs import configure_logs
from pipeline.kit.configuration.names import REQUIRES
from pipeline.processes.process_setup import configure_runtime
from pipeline.settings import Settings, load_settings

Command = TypeVar("Command", bound=Callable[..., object])
Result = TypeVar("Result")

_SETTING_FLAGS = {
    "grants": "Move owners and privileges from PostgreSQL to PostgreSQL. The destination must have the roles.",
    "one_file_system": "Leave out of a directory tree what is on other file systems, mounted below it.",
}
"""The settings that a command takes as flags, with their help texts."""
_COMMON = (
    click.option("--debug", is_flag=True, expose_value=False, help="Show where in the program an error arose."),
    click.option(
        "--config", type=click.Path(path_type=Path), metavar="FILE", help="Read settings from this TOML file."
    ),
    click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The directory of the embedded store and queue [default: .pipeline, or PIPELINE_HOME].",
    ),
)


def common_options(command: Command) -> Command:
    """Add --home, --config and --debug."""
    for option in _COMMON:
        command = option(command)
    return command


def with_settings(command: Callable[..., object]) -> Callable[..., object]:
    """Add --home, --config and --debug, and call the command with the `settings` that they make."""

    @functools.wraps(command)
    def call(*arguments: object, home: Path | None, config: Path | None, **options: object) -> object:
        flags = {name: True for name in _SETTING_FLAGS if options.pop(name, False)}
        return command(*arguments, settings=prepare(home, config, flags=flags), **options)

    return common_options(call)


def json_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add --json. Nothing else reaches standard output then, whatever plug-ins print."""

    @functools.wraps(command)
    def call(*arguments: object, as_json: bool, **options: object) -> object:
        with json_alone() if as_json else nullcontext():
            return command(*arguments, as_json=as_json, **options)

    return click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")(call)


def setting_flags(command: Command) -> Command:
    """Add the flags of `_SETTING_FLAGS`: how a source is read."""
    for name, meaning in _SETTING_FLAGS.items():
        command = click.option(f"--{name.replace('_', '-')}", is_flag=True, help=meaning)(command)
    return command


def metrics_option(command: Command) -> Command:
    """Add --metrics-listen."""
    return click.option(
        "--metrics-listen",
        metavar="[ADDRESS:]PORT",
        help="Serve metrics to Prometheus there; port 0 is a free one. Without ADDRESS, for this machine alone.",
    )(command)


def accept_missing_option(command: Command) -> Command:
    """Add --accept-missing."""
    return click.option(
        "--accept-missing",
        multiple=True,
        metavar="KIND",
        help="Let objects of this kind, such as view, be missing at the destination. Kept for the Flow.",
    )(command)


def allow_deletes_option(command: Command) -> Command:
    """Add --allow-deletes."""
    return click.option(
        "--allow-deletes",
        multiple=True,
        metavar="STREAM",
        help="Delete however many records of a stream are gone at the source; also a pattern. May be given repeatedly.",
    )(command)


def overwrite_option(command: Command) -> Command:
    """Add --overwrite."""
    return click.option("--overwrite", is_flag=True, help="Overwrite what the destination has before the first load.")(
        command
    )


def plugin_settings_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add --source-set and the options of `destination_settings_options`."""
    return _settings_option("source")(destination_settings_options(command))


def destination_settings_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add --destination-set, whose values come as a mapping, and --requires, one of them."""

    @functools.wraps(command)
    def call(
        *arguments: object, requires: str | None, destination_settings: dict[str, str], **options: object
    ) -> object:
        given = destination_settings | ({} if requires is None else {REQUIRES: requires})
        return command(*arguments, destination_settings=given, **options)

    text = "The delivery level that the destination must have: transaction, staged, keyed, found [default] or at-least-once."
    return click.option("--requires", metavar="LEVEL", help=text)(_settings_option("destination")(call))


def _settings_option(end: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    return click.option(
        f"--{end}-set",
        f"{end}_settings",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_read_assignments,
        help=f"A setting of the plug-in that is the {end}. May be given repeatedly.",
    )


def _read_assignments(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    wrong = [value.partition(":")[0][:80] for value in values if not value.partition("=")[1]]
    if wrong:  # shortened: it could be a secret
        raise click.BadParameter(f"{', '.join(map(repr, wrong))} is not complete. Write NAME=VALUE.")
    return dict(value.split("=", 1) for value in values)


def prepare(
    home: Path | None, config: Path | None, *, log_level: str | None = None, flags: Mapping[str, object] | None = None
) -> Settings:
    """Return the settings and configure logs by them. `log_level` is the default of this command."""
    defaults = {} if log_level is None else {"log_level": log_level}
    settings = load_settings(config, {"home": home, **(flags or {})}, defaults=defaults)
    configure_logs(settings)
    return settings


def run_async(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run a coroutine function to its end."""
    configure_runtime()
    return anyio.run(work)
