"""What the token of an app reaches: all streams, or those whose kinds of data are among its scopes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from pipeline.domain.ids import StreamName
from pipeline.http.problems import ProblemError
from pipeline.http.tokens import Identity


@dataclass(frozen=True, slots=True)
class Reach:
    """The reach of an app where streams have these scopes. One that has none is reached by tokens without scopes alone."""

    who: Identity
    scopes: Mapping[StreamName, Sequence[str]]

    def has(self, stream: str) -> bool:
        """Whether the token reaches a stream."""
        own = self.scopes.get(StreamName(stream), ())
        return not self.who.scopes or (bool(own) and set(own) <= set(self.who.scopes))

    def ensure(self, streams: Iterable[str]) -> None:
        """ProblemError (403) names the first of these streams that the token does not reach, and its scopes."""
        for stream in streams:
            if not self.has(stream):
                outside = sorted(set(self.scopes.get(StreamName(stream), ())) - set(self.who.scopes))
                what = (
                    f"data of the scope {', '.join(map(repr, outside))}"
                    if outside
                    else "data of no scope that is known"
                )
                raise ProblemError(
                    HTTPStatus.FORBIDDEN,
                    f"{stream[:200]!r} has {what}; this token reaches {', '.join(map(repr, self.who.scopes))} alone.",
                )
