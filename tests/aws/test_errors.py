"""Errors of AWS and of the network, translated into the error for the caller's next step."""

from __future__ import annotations

import re

import aiohttp
import pytest
from botocore import exceptions as boto

from pipeline.aws.errors import Request, code_of, translated
from pipeline.domain.errors import (
    AbsentError,
    ConfigurationError,
    ConflictError,
    DamagedError,
    LeaseLostError,
    PipelineError,
    RefusedError,
    TransientError,
)

REQUEST = Request(
    "store flows/crm/flow.json",
    place="bucket data",
    permission="s3:PutObject on arn:aws:s3:::data/flows/crm/flow.json",
)


def answered(status: int, code: str = "", message: str = "") -> boto.ClientError:
    return boto.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]  # the part that is read
        "PutObject",
    )


def redirected(status: int, code: str) -> boto.ClientError:
    error = answered(status, code)
    error.response["ResponseMetadata"]["HTTPHeaders"] = {"x-amz-bucket-region": "eu-central-1"}
    return error


def missing_file(path: str) -> FileNotFoundError:
    return FileNotFoundError(2, "No such file or directory", path)


def refused_role() -> boto.ClientError:
    error = answered(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
    return boto.ClientError(error.response, "AssumeRoleWithWebIdentity")


def invalid_bucket_name() -> boto.ParamValidationError:
    return boto.ParamValidationError(report='Invalid bucket name "a b": Bucket name must match the regex "^[a-z]$"')


def ssl_error(text: str) -> boto.SSLError:
    return boto.SSLError(endpoint_url="https://x", error=OSError(text))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            answered(503, "SlowDown", "Please reduce your request rate."),
            TransientError,
            r"reduce your request rate \(SlowDown\)",
        ),
        (answered(400, "ThrottlingException"), TransientError, "again"),
        (answered(500, "InternalError"), TransientError, "again"),
        (answered(502), TransientError, "502"),
        (answered(599, "SomethingNew"), TransientError, "SomethingNew"),
        (answered(409, "ConditionalRequestConflict"), TransientError, "again"),
        (answered(412, "PreconditionFailed"), ConflictError, "another process has written it"),
        (answered(412), ConflictError, "another process has written it"),
        (answered(404, "NoSuchKey"), AbsentError, "not there"),
        (answered(404, "404"), AbsentError, "not there"),
        (answered(404, "NoSuchBucket"), ConfigurationError, "create it"),
        (answered(400, "AWS.SimpleQueueService.NonExistentQueue"), ConfigurationError, "create it"),
        (answered(400, "com.amazonaws.sqs#QueueDoesNotExist"), ConfigurationError, "create it"),
        (answered(403, "AccessDenied"), RefusedError, re.escape(f"permission {REQUEST.permission}")),
        (answered(403, "403"), RefusedError, re.escape(f"permission {REQUEST.permission}")),
        (answered(403, "InvalidAccessKeyId"), ConfigurationError, "access key"),
        (answered(403, "SignatureDoesNotMatch"), ConfigurationError, "secret"),
        (answered(403, "RequestTimeTooSkewed"), RefusedError, "clock"),
        (answered(400, "ExpiredToken"), RefusedError, "new credentials"),
        (answered(301, "PermanentRedirect"), ConfigurationError, "region"),
        (redirected(307, "TemporaryRedirect"), ConfigurationError, "in the region eu-central-1: set aws_region to it"),
        (redirected(301, ""), ConfigurationError, "in the region eu-central-1: set aws_region to it"),
        (redirected(400, "AuthorizationHeaderMalformed"), ConfigurationError, "region eu-central-1"),
        (
            missing_file("/secrets/token"),
            ConfigurationError,
            "file /secrets/token cannot be read: No such file.*WEB_IDENTITY",
        ),
        (refused_role(), RefusedError, r"sts:AssumeRoleWithWebIdentity.*trust policy"),
        (answered(400, "KMS.NotFoundException"), ConfigurationError, "KMS key"),
        (answered(501, "NotImplemented"), RefusedError, "does not support this"),
        (answered(400, "ReceiptHandleIsInvalid"), LeaseLostError, "another worker"),
        (answered(400, "InvalidArgument", "of ours"), RefusedError, r"of ours \(InvalidArgument\)"),
        (boto.NoCredentialsError(), ConfigurationError, "access key, a profile or a role"),
        (boto.NoRegionError(), ConfigurationError, "set aws_region"),
        (invalid_bucket_name(), ConfigurationError, 'Invalid bucket name "a b"; correct that name'),
        (boto.ProfileNotFound(profile="p"), ConfigurationError, "profile"),
        (boto.EndpointConnectionError(endpoint_url="http://x"), TransientError, "http://x.*network"),
        (boto.ReadTimeoutError(endpoint_url="http://x"), TransientError, "network"),
        (
            boto.EndpointConnectionError(endpoint_url="http://x/data?list-type=2&b=c"),
            TransientError,
            '"http://x/data"; ',
        ),
        (answered(403, "403", "<?xml version='1.0'?><Error/>"), RefusedError, "403; give the role"),
        (ssl_error("[SSL: CERTIFICATE_VERIFY_FAILED] self signed"), ConfigurationError, "certificate"),
        (ssl_error("[SSL: UNEXPECTED_EOF_WHILE_READING]"), TransientError, "certificate"),
        (aiohttp.ClientPayloadError("cut"), TransientError, "cut"),
        (ConnectionResetError(104, "reset by peer"), TransientError, "reset by peer"),
        (TimeoutError(), TransientError, "no answer in time"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_error_names_the_place_and_the_way_out(error: Exception, kind: type[PipelineError], words: str) -> None:
    with (
        pytest.raises(kind, match=rf"cannot store flows/crm/flow.json \(bucket data\): .*{words}") as raised,
        translated(REQUEST),
    ):
        raise error
    assert type(raised.value) is kind
    assert raised.value.__cause__ is error


def test_a_pipeline_error_passes_through() -> None:
    error = DamagedError("of ours")
    with pytest.raises(DamagedError) as raised, translated(REQUEST):
        raise error
    assert raised.value is error


def test_an_unknown_error_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), translated(REQUEST):
        raise ZeroDivisionError


def test_a_code_is_recognised_without_its_service() -> None:
    assert code_of(answered(400, "AWS.SimpleQueueService.QueueDeletedRecently")) == "QueueDeletedRecently"
    assert code_of(answered(400, "KMS.DisabledException")) == "KMS.DisabledException"
