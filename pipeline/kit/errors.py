"""What an author's function raises to say what happens next. Any other exception is taken for one that passes."""

from __future__ import annotations

import math


class Refused(Exception):  # noqa: N818  # the fixed name of the kit
    """The app does not accept this record. It is kept as a rejected record with the reason; all others go on."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.reason = str(reason)
        self.column = None if column is None else str(column)


class Again(Exception):  # noqa: N818
    """The app asks to wait. The stream waits `after` seconds and calls again; no attempt is counted.

    A time in the past, a number below 0, is no wait. ValueError when `after` is no number.
    """

    def __init__(self, after: float = 1.0) -> None:
        given: object = after  # an author may give anything
        if not isinstance(given, int | float) or math.isnan(given):
            raise ValueError(f"Again(after={after!r}) is no number of seconds")
        super().__init__(f"the app asks to wait {after:g} seconds")
        self.after = after


class Gone(Exception):  # noqa: N818
    """The object no longer exists: what was to be deleted is deleted, what was to be updated is created."""


class Stop(Exception):  # noqa: N818
    """The stream cannot go on. It ends with `reason`; other streams go on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = str(reason)
