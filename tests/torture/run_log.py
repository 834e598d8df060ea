"""The log of a run: each disruption, with its time."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field


@dataclass
class RunLog:
    """Collects lines with the seconds since the run began. With `echo` it also prints them."""

    echo: bool = False
    begun: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)

    def write(self, what: str) -> None:
        """Add a line."""
        self.lines.append(f"{time.monotonic() - self.begun:8.2f}s  {what}")
        if self.echo:
            print(self.lines[-1], flush=True, file=sys.stdout)

    def text(self, last: int = 80) -> str:
        """Return the last lines."""
        return "\n".join(self.lines[-last:])
