"""How long each message has been held. SQS lets nobody hold one for more than 12 hours.

"The maximum visibility timeout is 12 hours from the time that Amazon SQS receives the ReceiveMessage request. Extending
the visibility timeout does not reset the 12-hour maximum." And: "If you try to extend the visibility timeout beyond 12
hours, your request is rejected."
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from pipeline.domain.errors import LeaseLostError
from pipeline.ports.event_queue import Receipt

LONGEST_HOLD_SECONDS = 12 * 3600
MARGIN_SECONDS = 60
"""For a request on its way, and for two clocks that do not run equally fast."""


class Leases:
    """The receipts that are held, with the time of their request. Decides only; it asks nobody.

    A receipt that it does not know it says nothing about: SQS decides. `now` is a clock in seconds that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._taken_at: dict[Receipt, float] = {}

    def __len__(self) -> int:
        return len(self._taken_at)

    def begin(self) -> float:
        """Return the time at which a request for messages begins: their twelve hours may count from here."""
        return self._now()

    def take(self, receipts: Iterable[Receipt], began: float) -> None:
        """Remember what came, and forget what nobody can hold any more."""
        over = [receipt for receipt, at in self._taken_at.items() if self._now() - at > LONGEST_HOLD_SECONDS]
        self.drop(over)
        self._taken_at.update((receipt, began) for receipt in receipts)

    def drop(self, receipts: Iterable[Receipt]) -> None:
        """Forget receipts that were acknowledged, given back or lost."""
        for receipt in receipts:
            self._taken_at.pop(receipt, None)

    def check_extension(self, receipt: Receipt, seconds: float) -> None:
        """LeaseLostError when holding the message for `seconds` from now would come too near to the 12 hours."""
        taken_at = self._taken_at.get(receipt)
        if taken_at is None:
            return
        held_seconds = self._now() - taken_at
        if held_seconds + seconds > LONGEST_HOLD_SECONDS - MARGIN_SECONDS:
            self.drop([receipt])
            raise LeaseLostError(
                f"the message was held for {held_seconds / 3600:.1f} hours, and SQS allows 12 in all; "
                "it comes again when its present time-out ends, and whoever takes it carries on where this one stopped"
            )
