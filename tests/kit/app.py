"""An app in memory, with an Exporter and an Importer. A test can make it fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pipeline
from pipeline.kit import Exporter, Import, Importer, Page
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource

COLUMNS = {"id": int, "name": str}


@dataclass
class App:
    """Rows of the stream `things`, given in pages. `before_page` and `before_create` may raise, or change the app.

    `asked` are the cursors that pages were asked for; `created`, `updated` and `deleted` what has been done to objects.
    """

    things: dict[int, str] = field(default_factory=dict)
    page_size: int = 3
    order: str = "shifting"
    before_page: Callable[[str | None], None] = lambda after: None
    asked: list[str | None] = field(default_factory=list)
    fetched: list[int] = field(default_factory=list)
    can_fetch: bool = False

    def exporter(self) -> Exporter:
        """Return the Exporter."""
        exporter = Exporter("app")

        @exporter.pages("things", row=dict, columns=COLUMNS, key="id", order=self.order)  # type: ignore[arg-type]
        async def things(client: None, after: str | None) -> Page[dict[str, object]]:
            self.asked.append(after)
            self.before_page(after)
            start = int(after or 0)
            numbers = list(self.things)[start : start + self.page_size]
            following = str(start + self.page_size) if start + self.page_size < len(self.things) else None
            return Page([{"id": number, "name": self.things[number]} for number in numbers], next=following)

        if self.can_fetch:

            @exporter.fetch("things")
            async def fetch(client: None, keys: Sequence[int]) -> Sequence[dict[str, object]]:
                self.fetched += keys
                return [{"id": key, "name": self.things[key]} for key in keys if key in self.things]

        return exporter

    def source(self) -> ExporterSource:
        """Return the app as a Source."""
        return ExporterSource("app:source", self.exporter(), None)


@dataclass
class Objects:
    """Objects that are created by an API: each creation makes another one."""

    by_id: dict[str, dict[str, object]] = field(default_factory=dict)
    created: int = 0
    before: Callable[[str, dict[str, object]], None] = lambda what, row: None
    after: Callable[[str, dict[str, object]], None] = lambda what, row: None
    keys: dict[str, str] = field(default_factory=dict)
    honours_keys: bool = False

    def create(self, row: dict[str, object], key: str) -> str:
        """Create an object, as an API does it: the answer may be lost."""
        self.before("create", row)
        if self.honours_keys and key in self.keys:
            return self.keys[key]
        self.created += 1
        id_ = self.keys[key] = f"new-{self.created}"
        self.by_id[id_] = dict(row)
        self.after("create", row)
        return id_

    def importer(
        self, *, find: bool = True, update: bool = True, delete: bool = True, stream: str = "things"
    ) -> Importer:
        """Return an Importer that creates objects, with or without its other functions."""
        importer = Importer("api")

        @importer.creates(stream, row=dict)
        async def create(target: None, row: dict[str, object], ctx: Import) -> str:
            return self.create(row, ctx.once_key)

        if find:

            @create.find
            async def find_(target: None, row: dict[str, object], ctx: Import) -> str | None:
                return next((id_ for id_, found in self.by_id.items() if found["id"] == row["id"]), None)

        if update:

            @create.update
            async def update_(target: None, id_: str, row: dict[str, object], ctx: Import) -> None:
                self.before("update", row)
                self.by_id[id_] = dict(row)

        if delete:

            @create.delete
            async def delete_(target: None, id_: str, ctx: Import) -> None:
                del self.by_id[id_]

        return importer

    def destination(self, importer: Importer | None = None) -> ImporterDestination:
        """Return the API as a Destination."""
        return ImporterDestination("api:destination", importer or self.importer(), None)

    def rows(self) -> list[tuple[object, object]]:
        """Return the key and name of each object, sorted."""
        return sorted((row["id"], row["name"]) for row in self.by_id.values())


async def move(
    source: pipeline.Source | str, destination: pipeline.Destination | str, home: Path, **options: object
) -> pipeline.Movement:
    """Move between the two in a Flow of one name."""
    settings = pipeline.Settings(home=home / "home", event_file_rows=int(str(options.pop("rows", 250_000))))
    return await pipeline.move(source, destination, flow="app", settings=settings, **options)  # type: ignore[arg-type]
