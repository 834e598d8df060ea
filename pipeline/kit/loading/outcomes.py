"""Calling a handler for records, with what its errors mean for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio

from pipeline.domain.errors import ConfigurationError, PipelineError, RefusedError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.kit.authors_line import line_of
from pipeline.kit.calls import (
    FAILURES,
    FIRST_PAUSE_SECONDS,
    LONGEST_WAIT_SECONDS,
    TRIES,
    cancellations_as_errors,
    raise_own_cancellation,
    shown,
)
from pipeline.kit.configuration.secret import described, without_secrets
from pipeline.kit.declared import Function
from pipeline.kit.errors import Again, Gone, Refused, Stop
from pipeline.kit.loading.context import WaitsForIdError
from pipeline.kit.signatures import is_text
from pipeline.kit.values import Batch
from pipeline.log_events import log

CREATED_AT_ONCE = 16
"""Objects of a stream that are created side by side. The records of one key keep their order."""

T = TypeVar("T")


class RejectedError(Exception):
    """The app does not accept a record. `needs`: not before the id map has this id, a kind and an id at the source."""

    def __init__(self, reason: str, column: str | None = None, *, needs: tuple[str, str] | None = None) -> None:
        self.reason = without_secrets(reason)
        super().__init__(self.reason)
        self.column = column
        self.needs = needs


@dataclass(slots=True)
class Lane:
    """What the records of one stream share: after `Again`, none of them is sent before `free_at`.

    `room` bounds the objects that are created, updated and deleted side by side.
    """

    free_at: float = 0.0
    room: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(CREATED_AT_ONCE))

    async def wait(self) -> None:
        """Wait until the app takes records again."""
        while self.free_at > anyio.current_time():  # noqa: ASYNC110  # another record may hold it again meanwhile
            await anyio.sleep_until(self.free_at)

    def hold(self, seconds: float, what: str) -> None:
        """Send no record for some seconds."""
        now, bounded = anyio.current_time(), min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)
        if self.free_at <= now:
            log.info("plugin_waits", what=what, seconds=seconds)  # others that were sent before say the same
        self.free_at = max(self.free_at, now + bounded)


async def attempt(
    work: Callable[[int], Awaitable[T]],
    function: Function,
    what: str,
    lane: Lane,
    *,
    may_be_gone: bool = False,
    tries: int = TRIES,
) -> T:
    """Return the result of `work`, which calls the author's `function`. It gets how many tries have failed before.

    `Again` holds the lane, and calls again. `Refused` is a RejectedError; so is `Gone`, except where it `may_be_gone`.
    `Stop`, and any other exception after `tries` calls, is a RefusedError with the author's line: the file has failed.
    """
    failures = 0
    while True:
        await lane.wait()
        try:
            with unwrap_exception_group(), cancellations_as_errors():  # the group is one of the author's
                found = await work(failures)
                await raise_own_cancellation()
                return found
        except Again as error:
            lane.hold(error.after, what)
        except Refused as error:
            raise RejectedError(error.reason, error.column) from error
        except WaitsForIdError as error:
            raise RejectedError(str(error), needs=error.needs) from error
        except (PipelineError, RejectedError):
            raise
        except Gone:
            if may_be_gone:
                raise
            raise RejectedError("the app says that an object which this record needs is gone") from None
        except Stop as error:
            raise RefusedError(f"{what} has stopped: {without_secrets(error.reason)} ({line_of(function)})") from error
        except FAILURES as error:
            failures += 1
            reason = shown(error, function)
            if failures == tries:
                raise RefusedError(f"{what} failed {TRIES} times: {reason}. Correct it, and move again.") from error
            log.info("plugin_call_retried", what=what, reason=reason, tries=failures)
            await anyio.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))


def refused_records(batch: Batch[Any], function: Function) -> Mapping[int, RejectedError]:
    """Return why records of a batch are refused, by their `id()`. ConfigurationError when one is not of the batch."""
    own = set(map(id, batch.records))
    if not own.issuperset(batch.refused):
        raise ConfigurationError(
            f"{line_of(function)}: batch.refuse was given something that is no record of the batch. Give it one of "
            "batch.records."
        )
    return {
        record: RejectedError(without_secrets(reason), column) for record, (reason, column) in batch.refused.items()
    }


def ensure_nothing(value: object, function: Function) -> None:
    """ConfigurationError with the author's line when a function returned something: it may stand for what was not applied."""
    if value is not None:
        raise ConfigurationError(
            f"{line_of(function)}: the function returned {described(value)}, which says nothing here. Return nothing, and reject "
            "a record by batch.refuse."
        )


def returned_text(value: object, function: Function, what: str) -> str:
    """Return what a function returned, which must be text. ConfigurationError with the author's line when it is not."""
    if is_text(value):
        return str(value)  # it may be of a class of the author's, which JSON cannot hold
    raise ConfigurationError(
        f"{line_of(function)}: the function returned {described(value)} in place of {what}. Return text."
    )
