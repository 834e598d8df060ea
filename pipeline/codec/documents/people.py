"""What an Importer tells people: lines of a log, and one document of feedback for each Movement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
from msgspec import Struct

from pipeline.codec.wire import Count, Document, Time, decode_document, parsing, to_document

MAX_FEEDBACK_BYTES = 64 * 1024
"""The largest document of feedback, as JSON."""


class LogLine(Struct):
    """A line of the log: when it was told, about which line of which Event File, and the text."""

    time: Time
    file: str
    line: Count
    text: str


class Feedback(Document):
    """The newest feedback of an Importer in a Movement."""

    importer: str
    time: Time
    document: Any


def encode_log(lines: Sequence[LogLine]) -> bytes:
    """Return lines of the log as JSON lines."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def decode_log(data: bytes, what: str) -> Sequence[LogLine]:
    """Read lines of the log. DamagedError names `what`."""
    with parsing(what):
        return [msgspec.json.decode(line, type=LogLine) for line in data.splitlines()]


def encode_feedback(feedback: Feedback) -> bytes:
    """Return the document."""
    return orjson.dumps(to_document(feedback))


def decode_feedback(data: bytes, what: str) -> Feedback:
    """Read the document. DamagedError names `what`."""
    return decode_document(data, Feedback, what)
