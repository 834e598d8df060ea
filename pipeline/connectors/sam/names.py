"""The names of the files of an export: `{table}_{full|incremental}_{chunk}.ndjson`. Tables have underscores, too."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.domain.ids import Phase

_NAME = re.compile(
    r"(?P<table>.*)_(?P<phase>full|incremental)_(?P<chunk>[0-9]{1,18})\.(ndjson|jsonl)(\.gz|\.zst)?", re.S
)
_LISTING = re.compile(r"(listing/.+|(.*/)?listing[^/]*|(.*/)?[^/]*[-_]?metadata)\.(json|jsonl|ndjson)", re.S)
_ENDINGS = ("", ".ndjson", ".jsonl", ".gz", ".zst", ".ndjson.gz", ".ndjson.zst")
"""What the name of an object may have after a name in the listing."""
_MAX_PART_BYTES, _MAX_NAME_BYTES = 220, 900


@dataclass(frozen=True, slots=True)
class FileName:
    """What a name says about a file. `table` may hold any characters, slashes as well."""

    table: str
    phase: Phase
    chunk: int

    def __str__(self) -> str:
        return f"{self.table}_{self.phase.value}_{self.chunk}.ndjson"


def parse_name(name: str) -> FileName | None:
    """Return what the name says, or None if it is not that of a part of a table. It is read from the right."""
    found = _NAME.fullmatch(name)
    return FileName(found["table"], Phase(found["phase"]), int(found["chunk"])) if found else None


def binary_name(binary: str) -> str:
    """Return the name of a content that this software writes, from the id of its Binary File."""
    return f"binary_file/{binary}"


def is_safe(name: str) -> bool:
    """Whether a name may be that of an object in any place: a path that stays below it, with parts that are not too long."""
    parts = name.split("/")
    return len(name.encode()) <= _MAX_NAME_BYTES and all(
        part and not part.startswith(".") and "\0" not in part and len(part.encode()) <= _MAX_PART_BYTES
        for part in parts
    )


def is_listing(name: str) -> bool:
    """Whether an object of this name is a listing, unless an option names another one."""
    return _LISTING.fullmatch(name) is not None and parse_name(name) is None


def possible_names(file_id: str, full_name: str) -> list[str]:
    """Return the names under which the bytes of a listed file may be, the likeliest first."""
    given = [file_id, full_name, full_name.rpartition("/")[2]]
    return [f"{name}{ending}" for name in given if name for ending in _ENDINGS]
