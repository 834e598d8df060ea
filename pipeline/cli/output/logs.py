"""Log events on standard error, as text or as JSON lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING

from pipeline.log_events import log
from pipeline.masking import print_masked
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
    return structlog.wrap_logger(
        _StandardError(),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
    )


class _StandardError:
    """Prints lines on standard error as it is now: a live display replaces it while it is shown."""

    def write(self, line: str) -> None:
        print_masked(line)

    debug = info = warning = error = write
