"""Runs a command as its child, and writes its exit status, seconds, processor seconds and peak memory in bytes to a file.

python small_parent.py WHERE COMMAND [ARGUMENT …]

The kernel includes the parent's memory at the start in the peak of a process (Linux, exec_mmap). So the parent must be
small, which a benchmark with its data in memory is not.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def main(where: str, *command: str) -> None:
    """Run the command, and write its measurements to the file `where`."""
    begun = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - begun
    with Path(where).open("w", encoding="ascii") as file:
        processor = usage.ru_utime + usage.ru_stime
        file.write(f"{os.waitstatus_to_exitcode(status)} {seconds} {processor} {usage.ru_maxrss * 1024}")


main(*sys.argv[1:])
