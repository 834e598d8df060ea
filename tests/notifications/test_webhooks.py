"""Webhooks against real HTTP servers on loopback, which the tests allow by name of the network."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError
from structlog.testing import capture_logs

from pipeline.assembly.commands.notifications import add_endpoint
from pipeline.assembly.notifying.senders import signer_of
from pipeline.codec.documents.notification import CLOUDEVENTS_TYPE, cloudevent, sam_event
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow
from pipeline.domain.notifications import endpoint as endpoints
from pipeline.domain.notifications.addresses import is_refused, parse_networks
from pipeline.domain.notifications.delivery import Answer, Delivered, NotDelivered
from pipeline.domain.notifications.endpoint import ROTATION, Endpoint, Profile, SigningSecret, rotated
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.kit import InvalidWebhook, RepeatedWebhook, verify_webhook
from pipeline.kit.webhooks import signer
from pipeline.ports.sender import Notification
from pipeline.senders.webhook import open_webhook_sender
from pipeline.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST, SECOND = (f"whsec_{base64.b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))
EVENT = OutboxEvent(
    EventType.GROUP_EXPORTED,
    FlowName("crm"),
    3,
    NOW,
    "users",
    {"label": "users", "key": "flows/crm/movements/3/groups/users/files.1.jsonl"},
    ("a text that may quote a value",),
)
LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass
class Server:
    """A receiver: how it answers, and what it was sent."""

    answer: Callable[[], web.Response] = web.Response
    seconds: float = 0.0
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        await asyncio.sleep(self.seconds)
        return self.answer()


@asynccontextmanager
async def serving(server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve on loopback, at a free port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST", FIRST)
    monkeypatch.setenv("SECOND", SECOND)


def endpoint(url: str, *references: str, allow: tuple[str, ...] = LOOPBACK) -> Endpoint:
    secrets = tuple(SigningSecret(reference) for reference in references or ("env:FIRST",))
    return Endpoint("ops", url, NOW, secrets, allow_private=allow, allow_http=True)


async def send(to: Endpoint, tls: ssl.SSLContext | None = None) -> Answer:
    body = cloudevent(EVENT, include_reasons=to.include_reasons)
    async with open_webhook_sender(signer_of, tls) as sender:
        return await sender.send(to, Notification(EVENT.id, "type", "crm", CLOUDEVENTS_TYPE, body))


async def test_the_body_is_a_cloudevent_and_is_signed_as_standard_webhooks_wants_it() -> None:
    async with serving(Server()) as server:
        assert await send(endpoint(f"http://127.0.0.1:{server.port}/hook")) == Delivered()
    ((headers, body),) = server.requests
    Webhook(FIRST).verify(body, {name.lower(): value for name, value in headers.items()})
    with pytest.raises(WebhookVerificationError):
        Webhook(SECOND).verify(body, headers)
    event = from_http_event(HTTPMessage(headers, body))  # an independent parser
    assert (event.get_id(), event.get_source(), event.get_subject()) == (EVENT.id, "/flows/crm", "users")
    assert event.get_type() == "app-data-pipeline.group.exported"
    assert event.get_time() == NOW
    assert event.get_data() == {"flow": "crm", "movement": 3, **EVENT.data}
    assert headers["webhook-id"] == EVENT.id
    assert b"quote" not in body


async def test_reasons_are_sent_only_when_they_are_asked_for() -> None:
    async with serving(Server()) as server:
        await send(replace(endpoint(f"http://127.0.0.1:{server.port}"), include_reasons=True))
    assert b"a text that may quote a value" in server.requests[0][1]


async def test_while_a_secret_is_replaced_both_sign() -> None:
    secrets = rotated((SigningSecret("env:FIRST"),), "env:SECOND", datetime.now(UTC))
    async with serving(Server()) as server:
        assert await send(replace(endpoint(f"http://127.0.0.1:{server.port}"), secrets=secrets)) == Delivered()
    ((headers, body),) = server.requests
    for secret in (FIRST, SECOND):
        assert verify_webhook(headers, body, secret)["id"] == EVENT.id
    later = datetime.now(UTC) + ROTATION + timedelta(seconds=1)
    assert list(replace(endpoint(""), secrets=secrets).references(later)) == ["env:SECOND"]


SEED = bytes(range(32))
PRIVATE_KEY = f"whsk_{base64.b64encode(SEED).decode()}"
PUBLIC_BYTES = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
PUBLIC_KEY = f"whpk_{base64.b64encode(PUBLIC_BYTES).decode()}"
BOTH_KEYS = f"whsk_{base64.b64encode(SEED + PUBLIC_BYTES).decode()}"


@pytest.mark.parametrize("key", [PRIVATE_KEY, BOTH_KEYS])
async def test_a_private_key_signs_so_that_the_public_key_verifies(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("KEY", key)
    async with serving(Server()) as server:
        assert await send(endpoint(f"http://127.0.0.1:{server.port}", "env:KEY", "env:FIRST")) == Delivered()
    ((headers, body),) = server.requests
    own, other = headers["webhook-signature"].split()
    assert (own[:4], other[:3]) == ("v1a,", "v1,")
    signed_text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    Ed25519PublicKey.from_public_bytes(PUBLIC_BYTES).verify(base64.b64decode(own[4:]), signed_text)  # as others do
    for secret in (PUBLIC_KEY, FIRST, [SECOND, PUBLIC_KEY]):
        assert verify_webhook(headers, body, secret)["id"] == EVENT.id


def signed_by_key(body: str = '{"a":1}', at: datetime | None = None) -> dict[str, str]:
    moment = at or datetime.now(UTC)
    signature = signer(PRIVATE_KEY).sign("id", moment, body)
    return {"Webhook-Id": "id", "Webhook-Timestamp": str(int(moment.timestamp())), "Webhook-Signature": signature}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b'{"a":1}'),
        (signed_by_key(), b'{"a":2}'),
        (signed_by_key(at=datetime.now(UTC) - timedelta(hours=1)), b'{"a":1}'),
        (signed_by_key(at=datetime.now(UTC) + timedelta(hours=1)), b'{"a":1}'),
        (signed_by_key() | {"Webhook-Id": "other"}, b'{"a":1}'),
        (signed_by_key() | {"Webhook-Timestamp": "9" * 400}, b'{"a":1}'),
        (signed_by_key() | {"Webhook-Timestamp": "inf"}, b'{"a":1}'),
        (signed_by_key() | {"Webhook-Signature": "v1a"}, b'{"a":1}'),
        (signed_by_key() | {"Webhook-Signature": "v1a,!!! v1a,AAAA é"}, b'{"a":1}'),
        (
            signed_by_key() | {"Webhook-Signature": signed_by_key()["Webhook-Signature"].replace("v1a", "v1")},
            b'{"a":1}',
        ),
    ],
)
def test_what_a_key_has_not_signed_is_one_error(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(InvalidWebhook):
        verify_webhook(headers, body, PUBLIC_KEY)


def test_what_a_key_has_signed_is_taken_once() -> None:
    seen: set[str] = set()
    assert verify_webhook(signed_by_key(), b'{"a":1}', PUBLIC_KEY, seen) == {"a": 1}
    with pytest.raises(RepeatedWebhook):
        verify_webhook(signed_by_key(), '{"a":1}', PUBLIC_KEY, seen)


def test_a_key_that_cannot_sign_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"a public key.* Give the private key, whsk_") as refused:
        signer(PUBLIC_KEY)
    assert PUBLIC_KEY not in str(refused.value)
    of_another = f"whsk_{base64.b64encode(SEED + bytes(32)).decode()}"
    for wrong in ("whsk_", "whsk_AAAA", "whpk_AAAA", "whsk_!!!", of_another):
        with pytest.raises(ConfigurationError, match="a key of Ed25519") as refused:
            verify_webhook(signed_by_key(), b'{"a":1}', wrong)
        assert wrong not in str(refused.value).replace("`whsk_`", "")


async def test_a_redirect_is_not_followed() -> None:
    target = "http://169.254.169.254/latest/meta-data/"
    moved = Server(lambda: web.Response(status=307, headers={"location": target}))
    async with serving(moved) as server:
        answer = await send(endpoint(f"http://127.0.0.1:{server.port}"))
    assert isinstance(answer, NotDelivered)
    assert answer.reason == (
        f"it answered 307, a redirect to {target}, which is not followed. Give the endpoint the right URL"
    )
    assert len(moved.requests) == 1


async def test_a_slow_answer_is_waited_for_as_long_as_the_profile_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(endpoints.PROFILES, "standard", Profile(0.2, 0.3, (1.0,)))
    async with serving(Server(seconds=2.0)) as server:
        begun = asyncio.get_running_loop().time()
        answer = await send(endpoint(f"http://127.0.0.1:{server.port}"))
        assert asyncio.get_running_loop().time() - begun < 1.5
    assert answer == NotDelivered("it did not answer within 0.3 seconds")


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (204, {}, Delivered()),
        (410, {}, NotDelivered("it answered 410 Gone", gone=True)),
        (500, {}, NotDelivered("it answered 500: out of order")),
        (429, {"retry-after": "120"}, NotDelivered("it answered 429: out of order", retry_after=timedelta(minutes=2))),
        (503, {"retry-after": "nonsense"}, NotDelivered("it answered 503: out of order")),
        (503, {"retry-after": f"1 Jan {10**20} 00:00:00 GMT"}, NotDelivered("it answered 503: out of order")),
        (400, {"retry-after": "120"}, NotDelivered("it answered 400: out of order")),
    ],
)
async def test_an_answer_means_what_its_status_says(status: int, headers: dict[str, str], expected: Answer) -> None:
    text = "" if status == 204 else "out of order"
    async with serving(Server(lambda: web.Response(status=status, headers=headers, text=text))) as server:
        assert await send(endpoint(f"http://127.0.0.1:{server.port}")) == expected


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "it closed the connection and had not answered"),
        (b"HTTP/1.1 20", "it closed the connection and had not answered"),
        (b"fine", "its answer is not HTTP: Bad status line"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            "its answer is not HTTP: Invalid character in Content-Length",
        ),
        (b"HTTP/1.1 500 no\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08", "it answered 500"),
    ],
)
async def test_what_is_wrong_with_an_answer_is_said_in_words(raw: bytes, reason: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        found = await send(endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
    assert isinstance(found, NotDelivered)
    assert found.reason.startswith(reason)
    assert "message=" not in found.reason
    assert "�" not in found.reason


async def test_a_huge_answer_is_not_read_to_its_end() -> None:
    async with serving(Server(lambda: web.Response(status=500, body=b"x" * 50_000_000))) as server:
        answer = await send(endpoint(f"http://127.0.0.1:{server.port}"))
    assert isinstance(answer, NotDelivered)
    assert len(answer.reason) < 300


async def test_a_certificate_that_nobody_trusts_is_refused_and_one_that_is_trusted_is_taken() -> None:
    authority, other = trustme.CA(), trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trusting, wary = ssl.create_default_context(), ssl.create_default_context()
    authority.configure_trust(trusting)
    other.configure_trust(wary)
    async with serving(Server(), served) as server:
        to = endpoint(f"https://127.0.0.1:{server.port}")
        assert await send(to, trusting) == Delivered()
        answer = await send(to, wary)
    assert isinstance(answer, NotDelivered)
    assert answer.reason.startswith("its certificate is not valid: ")
    assert len(server.requests) == 1


async def test_a_name_that_resolves_to_a_private_address_at_the_second_look_leads_nowhere(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def resolve(host: str, port: int, *arguments: Any, **named: Any) -> list[Any]:
        looks.append(host)
        address = "93.184.216.34" if len(looks) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    async with serving(Server()) as server:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        to = endpoint(f"http://hooks.example:{server.port}/", allow=())
        added, warnings = await add_endpoint(to, "env:FIRST", settings=Settings(home=tmp_path / "home"))
        answer = await send(added)
    assert (len(looks), warnings) == (2, [])
    assert isinstance(answer, NotDelivered)
    assert "127.0.0.1 is not a public address" in answer.reason
    assert server.requests == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433", "0x7f000001"]
)
async def test_no_spelling_of_loopback_is_reached(host: str) -> None:
    async with serving(Server()) as server:
        answer = await send(endpoint(f"http://{host}:{server.port}/", allow=()))
    assert isinstance(answer, NotDelivered)
    assert server.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "192.88.99.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "fec0::1", "ff02::1",
        "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::", "2001::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert is_refused(address, ())


def test_public_and_allowed_addresses_are_not_refused() -> None:
    assert not is_refused("93.184.216.34", ())
    assert not is_refused("2606:2800:220:1::1", ())
    assert not is_refused("10.1.2.3", parse_networks(["10.1.0.0/16"]))
    assert not is_refused("::ffff:10.1.2.3", parse_networks(["10.1.0.0/16"]))
    assert is_refused("10.2.2.3", parse_networks(["10.1.0.0/16"]))
    with pytest.raises(ConfigurationError, match=r"'10\.1' is no network"):
        parse_networks(["10.1"])


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("env:MISSING", "The environment has no variable MISSING, which a secret refers to. Set it."),
        ("file:/no/such/file", "The file /no/such/file, which a secret refers to, cannot be read."),
        ("env:SHORT", "A secret of webhooks is `whsec_`"),
    ],
)
async def test_a_secret_that_is_not_there_is_named_and_not_shown(
    reference: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT", "hunter2")
    async with serving(Server()) as server:
        answer = await send(endpoint(f"http://127.0.0.1:{server.port}", reference))
    assert isinstance(answer, NotDelivered)
    assert reason in answer.reason
    assert "hunter2" not in answer.reason
    assert server.requests == []


@pytest.mark.parametrize("references", [("env:SECOND", "env:MISSING"), ("env:MISSING", "env:SECOND")])
async def test_of_two_secrets_the_one_that_leads_nowhere_is_left_out(references: tuple[str, ...]) -> None:
    async with serving(Server()) as server:
        with capture_logs() as logged:
            answer = await send(endpoint(f"http://127.0.0.1:{server.port}", *references))
    assert answer == Delivered()
    ((headers, body),) = server.requests
    assert verify_webhook(headers, body, SECOND)["id"] == EVENT.id
    (warning,) = [entry for entry in logged if entry["event"] == "signing_secret_left_out"]
    assert (warning["endpoint"], "no variable MISSING" in warning["reason"]) == ("ops", True)


async def test_a_receiver_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = await send(endpoint(f"http://127.0.0.1:{port}"))
    assert isinstance(answer, NotDelivered)
    assert answer.reason.startswith("it cannot be reached: ")


def test_the_public_platforms_event_has_its_members() -> None:
    import orjson

    flow = Flow(FlowName("crm"), "sqlite:///app.db", "sqlite:///copy.db", NOW)
    found = orjson.loads(sam_event(EVENT, flow))
    assert found.keys() == {"eventType", "messageId", "key", "label", "transferId", "migrationDetails"}
    assert (found["eventType"], found["label"], found["key"]) == (
        "event-file-list-uploaded",
        "users",
        EVENT.data["key"],
    )
    details = {"migrationId", "migrationScopeId", "name", "createdAt", "cloudUrl"}
    assert found["migrationDetails"].keys() == details
    assert orjson.loads(sam_event(EVENT, flow))["transferId"] == found["transferId"]


def signed(body: bytes = b'{"a":1}', secret: str = FIRST, at: datetime | None = None) -> dict[str, str]:
    moment = at or datetime.now(UTC)
    signature = Webhook(secret).sign("id", moment, body.decode())
    return {"Webhook-Id": "id", "Webhook-Timestamp": str(int(moment.timestamp())), "Webhook-Signature": signature}


def test_verify_webhook_takes_what_any_of_the_secrets_has_signed_once() -> None:
    seen: set[str] = set()
    assert verify_webhook(signed(), b'{"a":1}', [SECOND, FIRST], seen=seen) == {"a": 1}
    assert seen == {"id"}
    with pytest.raises(RepeatedWebhook):
        verify_webhook(signed(), b'{"a":1}', [SECOND, FIRST], seen=seen)
    seen.discard("id")
    assert verify_webhook(signed(), '{"a":1}', FIRST, seen=seen) == {"a": 1}


OLD = datetime.now(UTC) - timedelta(hours=1)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"{}"),
        (signed(secret=SECOND), b'{"a":1}'),
        (signed(), b'{"a":2}'),
        (signed(at=OLD), b'{"a":1}'),
        (signed(at=datetime.now(UTC) + timedelta(hours=1)), b'{"a":1}'),
        (signed() | {"Webhook-Signature": "v1"}, b'{"a":1}'),
        (signed() | {"Webhook-Signature": "v1,!!! é"}, b'{"a":1}'),
        (signed() | {"Webhook-Signature": ",,,, ,"}, b'{"a":1}'),
        (signed() | {"Webhook-Timestamp": "yesterday"}, b'{"a":1}'),
        (signed() | {"Webhook-Timestamp": "inf"}, b'{"a":1}'),
        (signed() | {"Webhook-Timestamp": "9" * 400}, b'{"a":1}'),
        (signed(b"no JSON"), b"no JSON"),
        (signed(b"[1]"), b"[1]"),
        (signed(b"[" * 100_000), b"[" * 100_000),
        (signed(), b"\xff\xfe"),
    ],
)
def test_whatever_is_wrong_with_a_request_is_one_error(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(InvalidWebhook):
        verify_webhook(headers, body, [FIRST])


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "hunter2 hunter2", "whsec_" + "A" * 200])
def test_a_receiver_learns_that_its_secret_is_none(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="A secret of webhooks is"):
        verify_webhook(signed(), b'{"a":1}', secret)
