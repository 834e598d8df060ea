"""The processors that this process may use."""

from __future__ import annotations

import os


def has_spare_processor() -> bool:
    """Whether a subprocess can run beside this process, on a processor of its own."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return processors > 1 and os.name == "posix"
