"""The document of one act of approval: approvals/{number}.json, created once."""

from __future__ import annotations

import msgspec
import orjson

from pipeline.codec.wire import Count, Document, Time, decode_document, to_document
from pipeline.domain.flows.approvals import Act, Approval
from pipeline.domain.flows.declaration import Side


class _Approval(Document, rename="camel"):
    number: Count
    side: Side
    act: Act
    by: str
    at: Time
    text_sha256: str
    scopes: tuple[str, ...] = ()
    contract: str = ""
    reason: str = ""


def encode_approval(approval: Approval) -> bytes:
    """Return the document."""
    document = msgspec.convert(approval, _Approval, from_attributes=True)
    return orjson.dumps(to_document(document), option=orjson.OPT_INDENT_2)


def decode_approval(data: bytes, what: str) -> Approval:
    """Read the document. DamagedError names `what`."""
    return msgspec.convert(decode_document(data, _Approval, what), Approval, from_attributes=True)
