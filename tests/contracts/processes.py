"""Runs functions of the tests in processes of their own, all started at the same moment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def start(function: Callable[..., None], *arguments: object) -> subprocess.Popen[str]:
    """Start `function(*arguments)` in a new interpreter. It prints `ready` and continues when it gets a line."""
    call = f"{function.__name__}(*{[str(argument) for argument in arguments]!r})"
    program = f"from {function.__module__} import {function.__name__}\n{call}"
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def wait_for_start() -> None:
    """In the child: report that it is ready, and wait until all are."""
    print("ready", flush=True)
    sys.stdin.readline()


def race(children: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Release all children at once; return the output of each."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    outputs = [child.communicate(timeout=60)[0].strip() for child in children]
    assert [child.returncode for child in children] == [0] * len(children)
    return outputs
