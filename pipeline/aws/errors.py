"""Errors of AWS, of servers like it, and of the way to them, translated by one table.

What an operator has to know is in the message: what was asked, of which bucket or queue, which permission it takes,
and the way out. The server's own words are quoted; no credentials are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from pipeline.domain.errors import (
    AbsentError,
    ConfigurationError,
    ConflictError,
    LeaseLostError,
    PipelineError,
    RefusedError,
    TransientError,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, in the words of an error message: "cannot {what}: …", in or at `place`.

    `permission` is the IAM action and resource that it takes ("s3:PutObject on arn:aws:s3:::data/flows/*").
    """

    what: str
    place: str
    permission: str | None = None


_AGAIN = "run the command again; it carries on where it stopped"
_CREDENTIALS = "check the access key, its secret, and that they belong to this endpoint"
_CLOCK = "set the clock of this machine: it differs by more than 15 minutes from the server's"
_TOKEN = "get new credentials, and run the command again"
_REGION = "set the region it is in"
_FULL = "make room there or raise the limit, then run the command again"
_MISSING = "create it, or name one that exists"
_KEY = "let the role use the KMS key (kms:GenerateDataKey, kms:Decrypt), or name a key that exists"
_DENIED = "give the role the permission, or use other credentials"

_Meaning = tuple[type[PipelineError], str]

_CODES: dict[str, _Meaning] = {
    "NoSuchBucket": (ConfigurationError, _MISSING),
    "NonExistentQueue": (ConfigurationError, _MISSING),
    "QueueDoesNotExist": (ConfigurationError, _MISSING),
    "InvalidBucketName": (ConfigurationError, "give the bucket a name that S3 allows"),
    "InvalidAddress": (ConfigurationError, "give the queue's URL as the service returns it"),
    "NoSuchKey": (AbsentError, "it is not there"),
    "NoSuchUpload": (AbsentError, "the upload was completed or aborted by somebody else"),
    "PermanentRedirect": (ConfigurationError, _REGION),
    "TemporaryRedirect": (TransientError, _AGAIN),
    "AuthorizationHeaderMalformed": (ConfigurationError, _REGION),
    "IllegalLocationConstraintException": (ConfigurationError, _REGION),
    "AccessDenied": (RefusedError, _DENIED),
    "AccessDeniedException": (RefusedError, _DENIED),
    "AllAccessDisabled": (RefusedError, _DENIED),
    "AccountProblem": (RefusedError, "see the account's billing and support pages"),
    "InvalidAccessKeyId": (ConfigurationError, _CREDENTIALS),
    "InvalidClientTokenId": (ConfigurationError, _CREDENTIALS),
    "UnrecognizedClientException": (ConfigurationError, _CREDENTIALS),
    "SignatureDoesNotMatch": (ConfigurationError, _CREDENTIALS),
    "InvalidSignatureException": (ConfigurationError, _CREDENTIALS),
    "IncompleteSignature": (ConfigurationError, _CREDENTIALS),
    "InvalidToken": (RefusedError, _TOKEN),
    "InvalidSecurity": (ConfigurationError, _CREDENTIALS),
    "ExpiredToken": (RefusedError, _TOKEN),
    "ExpiredTokenException": (RefusedError, _TOKEN),
    "TokenRefreshRequired": (RefusedError, _TOKEN),
    "RequestTimeTooSkewed": (RefusedError, _CLOCK),
    "RequestExpired": (RefusedError, _CLOCK),
    "PreconditionFailed": (ConflictError, "somebody else has written it"),
    "ConditionalRequestConflict": (TransientError, _AGAIN),
    "OperationAborted": (TransientError, _AGAIN),
    "SlowDown": (TransientError, _AGAIN),
    "Throttling": (TransientError, _AGAIN),
    "ThrottlingException": (TransientError, _AGAIN),
    "ThrottledException": (TransientError, _AGAIN),
    "RequestThrottled": (TransientError, _AGAIN),
    "RequestThrottledException": (TransientError, _AGAIN),
    "RequestLimitExceeded": (TransientError, _AGAIN),
    "KmsThrottled": (TransientError, _AGAIN),
    "TooManyRequestsException": (TransientError, _AGAIN),
    "BandwidthLimitExceeded": (TransientError, _AGAIN),
    "OverLimit": (TransientError, "too many messages are in flight; acknowledge some, or run fewer workers"),
    "RequestTimeout": (TransientError, _AGAIN),
    "RequestTimeoutException": (TransientError, _AGAIN),
    "InternalError": (TransientError, _AGAIN),
    "InternalFailure": (TransientError, _AGAIN),
    "ServiceUnavailable": (TransientError, _AGAIN),
    "ServiceUnavailableException": (TransientError, _AGAIN),
    "QueueDeletedRecently": (TransientError, "wait a minute after a queue was deleted, and run the command again"),
    "IncompleteBody": (TransientError, _AGAIN),
    "BadDigest": (TransientError, "what arrived is not what was sent; if it stays so, check what lies between"),
    "XAmzContentSHA256Mismatch": (TransientError, "what arrived is not what was sent; check what lies between"),
    "XAmzContentChecksumMismatch": (TransientError, "what arrived is not what was sent; check what lies between"),
    "ReceiptHandleIsInvalid": (LeaseLostError, "the message was given to another worker"),
    "MessageNotInflight": (LeaseLostError, "the message was given to another worker"),
    "KmsAccessDenied": (RefusedError, _KEY),
    "KmsDisabled": (RefusedError, _KEY),
    "KmsInvalidState": (RefusedError, _KEY),
    "KmsNotFound": (ConfigurationError, _KEY),
    "KMS.AccessDeniedException": (RefusedError, _KEY),
    "KMS.DisabledException": (RefusedError, _KEY),
    "KMS.KMSInvalidStateException": (RefusedError, _KEY),
    "KMS.NotFoundException": (ConfigurationError, _KEY),
    "QuotaExceeded": (RefusedError, _FULL),
    "EntityTooLarge": (RefusedError, "the store takes no object of this size"),
    "InvalidObjectState": (RefusedError, "it was archived; restore it first"),
    "NotImplemented": (RefusedError, "the store cannot do this; use one that can"),
}

