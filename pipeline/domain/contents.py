"""The value of a column of the type `binary`: the id of a Binary File, and what else is known of its content."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from pipeline.domain.ids import BinaryId, parse_binary_id

_ERRORS = "surrogatepass"


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a Binary File, with the name and the media type that its app gives it.

    Written it is the id, and behind it those of both that are known: `;name=a%20b.png;type=image%2Fpng`.
    """

    id: BinaryId
    name: str | None = None
    media_type: str | None = None

    def __str__(self) -> str:
        known = [(key, value) for key, value in (("name", self.name), ("type", self.media_type)) if value is not None]
        return ";".join([self.id, *(urlencode([pair], quote_via=quote, safe="", errors=_ERRORS) for pair in known)])


def parse_content(text: str) -> Content:
    """Return the content that `str` has written. ValueError when it does not begin with the id of a Binary File."""
    id_, _, more = text.partition(";")
    if not more:
        return Content(parse_binary_id(id_))
    known = dict(parse_qsl(more, keep_blank_values=True, separator=";", errors=_ERRORS))
    return Content(parse_binary_id(id_), known.get("name"), known.get("type"))
