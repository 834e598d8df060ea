"""The calls to a service that takes records: signed, repeated when that may help, and translated into the pipeline's errors."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import aiohttp
import anyio
import msgspec
import orjson

from pipeline.domain.errors import ConfigurationError, RefusedError, TransientError
from pipeline.kit.configuration.secret import Secret
from pipeline.log_events import log

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 300.0
TRIES = 5
FIRST_PAUSE_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 3600.0
LONGEST_ANSWER = 16 << 20
PREFIX = "whsec_"

Refusals = Mapping[int, tuple[str, str | None]]
"""Reasons and columns of refused records, by their lines; of a retry, by their places in the body."""


class BehindError(Exception):
    """The service has seen a later epoch: another Movement has taken over."""


class _Refusal(msgspec.Struct):
    line: int
    reason: str
    column: str | None = None


class _Answer(msgspec.Struct):
    have: str | int = "nothing"
    refused: list[_Refusal] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Have:
    """What the service has of a file: the whole, or the first `records`; and what it refused of them."""

    whole: bool
    records: int
    refused: Refusals = field(default_factory=dict)


class Receiver:
    """The service at a URL."""

    def __init__(self, url: str, client: aiohttp.ClientSession, key: bytes | None) -> None:
        self.url = url
        self._client, self._key = client, key

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, secrets: Mapping[str, str]) -> AsyncIterator[Receiver]:
        """Open connections. `secrets` are references: `secret` signs, `token` is sent as a bearer token."""
        token = Secret(secrets.get("token", "")).reveal()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=False) as client:
            yield cls(url.rstrip("/"), client, _key_of(Secret(secrets.get("secret", "")).reveal()))

    async def begin(self, document: Mapping[str, object], once: str, most: int) -> Have:
        """Announce a file of `most` records; return what the service has of it."""
        answer = await self._post("begin", orjson.dumps(document), once, "application/json")
        records = {"mark": most, "nothing": 0}.get(answer.have) if isinstance(answer.have, str) else answer.have
        if records is None or not 0 <= records <= most:
            raise RefusedError(
                f'{self.url}/begin answers {answer.have!r}. It must say "mark", "nothing" or a number of records up to {most:,}.'
            )
        return Have(answer.have == "mark", records, _refusals(answer))

    async def batch(self, file: str, offset: int, lines: Sequence[bytes], once: str) -> Refusals:
        """Send records of a file from `offset` on; return those that are refused."""
        return _refusals(
            await self._post_lines("batch", lines, once, {"Pipeline-File": file, "Pipeline-Offset": str(offset)})
        )

    async def retry(self, stream: str, lines: Sequence[bytes], once: str) -> Refusals:
        """Send rejected records again; return those that are still refused, by their places from 0 on."""
        digest = hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]
        once = f"{once}:{digest}:{time.time_ns()}"  # what was refused once may be accepted now
        answer = await self._post_lines("retry", lines, once, {"Pipeline-Stream": stream})
        return _refusals(answer)

    async def end(self, document: Mapping[str, object], once: str) -> None:
        """Say that all records of a file were sent."""
        await self._post("end", orjson.dumps(document), once, "application/json")

    async def _post_lines(self, what: str, lines: Sequence[bytes], once: str, headers: Mapping[str, str]) -> _Answer:
        named = {name: value.encode("ascii", "backslashreplace").decode() for name, value in headers.items()}
        return await self._post(what, b"\n".join(lines) + b"\n", once, "application/jsonl", named)

    async def _post(
        self, what: str, body: bytes, once: str, media_type: str, more: Mapping[str, str] | None = None
    ) -> _Answer:
        """Post until there is an answer that ends it. 429 and 503 with `Retry-After` wait, and count as no try."""
        failures = 0
        while True:
            headers = {
                "Content-Type": media_type,
                "Idempotency-Key": _ascii(once),
                **self._signed(once, body),
                **(more or {}),
            }
            try:
                async with self._client.post(
                    f"{self.url}/{what}", data=body, headers=headers, allow_redirects=False
                ) as answer:
                    text = await _read(answer)
                    wait = _retry_after(answer)
                    if 200 <= answer.status < 300:
                        return self._decoded(what, text)
                    reason = f"{self.url}/{what} answers {answer.status}: {text[:300].decode('utf-8', 'replace')}"
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError) as error:
                reason, status, wait = (
                    f"{self.url}/{what} does not answer: {str(error) or type(error).__name__}",
                    0,
                    None,
                )
            if status == 409:
                raise BehindError(reason)
            if wait is not None:
                log.info("receiver_waits", url=self.url, seconds=wait)
                await anyio.sleep(wait)
                continue
            if 300 <= status < 500 and status not in (408, 425, 429):
                raise RefusedError(reason)
            failures += 1
            if failures == TRIES:
                raise TransientError(reason)
            await anyio.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))

    def _decoded(self, what: str, text: bytes) -> _Answer:
        if what == "end" or not text.strip():
            return _Answer()
        try:
            return msgspec.json.decode(text, type=_Answer)
        except msgspec.MsgspecError as error:
            raise RefusedError(f"{self.url}/{what} answers something that is not as it must be: {error}") from error

    def _signed(self, once: str, body: bytes) -> Mapping[str, str]:
        """Return the headers of Standard Webhooks; none without a secret."""
        if self._key is None:
            return {}
        id_, stamp = hashlib.sha256(once.encode("utf-8", "surrogatepass")).hexdigest()[:32], str(int(time.time()))
        text = b".".join((id_.encode(), stamp.encode(), body))
        signature = base64.b64encode(hmac.new(self._key, text, hashlib.sha256).digest()).decode()
        return {"webhook-id": id_, "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer, up to `LONGEST_ANSWER` bytes of it."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > LONGEST_ANSWER:
            break
    return bytes(body[:LONGEST_ANSWER])


def _ascii(text: str) -> str:
    return (
        text
        if text.isascii() and text.isprintable()
        else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    )


def _key_of(secret: str) -> bytes | None:
    if not secret:
        return None
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise ConfigurationError("The secret that signs requests is not whsec_ followed by base64.") from None


def _retry_after(answer: aiohttp.ClientResponse) -> float | None:
    """Return how long the service asks to wait; None when it does not."""
    text = answer.headers.get("retry-after", "")
    if answer.status not in (429, 503):
        return None
    try:
        seconds = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:  # neither seconds nor a date (RFC 9110)
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


def _refusals(answer: _Answer) -> dict[int, tuple[str, str | None]]:
    return {one.line: (one.reason, one.column) for one in answer.refused}
