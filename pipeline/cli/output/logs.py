"""Log events on standard error, as text or as JSON lines."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from pipeline.settings import Settings


def configure_logs(settings: Settings) -> None:
    """Configure structlog as the settings say."""
    as_json = settings.log_format == "json"
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=_current_standard_error,
        cache_logger_on_first_use=False,
    )
    for library in ("botocore", "aiobotocore"):  # they log tracebacks of what is raised, and then reported, as well
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _current_standard_error(*_: Any) -> structlog.PrintLogger:
    """Return a logger for standard error as it is now: a live display replaces it while it is shown."""
    return structlog.PrintLogger(sys.stderr)
