"""Verifying notifications, for receivers in Python. Needs the extra `notify`."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Mapping, MutableSet, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, cast

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.configuration.secret import Secret

MIN_BYTES, MAX_BYTES = 24, 64
"""Of a secret (https://github.com/standard-webhooks/standard-webhooks, "Signature scheme")."""
KEY_BYTES = 32
"""Of a private or a public key of Ed25519. A private one may have the public one behind it, as libsodium writes it."""
PRIVATE, PUBLIC = "whsk_", "whpk_"
TOLERANCE_SECONDS = 300
"""A notification may be this old, or this far in the future. The library has the same for secrets."""


class InvalidWebhook(Exception):  # noqa: N818 - it says what the request is; a receiver answers 400
    """The request is no notification that was signed with one of the secrets in the last five minutes: answer 400."""


class RepeatedWebhook(InvalidWebhook):
    """The notification was received before: answer 200, and do nothing."""


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes | str,
    secrets: str | Secret | Sequence[str | Secret],
    seen: MutableSet[str] | None = None,
) -> dict[str, Any]:
    """Return the body of a notification, decoded, if one of the secrets has signed it.

    A secret is `whsec_…`; or `whpk_…`, the public key of a sender that signs with the private one.
    `headers` in any case; `body` as it was received. `seen` remembers the ids of notifications: an id that is in it raises
    RepeatedWebhook, another one is added. Remove the id again if you could not handle the event, so that the next try is
    not taken for a repetition. InvalidWebhook for anything else that is wrong, however malformed.
    """
    library = _library()
    known = [secrets] if isinstance(secrets, str | Secret) else list(secrets)
    plain = {name.lower(): value for name, value in headers.items()}
    for secret in known:
        key = verifier(secret.reveal() if isinstance(secret, Secret) else secret)
        try:
            key.verify(body, plain, json_parse=False)
        except (library.WebhookVerificationError, ValueError, TypeError, AttributeError, LookupError):
            continue
        return _checked(plain["webhook-id"], body, seen)
    raise InvalidWebhook("The request has no valid signature of the last five minutes.")


class Key(Protocol):
    """What signs and verifies notifications."""

    def sign(self, msg_id: str, timestamp: datetime, data: str) -> str:
        """Return the signature, with the name of its scheme."""
        ...

    def verify(self, data: bytes | str, headers: Mapping[str, str], *, json_parse: bool) -> object:
        """Raise unless the headers, in lower case, have a signature of the body that is not old."""
        ...


class _Ed25519:
    """Keys of Ed25519, which sign with the scheme `v1a`. Without the private one they only verify."""

    def __init__(self, private: bytes | None, public: bytes) -> None:
        ed25519 = _import("cryptography.hazmat.primitives.asymmetric.ed25519")
        self._private = None if private is None else ed25519.Ed25519PrivateKey.from_private_bytes(private)
        own = public if self._private is None else self._private.public_key().public_bytes_raw()
        if public not in (own, b""):
            raise ValueError("the public key is that of another private key")
        self._public = ed25519.Ed25519PublicKey.from_public_bytes(own)
        self._invalid = _import("cryptography.exceptions").InvalidSignature

    @classmethod
    def parse(cls, text: str) -> _Ed25519:
        """Return the keys of `whsk_…` or `whpk_…`. ValueError when they are none."""
        data = _decoded(text[len(PRIVATE) :])
        if text.startswith(PUBLIC):
            return cls(None, data)
        return cls(data[:KEY_BYTES], data[KEY_BYTES:])

    def sign(self, msg_id: str, timestamp: datetime, data: str) -> str:
        assert self._private is not None, "`signer` returns no public key"
        seconds = int(timestamp.timestamp())
        return f"v1a,{base64.b64encode(self._private.sign(f'{msg_id}.{seconds}.{data}'.encode())).decode()}"

    def verify(self, data: bytes | str, headers: Mapping[str, str], *, json_parse: bool) -> object:
        seconds = headers["webhook-timestamp"]
        if abs(int(datetime.now(UTC).timestamp()) - int(seconds)) > TOLERANCE_SECONDS:
            raise ValueError("the notification is old")
        body = data.encode() if isinstance(data, str) else data
        signed = f"{headers['webhook-id']}.{int(seconds)}.".encode() + body
        for entry in headers["webhook-signature"].split():
            scheme, _, signature = entry.partition(",")
            if scheme == "v1a" and self._has_signed(signed, signature):
                return json.loads(body) if json_parse else None
        raise ValueError("no signature is of this key")

    def _has_signed(self, data: bytes, signature: str) -> bool:
        try:
            self._public.verify(base64.b64decode(signature, validate=True), data)
        except (self._invalid, ValueError):
            return False
        return True


def signer(secret: str) -> Key:
    """Return what signs with a secret. ConfigurationError, which does not quote it, when it cannot be one."""
    if secret.startswith(PUBLIC):
        raise ConfigurationError(
            f"This is a public key, which only verifies. Give the private key, {PRIVATE}…, to sign."
        )
    return verifier(secret)


def verifier(secret: str) -> Key:
    """Return what verifies with a secret. ConfigurationError, which does not quote it, when it cannot be one."""
    library = _library()
    try:
        if secret.startswith((PRIVATE, PUBLIC)):
            return _Ed25519.parse(secret)
        if MIN_BYTES <= len(_decoded(secret.removeprefix("whsec_"))) <= MAX_BYTES:
            return cast("Key", library.Webhook(secret))
    except ValueError:
        pass
    raise ConfigurationError(
        f"A secret of webhooks is `whsec_` and {MIN_BYTES} to {MAX_BYTES} random bytes in base64, or a key of Ed25519: "
        f"`{PRIVATE}` (private) or `{PUBLIC}` (public) and {KEY_BYTES} bytes in base64. Make a secret: "
        "`echo whsec_$(openssl rand -base64 32)`"
    )


def _decoded(text: str) -> bytes:
    text = text.rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _library() -> Any:
    """Return the library of the standard, which only senders and receivers need."""
    return _import("standardwebhooks")


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Webhooks need {name.partition('.')[0]}. Install it with: pip install 'app-data-pipeline[notify]'"
        ) from error


def _checked(id_: str, body: bytes | str, seen: MutableSet[str] | None) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidWebhook("The body is no JSON.") from error
    if not isinstance(found, dict):
        raise InvalidWebhook("The body is no JSON object.")
    if seen is not None:
        if id_ in seen:
            raise RepeatedWebhook(f"The notification {id_} was received before.")
        seen.add(id_)
    return found
