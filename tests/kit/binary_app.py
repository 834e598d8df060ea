"""An app with attachments: rows with a content each, which the tests count how often they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from pipeline.kit import Binary, Changes, Exporter, Page
from pipeline.kit.reading.source import ExporterSource

HOW = ("ordered", "rows", "stable", "shifting", "changes")


@dataclass
class Attachment:
    """A row of the stream `files`."""

    id: int
    title: str
    content: Binary | None


@dataclass
class Attachments:
    """Contents by key, with their versions. `before` may raise when one is read, `before_page` when a page is asked for."""

    contents: dict[int, bytes] = field(default_factory=dict)
    versions: dict[int, str] = field(default_factory=dict)
    titles: dict[int, str] = field(default_factory=dict)
    read: list[int] = field(default_factory=list)
    log: list[int] = field(default_factory=list)
    before: Callable[[int], None] = lambda number: None
    before_page: Callable[[str | None], None] = lambda after: None
    piece: int = 1000
    named: bool = False

    def put(self, number: int, content: bytes, version: str | None = None) -> None:
        """Add an attachment, or change it."""
        self.contents[number] = content
        self.log.append(number)
        if version is not None:
            self.versions[number] = version

    def row(self, number: int) -> Attachment:
        """Return the row as the Exporter gives it."""

        async def pieces() -> AsyncIterator[bytes]:
            self.read.append(number)
            self.before(number)
            content = self.contents[number]
            for start in range(0, len(content), self.piece):
                yield content[start : start + self.piece]

        name, media_type = (f"{number} %;=ü.txt", "text/plain") if self.named else (None, None)
        binary = Binary(pieces, version=self.versions.get(number), name=name, media_type=media_type)
        return Attachment(number, self.titles.get(number, "t"), binary)

    def source(self, how: str) -> ExporterSource:
        """Return the app as a Source that reads it in one of the ways `HOW`."""
        exporter = Exporter("app")

        async def rows(client: None) -> AsyncIterator[Attachment]:
            for number in sorted(self.contents, reverse=how == "rows"):
                yield self.row(number)

        async def pages(client: None, after: str | None) -> Page[Attachment]:
            self.before_page(after)
            numbers, start = sorted(self.contents, reverse=True), int(after or 0)
            following = str(start + 4) if start + 4 < len(numbers) else None
            return Page([self.row(number) for number in numbers[start : start + 4]], next=following)

        async def changes(client: None, since: str | None) -> Changes[Attachment]:
            self.before_page(since)
            start = int(since or 0)
            part = self.log[start : start + 4]
            return Changes(
                [self.row(number) for number in part if number in self.contents],
                [number for number in part if number not in self.contents],
                cursor=str(start + len(part)),
                more=start + 4 < len(self.log),
            )

        async def fetch(client: None, keys: Sequence[int]) -> Sequence[Attachment]:
            return [self.row(key) for key in keys if key in self.contents]

        if how in ("stable", "shifting"):
            exporter.pages("files", row=Attachment, key="id", order=how)(pages)  # type: ignore[arg-type]
        elif how == "changes":
            exporter.changes("files", row=Attachment, key="id")(changes)
            exporter.fetch("files")(fetch)
        else:
            exporter.rows("files", row=Attachment, key="id", ordered=how == "ordered")(rows)
        return ExporterSource("app:source", exporter, None)
