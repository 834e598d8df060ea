"""Webhooks: a signed POST (https://www.standardwebhooks.com), to public addresses only.

The address is checked where the connection is made, so that a name which resolves to another address at the second look
leads nowhere. Redirects are not followed, no proxy and no cookie is used, and little of the answer is read.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import aiohttp

from pipeline.domain.errors import ConfigurationError, PipelineError
from pipeline.domain.notifications.addresses import Network, is_refused, parse_networks
from pipeline.domain.notifications.delivery import Answer, Delivered, NotDelivered
from pipeline.domain.notifications.endpoint import PROFILES, Endpoint
from pipeline.log_events import log
from pipeline.ports.sender import Notification

READ_BYTES = 64 * 1024
"""Of an answer, at most this much is read, so that the connection can be used again."""
KEPT_CHARACTERS = 200
_THROTTLING = frozenset({429, 502, 503, 504})


class Signer(Protocol):
    """Signs with one secret or private key."""

    def sign(self, msg_id: str, timestamp: datetime, data: str) -> str:
        """Return the signature, with the name of its scheme."""
        ...


GetSigner = Callable[[str], Signer]
"""Returns what signs with the secret of a reference. ConfigurationError when it leads nowhere, or to no secret."""


class WebhookSender:
    """Sends to `http` and `https` URLs. Needs an asyncio event loop."""

    def __init__(self, signer: GetSigner, tls: ssl.SSLContext | None = None) -> None:
        """`tls` replaces the certificates of the system, for tests."""
        self._signer = signer
        self._tls = tls
        self._sessions: dict[tuple[str, ...], aiohttp.ClientSession] = {}

    async def send(self, endpoint: Endpoint, notification: Notification) -> Answer:
        """POST the notification, and return what the receiver answered."""
        profile = PROFILES[endpoint.profile]
        timeout = aiohttp.ClientTimeout(total=profile.total_seconds, connect=profile.connect_seconds)
        try:
            headers = self._headers(endpoint, notification)
            session = self._session(endpoint.allow_private)
            request = session.post(
                endpoint.url, data=notification.body, headers=headers, allow_redirects=False, timeout=timeout
            )
            async with request as response:
                body = await response.content.read(READ_BYTES)
                return _answer(response, body)
        except TimeoutError:
            return NotDelivered(f"it did not answer within {profile.total_seconds:g} seconds")
        except aiohttp.ClientConnectorCertificateError as error:
            return NotDelivered(f"its certificate is not valid: {_brief(error.certificate_error)}")
        except aiohttp.ClientConnectorError as error:
            return NotDelivered(f"it cannot be reached: {_brief(error.os_error)}")
        except aiohttp.ServerDisconnectedError:
            return NotDelivered("it closed the connection and had not answered")
        except aiohttp.ClientResponseError as error:
            return NotDelivered(f"its answer is not HTTP: {_brief_text(error.message)}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return NotDelivered(f"the request failed: {_brief(error) or type(error).__name__}")
        except PipelineError as error:
            return NotDelivered(str(error))

    def _headers(self, endpoint: Endpoint, notification: Notification) -> dict[str, str]:
        now = datetime.now(UTC)  # `sign` replaces the zone of any other time
        signatures = [
            signer.sign(notification.id, now, notification.body.decode()) for signer in self._signers(endpoint, now)
        ]
        signed = {"webhook-signature": " ".join(signatures)} if signatures else {}
        return {
            "content-type": notification.content_type,
            "user-agent": "app-data-pipeline",
            "webhook-id": notification.id,
            "webhook-timestamp": str(int(now.timestamp())),
            **signed,
            **notification.headers,
        }

    def _signers(self, endpoint: Endpoint, now: datetime) -> Sequence[Signer]:
        """Return what signs now. A secret that leads nowhere is left out; ConfigurationError if all of them do."""
        found: list[Signer] = []
        errors: list[ConfigurationError] = []
        for reference in endpoint.references(now):
            try:
                found.append(self._signer(reference))
            except ConfigurationError as error:
                errors.append(error)
        if errors and not found:
            raise errors[0]
        for left_out in errors:
            log.warning("signing_secret_left_out", endpoint=endpoint.name, reason=str(left_out))
        return found

    def _session(self, allow_private: tuple[str, ...]) -> aiohttp.ClientSession:
        """Return the session for endpoints that allow these private networks: no other one shares its connections."""
        if allow_private not in self._sessions:
            connector = aiohttp.TCPConnector(
                socket_factory=_guarded(parse_networks(allow_private)),
                use_dns_cache=False,
                ssl=self._tls if self._tls is not None else True,
            )
            self._sessions[allow_private] = aiohttp.ClientSession(
                connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._sessions[allow_private]

    async def aclose(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()


@asynccontextmanager
async def open_webhook_sender(signer: GetSigner, tls: ssl.SSLContext | None = None) -> AsyncIterator[WebhookSender]:
    """Open a sender, and close its connections at the end."""
    sender = WebhookSender(signer, tls)
    try:
        yield sender
    finally:
        await sender.aclose()


def _guarded(allowed: Sequence[Network]) -> Callable[[Any], socket.socket]:
    """Return a function that makes the socket of a connection, unless its address is refused."""

    def connect(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if is_refused(address[0], allowed):
            raise PermissionError(
                errno.EACCES,
                f"{address[0]} is not a public address. To allow its network: pipeline notify add … --allow-private CIDR",
            )
        return socket.socket(family, kind, protocol)

    return connect


def _answer(response: aiohttp.ClientResponse, body: bytes) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Delivered()
    if status == 410:
        return NotDelivered("it answered 410 Gone", gone=True)
    if 300 <= status < 400:
        target = response.headers.get("location", "nowhere")[:KEPT_CHARACTERS]
        return NotDelivered(
            f"it answered {status}, a redirect to {target}, which is not followed. Give the endpoint the right URL"
        )
    is_plain = "content-encoding" not in response.headers  # others are not unpacked: they may be huge then
    text = body[:KEPT_CHARACTERS].decode(errors="replace").strip() if is_plain else ""
    retry_after = _retry_after(response.headers.get("retry-after", "")) if status in _THROTTLING else None
    return NotDelivered(f"it answered {status}{f': {text}' if text else ''}", retry_after=retry_after)


def _retry_after(text: str) -> timedelta | None:
    """Read the header Retry-After: seconds, or a date (RFC 9110, section 10.2.3)."""
    if text.strip().isdecimal():
        return timedelta(seconds=min(int(text), 10**6))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment - datetime.now(UTC) if moment.tzinfo is not None else None


def _brief(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _brief_text(str(text))


def _brief_text(text: str) -> str:
    return " ".join(text.split())[:300]
