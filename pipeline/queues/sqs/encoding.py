"""Bodies as SQS takes them. It takes text without most control characters, and silently or loudly spoils the others.

The characters allowed are #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to #xFFFD and #x10000 to #x10FFFF
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html). A body with any other is
sent in base64 and says so in a message attribute; our own messages, being JSON, hardly ever need it.
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
MOST_REASON_BYTES = 2_000

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def outgoing(body: bytes) -> tuple[str, Attributes]:
    """Return the text and the attributes with which SQS carries `body`, which is UTF-8."""
    text = body.decode()
    if _FORBIDDEN.search(text):
        return b64encode(body).decode(), {ENCODING: text_attribute("base64")}
    return text, {}


def incoming(message: MessageTypeDef) -> bytes:
    """Return the body as it was sent; what claims to be base64 and is not comes as it is, for the codec to judge."""
    text = message["Body"].encode(errors="replace")
    encoding = message.get("MessageAttributes", {}).get(ENCODING)
    if encoding is None or encoding.get("StringValue") != "base64":
        return text
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return text


def reason_attribute(reason: str, room_bytes: int) -> Attributes:
    """Return the attribute that says why a message is dead, cut to the room there is; none where there is too little."""
    room_bytes = min(room_bytes - len(REASON) - len("String"), MOST_REASON_BYTES)
    clean = _FORBIDDEN.sub("\ufffd", reason or "no reason given").encode(errors="replace")
    text = clean[: max(0, room_bytes)].decode(errors="ignore")
    return {REASON: text_attribute(text)} if text else {}


def text_attribute(value: str) -> MessageAttributeValueTypeDef:
    """Return a message attribute that holds a text."""
    return {"DataType": "String", "StringValue": value}
