"""Coverage-guided fuzzing of the readers, by hand: `make fuzz SECONDS=600` (it installs atheris; Linux only).

The first byte of an input chooses the reader, the rest is what it reads. Whatever is raised beside an error of our own
is a defect: libFuzzer then writes the input to a file `crash-…`, and `python -m tests.fuzz.coverage_guided FILE` shows
it.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

atheris: Any = importlib.import_module("atheris")  # not a dependency: mypy and the tests do without it

with atheris.instrument_imports(include=["pipeline"]):
    from pipeline.codec.documents.failures import decode_failures
    from pipeline.codec.documents.file_list import decode_file_list
    from pipeline.codec.documents.flow import decode_flow, decode_movement
    from pipeline.codec.documents.message import decode_message
    from pipeline.codec.documents.progress import decode_progress
    from pipeline.codec.event_files.event_file import EventFileReader
    from pipeline.codec.event_files.upsert_lines import UpsertLines
    from pipeline.codec.state import StateReader
    from pipeline.connectors.files.loading.records import Plan, plan_block, planned_upserts
    from pipeline.connectors.registry import parse_location
    from pipeline.connectors.sqlite.loading.records import parse_block, runs
    from pipeline.domain.errors import PipelineError

from tests.fuzz import samples  # noqa: E402 - what is instrumented has to be imported first
from tests.fuzz.holding import check_message  # noqa: E402

WHAT = "the thing"
LIMITS = ["-timeout=10", "-rss_limit_mb=1500", "-max_len=8192"]


def _event_file(data: bytes) -> None:
    reader = EventFileReader(None, what=WHAT, max_line_bytes=1 << 20)
    for at in range(0, len(data), 64):
        for _ in reader.feed(data[at : at + 64]):
            pass
    reader.close()


def _state(data: bytes) -> None:
    reader = StateReader(headed=True, what=WHAT)
    for part in reader.feed(data):
        part.load_keys()
    reader.close()


def _lines(data: bytes) -> None:
    block = data + b"\n"
    values = UpsertLines(["id", "name", "data"]).decode(block)
    records = parse_block(block, 2, WHAT)
    assert len(records) == block.count(b"\n")
    assert values is None or len(values) == 3 * len(records)
    list(runs(records, 2))


def _tree(data: bytes) -> None:
    plan = Plan()
    block = data + b"\n"
    plan_block(plan, block, WHAT)
    assert plan.upsert_count + plan.delete_count == block.count(b"\n")
    for upsert in planned_upserts(plan, block.splitlines(keepends=True)):
        assert not upsert.path.startswith(b"/")
        assert b".." not in upsert.path.split(b"/")


READERS: list[tuple[Callable[[bytes], Any], list[bytes]]] = [
    (_event_file, [b"".join(orjson.dumps(line) + b"\n" for line in samples.EVENT_FILE)]),
    (_state, [b"".join([samples.STATE_HEAD, *samples.STATE_FRAMES])]),
    (_lines, [orjson.dumps(record) for record in samples.RECORDS]),
    (_tree, [b'{"upsert":{"path":"a/b","kind":"directory","mode":493,"mtime_ns":1}}', b'{"delete":{"path":"a"}}']),
    (decode_message, [orjson.dumps(message) for message in samples.MESSAGES]),
    (
        lambda data: decode_file_list(data, WHAT),
        [b"".join(orjson.dumps(line) + b"\n" for line in samples.FILE_LIST_COMPACTED)],
    ),
    (lambda data: decode_flow(data, WHAT), [orjson.dumps(samples.FLOW_DOCUMENT)]),
    (lambda data: decode_movement(data, WHAT), [orjson.dumps(samples.MOVEMENT_DOCUMENT)]),
    (lambda data: decode_progress(data, WHAT), [orjson.dumps(samples.PROGRESS_DOCUMENT)]),
    (lambda data: decode_failures(data, WHAT), [orjson.dumps(samples.FAILURES_DOCUMENT)]),
    (lambda data: parse_location(data.decode("utf-8", "surrogateescape")), [b"postgresql://a:b@[::1]/c?d=e"]),
]


def read_one(data: bytes) -> None:
    """Let one reader read one input; any exception other than a PipelineError ends the run."""
    if not data:
        return
    read, _ = READERS[data[0] % len(READERS)]
    try:
        read(data[1:])
    except PipelineError as error:
        check_message(error)


def main() -> None:
    """Start with the valid inputs and libFuzzer's own arguments."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, (_, valid) in enumerate(READERS):
            for at, data in enumerate(valid):
                (Path(corpus) / f"{number}-{at}").write_bytes(bytes([number]) + data)
        shows_one = any(Path(argument).is_file() for argument in sys.argv[1:])
        atheris.Setup(sys.argv if shows_one else [*sys.argv, *LIMITS, corpus], read_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
