"""Killing processes at random moments, on machines of any speed."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from typing import Any

FIRST_SECONDS = 1.5


class Killer:
    """Kills processes within the time that one takes which is left alone, as far as it was seen."""

    def __init__(self, dice: random.Random, longest: float = FIRST_SECONDS) -> None:
        """`longest` is the time in seconds that the first one is taken to need."""
        self._dice, self._longest = dice, longest

    def kill(self, process: subprocess.Popen[Any]) -> bool:
        """Kill a process at a random moment; return whether it was killed before its end."""
        begun = time.monotonic()
        try:
            process.wait(self._dice.uniform(0.2, 1.0) * self._longest)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        else:
            self._longest = min(self._longest, time.monotonic() - begun)
        return process.wait() == -signal.SIGKILL
