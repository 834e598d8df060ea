"""What SQS answers, translated: the codes that only SQS has, or means in its own way, before the table of all of AWS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from pipeline.aws.errors import Request, code_of, translate, translated
from pipeline.domain.errors import ConfigurationError, DefectError, LeaseLostError, PipelineError

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import BatchResultErrorEntryTypeDef

_GIVEN_AWAY = "the message was given to another worker, or acknowledged"
_MISSING = "create it, or name one that exists; SQS says the same of a queue that the role may not see ({permission})"

_TABLE: tuple[tuple[str, str, type[PipelineError], str], ...] = (
    ("NonExistentQueue", "", ConfigurationError, _MISSING),
    ("QueueDoesNotExist", "", ConfigurationError, _MISSING),
    ("InvalidParameterValue", "Total VisibilityTimeout", LeaseLostError, "it was held for 12 hours, and comes again"),
    ("InvalidParameterValue", "visibility timeout change", LeaseLostError, _GIVEN_AWAY),
    ("InvalidParameterValue", "receipt handle", LeaseLostError, _GIVEN_AWAY),
    ("InvalidParameterValue", "ReceiptHandle", LeaseLostError, _GIVEN_AWAY),
    ("InvalidMessageContents", "", DefectError, "please report this"),
    ("BatchRequestTooLong", "", DefectError, "please report this"),
    ("MessageTooLong", "", ConfigurationError, "raise the queue's MaximumMessageSize"),
)
"""A code, words of the answer that must be in it, what it means, and the way out. The first that fits."""


@contextmanager
def translated_sqs(request: Request) -> Iterator[None]:
    """Turn a foreign error of the body into the error for the caller's next step; ours pass through."""
    with translated(request):
        try:
            yield
        except ClientError as error:
            raise translate_sqs(error, request) from error


def translate_sqs(error: ClientError, request: Request) -> PipelineError:
    """Return the error of ours that this answer of SQS means."""
    code = code_of(error)
    words = str(error.response.get("Error", {}).get("Message", "")).strip().rstrip(".")
    for known, fragment, kind, advice in _TABLE:
        if code == known and fragment.lower() in words.lower():
            way_out = advice.format(permission=request.permission)
            return kind(f"cannot {request.what} ({request.place}): {code} {words}; {way_out}")
    return translate(error, request)


def translate_entry(entry: BatchResultErrorEntryTypeDef, request: Request) -> PipelineError:
    """Return the error of ours for one entry of a batch that failed, as if it had been a request of its own."""
    status = 400 if entry["SenderFault"] else 500
    answer = {"Code": entry["Code"], "Message": entry.get("Message", "")}
    return translate_sqs(
        ClientError({"Error": answer, "ResponseMetadata": {"HTTPStatusCode": status}}, "batch"),  # type: ignore[typeddict-item]
        request,
    )
