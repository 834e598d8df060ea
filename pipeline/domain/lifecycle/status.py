"""The statuses of a Movement, the reasons for each, and what they mean in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """The statuses of a Movement. Those in `SETTLED` are final, and the only ones that are stored."""

    READY = "READY"
    IN_PROGRESS = "IN_PROGRESS"
    PAUSED = "PAUSED"
    CANCELLATION_REQUESTED = "CANCELLATION_REQUESTED"
    SUCCESS = "SUCCESS"
    INCOMPLETE = "INCOMPLETE"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"


SETTLED = frozenset({Status.SUCCESS, Status.INCOMPLETE, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED})
RERUN = SETTLED - {Status.SUCCESS}
"""The statuses after which a Movement may be run again."""


class Reason(StrEnum):
    """Why a Movement has its status."""

    WAITS_FOR_WORKER = "waits_for_worker"
    WORKING = "working"
    NOBODY_WORKS = "nobody_works"
    PAUSING = "pausing"
    PAUSED = "paused"
    GROUPS_PAUSED = "groups_paused"
    STOPPING = "stopping"
    ALL_IMPORTED = "all_imported"
    NOTHING_TO_MOVE = "nothing_to_move"
    DESTINATION_REFUSES = "destination_refuses"
    FILES_FAILED = "files_failed"
    RECORDS_REJECTED = "records_rejected"
    CONSTRAINTS_VIOLATED = "constraints_violated"
    DELETES_HELD = "deletes_held"
    OBJECTS_MISSING = "objects_missing"
    GROUPS_STOPPED = "groups_stopped"
    NOTHING_IMPORTED = "nothing_imported"
    EXPORT_FAILED = "export_failed"
    NO_PROGRESS = "no_progress"
    TOO_OLD = "too_old"
    STOPPED = "stopped"
    RESTARTED = "restarted"
    REPLACED = "replaced"
    COMPACTED = "compacted"
    REBUILT = "rebuilt"
    UNKNOWN = "unknown"


SENTENCES: Mapping[Reason, str] = {
    Reason.WAITS_FOR_WORKER: "It waits for a worker. Start one with `pipeline worker all`.",
    Reason.WORKING: "It is under way.",
    Reason.ALL_IMPORTED: "Everything that is listed has been imported.",
    Reason.NOTHING_TO_MOVE: "There was nothing new to move.",
    Reason.DESTINATION_REFUSES: "The destination refuses everything, so the rest was not tried. Correct the cause; then "
    "{again} moves what is missing.",
    Reason.FILES_FAILED: "Some Event Files could not be imported. Correct the cause; then {again} moves what is missing.",
    Reason.RECORDS_REJECTED: "Some records were rejected. `pipeline rejected {flow}` lists them; `pipeline retry {flow}` tries "
    "them again.",
    Reason.CONSTRAINTS_VIOLATED: "Some rows at the destination violate constraints. Correct them; then {again} checks them again.",
    Reason.DELETES_HELD: "Some deletes were held back because they are many. `pipeline move --flow {flow} --allow-deletes STREAM` "
    "deletes them.",
    Reason.OBJECTS_MISSING: "Some objects of the source are missing at the destination, and nobody has accepted "
    "that. `pipeline move --flow {flow} --accept-missing KIND` does.",
    Reason.GROUPS_STOPPED: "Some groups were stopped. {again} moves what is missing.",
    Reason.NOTHING_IMPORTED: "Nothing could be imported. Correct the cause; then {again} moves what is missing.",
    Reason.EXPORT_FAILED: "The app could not export. Correct the cause; then {again} moves what is missing.",
    Reason.NO_PROGRESS: "Nothing moved for too long. {again} moves what is missing.",
    Reason.TOO_OLD: "It was not finished within its life. {again} moves what is missing.",
    Reason.STOPPED: "It was stopped. What is imported stays; {again} moves what is missing.",
    Reason.RESTARTED: "It was cancelled in favour of a new Movement.",
    Reason.REPLACED: "It gave way to other work.",
    Reason.COMPACTED: "The history of streams was replaced by snapshots; nothing was moved.",
    Reason.REBUILT: "The memory of the Flow was made again; the next Movement moves what differs.",
    Reason.UNKNOWN: "An earlier release has settled it, and stored no reason.",
}
"""What each reason means, and what to do, where no more has to be known.

`{again}` is the command that moves what is missing, `{flow}` the name of the Flow.
"""

NONE_LEFT = (
    "Some records were rejected. All of them are accepted by now: none is left to retry. "
    "{again} finds out whether anything else is missing."
)
AT_SOURCE = (
    "The source could not give some records. `pipeline rejected {flow}` lists them. Correct them there; then {again} moves "
    "them."
)
