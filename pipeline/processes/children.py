"""Starting a process of our own that speaks over a socket, and ending it.

It runs nothing of the script that uses this package. It is to end by itself when the other end of its socket is closed,
also when that happens because this process was killed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from multiprocessing.connection import Connection

from pipeline.domain.errors import TransientError

START = """
import sys
module, line, *sys.path[:] = sys.argv[1:]
from pipeline.processes.process_setup import configure_before_imports
configure_before_imports()
from importlib import import_module
import_module(module).main(int(line))
"""

Child = subprocess.Popen[bytes]


def has_room() -> bool:
    """Whether there is a second processor for another process to run on, and a way to start it."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return processors > 1 and os.name == "posix"


def start_child(module: str) -> tuple[Child, Connection]:
    """Start a process that calls `main` of a module with the file descriptor of its end of a socket; return our end.

    TransientError when there can be no further process.
    """
    here, there = socket.socketpair()
    connection = Connection(here.detach())
    with there:
        try:
            child = subprocess.Popen(
                [sys.executable, "-c", START, module, str(there.fileno()), *sys.path],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # what is typed at a terminal is meant for this process
            )
        except OSError as error:
            connection.close()
            raise TransientError(f"no process could be started: {error}") from error
    return child, connection


def end_child(child: Child, join_seconds: float) -> None:
    """Wait until a process whose socket is closed has ended; kill it when that takes too long."""
    try:
        child.wait(join_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
