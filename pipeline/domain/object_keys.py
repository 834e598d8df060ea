"""Object keys. docs/reference/bucket.md describes the public format."""

from __future__ import annotations

import re

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import (
    MAX_KEY_BYTES,
    SHORTENED_CHARACTERS,
    BinaryId,
    EventFileId,
    FlowName,
    Label,
    ObjectKey,
    StreamName,
    encode_name,
    key_segment,
)

FLOWS = "flows/"
NOTIFY = "notify/"
"""What belongs to notifications, and to no Flow."""
ENDPOINTS = f"{NOTIFY}endpoints/"
"""The endpoints of notifications."""
DELIVERIES = f"{NOTIFY}deliveries/"
"""What was delivered to each endpoint."""
PLATFORM_APPS = "serve/platform/"
"""Where apps of the public platform get events, for each Flow."""
DAY = "day-"
"""Begins the part of the outbox with the events of no Movement of one day."""
_NUMBER_DIGITS = 10
_FIXED_CHARACTERS = 120
"""What a key has at most beside the names of a Flow and a stream: words, numbers, a digest."""
_MAX_FLOW_CHARACTERS = MAX_KEY_BYTES - _FIXED_CHARACTERS - SHORTENED_CHARACTERS
_ALONE = re.compile(r".*/binaries/[0-9a-f]{2}/([0-9a-f]{64})")
_GROWING = re.compile(r"/files\.\d+\.\d+\.jsonl$")
_PACK_NAME = re.compile(r"[0-9a-f]{64}")


def flow_prefix(flow: FlowName) -> str:
    """All objects of a Flow. ConfigurationError when its name is too long."""
    encoded = encode_name(flow)
    if len(encoded) > _MAX_FLOW_CHARACTERS:
        raise ConfigurationError(
            f"The name of the Flow {flow[:40]!r}… is too long for object keys: it takes {len(encoded):,} of at most "
            f"{_MAX_FLOW_CHARACTERS} characters there. Give the Flow a shorter name with --flow."
        )
    return f"{FLOWS}{encoded}/"


def _segment(flow: FlowName, name: str) -> str:
    """Return a name as a segment of a key of the Flow, shortened where the key might become too long."""
    return key_segment(name, MAX_KEY_BYTES - _FIXED_CHARACTERS - len(encode_name(flow)))


def is_shortened(flow: FlowName, stream: StreamName) -> bool:
    """Whether keys have a shortened form of the stream's name, with a digest."""
    return _segment(flow, stream) != encode_name(stream)


def platform_app_key(flow: FlowName) -> ObjectKey:
    """Where the app of a Flow gets the events of the public platform, and what it has got."""
    return ObjectKey(f"{PLATFORM_APPS}{encode_name(flow)}.json")


def flow_key(flow: FlowName) -> ObjectKey:
    """The Flow, with the number of its latest Movement; changed by compare-and-set."""
    return ObjectKey(f"{flow_prefix(flow)}flow.json")


def clock_key(flow: FlowName) -> ObjectKey:
    """An object whose date is the time of the store; replaced."""
    return ObjectKey(f"{flow_prefix(flow)}clock")


def maintenance_key(flow: FlowName) -> ObjectKey:
    """What the maintenance of a Flow has done, and which process is doing it; changed by compare-and-set."""
    return ObjectKey(f"{flow_prefix(flow)}maintenance.json")


def movement_key(flow: FlowName, movement: int) -> ObjectKey:
    """A Movement; changed by compare-and-set."""
    return ObjectKey(f"{flow_prefix(flow)}movements/{movement}/movement.json")


def approvals_prefix(flow: FlowName) -> str:
    """The approvals of a Flow, and their revocations."""
    return f"{flow_prefix(flow)}approvals/"


def approval_key(flow: FlowName, number: int) -> ObjectKey:
    """One act of a person: an approval, or a revocation; create-only."""
    return ObjectKey(f"{approvals_prefix(flow)}{number}.json")


def event_file_key(flow: FlowName, file: EventFileId) -> ObjectKey:
    """An Event File; create-only."""
    prefix = stream_events_prefix(flow, file.movement, file.stream)
    return ObjectKey(f"{prefix}{file.phase.value}/{file.chunk}.jsonl.zst")


def stream_events_prefix(flow: FlowName, movement: int, stream: StreamName) -> str:
    """The Event Files of one stream in one Movement."""
    return f"{flow_prefix(flow)}events/{movement}/{_segment(flow, stream)}/"


def groups_prefix(flow: FlowName, movement: int) -> str:
    """The File Lists of one Movement."""
    return f"{flow_prefix(flow)}movements/{movement}/groups/"


def file_list_key(flow: FlowName, movement: int, label: Label, attempt: int) -> ObjectKey:
    """A File List; create-only. It exists once the group is complete, as that attempt saw the source."""
    return ObjectKey(f"{groups_prefix(flow, movement)}{_segment(flow, label)}/files.{attempt}.jsonl")


def growing_list_key(flow: FlowName, movement: int, label: Label, attempt: int, entries: int) -> ObjectKey:
    """A File List of a group that is not complete yet; create-only. It is valid once movement.json names it."""
    return ObjectKey(f"{groups_prefix(flow, movement)}{_segment(flow, label)}/files.{attempt}.{entries}.jsonl")


def is_growing(key: ObjectKey) -> bool:
    """Return whether a File List was stored before its group was complete."""
    return _GROWING.search(key) is not None


def binary_key(flow: FlowName, binary: BinaryId) -> ObjectKey:
    """A Binary File with an object of its own; create-only, named by its content."""
    return ObjectKey(f"{flow_prefix(flow)}binaries/{binary[:2]}/{binary}")


