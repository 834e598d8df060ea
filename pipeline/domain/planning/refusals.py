"""When a destination refuses everything: one stream after the other fails for the same reason, and none is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pipeline.domain.ids import StreamName

STREAMS = 3
"""If this many streams fail for the same reason, and nothing is imported meanwhile, nothing more is begun."""


@dataclass
class Refusals:
    """Why streams have failed since an Event File was imported the last time."""

    _streams: dict[str, set[StreamName]] = field(default_factory=dict)

    def note_failed(self, stream: StreamName, reason: str) -> bool:
        """Note that an Event File could not be imported; return whether the destination refuses everything."""
        numbers_apart = re.sub(r"\d+", "0", reason)
        forms = {numbers_apart, re.sub(rf"(?<!\w){re.escape(stream)}(?!\w)", "", numbers_apart)}
        for form in forms:
            self._streams.setdefault(form, set()).add(stream)
        return any(len(self._streams[form]) >= STREAMS for form in forms)

    def forget(self) -> None:
        """Begin to count again: an Event File was imported, or a person has corrected the cause."""
        self._streams.clear()
