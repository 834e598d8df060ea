"""Verifying notifications, for receivers in Python. Needs the extra `notify`."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Mapping, MutableSet, Sequence
from typing import TYPE_CHECKING, Any, cast

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.configuration.secret import Secret

if TYPE_CHECKING:
    from standardwebhooks import Webhook

MIN_BYTES, MAX_BYTES = 24, 64
"""Of a secret (https://github.com/standard-webhooks/standard-webhooks, "Signature scheme")."""


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

    `headers` in any case; `body` as it was received. `seen` remembers the ids of notifications: an id that is in it raises
    RepeatedWebhook, another one is added. Remove the id again if you could not handle the event, so that the next try is
    not taken for a repetition. InvalidWebhook for anything else that is wrong, however malformed.
    """
    library = _library()
    known = [secrets] if isinstance(secrets, str | Secret) else list(secrets)
    plain = {name.lower(): value for name, value in headers.items()}
    for secret in known:
        webhook = signer(secret.reveal() if isinstance(secret, Secret) else secret)
        try:
            webhook.verify(body, plain, json_parse=False)
        except (library.WebhookVerificationError, ValueError, TypeError, AttributeError):
            continue
        return _checked(plain["webhook-id"], body, seen)
    raise InvalidWebhook("The request has no valid signature of the last five minutes.")


def signer(secret: str) -> Webhook:
    """Return what signs and verifies with a secret. ConfigurationError, which does not quote it, when it cannot be one."""
    library = _library()
    try:
        text = secret.removeprefix("whsec_").rstrip("=")
        length = len(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
        if MIN_BYTES <= length <= MAX_BYTES:
            return cast("Webhook", library.Webhook(secret))
    except ValueError:
        pass
    raise ConfigurationError(
        f"A secret of webhooks is `whsec_` and {MIN_BYTES} to {MAX_BYTES} random bytes in base64. Make one: "
        "`echo whsec_$(openssl rand -base64 32)`"
    )


def _library() -> Any:
    """Return the library of the standard, which only senders and receivers need."""
    try:
        return importlib.import_module("standardwebhooks")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "Webhooks need standardwebhooks. Install it with: pip install 'app-data-pipeline[notify]'"
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
