"""The temporary files of a run of the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import temporary_files

RUN = """
import sys
from pathlib import Path
from tests.temporary_files import directory_of_run
print(directory_of_run(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def test_a_run_removes_what_a_killed_run_left_and_nothing_of_one_at_work(tmp_path: Path) -> None:
    foreign = tmp_path / "pipeline-notes"
    foreign.mkdir()
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        roots = []
        for run in runs:
            assert run.stdout is not None
            roots.append(Path(run.stdout.readline().strip()))
        (roots[0] / "left").write_text("by a killed run")
        runs[0].kill()
        runs[0].wait()
        temporary_files.remove_abandoned(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([foreign, roots[1]])
    finally:
        for run in runs:
            run.kill()
            run.communicate()


def test_memory_is_used_only_where_enough_is_left(tmp_path: Path) -> None:
    assert temporary_files.has_room(tmp_path, room_bytes=1)
    assert not temporary_files.has_room(tmp_path, room_bytes=10**18)
    assert not temporary_files.has_room(tmp_path / "missing", room_bytes=1)
