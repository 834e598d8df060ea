"""What happened in a run, told line by line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Line:
    """At `seconds` of virtual time, `who` did `what`; `fault` is what went wrong, if anything did."""

    seconds: float
    who: str
    what: str
    fault: str


@dataclass
class Story:
    """Keeps lines; writes them when asked."""

    now: Callable[[], float] = lambda: 0.0
    lines: list[Line] = field(default_factory=list)

    def tell(self, who: str, what: str, fault: str = "") -> None:
        """Add a line."""
        self.lines.append(Line(self.now(), who, what, fault))

    def text(self) -> str:
        """Return the story: number, virtual time, process, call, and the fault behind `<<`."""
        return "".join(
            f"{number:5}  {_time(line.seconds):>13}  {line.who:<9} {line.what}"
            f"{'   << ' + line.fault if line.fault else ''}\n"
            for number, line in enumerate(self.lines, start=1)
        )


def _time(seconds: float) -> str:
    days, rest = divmod(seconds, 86400)
    return f"{int(days)}d {rest:.3f}s" if days else f"{rest:.3f}s"
