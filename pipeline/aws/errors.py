"""Translates the errors of AWS, of similar servers and of the network, with one table.

A message says what was requested of which bucket or queue, what the server said, which permission is missing, and what
to do. It never shows credentials.
"""

from __future__ import annotations

import re
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
    """A request in the words of an error message: "cannot {what} ({place}): …".

    `permission` is the IAM action and resource that it needs ("s3:PutObject on arn:aws:s3:::data/flows/*").
    """

    what: str
    place: str
    permission: str | None = None


_AGAIN = "run the command again; it carries on where it stopped"
_ABSENT = "it is not there"
_CREDENTIALS = "check the access key, its secret, and that they belong to this endpoint"
_CLOCK = "set the clock of this machine: it differs from the server's by more than 15 minutes"
_TOKEN = "get new credentials, and run the command again"
_REGION = "set aws_region to the region of the bucket or queue"
_FULL = "make room there or raise the limit, then run the command again"
_MISSING = "create it, or name one that exists"
_KEY = "let the role use the KMS key (kms:GenerateDataKey, kms:Decrypt), or name a key that exists"
_DENIED = "give the role {permission}, or use other credentials"
_OVERTAKEN = "another process has written it"
_REDELIVERED = "the message was delivered to another worker"
_UNSUPPORTED = "the store does not support this; use one that does"
_ALTERED = "the data was altered on its way; if this repeats, check the proxies and the network between"
_SIGN_IN = "sign in again (`aws sso login`)"
_ROLE = "let these credentials assume the role that AWS_ROLE_ARN or the profile names; see the role's trust policy"
_FILE = "correct the path in the AWS configuration (such as AWS_WEB_IDENTITY_TOKEN_FILE), or create the file"
_UNREACHABLE = "check the endpoint and the network, and run the command again"
_TLS = "check that this machine trusts the endpoint's certificate, and that the endpoint speaks https"

_Meaning = tuple[type[PipelineError], str]

_MEANINGS: tuple[tuple[type[PipelineError], str, str], ...] = (
    (ConfigurationError, _MISSING, "NoSuchBucket NonExistentQueue QueueDoesNotExist"),
    (ConfigurationError, "give the bucket a name that S3 allows", "InvalidBucketName"),
    (ConfigurationError, "give the queue's URL as the service returns it", "InvalidAddress"),
    (ConfigurationError, _REGION, "PermanentRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException"),
    (
        ConfigurationError,
        _CREDENTIALS,
        "InvalidAccessKeyId InvalidClientTokenId UnrecognizedClientException SignatureDoesNotMatch"
        " InvalidSignatureException IncompleteSignature InvalidSecurity",
    ),
    (ConfigurationError, _KEY, "KmsNotFound KMS.NotFoundException"),
    (AbsentError, _ABSENT, "NoSuchKey"),
    (AbsentError, "another process has completed or aborted the upload", "NoSuchUpload"),
    (RefusedError, _DENIED, "AccessDenied AccessDeniedException AllAccessDisabled"),
    (RefusedError, "see the account's billing and support pages", "AccountProblem"),
    (RefusedError, _TOKEN, "InvalidToken ExpiredToken ExpiredTokenException TokenRefreshRequired"),
    (RefusedError, _CLOCK, "RequestTimeTooSkewed RequestExpired"),
    (
        RefusedError,
        _KEY,
        "KmsAccessDenied KmsDisabled KmsInvalidState"
        " KMS.AccessDeniedException KMS.DisabledException KMS.KMSInvalidStateException",
    ),
    (RefusedError, _FULL, "QuotaExceeded"),
    (RefusedError, "the store does not take an object of this size", "EntityTooLarge"),
    (RefusedError, "the object was archived; restore it first", "InvalidObjectState"),
    (RefusedError, _UNSUPPORTED, "NotImplemented"),
    (ConflictError, _OVERTAKEN, "PreconditionFailed"),
    (LeaseLostError, _REDELIVERED, "ReceiptHandleIsInvalid MessageNotInflight"),
    (TransientError, "too many messages are in flight; acknowledge some, or run fewer workers", "OverLimit"),
    (TransientError, "a queue was deleted: wait a minute, and run the command again", "QueueDeletedRecently"),
    (TransientError, _ALTERED, "BadDigest XAmzContentSHA256Mismatch XAmzContentChecksumMismatch"),
    (
        TransientError,
        _AGAIN,
        "TemporaryRedirect ConditionalRequestConflict OperationAborted SlowDown Throttling ThrottlingException"
        " ThrottledException RequestThrottled RequestThrottledException RequestLimitExceeded KmsThrottled"
        " TooManyRequestsException BandwidthLimitExceeded RequestTimeout RequestTimeoutException InternalError"
        " InternalFailure ServiceUnavailable ServiceUnavailableException IncompleteBody",
    ),
)
"""An error, what to do, and the server's codes for it."""

_CODES: dict[str, _Meaning] = {code: (kind, advice) for kind, advice, codes in _MEANINGS for code in codes.split()}

_STATUSES: dict[int, _Meaning] = {
    301: (ConfigurationError, _REGION),
    307: (TransientError, _AGAIN),
    401: (ConfigurationError, _CREDENTIALS),
    403: (RefusedError, _DENIED),
    404: (AbsentError, _ABSENT),
    408: (TransientError, _AGAIN),
    409: (TransientError, _AGAIN),
    412: (ConflictError, _OVERTAKEN),
    429: (TransientError, _AGAIN),
    501: (RefusedError, _UNSUPPORTED),
    507: (RefusedError, _FULL),
}
"""For an answer whose code is not in the table, or that has none: the answer to a HEAD has no body to hold one."""

_REFUSED: _Meaning = (RefusedError, "see what the server says")
_SERVER: _Meaning = (TransientError, _AGAIN)

