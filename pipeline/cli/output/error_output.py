"""Errors as a person meets them: one message, what to do, and no traceback unless it is asked for."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator

from pipeline.cli import exit_codes
from pipeline.cli.output.text import printable
from pipeline.domain.errors import ConfigurationError, DefectError, PipelineError


class InterruptedBySignalError(Exception):
    """The work was cancelled because the process was asked to stop."""


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that a (possibly nested) group of them holds, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def complain(error: BaseException, *, debug: bool) -> int:
    """Write about `error` to standard error and return the exit code that goes with it."""
    found = list(leaves(error))
    if any(isinstance(one, InterruptedBySignalError) for one in found):
        print("pipeline: interrupted. Nothing is lost; the same command carries on from here.", file=sys.stderr)
        return exit_codes.INTERRUPTED
    foreseen = [one for one in found if isinstance(one, PipelineError) and not isinstance(one, DefectError)]
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if len(foreseen) < len(found):
        _say_defect(next(one for one in found if one not in foreseen), debug=debug)
        return exit_codes.NOT_DONE
    for message in dict.fromkeys(str(one) for one in foreseen):
        for line in message.splitlines() or [""]:
            print(f"pipeline: {printable(line)}", file=sys.stderr)
    mistakes = all(isinstance(one, ConfigurationError) for one in foreseen)
    return exit_codes.USERS_MISTAKE if mistakes else exit_codes.NOT_DONE


def _say_defect(error: BaseException, *, debug: bool) -> None:
    print(f"pipeline: a defect in the pipeline: {type(error).__name__}: {printable(str(error))}", file=sys.stderr)
    if not debug:
        print("pipeline: run the command again with --debug to see where.", file=sys.stderr)
    print("pipeline: nothing is lost: what was imported stays imported. Please report this.", file=sys.stderr)
