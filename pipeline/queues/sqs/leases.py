"""Which messages this process holds, and until when.

SQS alone does not say: to a standard queue an old receipt may still be good, even when the message was delivered anew ("If
you use an old ReceiptHandle, the request will succeed, but the message might not be deleted",
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html). So a receipt that was used
up, or whose time is over by the clock of this process, is not tried.

And SQS lets nobody hold a message for more than 12 hours: "The maximum visibility timeout is 12 hours from the time that
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
"""For a request on its way, and for two clocks that do not run equally fast."""


@dataclass(slots=True)
class _Lease:
    asked_at: float
    """When the request began that brought it: the 12 hours count from no earlier."""
    until: float


class Leases:
    """The receipts of this process. It decides only, and asks nobody. `now`: a clock in seconds that never goes back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._held: dict[Receipt, _Lease] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, receipts: Iterable[Receipt], asked_at: float, seconds: float) -> None:
        """Hold what has just come for `seconds`, and forget what is over."""
        now = self.now()
        self._held = {receipt: lease for receipt, lease in self._held.items() if lease.until > now}
        self._held.update((receipt, _Lease(asked_at, now + seconds)) for receipt in receipts)

    def drop(self, receipts: Iterable[Receipt]) -> None:
        """Forget receipts that were acknowledged, given back or lost."""
        for receipt in receipts:
            self._held.pop(receipt, None)

    def held(self, receipts: Iterable[Receipt]) -> Sequence[Receipt]:
        """Return those that are still held, each once."""
        now = self.now()
        return [it for it in dict.fromkeys(receipts) if (lease := self._held.get(it)) is not None and lease.until > now]

    def check_extension(self, receipt: Receipt, seconds: float) -> None:
        """LeaseLostError when it is not held any more, or may not be for `seconds` from now because of the 12 hours."""
        if not self.held([receipt]):
            raise LeaseLostError("the message's time-out has passed, or it was acknowledged or given back")
        held_seconds = self.now() - self._held[receipt].asked_at
        if seconds > 0 and held_seconds + seconds > LONGEST_HOLD_SECONDS - MARGIN_SECONDS:
            raise LeaseLostError(
                f"the message was held for {held_seconds / 3600:.1f} hours, and SQS allows 12 in all; "
                "it comes again when its present time-out ends, and whoever takes it carries on from there"
            )

    def extend(self, receipt: Receipt, until: float) -> None:
        """Hold it until then, if it is not over by now."""
        if lease := self._held.get(receipt):
            lease.until = until
