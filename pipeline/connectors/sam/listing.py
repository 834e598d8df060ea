"""Listings: which files belong to an export, in which order. JSON Lines, or one JSON array or object."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.codec.values import shorten
from pipeline.domain.errors import DamagedError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHA_256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """An entry. `sha256` is empty if the entry has none. `more` are members that this software alone writes."""

    file_id: str
    full_name: str
    sha256: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


def parse_listing(data: bytes, what: str) -> Sequence[ListedFile]:
    """Read a listing. DamagedError names `what`, the line, and what is wrong."""
    text = data.removeprefix(BYTE_ORDER_MARK).strip()
    if text.startswith(b"["):
        return _entries(enumerate(_whole(text, what), 1), what)
    if text.startswith(b"{") and isinstance(document := _whole_or_none(text), dict) and not _is_entry(document):
        lists = [member for member in document.values() if isinstance(member, list)]
        if len(lists) != 1:
            raise DamagedError(f"{what} is a JSON object, but does not have one list of files.")
        return _entries(enumerate(lists[0], 1), what)
    lines = ((number, line) for number, line in enumerate(text.split(b"\n"), 1) if line.strip())
    return _entries(((number, _line(line, number, what)) for number, line in lines), what)


def encode_listing(entries: Iterable[Mapping[str, object]]) -> bytes:
    """Return a listing as JSON Lines."""
    return b"".join(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE) for entry in entries)


def _whole(text: bytes, what: str) -> list[Any]:
    try:
        found: list[Any] = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DamagedError(
            f"{what} is not JSON: {error}. It may be half written: read it when it is complete."
        ) from None
    return found


def _whole_or_none(text: bytes) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # several lines, each of which is an object
        return None


def _line(line: bytes, number: int, what: str) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DamagedError(
            f"{what}, line {number}: it is not JSON: {error}. The listing may be half written: read it when it is complete."
        ) from None


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(value.get(name), str) for name in ("fileId", "fullName"))


def _entries(values: Iterable[tuple[int, Any]], what: str) -> list[ListedFile]:
    found = []
    for number, value in values:
        if not _is_entry(value):
            raise DamagedError(f"{what}, entry {number}: it has neither a fileId nor a fullName: {shorten(value)}")
        file_id, full_name = value.get("fileId"), value.get("fullName")
        file_id = file_id if isinstance(file_id, str) else ""
        digests = [str(value.get(member, "")).lower() for member in ("sha256", "checksum")]
        more = value.get("pipeline")
        found.append(
            ListedFile(
                file_id,
                full_name if isinstance(full_name, str) and full_name else file_id,
                next(filter(_SHA_256.fullmatch, digests), ""),
                more if isinstance(more, dict) else {},
            )
        )
    return found
