"""The suites and torture give contents to handlers that have rejected their records before."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field

import pytest

from pipeline.kit import Batch, Binary, Import, Importer, Refused, Upsert
from pipeline.testing import importer_suite
from pipeline.testing.suites.fixture_streams import FIXTURES
from pipeline.testing.torture.ends import Subject
from pipeline.testing.torture.run import run_seed
from tests.testing.apps import Dump, travel


@dataclass
class Photo:
    id: int
    name: str
    content: Binary


@dataclass
class Album:
    """An app with photos. `asked` counts how often it was asked to take a photo with some values."""

    photos: dict[str, dict[str, object]] = field(default_factory=dict)
    asked: Counter[tuple[int, str]] = field(default_factory=Counter)

    async def put(self, id_: str, photo: Photo, ctx: Import) -> str:
        await travel()
        async with ctx.binary(photo.content) as pieces:
            content = b"".join([piece async for piece in pieces])
        self.photos[id_] = asdict(photo) | {"content": content}
        return id_


Refuse = Callable[[Album, Photo], bool]


def at_first(times: int) -> Refuse:
    """Return a function that refuses a photo this many times, and takes it after that."""

    def refuse(album: Album, photo: Photo) -> bool:
        album.asked[photo.id, photo.name] += 1
        return album.asked[photo.id, photo.name] <= times

    return refuse


def creating(refuse: Refuse) -> Importer:
    importer = Importer("created album")

    @importer.creates("photos", row=Photo)
    async def create(target: Album, photo: Photo, ctx: Import) -> str:
        if refuse(target, photo):
            raise Refused("the album is full")
        return await target.put(f"new-{photo.id}", photo, ctx)

    @create.find
    async def find(target: Album, photo: Photo, ctx: Import) -> str | None:
        return f"new-{photo.id}" if f"new-{photo.id}" in target.photos else None

    @create.update
    async def update(target: Album, id_: str, photo: Photo, ctx: Import) -> None:
        if refuse(target, photo):
            raise Refused("the album is full")
        await target.put(id_, photo, ctx)

    @create.delete
    async def delete(target: Album, id_: str, ctx: Import) -> None:
        target.photos.pop(id_, None)

    return with_album(importer, lambda id_: id_)


def applying(refuse: Refuse) -> Importer:
    importer = Importer("applied album")

    @importer.applies("photos", row=Photo)
    async def apply(target: Album, batch: Batch[Photo], ctx: Import) -> None:
        for record in batch.records:
            if not isinstance(record, Upsert):
                target.photos.pop(str(record.key), None)
            elif refuse(target, record.row):
                batch.refuse(record, "the album is full")
            else:
                await target.put(str(record.key), record.row, ctx)

    return with_album(importer, int)


def with_album(importer: Importer, key: Callable[[str], int | str]) -> Importer:
    @importer.scratch
    async def scratch() -> AsyncIterator[Album]:
        yield Album()

    @importer.dump
    async def dump(target: Album) -> Dump:
        for id_, photo in target.photos.items():
            yield "photos", key(id_), photo

    return importer


@pytest.mark.parametrize("make", [creating, applying])
@pytest.mark.parametrize("fixture", ["one_row", "a_row_that_changes", "a_row_that_goes"])
def test_a_content_is_there_when_a_record_is_taken_at_last(
    make: Callable[[Refuse], Importer], fixture: str, request: pytest.FixtureRequest
) -> None:
    """A Movement calls the handler twice: with the Event File, and once more at its end."""
    assert fixture in FIXTURES
    importer_suite(make(at_first(2)))().test_fixture_stream(fixture, request)


@pytest.mark.parametrize("make", [creating, applying])
def test_a_content_of_a_single_event_file_is_there_too(make: Callable[[Refuse], Importer]) -> None:
    suite = importer_suite(make(at_first(1)))()
    suite.test_a_key_twice_in_an_event_file()
    suite.test_a_delete_before_the_row()


@pytest.mark.parametrize("make", [creating, applying])
def test_torture_gives_contents_to_records_that_are_taken_at_last(make: Callable[[Refuse], Importer]) -> None:
    taken = 0

    def unless_it_is_the_last_look(album: Album, photo: Photo) -> bool:
        nonlocal taken
        album.asked[photo.id, photo.name] += 1
        is_late = sum(album.asked.values()) > 30
        taken += is_late
        return not is_late

    for seed in range(4):
        assert run_seed(Subject(None, make(unless_it_is_the_last_look)), seed).broken == ()
    assert taken
