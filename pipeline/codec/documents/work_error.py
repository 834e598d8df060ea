"""Why a worker could not do a piece of work of a Movement, as `pipeline status` shows it."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from pipeline.codec.wire import Count, Time, decode_document, to_document


@dataclass(frozen=True, slots=True)
class WorkError:
    """The latest error of one piece of work ("export", "import LABEL", "settle"), which failed `count` times so far.

    `exception` is the type of the exception behind it, and `trace` the lines of code that it passed, without values.
    """

    work: str
    reason: str
    worker: str
    count: Count
    first: Time
    last: Time
    exception: str = ""
    trace: tuple[str, ...] = ()


def encode_work_error(error: WorkError) -> bytes:
    """Return the document."""
    return orjson.dumps(to_document(error), option=orjson.OPT_INDENT_2)


def decode_work_error(data: bytes, what: str) -> WorkError:
    """Read the document. DamagedError names `what`."""
    return decode_document(data, WorkError, what)
