"""The workers of a run: hired, killed, frozen and woken; and what they say of their work."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.fleet.fleet import Fleet
from tests.torture.diary import Diary

_END_OF_LOG = 1500


@dataclass
class Member:
    """A worker. `frozen_until`, by the monotonic clock, is when it is to be woken; 0 while it runs."""

    name: str
    role: str
    process: subprocess.Popen[bytes]
    log: Path
    frozen_until: float = 0.0
    has_worked: bool = False
    _read_bytes: int = 0

    def new_lines(self) -> list[bytes]:
        """The whole lines it has logged since this was last asked."""
        with self.log.open("rb") as log:
            log.seek(self._read_bytes)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        return whole.splitlines()


@dataclass
class Crew:
    """Those at work. `progress` counts Event Files stored and imported, `imports` how often each was, by Flow and id."""

    fleet: Fleet
    diary: Diary
    members: list[Member] = field(default_factory=list)
    progress: int = 0
    imports: Counter[tuple[str, str]] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def hire(self, role: str) -> None:
        """Start a worker."""
        number = len(self.fleet.workers)
        process = self.fleet.spawn(role)
        self.members.append(Member(f"{role}er {number}", role, process, self.fleet.directory / f"worker{number}.log"))

    def of(self, role: str) -> list[Member]:
        """Those who do this, those who have begun to work first."""
        return sorted((one for one in self.members if one.role == role), key=lambda one: not one.has_worked)

    def replace(self, victims: list[Member]) -> int:
        """Kill these, and start others; return how many were killed."""
        for one in victims:
            one.process.kill()
        for one in victims:
            self._bury(one)
            self.hire(one.role)
        return len(victims)

    def freeze(self, member: Member, seconds: float) -> None:
        """Stop a worker in the middle of whatever it does."""
        member.process.send_signal(signal.SIGSTOP)
        member.frozen_until = time.monotonic() + seconds

    def look(self) -> None:
        """Read what they say, wake who has been frozen for long enough, and replace who has ended by itself."""
        for one in list(self.members):
            self._read(one)
            if one.frozen_until and time.monotonic() > one.frozen_until:
                one.frozen_until = 0.0
                one.process.send_signal(signal.SIGCONT)
                self.diary.tell(f"{one.name} wakes up")
            if one.process.poll() is not None:
                self._bury(one)
                said = one.log.read_bytes()[-_END_OF_LOG:].decode(errors="replace")
                self.diary.tell(f"{one.name} has ended by itself, with {one.process.returncode}: {said.strip()}")
                if one.process.returncode != 1 or "Traceback" in said:
                    self.complaints.append(f"{one.name} ended with {one.process.returncode}: {said}")
                self.hire(one.role)

    def dismiss(self) -> list[str]:
        """Let all end what they have in hand; return what was not as it should be."""
        for one in self.members:
            one.process.send_signal(signal.SIGCONT)
        self.fleet.stop()
        wrong = [f"{one.name}: exit code {one.process.returncode}" for one in self.members if one.process.returncode]
        for one in list(self.members):
            self._bury(one)
        return wrong

    def _bury(self, one: Member) -> None:
        one.process.wait()
        self._read(one)
        self.members.remove(one)

    def _read(self, one: Member) -> None:
        for line in one.new_lines():
            if line.startswith(b"{"):
                self._note(one, orjson.loads(line))
            elif b"Traceback" in line:
                self.complaints.append(f"{one.name} logged a traceback, in {one.log}")

    def _note(self, one: Member, said: dict[str, object]) -> None:
        if said["event"] in ("event_file_stored", "import_done"):
            one.has_worked = True
            self.progress += 1
        if said["event"] == "import_done":
            self.imports[str(said["flow"]), str(said["file"])] += 1
        if said["level"] in ("error", "critical") or "exception" in said:
            self.complaints.append(f"{one.name}: {said}")
