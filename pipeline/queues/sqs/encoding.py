"""Encodes message bodies for SQS, which takes text without most control characters and alters or refuses the others.

The allowed characters are #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to #xFFFD and #x10000 to #x10FFFF
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html). A body with any other
character is sent in base64, and a message attribute says so. The pipeline's own messages are JSON and hardly need it.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import MessageAttributeValueTypeDef, MessageTypeDef

    Attributes = dict[str, MessageAttributeValueTypeDef]

ENCODING = "pipeline-encoding"
REASON = "pipeline-reason"
MAX_REASON_BYTES = 2_000

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def outgoing(body: bytes) -> tuple[str, Attributes]:
    """Return the text and the attributes that carry `body`, which is UTF-8."""
    text = body.decode()
    if _FORBIDDEN.search(text):
        return b64encode(body).decode(), {ENCODING: text_attribute("base64")}
    return text, {}


def incoming(message: MessageTypeDef) -> bytes:
    """Return the body as it was sent. Invalid base64 is returned as it is; the codec rejects it later."""
    text = message["Body"].encode(errors="replace")
    encoding = message.get("MessageAttributes", {}).get(ENCODING)
    if encoding is None or encoding.get("StringValue") != "base64":
        return text
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return text


def reason_attribute(reason: str, room_bytes: int) -> Attributes:
    """Return the attribute that says why a message was rejected, cut to fit `room_bytes`; none if nothing fits."""
    room_bytes = min(room_bytes - len(REASON) - len("String"), MAX_REASON_BYTES)
    clean = _FORBIDDEN.sub("\ufffd", reason or "no reason given").encode(errors="replace")
    text = clean[: max(0, room_bytes)].decode(errors="ignore")
    return {REASON: text_attribute(text)} if text else {}


def text_attribute(value: str) -> MessageAttributeValueTypeDef:
    """Return a message attribute with a text value."""
    return {"DataType": "String", "StringValue": value}
