"""What `status` and `history` read of a Flow does not grow with its Movements and Event Files: that keeps them fast."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from pipeline.stores.directory.object_store import DirectoryObjectStore
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.cli.app import CommandLine
from tests.engine import long_flow

MOVEMENTS, FILES, MOST_REQUESTS, MOST_FOLDERS = 256, 25_600, 50, 20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a long Flow, whose objects are written without waiting for the disk."""
    directory, store = tmp_path_factory.mktemp("long"), MemoryObjectStore()
    anyio.run(long_flow.build, store, MOVEMENTS, FILES, f"sqlite://{directory}/app.db", f"sqlite://{directory}/copy.db")
    for key, data in store.contents():
        path = directory / "home" / "store" / "objects" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory / "home"


@pytest.mark.parametrize(
    ("command", "shows"),
    [
        (("status",), "long"),
        (("status", "--flow", "long", "--json"), '"movement":256'),
        (("history", "long"), "256"),
        (("history", "long", "--movement", "7"), "Movement 7"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_long_flow_is_shown_with_few_reads(
    pipeline: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], shows: str
) -> None:
    counts = Counter[str]()

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return method(*arguments, **options)

        return call

    for name in ("get", "open_stream", "stat", "list_page", "list_folders"):
        monkeypatch.setattr(DirectoryObjectStore, name, counted(name, getattr(DirectoryObjectStore, name)))
    monkeypatch.setattr(os, "scandir", counted("folders", os.scandir))
    shown = pipeline(*command, "--home", str(home))
    assert (shown.code, shows in shown.out.replace(" ", "") + shown.out) == (0, True), shown.err
    folders = counts.pop("folders", 0)
    assert 0 < counts.total() <= MOST_REQUESTS, counts
    assert folders <= MOST_FOLDERS
