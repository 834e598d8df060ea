"""Event File lines as records of a tree, checked before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO

from pipeline.codec.values import from_json, key_text, parse_line, shorten
from pipeline.connectors.files.names import MAX_PATH_BYTES, MAX_PATH_SEGMENTS, METADATA_NAME, shown, to_bytes
from pipeline.connectors.files.reading.source import COLUMNS
from pipeline.connectors.files.tree import Kind
from pipeline.domain.errors import ConfigurationError, DamagedError
from pipeline.domain.ids import BinaryId, EventFileId, parse_binary_id
from pipeline.domain.keys import KeyValue
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Rejection

_NEEDED = frozenset({"path", "kind", "mode", "mtime_ns", "digest", "target"})


class InvalidRecordError(Exception):
    """A record that can never go in, whatever happens at the destination. `column` is the one at fault."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.column = column


@dataclass(frozen=True, slots=True)
class Upsert:
    """An entry as it is to be. `line` is 1-based with the header line; `raw` is the line as it came."""

    line: int
    raw: bytes
    path: bytes
    kind: Kind
    mode: int
    mtime_ns: int
    size: int | None
    digest: BinaryId | None
    target: bytes | None


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that has not gone in. `waits`: later records of its stream may clear its way; no rejection yet."""

    key: str
    line: int
    reason: str
    column: str | None
    raw: bytes
    waits: bool = False

    def rejection(self, file: EventFileId) -> Rejection:
        """Return it as the port tells of it."""
        return Rejection(file, self.line, self.key, self.reason, self.column)


@dataclass(slots=True)
class Plan:
    """What an Event File's records come to: for each path the line of the last record that has it.

    `unacceptable` are upserts that can never go in, and `nowhere` deletes of what can never be there, by their keys as
    text. Lines themselves are not held: an Event File may be large, and several are loaded at once.
    """

    upserts: dict[bytes, int] = field(default_factory=dict)
    deletes: dict[bytes, int] = field(default_factory=dict)
    unacceptable: dict[str, RejectedRecord] = field(default_factory=dict)
    nowhere: list[str] = field(default_factory=list)
    upsert_count: int = 0
    delete_count: int = 0
    lines: int = 1


def check_schema(schema: StreamSchema) -> tuple[str, ...]:
    """Return the columns that a tree has no place for; ConfigurationError when `schema` is none of files."""
    if schema.primary_keys != ("path",) or not _NEEDED.issubset(schema.column_names):
        raise ConfigurationError(
            f"the stream {schema.stream!r} is no stream of files, so a directory cannot hold it: "
            "name another destination for it, or leave it out with --exclude"
        )
    known = {column.name for column in COLUMNS}
    return tuple(name for name in schema.column_names if name not in known)


def plan_block(plan: Plan, block: bytes, what: str) -> None:
    """Add a block of lines of the Event File `what` to its plan. DamagedError for a line that is no record."""
    for raw in BytesIO(block):
        plan.lines += 1
        _add(plan, raw, plan.lines, f"{what}, line {plan.lines}")


def planned_upserts(plan: Plan, lines: Iterable[bytes]) -> Iterator[Upsert]:
    """Give the upserts that the plan holds, from the same lines once more."""
    for line, raw in enumerate(lines, start=2):
        match parse_line(raw, f"line {line}"):
            case {"upsert": dict(values)}:
                path = to_bytes(from_json(values.get("path")))
                if path is not None and plan.upserts.get(path) == line:
                    yield _upsert(values, path, raw, line)
            case _:
                continue


def _add(plan: Plan, raw: bytes, line: int, what: str) -> None:
    match parse_line(raw, what):
        case {"upsert": dict(values), **rest} if not rest:
            is_upsert = True
        case {"delete": dict(values), **rest} if not rest:
            is_upsert = False
        case _:
            raise DamagedError(f"{what} is neither an upsert nor a delete")
    try:
        _add_record(plan, values, raw, line, is_upsert=is_upsert)
    except DamagedError as error:
        raise DamagedError(f"{what}: {error}") from error


def _add_record(plan: Plan, values: dict[str, object], raw: bytes, line: int, *, is_upsert: bool) -> None:
    plan.upsert_count += is_upsert
    plan.delete_count += not is_upsert
    try:
        path = _path(values)
        if is_upsert:
            _upsert(values, path, raw, line)
    except InvalidRecordError as error:
        key = record_key(values)
        if is_upsert:
            plan.unacceptable[key] = RejectedRecord(key, line, str(error), error.column, raw)
        else:
            plan.unacceptable.pop(key, None)
            plan.nowhere.append(key)
        return
    if plan.unacceptable:
        plan.unacceptable.pop(record_key(values), None)
    last, other = (plan.upserts, plan.deletes) if is_upsert else (plan.deletes, plan.upserts)
    other.pop(path, None)
    last[path] = line


def parse_upsert(raw: bytes, line: int) -> Upsert:
    """Return the upsert in a line that was set aside; Unacceptable when it is none that can go in."""
    match parse_line(raw, "a record set aside"):
        case {"upsert": dict(values)}:
            return _upsert(values, _path(values), raw, line)
        case _:
            raise InvalidRecordError("a delete that names no place below the destination", "path")


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
        raise InvalidRecordError(f"the path {shown(path)!r} lies where the destination keeps its marks", "path")
    return path


def _upsert(values: dict[str, object], path: bytes, raw: bytes, line: int) -> Upsert:
    try:
        kind = Kind(_text(values, "kind"))
    except ValueError as error:
        raise InvalidRecordError(f"{shorten(values.get('kind'))} is no kind of entry", "kind") from error
    mode = _integer(values, "mode")
    if not 0 <= mode <= 0o7777:
        raise InvalidRecordError(f"{mode} is no set of permission bits", "mode")
    return Upsert(
        line=line,
        raw=raw,
        path=path,
        kind=kind,
        mode=mode,
        mtime_ns=_integer(values, "mtime_ns"),
        size=None if values.get("size") is None else _integer(values, "size"),
        digest=_digest(values) if kind is Kind.FILE else None,
        target=_target(from_json(values.get("target"))) if kind is Kind.SYMLINK else None,
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
        return parse_binary_id(_text(values, "digest"))
    except ValueError as error:
        raise InvalidRecordError(str(error), "digest") from error


def _target(value: KeyValue) -> bytes:
    target = to_bytes(value)
    if not target or b"\0" in target:
        raise InvalidRecordError("the target of a symbolic link must be text, not empty, without NUL", "target")
    return target
