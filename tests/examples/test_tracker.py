"""The example over real HTTP: a tracker is moved into another one, whatever is lost or killed meanwhile."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
from pathlib import Path

import pytest
from server import Tracker, serve

from tests.cli.app import contents, process_environment
from tests.examples.moving import EXAMPLES
from tests.kit.killing import Killer

EXAMPLE = EXAMPLES / "tracker" / "tracker.py"
MOST_LINES = 40


def fill(tracker: Tracker, projects: int, issues: int) -> None:
    for number in range(1, projects + 1):
        tracker.put("projects", number, name=f"project {number}")
    for number in range(1, issues + 1):
        put_issue(tracker, number, f"issue {number}", 1 + number % projects)


def put_issue(tracker: Tracker, number: int, title: str, project: int) -> None:
    """Set an issue. Every third has a file, whose content tells its title."""
    file = tracker.attach(title.encode() * 100) if number % 3 == 0 else None
    tracker.put("issues", number, project_id=project, title=title, file=file)


def start(old: Tracker, new: Tracker | Path, home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline", "move", f"{EXAMPLE}:exporter", "--source-set", f"url={old.url}"]
    there = [str(new)] if isinstance(new, Path) else [f"{EXAMPLE}:importer", "--destination-set", f"url={new.url}"]
    command += [*there, "--flow", "crm", "--home", str(home)]
    return subprocess.Popen(
        command, env=process_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def move(old: Tracker, new: Tracker | Path, home: Path) -> None:
    """Move until it succeeds: a source that loses answers may end a run, which the next one carries on."""
    for _ in range(5):
        process = start(old, new, home)
        output, _ = process.communicate(timeout=120)
        if process.returncode == 0:
            return
    pytest.fail(output)


def seen(tracker: Tracker) -> tuple[list[str], list[tuple[str, str, bytes | None]]]:
    """Return the names of projects, and the title of each issue with its project's name and its file."""
    projects = {number: str(row["name"]) for number, row in tracker.tables["projects"].items()}
    issues = [
        (str(row["title"]), projects[int(str(row["project_id"]))], tracker.files.get(str(row["file"])))
        for row in tracker.tables["issues"].values()
    ]
    return sorted(projects.values()), sorted(issues)


@pytest.mark.parametrize("chance", [0.0, 0.1])
def test_a_tracker_is_moved_and_followed(chance: float, tmp_path: Path) -> None:
    with serve(Tracker(seed=1, chance=chance)) as old, serve(Tracker(seed=2, chance=chance)) as new:
        fill(old, projects=3, issues=20)
        move(old, new, tmp_path)
        assert seen(new) == seen(old)
        assert (new.created, len(new.files)) == (23, 6)
        put_issue(old, 6, "changed, with another file", 2)
        put_issue(old, 21, "new", 4)
        old.put("projects", 4, name="project 4")
        old.put("projects", 1, name="renamed")
        old.remove("issues", 7)
        read = old.read
        move(old, new, tmp_path)
        assert seen(new) == seen(old)
        assert (new.created, len(new.files)) == (25, 8)
        if not chance:
            assert old.read == read + 2  # the others have the version that was read before
        old.remove("issues", 6)
        move(old, new, tmp_path)
        assert seen(new) == seen(old)
        assert new.created == 25


def test_a_tracker_is_moved_into_a_database(tmp_path: Path) -> None:
    with serve(Tracker()) as old:
        fill(old, projects=2, issues=4)
        move(old, tmp_path / "copy.db", tmp_path)
        assert contents(tmp_path / "copy.db", "projects") == [(1, "project 1"), (2, "project 2")]
        assert contents(tmp_path / "copy.db", "issues")[2:] == [
            (3, 2, "issue 3", b"issue 3" * 100),
            (4, 1, "issue 4", None),
        ]


def test_the_example_is_short() -> None:
    """Both sides are at most 40 lines beside the client: no imports, docstrings and empty lines."""
    text = EXAMPLE.read_text()
    nodes = [node for node in ast.parse(text).body if not isinstance(node, ast.Import | ast.ImportFrom)][1:]
    lines = text.splitlines()[nodes[0].lineno - 1 :]
    assert 30 < sum(bool(line.strip()) for line in lines) <= MOST_LINES


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_move_that_is_killed_again_and_again_makes_no_second_object(seed: int, tmp_path: Path) -> None:
    """Ten kills for each seed: 50 in all."""
    choose = random.Random(seed)
    with serve(Tracker(seed=seed, chance=0.02)) as old, serve(Tracker(seed=seed + 1, chance=0.05)) as new:
        fill(old, projects=10, issues=300)
        kills, killer = 0, Killer(choose)
        while kills < 10:
            with start(old, new, tmp_path) as process:
                kills += killer.kill(process)
                process.communicate()
            number = choose.randint(1, 300)
            if choose.random() < 0.5:
                put_issue(old, number, f"again {kills} {number}", 1 + number % 10)
        move(old, new, tmp_path)
        move(old, new, tmp_path)
        assert seen(new) == seen(old)
        assert new.created == 310
