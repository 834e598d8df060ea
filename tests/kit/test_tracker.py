"""The example over real HTTP: a tracker is moved into another one, whatever is lost or killed meanwhile."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.app import process_environment
from tests.kit.tracker_server import Tracker, serve

EXAMPLE = Path(__file__).parents[2] / "examples" / "tracker" / "tracker.py"


def fill(tracker: Tracker, projects: int, issues: int) -> None:
    for number in range(1, projects + 1):
        tracker.tables["projects"][number] = {"id": number, "name": f"project {number}"}
    for number in range(1, issues + 1):
        title = f"issue {number}"
        tracker.tables["issues"][number] = {"id": number, "project_id": 1 + number % projects, "title": title}


def start(old: Tracker, new: Tracker, home: Path) -> subprocess.Popen[str]:
    place = f"{EXAMPLE}:exporter", f"{EXAMPLE}:importer"
    settings = ("--source-set", f"url={old.url}", "--destination-set", f"url={new.url}")
    command = [sys.executable, "-m", "pipeline", "move", *place, *settings, "--flow", "crm", "--home", str(home)]
    return subprocess.Popen(
        command, env=process_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def move(old: Tracker, new: Tracker, home: Path) -> None:
    """Move until it succeeds: a source that loses answers may end a run, which the next one carries on."""
    for _ in range(5):
        process = start(old, new, home)
        output, _ = process.communicate(timeout=120)
        if process.returncode == 0:
            return
    pytest.fail(output)


def seen(tracker: Tracker) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the names of projects, and the title of each issue with its project's name."""
    projects = {number: str(row["name"]) for number, row in tracker.tables["projects"].items()}
    issues = [(str(row["title"]), projects[int(str(row["project_id"]))]) for row in tracker.tables["issues"].values()]
    return sorted(projects.values()), sorted(issues)


@pytest.mark.parametrize("chance", [0.0, 0.1])
def test_a_tracker_is_moved_and_followed(chance: float, tmp_path: Path) -> None:
    with serve(Tracker(seed=1, chance=chance)) as old, serve(Tracker(seed=2, chance=chance)) as new:
        fill(old, projects=3, issues=20)
        move(old, new, tmp_path)
        assert seen(new) == seen(old)
        assert new.created == 23
        old.tables["issues"][5]["title"] = "changed"
        old.tables["issues"][21] = {"id": 21, "project_id": 4, "title": "new"}
        old.tables["projects"][4] = {"id": 4, "name": "project 4"}
        move(old, new, tmp_path)
        assert seen(new) == seen(old)
        assert new.created == 25
        del old.tables["issues"][7]
        move(old, new, tmp_path)
        move(old, new, tmp_path)  # missing from two lists, it is gone
        assert seen(new) == seen(old)
        assert new.created == 25


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_move_that_is_killed_again_and_again_makes_no_second_object(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    with serve(Tracker(seed=seed, chance=0.02)) as old, serve(Tracker(seed=seed + 1, chance=0.05)) as new:
        fill(old, projects=10, issues=150)
        kills = 0
        while kills < 5:
            process = start(old, new, tmp_path)
            time.sleep(0.3 + choose.random())
            kills += process.poll() is None
            process.kill()
            process.communicate()
            if choose.random() < 0.5:
                number = choose.randint(1, 150)
                old.tables["issues"][number] = {"id": number, "project_id": 1 + number % 10, "title": f"again {kills}"}
        move(old, new, tmp_path)
        move(old, new, tmp_path)
        assert seen(new) == seen(old)
        assert new.created == 160
