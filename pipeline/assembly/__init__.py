"""Settings to ready-made programs: the only place that knows both the engine and the adapters."""

from __future__ import annotations

from pipeline.assembly.home import Home, open_home
from pipeline.assembly.moving import MoveRequest, move
from pipeline.assembly.places import imported_marks

__all__ = ["Home", "MoveRequest", "imported_marks", "move", "open_home"]
