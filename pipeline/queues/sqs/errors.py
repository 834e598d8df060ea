"""Translates SQS's answers: first the codes that only SQS has or uses in its own way, then those of all of AWS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from pipeline.aws.errors import Request, code_of, error_of, message_of, translate, translated
from pipeline.domain.errors import ConfigurationError, DefectError, LeaseLostError, PipelineError

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import BatchResultErrorEntryTypeDef

_GIVEN_AWAY = "the message was delivered to another worker, or acknowledged"
_MISSING = "create it, or name one that exists in this region (aws_region); SQS says the same without {permission}"

_TABLE: tuple[tuple[str, str, type[PipelineError], str], ...] = (
    ("NonExistentQueue", "", ConfigurationError, _MISSING),
    ("QueueDoesNotExist", "", ConfigurationError, _MISSING),
    (
        "InvalidParameterValue",
        "Total VisibilityTimeout",
        LeaseLostError,
        "it was held for 12 hours; SQS delivers it again",
    ),
    ("InvalidParameterValue", "visibility timeout change", LeaseLostError, _GIVEN_AWAY),
    ("InvalidParameterValue", "receipt handle", LeaseLostError, _GIVEN_AWAY),
    ("InvalidParameterValue", "ReceiptHandle", LeaseLostError, _GIVEN_AWAY),
    ("InvalidMessageContents", "", DefectError, "please report this"),
    ("BatchRequestTooLong", "", DefectError, "please report this"),
    ("MessageTooLong", "", ConfigurationError, "raise the queue's MaximumMessageSize"),
)
"""A code, a text that the answer must contain, the error, and what to do. The first entry that fits counts."""


@contextmanager
def translated_sqs(request: Request) -> Iterator[None]:
    """Turn a foreign error of the body into the error for the caller's next step; a PipelineError passes through."""
    with translated(request):
        try:
            yield
        except ClientError as error:
            raise translate_sqs(error, request) from error


def translate_sqs(error: ClientError, request: Request) -> PipelineError:
    """Return the PipelineError for this answer of SQS."""
    code, message = code_of(error), message_of(error).lower()
    for known, fragment, kind, advice in _TABLE:
        if code == known and fragment.lower() in message:
            return error_of(kind, request, error, advice)
    return translate(error, request)


def translate_entry(entry: BatchResultErrorEntryTypeDef, request: Request) -> PipelineError:
    """Return the PipelineError for one failed entry of a batch, as if it had been a request of its own."""
    status = 400 if entry["SenderFault"] else 500
    answer = {"Code": entry["Code"], "Message": entry.get("Message", "")}
    return translate_sqs(
        ClientError({"Error": answer, "ResponseMetadata": {"HTTPStatusCode": status}}, "batch"),  # type: ignore[typeddict-item]
        request,
    )
