"""The history of a Flow: its events, in the order in which they happened, read with few requests.

Each process that settles a Movement stores a block: the events of that Movement and of some before it. The block of
Movement n covers as many Movements as the largest power of two that divides n. So the blocks of any number of Movements
have a cover of at most log2 of that many, and an event is copied into at most log2 of that many blocks. A block is a
copy: what no block covers is read from the events themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from pipeline.codec.documents.outbox_event import decode_outbox_event
from pipeline.codec.event_files.compression import Decoder, compress_frame
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, ConflictError, DamagedError
from pipeline.domain.event_file import Encoding
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.outbox.event import EventType, OutboxEvent, parse_event_key
from pipeline.engine.outbox.outbox import Outbox
from pipeline.log_events import log
from pipeline.ports.object_store import ObjectStore, PutCondition, list_pages

_READS_AT_ONCE = 16
_LEVEL = 3
_ORDER = {type_: place for place, type_ in enumerate(EventType)}


def first_covered(number: int) -> int:
    """Return the first Movement that the block of Movement `number` covers."""
    return number - (number & -number) + 1


@dataclass(frozen=True, slots=True)
class Timeline:
    """Events, oldest first. Before Movement `since` there are none: an earlier release made those Movements."""

    events: Sequence[OutboxEvent]
    since: int = 1


@dataclass
class History:
    """Reads the events of a Flow, and stores blocks of them."""

    store: ObjectStore
    flow: FlowName
    _blocks: set[ObjectKey] = field(default_factory=set)

    async def read(self, latest: int, first: int = 1) -> Timeline:
        """Return the events of the Flow from Movement `first` on. Movement `latest` is the latest, or a little before it."""
        prefix = object_keys.history_prefix(self.flow)
        self._blocks = {info.key async for page in list_pages(self.store, prefix) for info in page}
        since = max(first, await self._first_with_events(latest))
        encoded = [*await self._covered(since, latest), *await self._after(latest)]
        return Timeline([one for one in _in_order(encoded) if not one.movement or one.movement >= since], since)

    async def read_movement(self, number: int) -> Timeline:
        """Return the events of one Movement."""
        return Timeline(_in_order(await self._read_part(object_keys.outbox_part(number))))

    async def _first_with_events(self, latest: int) -> int:
        after = ObjectKey(f"{object_keys.outbox_prefix(self.flow)}0")
        while page := await self.store.list_page(object_keys.outbox_prefix(self.flow), after=after, limit=1):
            after = page[0].key
            if (found := parse_event_key(self.flow, after)) is not None:
                return int(found.part) if found.part.isdecimal() else latest + 1
        return latest + 1

    async def _covered(self, first: int, last: int) -> Sequence[bytes]:
        """Return the events of these Movements, from the largest blocks that there are; perhaps also earlier ones."""
        found: list[Sequence[bytes]] = []
        while last >= first:
            key = object_keys.history_key(self.flow, last)
            if key in self._blocks:
                try:
                    found.append(_decode((await self.store.get(key)).data, key))
                    last = first_covered(last) - 1
                    continue
                except AbsentError:  # its process died too early, or an earlier release made the Movement
                    if last < await self._first_with_events(last):
                        break
                    log.info("history_block_missing", key=key)
                except DamagedError as error:
                    log.warning("history_block_passed_over", key=key, reason=str(error))
            found.append(await self._read_part(object_keys.outbox_part(last)))
            last -= 1
        return [line for lines in reversed(found) for line in lines]

    async def _after(self, latest: int) -> Sequence[bytes]:
        """Return the events of later Movements, and those of no Movement."""
        prefix = object_keys.outbox_prefix(self.flow)
        keys: list[ObjectKey] = []
        after = ObjectKey(f"{prefix}{object_keys.outbox_part(latest)}0")  # "0" sorts right after "/"
        while page := await self.store.list_page(prefix, after=after):
            keys += [info.key for info in page if parse_event_key(self.flow, info.key) is not None]
            after = page[-1].key
        return await self._get_all(keys)

    async def _read_part(self, part: str, known: Outbox | None = None) -> Sequence[bytes]:
        prefix = f"{object_keys.outbox_prefix(self.flow)}{part}/"
        keys = [info.key async for page in list_pages(self.store, prefix) for info in page]
        return await self._get_all([key for key in keys if parse_event_key(self.flow, key) is not None], known)

    async def _get_all(self, keys: Sequence[ObjectKey], known: Outbox | None = None) -> Sequence[bytes]:
        found: dict[ObjectKey, bytes] = {}
        limit = anyio.CapacityLimiter(_READS_AT_ONCE)

        async def get(key: ObjectKey) -> None:
            async with limit:
                found[key] = (await self.store.get(key)).data

        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for key in keys:
                    content = None if known is None else known.content(key)
                    if content is None:
                        group.start_soon(get, key)
                    else:
                        found[key] = content
        return [found[key] for key in keys]

    async def store_block(self, number: int, outbox: Outbox) -> None:
        """Store the block of a Movement that has settled. `outbox` may know events of it already."""
        first = first_covered(number)
        self._blocks = {object_keys.history_key(self.flow, earlier) for earlier in _covering(first, number - 1)}
        earlier = await self._covered(first, number - 1)
        own = await self._read_part(object_keys.outbox_part(number), outbox)
        block = compress_frame(b"".join(line + b"\n" for line in (*earlier, *own)), _LEVEL)
        try:
            await self.store.put(object_keys.history_key(self.flow, number), block, PutCondition.ABSENT)
        except ConflictError:
            log.info("history_block_exists", flow=self.flow, movement=number)


def _covering(first: int, last: int) -> Sequence[int]:
    """Return the Movements whose blocks together cover these."""
    found = []
    while last >= first:
        found.append(last)
        last = first_covered(last) - 1
    return found


def _decode(data: bytes, key: ObjectKey) -> Sequence[bytes]:
    decoder = Decoder(Encoding.ZSTD)
    try:
        lines = b"".join(decoder.feed(data)).splitlines()
        decoder.close()
    except DamagedError as error:
        raise DamagedError(f"{key} is damaged: {error}") from error
    return lines


def _in_order(encoded: Sequence[bytes]) -> Sequence[OutboxEvent]:
    events = [decode_outbox_event(line, "an event") for line in encoded]
    return sorted(events, key=lambda event: (event.time, event.movement, _ORDER[event.type]))
