"""What every request is checked for before it reaches a route, and the headers of every answer."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.http.problems import ProblemError, answer, describe
from pipeline.http.site import ROOT, Site

UPLOADS = re.compile(
    r"/api/v1/apps/[^/]+/export/\d+/(streams/.+/files/\d+|contents/[^/]+)(/parts/\d+)?"
    r"|/app/migration/uploads/[^/]+/[^/]+/[^/]+/\d+"
)
"""The paths to which files are PUT. Their bodies are read after the token was checked, and never held in memory."""
APPS = "/api/v1/apps/"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?")

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with "no-referrer", browsers send `Origin: null` with forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Checks the host, the origin, the path and the size of a request. The application behind it sees no other ones.

    A page of another site that a name server maps to this machine sends its own name as `Host` (DNS rebinding), so only
    addresses and names that were allowed are served.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root = self._site.root
        ROOT.set(root)
        if root and scope["path"].startswith(f"{root}/"):  # a proxy may also take it off
            scope = {**scope, "path": scope["path"].removeprefix(root)}
        answered = _Answer(send, root, header_only=scope["method"] == "HEAD")
        body = _Body(receive, self._most(scope), self._site.limits.silent_seconds)
        try:
            self._check(scope, Headers(scope=scope))
            body.check_length(Headers(scope=scope))
            with answered.until_sent:
                await self._app(
                    {**scope, "method": "GET"} if answered.header_only else scope, body.receive, answered.send
                )
        except ProblemError as error:
            if answered.begun:
                raise
            await answer(describe(error))(scope, receive, answered.send)

    def _most(self, scope: Scope) -> int:
        """Return how many bytes the body of a request may have."""
        limits = self._site.limits
        if scope["method"] == "PUT" and UPLOADS.fullmatch(scope["path"]):
            return limits.upload_bytes
        return limits.report_bytes if scope["path"].startswith(APPS) else limits.body_bytes

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = _one(headers, "host")
        match = _HOST.fullmatch(host or "")
        if not match:
            raise ProblemError(HTTPStatus.BAD_REQUEST, "The request needs one header Host with a name or an address.")
        if not _is_allowed(match[1], self._site.hosts):
            raise ProblemError(
                HTTPStatus.MISDIRECTED_REQUEST, f"The host {match[1]!r} is not served here; allow it with --allow-host."
            )
        if "transfer-encoding" in headers and "content-length" in headers:  # request smuggling: RFC 9112, section 6.3
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                "A request has Content-Length or Transfer-Encoding, not both.",
                headers={"Connection": "close"},
            )
        if scope["method"] not in _SAFE_METHODS:
            _check_origin(headers, host or "", self._site.public_url)
        if not UPLOADS.fullmatch(scope["path"]):
            check_encoding(headers, ())
        _check_path(scope)


class _Body:
    """The body of a request, with a limit, and with a limit of the time in which nothing comes."""

    def __init__(self, receive: Receive, most: int, silent_seconds: float) -> None:
        self._receive = receive
        self._most = most
        self._silent_seconds = silent_seconds
        self._received = 0
        self._whole = False

    def check_length(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise ProblemError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number.")
        if int(length) > self._most:
            raise self._too_large()

    async def receive(self) -> Message:
        if self._whole:  # what comes now is the end of the connection, and may take as long as the answer
            return await self._receive()
        try:
            with anyio.fail_after(self._silent_seconds):
                message = await self._receive()
        except TimeoutError:
            raise ProblemError(
                HTTPStatus.REQUEST_TIMEOUT, f"Nothing of the body came for {self._silent_seconds:.0f} seconds."
            ) from None
        self._received += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._received > self._most:
            raise self._too_large()
        return message

    def _too_large(self) -> ProblemError:
        return ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body of this request may have {self._most:,} bytes."
        )


class _Answer:
    """Adds the headers of every answer, and knows whether the answer has begun.

    A path in `Location` gets the `root` in front, below which the browser reaches the server.

    Of an answer to HEAD, the header alone is sent: what would follow is cancelled, since it may have no end.
    """

    def __init__(self, send: Send, root: str, *, header_only: bool) -> None:
        self._send, self._root, self.header_only = send, root, header_only
        self.begun = False
        self.until_sent = anyio.CancelScope()

    async def send(self, message: Message) -> None:
        if self.begun and self.header_only:
            return
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
            if headers.get("location", "").startswith("/"):
                headers["location"] = self._root + headers["location"]
        await self._send(message)
        if self.begun and self.header_only:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            self.until_sent.cancel()


def check_encoding(headers: Headers, taken: Collection[str]) -> None:
    """Refuse a body that is encoded in another way than those that are `taken`: it would be taken for what it is not."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", *taken):
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Encoding {encoding[:80]!r} is not taken here. Send the body as it is"
            + (f", or encoded with {' or '.join(taken)}." if taken else "."),
        )


def _one(headers: Headers, name: str) -> str | None:
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else None


def _is_allowed(host: str, names: Iterable[str]) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return host.lower().rstrip(".") in names
    return True


def _check_origin(headers: Headers, host: str, public_url: str) -> None:
    """Refuse what another site makes a browser send. Other clients send neither of these headers.

    A proxy may send another `Host` than the browser did; then the origin is that of the public URL.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    is_own = origin is None or origin.partition("://")[2] == host or (public_url and origin == _origin(public_url))
    if site not in ("same-origin", "none") or not is_own:
        raise ProblemError(HTTPStatus.FORBIDDEN, "This request comes from another site.")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _check_path(scope: Scope) -> None:
    path = scope["path"]
    if any(segment in ("", ".", "..") for segment in path.split("/")[1:-1]) or path.endswith(("/..", "/.")):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "The path has an empty segment, or `.` or `..`.")
    if "\\" in path or "\0" in path:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "The path has a character that no path here has.")
