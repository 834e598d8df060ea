"""Applying rejected records again in a transaction of the author's: once, whatever becomes of the answer to its commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from blake3 import blake3

from pipeline.kit.ledger.id_map import StoredIds
from pipeline.kit.ledger.kept import KeptRetry
from pipeline.kit.loading.delivery.transactions import SHORTEST_PART, TransactionLoad, Transactions
from pipeline.kit.loading.outcomes import RejectedError
from pipeline.kit.loading.records import Records


async def apply_again(
    transactions: Transactions, make: Callable[[Any], TransactionLoad], records: Records, ids: StoredIds
) -> Mapping[int, RejectedError]:
    """Apply rejected records, and a mark that names those that are applied; return why others are rejected, by position.

    What an earlier transaction has applied is not applied again. TooManyRefusedError: the records are to be tried in parts.
    """
    names = [_name(records, at) for at in range(len(records.values))]
    rejected, held = dict[int, RejectedError](), ""

    async def work(transaction: Any, load: TransactionLoad) -> None:
        nonlocal held
        applied = await transactions.retried(transaction)
        for known in {applied[name] for name in names if name in applied} - {""}:
            await ids.release(known)
        left = [at for at, name in enumerate(names) if name not in applied]
        found = await load.apply(records.chosen(left))
        load.check()
        rejected.clear()
        rejected.update({left[at]: error for at, error in found.items()})
        held = await ids.hold(load.held)
        done = [names[at] for at in left if at not in rejected]
        if done:
            await transactions.write_retried(transaction, records.file(left[0]), KeptRetry(done, held))

    await transactions.run(make, work, may_be_many=len(records.values) <= SHORTEST_PART)
    if held:
        await ids.release(held)
    return rejected


def _name(records: Records, at: int) -> str:
    """Return a digest of the place and the content of a record, which a person may have corrected."""
    place = f"{records.file(at)}\0{records.values[at].line}\0"
    return blake3(place.encode() + records.lines[at]).hexdigest(length=16)
