"""How a Movement ends: its status and the reason for it, from what it came to."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.lifecycle.status import Reason, Status


@dataclass(frozen=True, slots=True)
class Counts:
    """What a Movement that is exported, and whose listed files are all accounted for, came to.

    `imported`, `skipped` and `failed` are files, `rejected` records, `violations` constraints, `gaps` objects of the source
    that are missing at the destination and not accepted, `held` streams whose deletes were held, `stopped` groups.
    `refused`: the destination refuses everything. `to_stop`: the Movement is to stop.
    """

    imported: int = 0
    skipped: int = 0
    failed: int = 0
    rejected: int = 0
    violations: int = 0
    gaps: int = 0
    held: int = 0
    stopped: int = 0
    refused: bool = False
    to_stop: bool = False


def final_status(counts: Counts) -> tuple[Status, Reason]:
    """Return the final status of a Movement, and the reason for it.

    SUCCESS: every file is imported or was imported before, and all other counts are 0. FAILED: files failed and none is
    imported. INCOMPLETE: everything in between. CANCELLED: files failed while it was to stop, and may have been given up for
    that.
    """
    if counts.failed and counts.to_stop:
        return Status.CANCELLED, Reason.STOPPED
    if counts.failed and not (counts.imported or counts.skipped or counts.stopped):
        return Status.FAILED, Reason.DESTINATION_REFUSES if counts.refused else Reason.NOTHING_IMPORTED
    reasons = (
        (counts.stopped, Reason.GROUPS_STOPPED),
        (counts.failed and counts.refused, Reason.DESTINATION_REFUSES),
        (counts.failed, Reason.FILES_FAILED),
        (counts.rejected, Reason.RECORDS_REJECTED),
        (counts.violations, Reason.CONSTRAINTS_VIOLATED),
        (counts.held, Reason.DELETES_HELD),
        (counts.gaps, Reason.OBJECTS_MISSING),
    )
    because = next((reason for count, reason in reasons if count), None)
    if because is not None:
        return Status.INCOMPLETE, because
    return Status.SUCCESS, Reason.ALL_IMPORTED if counts.imported else Reason.NOTHING_TO_MOVE
