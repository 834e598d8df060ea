"""Move an app's data: in order, exactly once, and only what changed.

The names in `__all__` are the public interface. They are loaded when first used, so that importing the package costs
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.assembly.commands.move import move
    from pipeline.domain.errors import PipelineError
    from pipeline.domain.movement import Movement, Status
    from pipeline.ports.reporter import Reporter
    from pipeline.settings import Settings, load_settings

__version__ = "0.1.0"

__all__ = [
    "Movement",
    "PipelineError",
    "Reporter",
    "Settings",
    "Status",
    "__version__",
    "load_settings",
    "move",
]

_HOMES = {
    "Movement": "pipeline.domain.movement",
    "PipelineError": "pipeline.domain.errors",
    "Reporter": "pipeline.ports.reporter",
    "Settings": "pipeline.settings",
    "Status": "pipeline.domain.movement",
    "load_settings": "pipeline.settings",
    "move": "pipeline.assembly.commands.move",
}


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Name what is public."""
    return sorted(__all__)
