"""What the command tells the shell."""

from __future__ import annotations

SUCCESS = 0
"""All that was asked for has been done."""
NOT_DONE = 1
"""The Movement ended INCOMPLETE, FAILED, TIMED_OUT or CANCELLED, or something stood in the way."""
USERS_MISTAKE = 2
"""What was asked for cannot be. Nothing was begun."""
INTERRUPTED = 130
"""Stopped by a signal; the same command carries on (128 + SIGINT, the shells' convention)."""
