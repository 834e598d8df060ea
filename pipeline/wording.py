"""Numbers and times for people, on a terminal and on a page."""

from __future__ import annotations

from datetime import UTC, datetime


def size(number: int) -> str:
    """Return a number of bytes: "812 B", "16.0 MB"."""
    if number < 1_000:
        return f"{number} B"
    value, units = number / 1_000, ["kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1_000
        units.pop(0)
    return f"{value:.1f} {units[0]}"


def duration(seconds: float) -> str:
    """Return a length of time: "0.8 s", "3 m 20 s", "2 h 5 m"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} m {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} m"


def moment(when: datetime) -> str:
    """Return a time with its zone: "2026-07-03 12:00:09 UTC"."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


NEAR = 1.2
"""Ends of a range that differ by less than a fifth are shown as one figure."""


def time_left(low: float, high: float) -> str:
    """Return a range of seconds in words: "about 20 s left", "1 m 5 s to 2 m 0 s left"."""
    if high <= NEAR * low:
        return f"about {duration((low + high) / 2)} left"
    return f"{duration(low)} to {duration(high)} left"
