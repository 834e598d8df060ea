"""JSON documents: msgspec types that check what is read, and errors that name the document."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from pipeline.codec.values import shorten
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import FORMAT_VERSION
from pipeline.domain.ids import decode_name

T = TypeVar("T")

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A whole number from 0 on that an SQL database can hold."""
Time = Annotated[datetime, Meta(tz=True)]

_FORBIDDEN_IN_NAMES = re.compile(r'["\\\x00-\x1f]')

PARSE_ERRORS = (ValueError, TypeError, OverflowError, RecursionError, DamagedError)
"""What reading raises when a document is not JSON, or a member is missing, of another type or out of its range."""

_MAX_REASON_CHARACTERS = 300
_ADVICE = ". Restore it from a copy; without one, delete it, and run `pipeline rebuild "
_STORED = re.compile(r"(?:^|\s)flows/([^/]+)/")
"""The key of an object of a Flow in the name of a document, with the name of the Flow as it is stored."""


def can_name_members(names: Iterable[str]) -> bool:
    """Whether msgspec accepts all of these as names of members."""
    return not any(map(_FORBIDDEN_IN_NAMES.search, names))


class _Versioned(Struct, rename="camel"):
    format_version: Any = None


class Document(Struct):
    """A document whose times are converted to UTC when it is read."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if isinstance(value := getattr(self, name), datetime):
                setattr(self, name, value.astimezone(UTC))


def damaged(what: str, error: Exception) -> DamagedError:
    """Return an error that names `what` and says briefly what is wrong with it; of an object of a Flow, also what to do."""
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    if len(reason) > _MAX_REASON_CHARACTERS:
        reason = f"{reason[:_MAX_REASON_CHARACTERS]}…"
    is_json = type(error) is not msgspec.DecodeError and not isinstance(error, UnicodeDecodeError)
    return damaged_as(what, f"is {'damaged' if is_json else 'not JSON'}: {reason}")


def damaged_as(what: str, how: str) -> DamagedError:
    """Return an error that says `how` the thing `what` is wrong; of an object of a Flow, also what to do."""
    stored = _STORED.search(what)
    if stored is None or _ADVICE in how:
        return DamagedError(f"{what} {how}")
    return DamagedError(f"{what} {how}{_ADVICE}{shlex.quote(decode_name(stored[1]))}`.")


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turn every one of `PARSE_ERRORS` into a DamagedError that names `what`."""
    try:
        yield
    except PARSE_ERRORS as error:
        raise damaged(what, error) from error


def check_version(data: bytes, what: str, latest: int = FORMAT_VERSION) -> None:
    """Raise DamagedError unless the JSON object in `data` has a format version up to `latest`."""
    with parsing(what):
        version = msgspec.json.decode(data, type=_Versioned).format_version
    if type(version) is not int or not FORMAT_VERSION <= version <= latest:
        readable = f"version {latest}" if latest == FORMAT_VERSION else f"versions {FORMAT_VERSION} to {latest}"
        raise DamagedError(
            f"{what} has format version {shorten(version)}; this release reads {readable}. Use a newer release."
        )


def decode_document(data: bytes, kind: type[T], what: str, latest: int = FORMAT_VERSION) -> T:
    """Read a versioned JSON object as `kind`. Unknown members are ignored. DamagedError names `what`."""
    check_version(data, what, latest)
    with parsing(what):
        return msgspec.json.decode(data, type=kind)


def to_document(value: object) -> dict[str, Any]:
    """Return `value`, a structure or a dataclass, as a JSON object with its format version first."""
    return {"formatVersion": FORMAT_VERSION, **msgspec.to_builtins(value)}
