"""The command `pipeline`: runs a subcommand, and turns an error into a message and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from pipeline import __version__
from pipeline.cli import exit_codes
from pipeline.processes.process_setup import configure_before_imports
from pipeline.processes.unhandled import mask_unhandled

COMMANDS = {
    "move": "Move what is new from SOURCE to DESTINATION.",
    "status": "Show Flows, their Movements, and how far they are.",
    "history": "Show what happened in a Flow, and when.",
    "log": "Show what an Importer has told people.",
    "files": "List the Event Files of a Flow, and which are imported.",
    "start": "Start a Movement of FLOW; workers do the rest.",
    "pause": "Pause the Movement of FLOW.",
    "resume": "Go on with the paused Movement of FLOW.",
    "stop": "Stop the Movement of FLOW.",
    "rerun": "Move what a Movement of FLOW left.",
    "retry": "Load the rejected records of FLOW again.",
    "rejected": "List the rejected records of FLOW, and take corrected ones back.",
    "reload": "Move all of a stream of FLOW again.",
    "worker": "Run a worker that exports, imports, or does both.",
    "sweep": "Announce work again that no worker holds.",
    "check": "Find what is wrong before data moves.",
    "approve": "Approve what FLOW moves.",
    "revoke": "Revoke an approval of FLOW, and stop it.",
    "flow": "Create, declare, show and remove Flows.",
    "compact": "Fold the history of a Flow's streams into fresh snapshots.",
    "rebuild": "Make the memory of a Flow again after objects were lost.",
    "prune": "Delete what a Flow no longer needs.",
    "show": "Print an Event File readably.",
    "verify": "Prove that a Flow's destination equals its source.",
    "new": "Make the project of an Exporter, an Importer, or both.",
    "apps": "List the Exporters and Importers that have names.",
    "torture": "Run an Exporter or an Importer under faults.",
    "notify": "Send events to webhooks, SQS and SNS.",
    "serve": "Serve the HTTP API and the dashboard.",
    "token": "Make, list and revoke tokens for the HTTP API.",
    "demo": "Build a small app, move it, change it, move it again.",
}

_ROOMS = {
    **dict.fromkeys(("move", "start", "demo"), "movements"),
    **dict.fromkeys(("flow", "check", "approve", "revoke"), "flows"),
    **dict.fromkeys(("pause", "resume", "stop", "rerun", "reload", "retry", "rejected"), "lifecycle"),
    **dict.fromkeys(("status", "history", "log", "files", "show", "verify"), "inspection"),
    **dict.fromkeys(("new", "apps", "torture"), "authors"),
    **dict.fromkeys(("worker", "sweep", "compact", "rebuild", "prune"), "operations"),
    **dict.fromkeys(("serve", "token", "notify"), "platform"),
}
"""The package below `pipeline.cli.commands` that holds each command's module."""


class LazyGroup(click.Group):
    """A group that imports the module of a command when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        configure_before_imports()
        command = getattr(importlib.import_module(f"pipeline.cli.commands.{_ROOMS[cmd_name]}.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pipeline")
def cli() -> None:
    """Move an app's data from one place to another: in order, exactly once, and only what changed.

    `pipeline move app.db copy.db` moves a database. Run it again, and only what has changed since is moved.
    """


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        code = cli.main(arguments, prog_name="pipeline", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        if "--json" in arguments:
            _print_json_error(error.format_message())
        return error.exit_code
    except click.Abort:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        _drop_output()  # the reader of the output has gone (`| head`)
        return exit_codes.NOT_DONE
    except Exception as error:  # noqa: BLE001 - the one place where any error becomes a message
        from pipeline.cli.output.error_output import message_of, print_error

        may_be_output = isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS
        if may_be_output and (unwritten := _unwritten()) is not None:
            _drop_output()
            return print_error(unwritten, debug="--debug" in arguments)
        code = print_error(error, debug="--debug" in arguments)
        if "--json" in arguments:
            _print_json_error(message_of(error))
        return code
    return code if isinstance(code, int) else exit_codes.SUCCESS


_OUTPUT_ERRORS = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})
"""What the system says when an output cannot be written, though another file may be meant."""


def _unwritten() -> Exception | None:
    """Return why the output cannot be written, such as a full disk; None if it can."""
    from pipeline.domain.errors import RefusedError

    try:
        os.write(sys.stdout.fileno(), b"\n")  # a buffer that could not be flushed may be empty the next time
    except OSError as error:
        if error.errno is None:
            return None  # it has no descriptor
        again = "Make room or name another file, then run the command again; it carries on where it stopped."
        return RefusedError(f"Standard output cannot be written: {error.strerror}. {again}")
    return None


def _drop_output() -> None:
    """Discard the rest of the output. The interpreter must not report that it is lost when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_json_error(message: str) -> None:
    from pipeline.cli.output.json_output import print_object

    print_object({"error": message})


def main() -> None:
    """Run the command line with the arguments of the process."""
    mask_unhandled()
    if sys.stdout is None:  # it was closed: `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # it lives as long as the process
    sys.exit(run(sys.argv[1:]))
