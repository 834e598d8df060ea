"""Keys and paths: one path for each key, one key for each path, within the limits of every file system."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.ids import is_key_segment
from pipeline.ports.object_store import ObjectInfo
from pipeline.stores.directory.listing import list_objects
from pipeline.stores.directory.path_encoding import object_path

SEGMENTS = st.one_of(
    st.text("ab.~%!é/".replace("/", ""), min_size=1, max_size=4),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.text("x.~é", min_size=235, max_size=260),
).filter(is_key_segment)
KEYS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("flows/crm/flow.json", "flows/crm/flow.json"),
        ("binaries/ab/abcd", "binaries/ab/abcd~"),
        ("v1.2/x", "v1.2~/x~"),
        ("~/é.txt", "~7E/~C3~A9.txt"),
        ("x" * 241, "x" * 240 + "~~/x~"),
        ("x" * 240 + "..", "x" * 240 + "~~/~2E~2E~"),
    ],
)
def test_usual_names_stay_as_they_are(key: str, path: str) -> None:
    assert Path("/s", path) == object_path(Path("/s"), key)


@settings(deadline=None, max_examples=60)
@given(keys=st.sets(KEYS, max_size=12), data=st.data())
def test_every_set_of_keys_is_listed_in_order(
    keys: set[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("objects")
    for key in keys:
        path = object_path(root, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())
        assert max(len(part) for part in path.relative_to(root).parts) <= 255
    ordered = sorted(keys, key=str.encode)
    assert [ObjectInfo(key, len(key.encode())) for key in ordered] == list_objects(root, "", None, 100)  # type: ignore[arg-type]  # plain strings
    if keys:
        after = data.draw(st.sampled_from(ordered))
        prefix = after[: data.draw(st.integers(0, len(after)))]
        expected = [key for key in ordered if key.startswith(prefix) and key.encode() > after.encode()]
        assert expected == [info.key for info in list_objects(root, prefix, after, 100)]  # type: ignore[arg-type]
