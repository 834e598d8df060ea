"""The workers of a run: started, killed, frozen and resumed; and their logs."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.fleet.fleet import Fleet
from tests.torture.run_log import RunLog

_END_OF_LOG = 1500


@dataclass
class Worker:
    """A worker. `frozen_until` is when it resumes, by the monotonic clock; 0 while it runs."""

    name: str
    role: str
    process: subprocess.Popen[bytes]
    log: Path
    frozen_until: float = 0.0
    has_worked: bool = False
    _read_bytes: int = 0

    def new_lines(self) -> list[bytes]:
        """Return the complete lines that were logged since the last call."""
        with self.log.open("rb") as log:
            log.seek(self._read_bytes)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        return whole.splitlines()


@dataclass
class Workers:
    """The running workers. `progress` counts stored and imported Event Files; `imports` counts the imports of each."""

    fleet: Fleet
    run_log: RunLog
    members: list[Worker] = field(default_factory=list)
    progress: int = 0
    imports: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def start(self, role: str) -> None:
        """Start a worker."""
        number = len(self.fleet.workers)
        process = self.fleet.spawn(role)
        self.members.append(Worker(f"{role}er {number}", role, process, self.fleet.directory / f"worker{number}.log"))

    def of(self, role: str) -> list[Worker]:
        """Return the workers of a role; those that have worked come first."""
        return sorted((one for one in self.members if one.role == role), key=lambda one: not one.has_worked)

    def replace(self, victims: list[Worker]) -> int:
        """Kill these workers and start others; return how many were killed."""
        for one in victims:
            one.process.kill()
        for one in victims:
            self._remove(one)
            self.start(one.role)
        return len(victims)

    def freeze(self, member: Worker, seconds: float) -> None:
        """Stop a worker in the middle of its work."""
        member.process.send_signal(signal.SIGSTOP)
        member.frozen_until = time.monotonic() + seconds

    def poll(self) -> None:
        """Read the logs, resume frozen workers whose time is up, and replace workers that ended by themselves."""
        for one in list(self.members):
            self._read(one)
            if one.frozen_until and time.monotonic() > one.frozen_until:
                one.frozen_until = 0.0
                one.process.send_signal(signal.SIGCONT)
                self.run_log.write(f"{one.name} resumes")
            if one.process.poll() is not None:
                self._remove(one)
                said = one.log.read_bytes()[-_END_OF_LOG:].decode(errors="replace")
                self.run_log.write(f"{one.name} ended by itself with {one.process.returncode}: {said.strip()}")
                if one.process.returncode != 1 or "Traceback" in said:
                    self.problems.append(f"{one.name} ended with {one.process.returncode}: {said}")
                self.start(one.role)

    def drain(self) -> list[str]:
        """Drain all workers; return a line for each wrong exit code."""
        for one in self.members:
            one.process.send_signal(signal.SIGCONT)
        self.fleet.stop()
        wrong = [f"{one.name}: exit code {one.process.returncode}" for one in self.members if one.process.returncode]
        for one in list(self.members):
            self._remove(one)
        return wrong

    def _remove(self, one: Worker) -> None:
        one.process.wait()
        self._read(one)
        self.members.remove(one)

    def _read(self, one: Worker) -> None:
        for line in one.new_lines():
            if line.startswith(b"{"):
                self._note(one, orjson.loads(line))
            elif b"Traceback" in line:
                self.problems.append(f"{one.name} logged a traceback, in {one.log}")

    def _note(self, one: Worker, said: dict[str, object]) -> None:
        if said["event"] in ("event_file_stored", "import_done"):
            one.has_worked = True
            self.progress += 1
        if said["event"] == "import_done":
            self.imports[str(said["flow"]), str(said["file"])] += 1
        if said["level"] in ("error", "critical") or "exception" in said:
            self.problems.append(f"{one.name}: {said}")
