"""Event File lines as records of a tree, checked before the tree is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

from pipeline.codec.values import from_json, key_text, parse_line, shorten
from pipeline.connectors.files.attributes import NONE, Attributes
from pipeline.connectors.files.names import MAX_PATH_BYTES, MAX_PATH_SEGMENTS, METADATA_NAME, shown, to_bytes
from pipeline.connectors.files.tree import Kind
from pipeline.domain.contents import parse_content
from pipeline.domain.errors import DamagedError
from pipeline.domain.ids import BinaryId, EventFileId
from pipeline.ports.destination import Rejection


class InvalidRecordError(Exception):
    """A record that no state of the destination can hold. `column` is the one at fault."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.column = column


class Upsert(NamedTuple):
    """An entry to create or replace. `line` is 1-based and counts the header line; `raw` is the line itself."""

    line: int
    raw: bytes
    path: bytes
    kind: Kind
    mode: int
    mtime_ns: int
    size: int | None
    digest: BinaryId | None
    target: bytes | None
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """A record that is not applied yet. `waits`: later records of its stream may clear its path, so it is not rejected."""

    key: str
    line: int
    reason: str
    column: str | None
    raw: bytes
    waits: bool = False

    def rejection(self, file: EventFileId) -> Rejection:
        """Return the record as rejected."""
        return Rejection(file, self.line, self.key, self.reason, self.column)


@dataclass(slots=True)
class Plan:
    """The net effect of an Event File: for each path the line of its last record.

    `invalid` are upserts that can never be applied and `invalid_deletes` deletes of paths that can never exist, by their
    keys as text. The lines themselves are not held: an Event File may be large, and several are loaded at once.
    """

    upserts: dict[bytes, int] = field(default_factory=dict)
    deletes: dict[bytes, int] = field(default_factory=dict)
    invalid: dict[str, PendingRecord] = field(default_factory=dict)
    invalid_deletes: list[str] = field(default_factory=list)
    upsert_count: int = 0
    delete_count: int = 0
    lines: int = 1


def plan_block(plan: Plan, block: bytes, what: str) -> None:
    """Add a block of lines of the Event File `what` to its plan. DamagedError for a line that is not a record."""
    for raw in BytesIO(block):
        plan.lines += 1
        place = f"{what}, line {plan.lines}"
        values, is_upsert = _parse(raw, place)
        try:
            _add(plan, values, raw, is_upsert=is_upsert)
        except DamagedError as error:
            raise DamagedError(f"{place}: {error}") from error


def planned_upserts(plan: Plan, lines: Iterable[bytes]) -> Iterator[Upsert]:
    """Yield the upserts of a plan from the lines that it was made of."""
    for line, raw in enumerate(lines, start=2):
        match parse_line(raw, f"line {line}"):
            case {"upsert": dict(values)}:
                path = to_bytes(from_json(values.get("path")))
                if path is not None and plan.upserts.get(path) == line:
                    yield _upsert(values, path, raw, line)
            case _:
                continue


def _parse(raw: bytes, place: str) -> tuple[dict[str, object], bool]:
    """Return the values of a record, and whether it is an upsert."""
    match parse_line(raw, place):
        case {"upsert": dict(values), **rest} if not rest:
            return values, True
        case {"delete": dict(values), **rest} if not rest:
            return values, False
        case _:
            raise DamagedError(f"{place} is neither an upsert nor a delete")


def _add(plan: Plan, values: dict[str, object], raw: bytes, *, is_upsert: bool) -> None:
    plan.upsert_count += is_upsert
    plan.delete_count += not is_upsert
    try:
        path = _path(values)
        if is_upsert:
            _upsert(values, path, raw, plan.lines)
    except InvalidRecordError as error:
        key = record_key(values)
        if is_upsert:
            plan.invalid[key] = PendingRecord(key, plan.lines, str(error), error.column, raw)
        else:
            plan.invalid.pop(key, None)
            plan.invalid_deletes.append(key)
        return
    if plan.invalid:
        plan.invalid.pop(record_key(values), None)
    last, other = (plan.upserts, plan.deletes) if is_upsert else (plan.deletes, plan.upserts)
    other.pop(path, None)
    last[path] = plan.lines


