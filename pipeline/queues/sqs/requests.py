"""One request to one SQS queue: named for error messages, translated, and tried again. Batches in full."""

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
"""Of all bodies and attributes of a batch. AWS takes 1 MiB since August 2025; other servers, and older queues, 256 KiB."""


@dataclass(frozen=True, slots=True)
class QueueRequests:
    """Asks one queue. `place` and `resource` are for error messages: where it is, and its name in a permission."""

    options: AwsOptions
    place: str
    resource: str

    async def ask(self, what: str, action: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns, after as many tries as the options allow.

        Args:
            what: what is wanted, as "cannot … " continues.
            action: the IAM action that it takes, without "sqs:".
            call: makes one request.
        """

        async def attempt(_: int) -> T:
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
        """Make `call` with the entries by id, and again with those that failed for a passing reason.

        An entry whose lease is lost is passed over. When entries are refused, the others are brought to their end, and
        then the first refusal is raised.
        """
        request = self._request(what, action)
        left = {str(number): entry for number, entry in enumerate(entries)}
        refusals: list[PipelineError] = []

        async def attempt(_: int) -> None:
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
    """Cut entries into batches that SQS takes, in their order; `size` is an entry's in bytes."""
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
