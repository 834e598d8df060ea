"""What Python itself writes to standard error in a process of the pipeline: errors that nothing catches, in threads and tasks
of authors. Secrets of authors' settings are masked in it.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback

from pipeline.masking import masked, print_masked


class _MaskingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record, with its traceback."""
        return masked(super().format(record))


def mask_unhandled() -> None:
    """Mask what is written from now on: records that no handler takes, and errors that nothing catches."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_MaskingFormatter())
    sys.excepthook = lambda _, error, __: _print("", error)
    sys.unraisablehook = lambda given: _print(
        f"{given.err_msg or 'Exception ignored in'}: {given.object!r}\n", given.exc_value
    )
    threading.excepthook = _print_of_thread


def _print_of_thread(given: threading.ExceptHookArgs) -> None:
    if not isinstance(given.exc_value, SystemExit):
        name = given.thread.name if given.thread else "that has ended"
        _print(f"Exception in thread {name}:\n", given.exc_value)


def _print(head: str, error: BaseException | None) -> None:
    lines = traceback.format_exception(error) if error is not None else []
    print_masked((head + "".join(lines)).rstrip("\n"))
