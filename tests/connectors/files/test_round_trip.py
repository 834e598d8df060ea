"""A tree that is moved is the same tree; a tree that has changed and is moved again, too."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.keys import order
from tests.connectors.files.moving import TreeFlow, described, keys_of
from tests.connectors.files.trees import Branch, Leaf, grow, trees

pytestmark = pytest.mark.slow

Tree = Mapping[bytes, Leaf | Branch]
# A root user may enter and write any directory, so permissions hinder nobody here; see test_permissions.py.
ANY_TIME = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@ANY_TIME
@given(states=st.lists(trees, min_size=1, max_size=3), per_file=st.sampled_from([1, 3, 1000]))
async def test_the_destination_equals_the_source_after_every_movement(states: Sequence[Tree], per_file: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source, destination = Path(scratch, "source"), Path(scratch, "destination")
        flow = TreeFlow(source, destination, records_per_file=per_file)
        for state in states:
            grow(source, state)
            await flow.move()
            assert described(source) == described(destination)
            assert (flow.rejections, flow.violations) == ([], [])
            assert await flow.move() == 0


@ANY_TIME
@given(tree=trees)
async def test_keys_are_strictly_ascending_and_name_every_entry(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        grow(source, tree)
        keys = await keys_of(TreeFlow(source, source).source)
        ordered = [order(key) for key in keys]
        assert ordered == sorted(set(ordered))
        assert {value for ((_, value),) in ordered} == described(source).keys()


async def test_an_entry_that_sorts_before_the_slash_stands_between_a_directory_and_its_content(tmp_path: Path) -> None:
    for path in ("a", "a/x", "a b", "a b/y", "a0"):
        (tmp_path / path).mkdir()
    (tmp_path / "a-b").touch()
    keys = await keys_of(TreeFlow(tmp_path, tmp_path).source)
    assert [key[0] for key in keys] == ["a", "a b", "a b/y", "a-b", "a/x", "a0"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_kinds_may_change_even_across_event_files(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        source, destination = tmp_path / "source", tmp_path / "destination"
        flow = TreeFlow(source, destination, records_per_file=1)
        leaf = Leaf(b"one", None, 0o644, 1)
        link = Leaf(b"", b"x", 0o644, 1)
        full = Branch({b"x": leaf, b"y": Branch({b"z": leaf}, 0o555, 5)}, 0o500, 7)
        for node in (full, leaf, full, link, leaf, link, Branch({}, 0o755, 9), full):
            grow(source, {b"a": node, b"a-b": leaf})
            await flow.move()
            assert described(source) == described(destination)
            assert (flow.rejections, flow.violations) == ([], [])

    anyio.run(main, backend=backend)


async def test_a_path_longer_than_the_system_takes_in_one_call_is_moved(tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.mkdir()
    fd = os.open(source, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=fd)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    flow = TreeFlow(source, destination)
    assert await flow.move() == 31
    assert await keys_of(TreeFlow(source, source).source) == await keys_of(TreeFlow(destination, source).source)
