"""The progress of one worker in one Movement, as `pipeline status` reads it from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

import orjson

from pipeline.codec.documents.flow import get_datetime, get_str, get_strs, get_uint, reading
from pipeline.domain.event_file import FORMAT_VERSION
from pipeline.domain.ids import Label


@dataclass(slots=True)
class GroupProgress:
    """What a worker has done for one group. Bytes are of JSON lines, before compression."""

    rows_read: int = 0
    encoded_bytes: int = 0
    files_stored: int = 0
    files_listed: int = 0
    files_imported: int = 0
    files_skipped: int = 0
    files_failed: int = 0
    records_imported: int = 0
    complete: bool = False


@dataclass(slots=True)
class Progress:
    """What a worker has done in one Movement since it began on it.

    `writes` counts how often it has been written: while it grows, the worker lives, whatever its clock says. `holding`
    names the groups that it is at work on.
    """

    worker: str
    started: datetime
    updated: datetime
    groups: dict[Label, GroupProgress] = field(default_factory=dict)
    binaries_stored: int = 0
    binaries_reused: int = 0
    binary_bytes: int = 0
    bytes_stored: int = 0
    writes: int = 0
    binaries_failed: int = 0
    holding: list[Label] = field(default_factory=list)


def encode_progress(progress: Progress) -> bytes:
    """Return the document."""
    return orjson.dumps({"formatVersion": FORMAT_VERSION, **asdict(progress)}, option=orjson.OPT_INDENT_2)


def _read(document: dict[str, object]) -> Progress:
    groups = document["groups"]
    if not isinstance(groups, Mapping):
        raise TypeError("groups is not an object")
    return Progress(
        worker=get_str(document, "worker"),
        started=get_datetime(document, "started"),
        updated=get_datetime(document, "updated"),
        groups={Label(label): _read_group(group) for label, group in groups.items()},
        holding=[Label(label) for label in get_strs(document, "holding")] if "holding" in document else [],
        **{name: get_uint(document, name) for name in document if name not in _NO_COUNTS},
    )


_NO_COUNTS = frozenset({"formatVersion", "worker", "started", "updated", "groups", "holding"})


def _read_group(group: Mapping[str, object]) -> GroupProgress:
    counts = {name: get_uint(group, name) for name in group if name != "complete"}
    return GroupProgress(complete=group.get("complete") is True, **counts)


def decode_progress(data: bytes, what: str) -> Progress:
    """Read the document."""
    return reading(what, _read, data)
