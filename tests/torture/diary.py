"""The story of a run: what was done to whom, and when."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field


@dataclass
class Diary:
    """Keeps lines, each with the seconds since the run began; with `echo`, they are written to standard output, too."""

    echo: bool = False
    begun: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)

    def tell(self, what: str) -> None:
        """Add a line."""
        self.lines.append(f"{time.monotonic() - self.begun:8.2f}s  {what}")
        if self.echo:
            print(self.lines[-1], flush=True, file=sys.stdout)

    def text(self, last: int = 80) -> str:
        """The last lines."""
        return "\n".join(self.lines[-last:])