_STATUSES: dict[int, _Meaning] = {
    301: (ConfigurationError, _REGION),
    307: (TransientError, _AGAIN),
    401: (ConfigurationError, _CREDENTIALS),
    403: (RefusedError, _DENIED),
    404: (AbsentError, "it is not there"),
    408: (TransientError, _AGAIN),
    409: (TransientError, _AGAIN),
    412: (ConflictError, "somebody else has written it"),
    429: (TransientError, _AGAIN),
    501: (RefusedError, "the store cannot do this; use one that can"),
    507: (RefusedError, _FULL),
}
"""Where the code is none of the above, or there is none: the answer to a HEAD has no body to hold one."""

_REFUSED: _Meaning = (RefusedError, "see what the server says")
_SERVER: _Meaning = (TransientError, _AGAIN)

_UNREACHABLE = "check the endpoint and the network, and run the command again"
_TLS = "check that the endpoint's certificate is trusted here and that it speaks https"

_EXCEPTIONS: tuple[tuple[type[Exception], type[PipelineError], str], ...] = (
    (boto.NoCredentialsError, ConfigurationError, "give an access key, a profile or a role"),
    (boto.PartialCredentialsError, ConfigurationError, "give both an access key id and its secret"),
    (boto.ProfileNotFound, ConfigurationError, "name a profile that exists in ~/.aws/config"),
    (boto.ConfigParseError, ConfigurationError, "mend that file"),
    (boto.NoRegionError, ConfigurationError, "give a region"),
    (boto.InvalidRegionError, ConfigurationError, "give a region that exists"),
    (boto.UnauthorizedSSOTokenError, RefusedError, "sign in again (`aws sso login`)"),
    (boto.TokenRetrievalError, RefusedError, "sign in again (`aws sso login`)"),
    (boto.SSOTokenLoadError, RefusedError, "sign in again (`aws sso login`)"),
    (boto.CredentialRetrievalError, TransientError, "check the profile or role that credentials come from"),
    (boto.MetadataRetrievalError, TransientError, "check that this machine or container has a role"),
    (boto.ParamValidationError, ConfigurationError, "mend that value"),
    (boto.SSLError, TransientError, _TLS),
    (boto.ProxyConnectionError, TransientError, "check the proxy (HTTPS_PROXY), and run the command again"),
    (boto.EndpointConnectionError, TransientError, _UNREACHABLE),
    (boto.HTTPClientError, TransientError, _UNREACHABLE),
    (boto.ChecksumError, TransientError, "what arrived is not what was sent; check what lies between"),
    (boto.IncompleteReadError, TransientError, _AGAIN),
    (boto.ResponseStreamingError, TransientError, _AGAIN),
    (boto.BotoCoreError, ConfigurationError, "mend the configuration"),
    (ResponseParserError, TransientError, "what answers there may not be what it should be; check the endpoint"),
    (aiohttp.ClientError, TransientError, _UNREACHABLE),
    (OSError, TransientError, _UNREACHABLE),
    (EOFError, TransientError, _AGAIN),
)
"""The first that fits."""

_LASTING_TLS = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER")
"""What OpenSSL says of a certificate that is not trusted, and of a server without TLS; a cut handshake passes."""

FOREIGN: tuple[type[Exception], ...] = (boto.ClientError, *(foreign for foreign, _, _ in _EXCEPTIONS))


@contextmanager
def translated(request: Request) -> Iterator[None]:
    """Turn a foreign error of the body into the error for the caller's next step; ours pass through."""
    try:
        yield
    except PipelineError:
        raise
    except FOREIGN as error:
        raise translate(error, request) from error


def translate(error: Exception, request: Request) -> PipelineError:
    """Return the error of ours that `error` means, when it was met on `request`."""
    if isinstance(error, boto.ClientError):
        kind, advice = _meaning(error)
        words = _words(error)
    else:
        kind, advice = next((ours, advice) for foreign, ours, advice in _EXCEPTIONS if isinstance(error, foreign))
        words = str(error) or type(error).__name__
        if advice == _TLS and any(word in words for word in _LASTING_TLS):
            kind = ConfigurationError
    if kind is RefusedError and advice == _DENIED and request.permission:
        advice = f"it takes the permission {request.permission}; {_DENIED}"
    return kind(f"cannot {request.what} ({request.place}): {words}; {advice}")


def code_of(error: boto.ClientError) -> str:
    """Return the server's code without the service's name in front ("NonExistentQueue")."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if code.startswith("KMS.") else code.rpartition("#")[2].rpartition(".")[2]


def status_of(error: boto.ClientError) -> int:
    """Return the HTTP status, 0 where there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _meaning(error: boto.ClientError) -> _Meaning:
    status = status_of(error)
    return _CODES.get(code_of(error)) or _STATUSES.get(status) or (_SERVER if status >= 500 else _REFUSED)


def _words(error: boto.ClientError) -> str:
    message = str(error.response.get("Error", {}).get("Message", "")).strip().rstrip(".")
    return f"{code_of(error) or status_of(error)} {message}".strip()
