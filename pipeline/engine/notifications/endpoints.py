"""Endpoints in the store, and what was delivered to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pipeline.codec.documents.endpoint import (
    decode_deliveries,
    decode_endpoint,
    encode_deliveries,
    encode_endpoint,
)
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, ConfigurationError, ConflictError, DamagedError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.notifications.delivery import Deliveries
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.engine.movements.retries import LostRaceError, compare_and_set
from pipeline.log_events import log
from pipeline.ports.object_store import ObjectStore, PutCondition, Version, list_pages

ABANDONED_AFTER = timedelta(hours=1)
"""What was delivered to an endpoint is stored before the endpoint. Without one, it is deleted after this time."""
_SUFFIX = ".json"


class EndpointStore:
    """Reads and changes the documents of endpoints."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def list(self) -> Sequence[Endpoint]:
        """Return all endpoints, by name. One whose document is damaged is disabled, for that reason."""
        found: list[Endpoint] = []
        for name in await self._names():
            with suppress(AbsentError):  # removed since it was listed
                try:
                    found.append(await self.read(name))
                except DamagedError as error:
                    found.append(Endpoint(name, "", datetime.fromtimestamp(0, UTC), disabled=str(error)))
        return found

    async def _names(self) -> Sequence[str]:
        listed = [info.key async for page in list_pages(self._store, object_keys.ENDPOINTS) for info in page]
        return [name for key in listed if (name := _name(key, object_keys.ENDPOINTS)) is not None]

    async def read(self, name: str) -> Endpoint:
        """Return an endpoint. AbsentError when there is none of this name; DamagedError says how to replace it."""
        key = object_keys.endpoint_key(name)
        try:
            return decode_endpoint((await self._store.get(key)).data, key)
        except AbsentError as error:
            raise AbsentError(
                f"There is no endpoint named {name!r} here. `pipeline notify list` lists the endpoints."
            ) from error
        except DamagedError as error:
            raise DamagedError(_replace_it(name, error)) from error

    async def add(self, endpoint: Endpoint, deliveries: Deliveries) -> None:
        """Store a new endpoint, which gets what `deliveries` do not have yet. ConflictError when the name is in use."""
        if await self._store.stat(object_keys.endpoint_key(endpoint.name)):
            raise ConflictError(f"There is an endpoint named {endpoint.name!r} already.")
        await self._store.put(
            object_keys.deliveries_key(endpoint.name), encode_deliveries(deliveries), PutCondition.NONE
        )
        await self._store.put(object_keys.endpoint_key(endpoint.name), encode_endpoint(endpoint), PutCondition.ABSENT)
        await self._delete_abandoned()

    async def update(self, name: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
        """Change an endpoint by compare-and-set and return it; `change` may be called more than once."""
        key = object_keys.endpoint_key(name)

        async def attempt() -> Endpoint:
            await self.read(name)
            stored = await self._store.get(key)
            before = decode_endpoint(stored.data, key)
            endpoint = change(before)
            if endpoint != before:
                await self._replace(key, encode_endpoint(endpoint), stored.version)
            return endpoint

        return await compare_and_set(attempt, key)

    async def remove(self, name: str) -> None:
        """Delete an endpoint, also a damaged one, and what is known of its deliveries. AbsentError when there is neither."""
        keys = object_keys.endpoint_key(name), object_keys.deliveries_key(name)
        if not [key for key in keys if await self._store.stat(key)]:
            await self.read(name)
        for key in keys:
            await self._store.delete(key)

    async def _delete_abandoned(self) -> None:
        """Delete what was delivered to endpoints that are gone: the process that added or removed one has died."""
        names = frozenset(await self._names())
        stored = [info async for page in list_pages(self._store, object_keys.DELIVERIES) for info in page]
        if not stored:
            return
        newest = max(info.modified for info in stored)
        for info in stored:
            name = _name(info.key, object_keys.DELIVERIES)
            if name is not None and name not in names and newest - info.modified > ABANDONED_AFTER:
                await self._store.delete(info.key)

    async def deliveries(self, name: str) -> tuple[Deliveries, Version | PutCondition]:
        """Return what was delivered to an endpoint, and the condition under which it may be replaced."""
        key = object_keys.deliveries_key(name)
        try:
            stored = await self._store.get(key)
        except AbsentError:
            return Deliveries(), PutCondition.ABSENT
        try:
            return decode_deliveries(stored.data, key), stored.version
        except DamagedError as error:
            raise DamagedError(_replace_it(name, error)) from error

    async def replace_deliveries(self, name: str, deliveries: Deliveries, condition: Version | PutCondition) -> Version:
        """Store what was delivered. LostRaceError when another process has changed it."""
        return await self._replace(object_keys.deliveries_key(name), encode_deliveries(deliveries), condition)

    async def update_deliveries(self, name: str, change: Callable[[Deliveries], Deliveries]) -> Deliveries:
        """Change what is known of the deliveries by compare-and-set and return it."""

        async def attempt() -> Deliveries:
            before, condition = await self.deliveries(name)
            deliveries = change(before)
            if deliveries != before:
                await self.replace_deliveries(name, deliveries, condition)
            return deliveries

        return await compare_and_set(attempt, f"the deliveries to {name!r}")

    async def forget(self, flow: FlowName) -> None:
        """Forget what was delivered of a Flow that is removed: of a new one of its name, endpoints get all events."""

        def change(deliveries: Deliveries) -> Deliveries:
            kept = {name: position for name, position in deliveries.positions.items() if name != flow}
            return replace(deliveries, positions=kept)

        for endpoint in await self.list():
            try:
                await self.update_deliveries(endpoint.name, change)
            except DamagedError as error:  # nothing is delivered to it
                log.warning("endpoint_unreadable", endpoint=endpoint.name, reason=str(error))

    async def _replace(self, key: ObjectKey, data: bytes, condition: Version | PutCondition) -> Version:
        try:
            return await self._store.put(key, data, condition)
        except ConflictError as error:
            raise LostRaceError(str(error)) from error


def _name(key: ObjectKey, prefix: str) -> str | None:
    """Return the name of the endpoint that an object is of; None for an object of something else."""
    name = key.removeprefix(prefix)
    return name.removesuffix(_SUFFIX) if name.endswith(_SUFFIX) and "/" not in name else None


def _replace_it(name: str, error: DamagedError) -> str:
    return f"{error}. Remove the endpoint with `pipeline notify remove {name}`, and add it again"


def ensure_name(name: str) -> None:
    """ConfigurationError when a name cannot be that of an endpoint."""
    if not name or len(name) > 64 or not all(one.isascii() and (one.isalnum() or one in "-_") for one in name):
        raise ConfigurationError(f"{name!r} cannot name an endpoint. Use up to 64 letters, digits, - and _.")
