"""Prints errors: a message that says what to do, and a traceback only with --debug."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator

from pipeline.cli import exit_codes
from pipeline.cli.output.text import printable
from pipeline.domain.errors import ConfigurationError, DefectError, PipelineError
from pipeline.masking import masked, print_masked


class InterruptedBySignalError(Exception):
    """A signal cancelled the work."""


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors in a (possibly nested) exception group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def message_of(error: BaseException) -> str:
    """Return the message of an error, or the messages of a group, a line each."""
    found = dict.fromkeys(
        "interrupted" if isinstance(one, InterruptedBySignalError) else masked(str(one)) or type(one).__name__
        for one in leaves(error)
    )
    return "\n".join(found)


def print_error(error: BaseException, *, debug: bool) -> int:
    """Print `error` to standard error and return the exit code."""
    found = list(leaves(error))
    if any(isinstance(one, InterruptedBySignalError) for one in found):
        print("pipeline: interrupted. Nothing is lost; the same command carries on from here.", file=sys.stderr)
        return exit_codes.INTERRUPTED
    if debug:
        print_masked("".join(traceback.format_exception(error)).rstrip("\n"))  # what an author raised is in it as well
    expected = [one for one in found if isinstance(one, PipelineError) and not isinstance(one, DefectError)]
    if len(expected) < len(found):
        _print_defect(next(one for one in found if one not in expected), debug=debug)
        return exit_codes.NOT_DONE
    for message in dict.fromkeys(str(one) for one in expected):
        for line in message.splitlines() or [""]:
            print(f"pipeline: {printable(line)}", file=sys.stderr)
    is_mistake = all(isinstance(one, ConfigurationError) for one in expected)
    return exit_codes.USERS_MISTAKE if is_mistake else exit_codes.NOT_DONE


def _print_defect(error: BaseException, *, debug: bool) -> None:
    print(
        f"pipeline: a defect in the pipeline: {type(error).__name__}: {printable(masked(str(error)))}", file=sys.stderr
    )
    if not debug:
        print("pipeline: run the command again with --debug to see where.", file=sys.stderr)
    print("pipeline: nothing is lost: what was imported stays imported. Please report this.", file=sys.stderr)
