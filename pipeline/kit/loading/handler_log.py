"""The `log` of a handler: a structlog logger, whose events go where the pipeline's own go, without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.log_events import log
from pipeline.masking import masked_value


def handler_log(**values: object) -> Any:
    """Return a logger that adds `values` to each event."""
    import structlog  # most handlers log nothing

    logger = structlog.wrap_logger(
        _PipelineLog(),
        processors=[structlog.processors.format_exc_info, _as_shown],
        wrapper_class=structlog.make_filtering_bound_logger(log.level),
        context_class=dict,
    )
    return logger.bind(**values)


def _as_shown(_logger: object, _method: str, event: Mapping[str, object]) -> Mapping[str, object]:
    return {str(name): masked_value(value) for name, value in event.items()}


class _PipelineLog:
    """Writes to the pipeline's log, which has no levels above `error`."""

    def debug(self, event: object, **values: object) -> None:
        log.write("debug", str(event), values)

    def info(self, event: object, **values: object) -> None:
        log.write("info", str(event), values)

    def warning(self, event: object, **values: object) -> None:
        log.write("warning", str(event), values)

    def error(self, event: object, **values: object) -> None:
        log.write("error", str(event), values)

    critical = error