def binaries_prefix(flow: FlowName) -> str:
    """The Binary Files of a Flow, followed by its packs."""
    return f"{flow_prefix(flow)}binaries/"


def binary_of(key: ObjectKey) -> BinaryId | None:
    """Return the id of the Binary File with this key, or None when it is not the key of one."""
    match = _ALONE.fullmatch(key)
    return BinaryId(match[1]) if match else None


def packs_prefix(flow: FlowName) -> str:
    """The packs of a Flow."""
    return f"{binaries_prefix(flow)}packs/"


def pack_key(flow: FlowName, digest: str) -> ObjectKey:
    """A pack of small Binary Files; create-only, named by its content."""
    return ObjectKey(f"{packs_prefix(flow)}{digest}")


def is_pack(flow: FlowName, key: ObjectKey) -> bool:
    """Whether a key under `packs_prefix` is that of a pack."""
    return _PACK_NAME.fullmatch(key.removeprefix(packs_prefix(flow))) is not None


def state_part_name(movement: int, digest: str) -> str:
    """What the header of an Event File calls the state of its key range."""
    return f"{movement}.{digest}"


def state_part_key(flow: FlowName, stream: StreamName, name: str) -> ObjectKey:
    """The snapshot state of a key range; create-only, stored before the Event File whose header has its name.

    A name without a Movement was written by an earlier release.
    """
    movement, dot, digest = name.rpartition(".")
    if not dot:
        return ObjectKey(f"{flow_prefix(flow)}snapshots/{_segment(flow, stream)}/parts/{name}")
    return ObjectKey(f"{flow_prefix(flow)}movements/{movement}/parts/{_segment(flow, stream)}/{digest}")


def state_parts_prefix(flow: FlowName, movement: int) -> str:
    """The parts of snapshot states of one Movement."""
    return f"{flow_prefix(flow)}movements/{movement}/parts/"


def state_key(flow: FlowName, stream: StreamName, movement: int, attempt: int) -> ObjectKey:
    """The snapshot state of a stream, as one attempt saw it; valid once movement.json names it."""
    return ObjectKey(f"{flow_prefix(flow)}snapshots/{_segment(flow, stream)}/{movement}.{attempt}")


def outbox_prefix(flow: FlowName) -> str:
    """The events of a Flow; those of the whole bucket, for an empty name."""
    return f"{flow_prefix(flow)}outbox/" if flow else f"{NOTIFY}outbox/"


def outbox_part(movement: int) -> str:
    """The part of a Flow's outbox that has the events of one Movement. Parts sort by number."""
    return f"{movement:0{_NUMBER_DIGITS}}"


def log_prefix(flow: FlowName, movement: int | None = None) -> str:
    """What Importers have told people: in one Movement, or in all."""
    prefix = f"{flow_prefix(flow)}log/"
    return prefix if movement is None else f"{prefix}{outbox_part(movement)}/"


def log_key(flow: FlowName, movement: int, file: EventFileId, part: int) -> ObjectKey:
    """A part of what a handler told people of an Event File; create-only."""
    return ObjectKey(f"{log_prefix(flow, movement)}{_segment(flow, str(file))}.{part:06}.jsonl")


def feedback_key(flow: FlowName, movement: int, importer: str) -> ObjectKey:
    """The newest feedback of an Importer in a Movement; changed by compare-and-set."""
    return ObjectKey(f"{feedback_prefix(flow, movement)}{_segment(flow, importer)}.json")


def feedback_prefix(flow: FlowName, movement: int) -> str:
    """The feedback of all Importers in a Movement."""
    return f"{flow_prefix(flow)}movements/{movement}/feedback/"


def endpoint_key(name: str) -> ObjectKey:
    """An endpoint of notifications; changed by compare-and-set."""
    return ObjectKey(f"{ENDPOINTS}{name}.json")


def deliveries_key(name: str) -> ObjectKey:
    """What was delivered to an endpoint; changed by compare-and-set."""
    return ObjectKey(f"{DELIVERIES}{name}.json")


def history_prefix(flow: FlowName) -> str:
    """The blocks of history of a Flow."""
    return f"{flow_prefix(flow)}history/"


def history_key(flow: FlowName, movement: int) -> ObjectKey:
    """The block of history that ends with a Movement; create-only."""
    return ObjectKey(f"{history_prefix(flow)}{outbox_part(movement)}.jsonl.zst")


def failure_key(flow: FlowName, movement: int, file: EventFileId) -> ObjectKey:
    """Why an Event File, or records of it, could not be loaded in this Movement."""
    return ObjectKey(f"{flow_prefix(flow)}movements/{movement}/failures/{_segment(flow, str(file))}.json")


def failures_prefix(flow: FlowName, movement: int) -> str:
    """All failures of one Movement."""
    return f"{flow_prefix(flow)}movements/{movement}/failures/"


def work_error_key(flow: FlowName, movement: int, work: str) -> ObjectKey:
    """Why workers could not do a piece of work; replaced at each failure."""
    return ObjectKey(f"{work_errors_prefix(flow, movement)}{_segment(flow, work)}.json")


def work_errors_prefix(flow: FlowName, movement: int) -> str:
    """The errors of workers in one Movement."""
    return f"{flow_prefix(flow)}movements/{movement}/errors/"


def progress_key(flow: FlowName, movement: int, worker: str) -> ObjectKey:
    """The progress of a worker in a Movement; one writer."""
    return ObjectKey(f"{flow_prefix(flow)}movements/{movement}/progress/{_segment(flow, worker)}.json")


def progress_prefix(flow: FlowName, movement: int) -> str:
    """The progress of all workers of one Movement."""
    return f"{flow_prefix(flow)}movements/{movement}/progress/"
