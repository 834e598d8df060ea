"""The one rule for message bodies, checked by every queue before it sends anything."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.errors import DefectError
from pipeline.ports.event_queue import MAX_BODY_BYTES


def check_bodies(bodies: Sequence[bytes]) -> None:
    """Raise DefectError for a body that some queue would not take: only our own code makes bodies."""
    for body in bodies:
        if not 1 <= len(body) <= MAX_BODY_BYTES:
            raise DefectError(f"a message of {len(body)} bytes; a queue takes 1 to {MAX_BODY_BYTES}")
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise DefectError(f"a message that is not UTF-8 text: {body[:80]!r}") from error
