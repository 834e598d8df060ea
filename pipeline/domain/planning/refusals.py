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
        forms = _forms(stream, reason)
        for form in forms:
            self._streams.setdefault(form, set()).add(stream)
        return self.refuses_everything(stream, reason)

    def refuses_everything(self, stream: StreamName, reason: str) -> bool:
        """Return whether this many streams have failed for this reason since the count began."""
        return any(len(self._streams.get(form, ())) >= STREAMS for form in _forms(stream, reason))

    def forget(self) -> None:
        """Begin to count again: an Event File was imported, or a person has corrected the cause."""
        self._streams.clear()


def _forms(stream: StreamName, reason: str) -> set[str]:
    """Return a reason without its numbers, and also without the name of the stream."""
    unnamed = re.sub(rf"(?<!\w){re.escape(stream)}(?!\w)", "", reason)
    return {re.sub(r"\d+", "0", text) for text in (reason, unnamed)}
