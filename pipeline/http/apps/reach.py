"""What the token of an app reaches: all streams, or those whose kinds of data are among its scopes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from pipeline.domain.ids import StreamName
from pipeline.http.problems import ProblemError


@dataclass(frozen=True, slots=True)
class Reach:
    """What a token with these scopes reaches, where streams have those. Without scopes, it reaches all; a stream without any
    is reached by no other token.
    """

    of_token: Sequence[str]
    scopes: Mapping[StreamName, Sequence[str]]

    def has(self, stream: str) -> bool:
        """Whether the token reaches a stream."""
        own = self.scopes.get(StreamName(stream), ())
        return not self.of_token or (bool(own) and set(own) <= set(self.of_token))

    def ensure(self, streams: Iterable[str]) -> None:
        """ProblemError (403) names the first of these streams that the token does not reach, and its scopes."""
        for stream in streams:
            if not self.has(stream):
                outside = sorted(set(self.scopes.get(StreamName(stream), ())) - set(self.of_token))
                what = (
                    f"data of the scope {', '.join(map(repr, outside))}"
                    if outside
                    else "data of no scope that is known"
                )
                raise ProblemError(
                    HTTPStatus.FORBIDDEN,
                    f"{stream[:200]!r} has {what}; this token reaches {', '.join(map(repr, self.of_token))} alone.",
                )
