"""The messages that this process holds, and until when.

SQS alone does not say: a standard queue may accept an old receipt after the message was delivered again ("If you use an
old ReceiptHandle, the request will succeed, but the message might not be deleted",
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html). So a receipt that was used,
or has expired by the clock of this process, is not sent to SQS.

SQS also limits how long a message can be held: "The maximum visibility timeout is 12 hours from the time that
Amazon SQS receives the ReceiveMessage request. Extending the visibility timeout does not reset the 12-hour maximum. […] If
you try to extend the visibility timeout beyond 12 hours, your request is rejected."
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.domain.errors import LeaseLostError
from pipeline.ports.event_queue import Receipt

LONGEST_HOLD_SECONDS = 12 * 3600
MARGIN_SECONDS = 60
"""Covers a request's travel time and the drift between two clocks."""


@dataclass(slots=True)
class _Lease:
    asked_at: float
    """When the receiving request was sent: SQS counts the 12 hours from this moment or later."""
    until: float


class Leases:
    """The receipts of this process. It sends no requests. `now` is a clock in seconds that never goes back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._held: dict[Receipt, _Lease] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, receipts: Iterable[Receipt], asked_at: float, seconds: float) -> None:
        """Hold new receipts for `seconds`, and forget expired ones."""
        now = self.now()
        self._held = {receipt: lease for receipt, lease in self._held.items() if lease.until > now}
        self._held.update((receipt, _Lease(asked_at, now + seconds)) for receipt in receipts)

    def drop(self, receipts: Iterable[Receipt]) -> None:
        """Forget receipts that were acknowledged, given back or lost."""
        for receipt in receipts:
            self._held.pop(receipt, None)

    def held(self, receipts: Iterable[Receipt]) -> Sequence[Receipt]:
        """Return those that are still held, without duplicates."""
        now = self.now()
        return [it for it in dict.fromkeys(receipts) if (lease := self._held.get(it)) is not None and lease.until > now]

    def check_extension(self, receipt: Receipt, seconds: float) -> None:
        """Raise LeaseLostError if the receipt is no longer held, or `seconds` from now would exceed the 12 hours."""
        if not self.held([receipt]):
            raise LeaseLostError("the message's time-out has passed, or the message was acknowledged or given back")
        held_seconds = self.now() - self._held[receipt].asked_at
        if seconds > 0 and held_seconds + seconds > LONGEST_HOLD_SECONDS - MARGIN_SECONDS:
            raise LeaseLostError(
                f"the message was held for {held_seconds / 3600:.1f} hours, and SQS allows 12 in all; "
                "SQS delivers it again when its time-out ends, and the next worker carries on from there"
            )

    def extend(self, receipt: Receipt, until: float) -> None:
        """Hold the receipt until then, if it is still held."""
        if lease := self._held.get(receipt):
            lease.until = until
