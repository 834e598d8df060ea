"""The exit codes of `pipeline`."""

from __future__ import annotations

SUCCESS = 0
"""Everything that was asked for is done."""
NOT_DONE = 1
"""The Movement ended INCOMPLETE, FAILED, TIMED_OUT or CANCELLED, or the work failed."""
USERS_MISTAKE = 2
"""Wrong usage, location or setting. Nothing was begun."""
INTERRUPTED = 130
"""Stopped by a signal; the same command carries on (128 + SIGINT, as shells have it)."""