_EXCEPTIONS: tuple[tuple[type[Exception], type[PipelineError], str], ...] = (
    (boto.NoCredentialsError, ConfigurationError, "set an access key, a profile or a role"),
    (boto.PartialCredentialsError, ConfigurationError, "set both an access key id and its secret"),
    (boto.ProfileNotFound, ConfigurationError, "name a profile that exists in ~/.aws/config"),
    (boto.ConfigParseError, ConfigurationError, "correct that file"),
    (boto.NoRegionError, ConfigurationError, "set aws_region"),
    (boto.InvalidRegionError, ConfigurationError, "set aws_region to a region that exists"),
    (boto.UnauthorizedSSOTokenError, RefusedError, _SIGN_IN),
    (boto.TokenRetrievalError, RefusedError, _SIGN_IN),
    (boto.SSOTokenLoadError, RefusedError, _SIGN_IN),
    (boto.CredentialRetrievalError, TransientError, "check the profile or role that provides the credentials"),
    (boto.MetadataRetrievalError, TransientError, "check that this machine or container has a role"),
    (boto.ParamValidationError, ConfigurationError, "correct that name or value"),
    (boto.SSLError, TransientError, _TLS),
    (boto.ProxyConnectionError, TransientError, "check the proxy (HTTPS_PROXY), and run the command again"),
    (boto.EndpointConnectionError, TransientError, _UNREACHABLE),
    (boto.HTTPClientError, TransientError, _UNREACHABLE),
    (boto.ChecksumError, TransientError, _ALTERED),
    (boto.IncompleteReadError, TransientError, _AGAIN),
    (boto.ResponseStreamingError, TransientError, _AGAIN),
    (boto.BotoCoreError, ConfigurationError, "correct the configuration"),
    (ResponseParserError, TransientError, "check that the endpoint is S3 or SQS, or a server with their protocols"),
    (aiohttp.ClientError, TransientError, _UNREACHABLE),
    (FileNotFoundError, ConfigurationError, _FILE),
    (PermissionError, ConfigurationError, _FILE),
    (IsADirectoryError, ConfigurationError, _FILE),
    (NotADirectoryError, ConfigurationError, _FILE),
    (OSError, TransientError, _UNREACHABLE),
    (EOFError, TransientError, _AGAIN),
)
"""The first entry that fits counts."""

_LASTING_TLS = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER")
"""OpenSSL's words for an untrusted certificate and for a server without TLS. Other TLS errors pass by themselves."""

_QUERY = re.compile(r"\?[^\s\"]*=[^\s\"]*")

FOREIGN: tuple[type[Exception], ...] = (boto.ClientError, *(foreign for foreign, _, _ in _EXCEPTIONS))


@contextmanager
def translated(request: Request) -> Iterator[None]:
    """Turn a foreign error of the body into the error for the caller's next step; a PipelineError passes through."""
    try:
        yield
    except PipelineError:
        raise
    except FOREIGN as error:
        raise translate(error, request) from error


def translate(error: Exception, request: Request) -> PipelineError:
    """Return the PipelineError for a foreign error of `request`."""
    if isinstance(error, boto.ClientError):
        kind, advice = _meaning(error)
        if error.operation_name.startswith("AssumeRole") and kind is not TransientError:
            advice = _ROLE
        elif region := _bucket_region(error):
            kind, advice = ConfigurationError, f"the bucket is in the region {region}: set aws_region to it"
        return error_of(kind, request, error, advice)
    kind, advice = next((ours, advice) for foreign, ours, advice in _EXCEPTIONS if isinstance(error, foreign))
    words = _words(error)
    if advice == _FILE:
        words = f"the file {getattr(error, 'filename', None) or 'that it names'} cannot be read: {error.strerror}"  # type: ignore[attr-defined]
    if advice == _TLS and any(word in words for word in _LASTING_TLS):
        kind = ConfigurationError
    return kind(f"cannot {request.what} ({request.place}): {words}; {advice}")


def _words(error: Exception) -> str:
    """Return the error's own text on one line, without queries of URLs and botocore's regular expression for buckets."""
    text = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else "the connection broke")
    text = _QUERY.sub("", text.partition(": Bucket name must match")[0])
    return " ".join(text.split()).rstrip(".")


def error_of(kind: type[PipelineError], request: Request, error: boto.ClientError, advice: str) -> PipelineError:
    """Return an error of this kind for a server's answer; `{permission}` in `advice` is the one the request needs."""
    message, code = message_of(error), code_of(error) or str(status_of(error))
    said = f"{message} ({code})" if message else code
    permission = f"the permission {request.permission}" if request.permission else "the permission"
    return kind(f"cannot {request.what} ({request.place}): {said}; {advice.format(permission=permission)}")


def code_of(error: boto.ClientError) -> str:
    """Return the server's code without the service's name before it ("NonExistentQueue")."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if code.startswith("KMS.") else code.rpartition("#")[2].rpartition(".")[2]


def message_of(error: boto.ClientError) -> str:
    """Return the server's message without a full stop; empty where there is none, or a whole document in its place."""
    message = str(error.response.get("Error", {}).get("Message", "")).strip().rstrip(".")
    return "" if message.startswith("<") else message


def status_of(error: boto.ClientError) -> int:
    """Return the HTTP status, 0 where there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _meaning(error: boto.ClientError) -> _Meaning:
    status = status_of(error)
    return _CODES.get(code_of(error)) or _STATUSES.get(status) or (_SERVER if status >= 500 else _REFUSED)


def _bucket_region(error: boto.ClientError) -> str:
    """Return the region of the bucket, where the server redirects or refuses a request because of it; else empty."""
    if status_of(error) not in (301, 307, 400):
        return ""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region", ""))
