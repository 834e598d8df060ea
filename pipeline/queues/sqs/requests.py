"""Requests to one SQS queue: described for error messages, translated, and repeated; batches until all entries are done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pipeline.aws.errors import Request
from pipeline.aws.options import AwsOptions
from pipeline.aws.retries import retried
from pipeline.domain.errors import LeaseLostError, PipelineError, TransientError
from pipeline.queues.sqs.errors import translate_entry, translated_sqs

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import BatchResultErrorEntryTypeDef

T = TypeVar("T")
Entry = TypeVar("Entry")

MAX_BATCH_ENTRIES = 10
MAX_BATCH_BYTES = 256 * 1024
"""All bodies and attributes of a batch. AWS has taken 1 MiB since August 2025; other servers and older queues take this."""


@dataclass(frozen=True, slots=True)
class QueueRequests:
    """Sends requests to one queue. Error messages show `place` (where it is) and `resource` (its name in a permission)."""

    options: AwsOptions
    place: str
    resource: str

    async def ask(self, what: str, action: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `call`, repeated as often as the options allow.

        Args:
            what: completes "cannot …" in an error message.
            action: the IAM action that the request needs, without "sqs:".
            call: sends one request.
        """

        async def attempt() -> T:
            with translated_sqs(self._request(what, action)):
                return await call()

        return await retried(attempt, self.options)

    async def ask_in_batch(
        self,
        what: str,
        action: str,
        entries: Sequence[Entry],
        call: Callable[[Mapping[str, Entry]], Awaitable[Sequence[BatchResultErrorEntryTypeDef]]],
    ) -> None:
        """Send the entries, by id, and repeat those that failed for a passing reason.

        An entry whose lease is lost is skipped. If entries are refused, the others are completed before the first
        refusal is raised.
        """
        request = self._request(what, action)
        left = {str(number): entry for number, entry in enumerate(entries)}
        refusals: list[PipelineError] = []

        async def attempt() -> None:
            nonlocal left
            with translated_sqs(request):
                failed = await call(left)
            passing: dict[str, TransientError] = {}
            for entry in failed:
                match error := translate_entry(entry, request):
                    case TransientError():
                        passing[entry["Id"]] = error
                    case LeaseLostError():
                        pass
                    case _:
                        refusals.append(error)
            left = {name: entry for name, entry in left.items() if name in passing}
            if passing:
                raise next(iter(passing.values()))

        await retried(attempt, self.options)
        if refusals:
            raise refusals[0]

    def _request(self, what: str, action: str) -> Request:
        return Request(what, self.place, f"sqs:{action} on {self.resource}")


def batches(entries: Sequence[Entry], size: Callable[[Entry], int]) -> Iterator[Sequence[Entry]]:
    """Divide entries into batches within SQS's limits, in their order. `size` returns an entry's bytes."""
    batch: list[Entry] = []
    batch_bytes = 0
    for entry in entries:
        if batch and (len(batch) == MAX_BATCH_ENTRIES or batch_bytes + size(entry) > MAX_BATCH_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(entry)
        batch_bytes += size(entry)
    if batch:
        yield batch
