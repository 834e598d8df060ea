"""Random trees: names of any bytes, every kind of entry, any permissions and times."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

SECOND = 1_000_000_000
ACL_OF_TWO = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 6, 65534),
        (0x04, 0, 0xFFFFFFFF),
        (0x10, 6, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)
"""user::rw- user:nobody:rw- group::--- mask::rw- other::---"""


@dataclass(frozen=True)
class Leaf:
    """A file with `content`, or a symbolic link with a `target`."""

    content: bytes
    target: bytes | None
    mode: int
    mtime_ns: int


@dataclass(frozen=True)
class Branch:
    """A directory."""

    children: Mapping[bytes, Leaf | Branch]
    mode: int
    mtime_ns: int


# Few letters, so that names often are prefixes of each other, differ in case only, or sort around the slash.
_NAME = st.one_of(
    st.text(alphabet="aAb -.0é\n", min_size=1, max_size=4).map(str.encode),
    st.binary(min_size=1, max_size=5).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_")),
).filter(lambda name: name not in (b".", b".."))
_TIME = st.integers(-2_000_000_000 * SECOND, 4_000_000_000 * SECOND)
_TARGET = st.sampled_from([b"a", b"nowhere", b"..", b"../../outside", b"/etc", b".", b"\xff"])
_LEAF = st.builds(Leaf, st.binary(max_size=20), st.one_of(st.none(), st.none(), _TARGET), st.integers(0, 0o7777), _TIME)
_MODE = st.one_of(st.just(0o755), st.integers(0, 0o7777))
_NODE: st.SearchStrategy[Leaf | Branch] = st.recursive(
    _LEAF, lambda child: st.builds(Branch, st.dictionaries(_NAME, child, max_size=5), _MODE, _TIME), max_leaves=12
)
trees = st.dictionaries(_NAME, _NODE, max_size=6)


def grow(root: Path, children: Mapping[bytes, Leaf | Branch]) -> None:
    """Make the tree below `root`, which is emptied first where the tree has something else."""
    root.mkdir(exist_ok=True)
    _grow(os.fsencode(root), children)


def _grow(place: bytes, children: Mapping[bytes, Leaf | Branch]) -> None:
    for name in set(os.listdir(place)) - children.keys():  # noqa: PTH208 - names are bytes
        _cut(place + b"/" + name)
    for name, node in children.items():
        path = place + b"/" + name
        if isinstance(node, Branch):
            if os.path.islink(path) or not os.path.isdir(path):  # noqa: PTH112, PTH114 - names are bytes
                _cut(path)
                os.mkdir(path)  # noqa: PTH102 - names are bytes
            os.chmod(path, 0o700)  # noqa: PTH101 - names are bytes
            _grow(path, node.children)
            os.chmod(path, node.mode)  # noqa: PTH101 - names are bytes
        else:
            _cut(path)
            _make_leaf(path, node)
        os.utime(path, ns=(0, node.mtime_ns), follow_symlinks=False)


def _make_leaf(path: bytes, leaf: Leaf) -> None:
    if leaf.target is not None:
        os.symlink(leaf.target, path)  # noqa: PTH211 - names are bytes
        return
    Path(os.fsdecode(path)).write_bytes(leaf.content)
    os.chmod(path, leaf.mode)  # noqa: PTH101 - names are bytes


def _cut(path: bytes) -> None:
    if not os.path.lexists(path):
        return
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114 - names are bytes
        shutil.rmtree(path)
    else:
        os.unlink(path)  # noqa: PTH108 - names are bytes