def parse_upsert(raw: bytes, line: int) -> Upsert:
    """Return the upsert in the line of a pending record; InvalidRecordError when no destination can hold it."""
    match parse_line(raw, "a rejected record"):
        case {"upsert": dict(values)}:
            return _upsert(values, _path(values), raw, line)
        case _:
            raise InvalidRecordError("a delete of a path that cannot exist below the destination", "path")


def record_key(values: dict[str, object]) -> str:
    """Return the key of a record as JSON text."""
    return key_text((from_json(values.get("path")),))


def _path(values: dict[str, object]) -> bytes:
    path = to_bytes(from_json(values.get("path")))
    if path is None:
        raise InvalidRecordError("a path must be text", "path")
    segments = path.split(b"/")
    if len(path) > MAX_PATH_BYTES or len(segments) > MAX_PATH_SEGMENTS:
        raise InvalidRecordError(f"a path of {len(path):,} bytes in {len(segments):,} segments is too long", "path")
    if b"\0" in path:
        raise InvalidRecordError("a path cannot hold a NUL", "path")
    if path.startswith(b"/") or b".." in segments:
        raise InvalidRecordError(f"the path {shown(path)!r} would leave the destination directory", "path")
    if b"" in segments or b"." in segments:
        raise InvalidRecordError(f"the path {shown(path)!r} has a segment that is empty or '.'", "path")
    if segments[0] == METADATA_NAME:
        raise InvalidRecordError(
            f"the path {shown(path)!r} is in the directory where the destination keeps marks", "path"
        )
    return path


def _upsert(values: dict[str, object], path: bytes, raw: bytes, line: int) -> Upsert:
    try:
        kind = Kind(_text(values, "kind"))
    except ValueError as error:
        raise InvalidRecordError(f"{shorten(values.get('kind'))} is not a kind of entry", "kind") from error
    mode = _integer(values, "mode")
    if not 0 <= mode <= 0o7777:
        raise InvalidRecordError(f"{mode} is not a set of permission bits", "mode")
    return Upsert(
        line=line,
        raw=raw,
        path=path,
        kind=kind,
        mode=mode,
        mtime_ns=_integer(values, "mtime_ns"),
        size=None if values.get("size") is None else _integer(values, "size"),
        digest=_digest(values) if kind is Kind.FILE else None,
        target=_target(values) if kind is Kind.SYMLINK else None,
        attributes=_attributes(values),
    )


def _text(values: dict[str, object], column: str) -> str:
    value = values.get(column)
    return value if isinstance(value, str) else shorten(value)


def _integer(values: dict[str, object], column: str) -> int:
    value = values.get(column)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRecordError(f"{column} must be an integer, not {shorten(value)}", column)
    if not -(1 << 63) <= value < 1 << 63:
        raise InvalidRecordError(f"{column} must be an integer of 64 bits, not {value}", column)
    return value


def _digest(values: dict[str, object]) -> BinaryId:
    try:
        return parse_content(_text(values, "digest")).id
    except ValueError as error:
        raise InvalidRecordError(str(error), "digest") from error


def _attributes(values: dict[str, object]) -> Attributes:
    value = values.get("attributes")
    try:
        return NONE if value is None else Attributes.from_json(_text(values, "attributes"))
    except ValueError as error:
        raise InvalidRecordError(f"{shorten(value)} are not the attributes of an entry", "attributes") from error


def _target(values: dict[str, object]) -> bytes:
    target = to_bytes(from_json(values.get("target")))
    if not target or b"\0" in target:
        raise InvalidRecordError(
            "the target of a symbolic link must be text that is not empty and has no NUL", "target"
        )
    return target
