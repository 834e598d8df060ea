"""Whether an Event File may be imported now. The rule keeps a worker that was replaced from overwriting newer rows."""

from __future__ import annotations

from collections.abc import Container, Sequence

from pipeline.domain.ids import EventFileId


def fenced_reason(movement: int) -> str:
    """Return why nothing is imported in a Movement that was stopped."""
    return f"Movement {movement} has ended, and imports nothing any more"


def reason_to_give_way(
    file: EventFileId,
    movement: int,
    after: Sequence[EventFileId],
    *,
    marked: Container[EventFileId],
    latest_movement: int,
    fenced: int = 0,
) -> str | None:
    """Return why `file` must not be imported in `movement`; None when it may.

    `marked` holds at least those of `file` and `after` that are imported. `latest_movement` is the newest Movement that
    has imported a file of the stream, 0 for none; `fenced` is the latest Movement that was stopped. A destination reads all
    of them in the transaction that writes the mark.
    """
    if file in marked:
        return f"Event File {file} is already imported"
    if fenced >= movement > 0:
        return fenced_reason(movement)
    if latest_movement > movement:
        return (
            f"Movement {latest_movement}, which is later than {movement}, has already imported files of {file.stream}"
        )
    missing = next((before for before in after if before not in marked), None)
    return None if missing is None else f"Event File {missing}, which comes before {file}, is not imported yet"
