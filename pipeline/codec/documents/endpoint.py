"""The documents of an endpoint of notifications: what a person has set, and what was delivered."""

from __future__ import annotations

import msgspec
import orjson
from msgspec import Struct, field

from pipeline.codec.wire import Count, Document, Time, decode_document, parsing, to_document
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.notifications.delivery import Deliveries
from pipeline.domain.notifications.endpoint import Endpoint, Form


class _SigningSecret(Document):
    reference: str
    until: Time | None = None


class _Endpoint(Document, rename="camel"):
    name: str
    url: str
    created: Time
    secrets: tuple[_SigningSecret, ...] = ()
    flows: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    profile: str = "standard"
    form: Form = Form.CLOUDEVENTS
    include_reasons: bool = False
    allow_private: tuple[str, ...] = ()
    allow_http: bool = False
    disabled: str = ""


class _Retry(Document):
    key: ObjectKey
    tries: Count
    due: Time
    reason: str


class _Position(Struct):
    movement: Count = 1
    day: str = ""
    taken: dict[str, tuple[str, ...]] = field(default_factory=dict)


class _Deliveries(Document, rename="camel"):
    positions: dict[FlowName, _Position] = field(default_factory=dict)
    retries: tuple[_Retry, ...] = ()
    given_up: tuple[ObjectKey, ...] = ()
    delivered: Count = 0
    failures: Count = 0
    failing_since: Time | None = None
    hold_until: Time | None = None
    last_delivery: Time | None = None
    last_failure: str = ""
    worker: str = ""


def encode_endpoint(endpoint: Endpoint) -> bytes:
    """Return the document of an endpoint."""
    document = msgspec.convert(endpoint, _Endpoint, from_attributes=True)
    return orjson.dumps(to_document(document), option=orjson.OPT_INDENT_2)


def decode_endpoint(data: bytes, what: str) -> Endpoint:
    """Read the document of an endpoint. DamagedError names `what`."""
    document = decode_document(data, _Endpoint, what)
    with parsing(what):
        return msgspec.convert(document, Endpoint, from_attributes=True)


def encode_deliveries(deliveries: Deliveries) -> bytes:
    """Return the document of what was delivered to an endpoint."""
    return orjson.dumps(to_document(msgspec.convert(deliveries, _Deliveries, from_attributes=True)))


def decode_deliveries(data: bytes, what: str) -> Deliveries:
    """Read the document of what was delivered to an endpoint. DamagedError names `what`."""
    return msgspec.convert(decode_document(data, _Deliveries, what), Deliveries, from_attributes=True)
