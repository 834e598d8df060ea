"""Log events on standard error, as text or as JSON lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING

from pipeline.log_events import log
from pipeline.masking import masked_value, print_masked
from pipeline.settings import Settings

if TYPE_CHECKING:
    import structlog


def configure_logs(settings: Settings) -> None:
    """Write log events as the settings say."""
    log.configure(partial(_write, settings.log_format == "json"), settings.log_level)
    for library in ("botocore", "aiobotocore"):  # they log tracebacks of what is raised, and then reported, as well
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _write(as_json: bool, level: str, event: str, values: Mapping[str, object]) -> None:
    getattr(_logger(as_json), level)(event, **values)


@cache
def _logger(as_json: bool) -> structlog.typing.WrappedLogger:
    import structlog

    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    before: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, _mask] if as_json else []
    return structlog.wrap_logger(
        _StandardError(print_line if as_json else print_masked),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *before,  # a mask in a line of JSON would be no JSON
            renderer,
        ],
    )


def _mask(_logger: object, _method: str, values: Mapping[str, object]) -> Mapping[str, object]:
    return {name: masked_value(value) for name, value in values.items()}


def print_line(line: str) -> None:
    """Print a line on standard error as it is now: a live display replaces it while it is shown."""
    print(line, file=sys.stderr, flush=True)


class _StandardError:
    """Gives lines of all levels to a function that prints them."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.debug = self.info = self.warning = self.error = show
