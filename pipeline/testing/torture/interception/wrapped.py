"""An author's Exporter and Importer with their functions wrapped: a process calls them, and anything may go wrong."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from pipeline.domain.ids import EventFileId
from pipeline.kit.declared import (
    Connection,
    DeclaredStream,
    Delivery,
    Feed,
    Function,
    Handler,
    Reading,
    TransactionFunctions,
)
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import Importer
from pipeline.kit.values import Batch
from pipeline.testing.simulated.process import current
from pipeline.testing.torture.interception.hooks import lost
from pipeline.testing.torture.interception.journal import Journal

T = TypeVar("T")
KeyNames = Callable[[str], Sequence[str]]
"""Gives the names of the key fields of a stream."""


@dataclass(frozen=True)
class _Wrapped:
    """A function in place of an author's: errors name the author's line."""

    original: Function
    function: Function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    @property
    def __code__(self) -> CodeType:
        code: CodeType = self.original.__code__
        return code


async def _call(
    name: str, work: Callable[[], Awaitable[T]], halfway: Callable[[], Awaitable[object]] | None = None
) -> T:
    return await current.get().call(f"app.{name}", work, halfway, lost=lost)


def _connection(client: Any) -> Connection:
    async def connect() -> AsyncIterator[Any]:
        yield client

    return Connection(connect)


def wrapped_importer(importer: Importer, target: Any, journal: Journal, keys: KeyNames) -> Importer:
    """Return an Importer that loads `target`, with faults. `journal` notes its calls."""
    made = copy.copy(importer)
    made.connection = _connection(target)
    made.handlers = {stream: _handler(handler, journal, keys) for stream, handler in importer.handlers.items()}
    made.transactions = None if importer.transactions is None else _transactions(importer.transactions)
    return made


def _handler(handler: Handler, journal: Journal, keys: KeyNames) -> Handler:
    if handler.publish is not None:
        return replace(
            handler, function=_stage(handler, journal), publish=_publish(handler.publish, handler.stream, journal)
        )
    if handler.delivery in (Delivery.KEYED, Delivery.TRANSACTION):
        return replace(handler, function=_apply(handler, journal))
    names = keys(handler.stream)
    return replace(
        handler,
        function=_create(handler, handler.function, "create", journal, names),
        find=handler.find and _create(handler, handler.find, "find", journal, names),
        update=handler.update and _update(handler, handler.update, journal, names),
        delete=handler.delete and _delete(handler, handler.delete, journal),
    )


def _create(handler: Handler, function: Function, what: str, journal: Journal, names: Sequence[str]) -> Function:
    read, stream = handler.row.reader(names), handler.stream

    async def call(target: Any, row: Any, ctx: Any) -> Any:
        key = read(row)

        async def work() -> Any:
            id_ = await function(target, row, journal.context(ctx, stream, row))
            journal.made(stream, key, id_)
            return id_

        with journal.noted(current.get(), stream, [key]):
            return await _call(f"{what} {stream} {key!r}", work)

    return _Wrapped(function, call)


def _update(handler: Handler, function: Function, journal: Journal, names: Sequence[str]) -> Function:
    read, stream = handler.row.reader(names), handler.stream

    async def call(target: Any, id_: str, row: Any, ctx: Any) -> Any:
        with journal.noted(current.get(), stream, [read(row)]):
            return await _call(
                f"update {stream} {id_!r}", lambda: function(target, id_, row, journal.context(ctx, stream, row))
            )

    return _Wrapped(function, call)


def _delete(handler: Handler, function: Function, journal: Journal) -> Function:
    async def call(target: Any, id_: str, ctx: Any) -> Any:
        keys = [key for (stream, key), ids in journal.ids.items() if stream == handler.stream and id_ in ids]
        with journal.noted(current.get(), handler.stream, keys):
            return await _call(f"remove {handler.stream} {id_!r}", lambda: function(target, id_, ctx))

    return _Wrapped(function, call)


def _apply(handler: Handler, journal: Journal) -> Function:
    function = handler.function

    async def call(target: Any, batch: Any, ctx: Any) -> Any:
        keys = [record.key for record in batch.records]
        half = Batch(batch.records[: (len(keys) + 1) // 2])
        stream = EventFileId.parse(ctx.file).stream
        noted = journal.context(ctx, stream, *(upsert.row for upsert in batch.upserts))
        with journal.noted(current.get(), stream, keys):
            return await _call(
                f"apply {stream} {', '.join(map(repr, keys))}",
                lambda: function(target, batch, noted),
                lambda: function(target, half, noted),
            )

    return _Wrapped(function, call)


def _stage(handler: Handler, journal: Journal) -> Function:
    function = handler.function

    async def call(target: Any, file: Any, ctx: Any) -> Any:
        stream, keys = EventFileId.parse(ctx.file).stream, [record.key for record in file.records]
        noted = journal.context(ctx, stream, *(upsert.row for upsert in file.upserts))
        with journal.noted(current.get(), stream, keys):
            token = await _call(f"stage {file.id}", lambda: function(target, file, noted))
        journal.staged[token] = stream, keys
        return token

    return _Wrapped(function, call)


def _publish(function: Function, stream: str, journal: Journal) -> Function:
    async def call(target: Any, tokens: Sequence[str], ctx: Any) -> Any:
        with ExitStack() as stack:
            for staged in filter(None, map(journal.staged.get, tokens)):
                stack.enter_context(journal.noted(current.get(), *staged))
            return await _call(f"publish {stream} {', '.join(tokens)}", lambda: function(target, tokens, ctx))

    return _Wrapped(function, call)


def _transactions(functions: TransactionFunctions) -> TransactionFunctions:
    read, write = functions.read_marks, functions.write_mark

    async def read_marks(tx: Any) -> Any:
        assert read is not None  # else the Importer is not complete, which is an error before
        return await _call("mark read_marks", lambda: read(tx))

    async def write_mark(tx: Any, file: str, mark: bytes) -> Any:
        assert write is not None
        return await _call(f"mark write_mark {file.rpartition(' ')[2]}", lambda: write(tx, file, mark))

    return replace(
        functions,
        function=_Wrapped(functions.function, lambda target: _transaction(functions.function, target)),
        read_marks=read and _Wrapped(read, read_marks),
        write_mark=write and _Wrapped(write, write_mark),
    )


async def _transaction(function: Function, target: Any) -> AsyncIterator[Any]:
    """Open a transaction, and commit it. The app rolls back what a process has not committed when it dies."""
    process, inner, committed = current.get(), function(target), False

    async def commit() -> None:
        nonlocal committed
        committed = True
        await anext(inner, None)

    async with aclosing(inner):
        tx = await anext(inner)
        try:
            yield tx
            await _call("commit", commit)
        except BaseException as error:
            if not committed:
                with anyio.CancelScope(shield=True):
                    process.rolls_back = True
                    await _roll_back(inner, error if isinstance(error, Exception) else lost("the process is gone"))
                    process.rolls_back = False
            raise


async def _roll_back(inner: Any, error: Exception) -> None:
    try:
        await inner.athrow(error)
    except StopAsyncIteration:
        return
    except Exception as raised:  # noqa: BLE001  # the caller raises the first one
        await checkpoint()
        del raised


def wrapped_exporter(exporter: Exporter, client: Any) -> Exporter:
    """Return an Exporter that reads `client`, with faults."""
    made = copy.copy(exporter)
    made.connection = _connection(client)
    made.streams = {name: replace(stream, function=_read(stream)) for name, stream in exporter.streams.items()}
    made.feeds = {name: replace(feed, function=_changes(name, feed)) for name, feed in exporter.feeds.items()}
    made.fetches = {name: _fetch(name, function) for name, function in exporter.fetches.items()}
    return made


def _read(stream: DeclaredStream) -> Function:
    function, name = stream.function, stream.name

    async def rows(client: Any) -> AsyncIterator[Any]:
        await _call(f"page {name}", checkpoint)
        async with aclosing(function(client)) as given:
            number = 0
            async for row in given:
                yield row
                number += 1
                await _call(f"pause row {number} of {name}", checkpoint)

    async def page(client: Any, after: str | None) -> Any:
        return await _call(f"page {name} {after!r}", lambda: function(client, after))

    return _Wrapped(function, rows if stream.reading is Reading.ROWS else page)


def _changes(name: str, feed: Feed) -> Function:
    async def changes(client: Any, since: str | None) -> Any:
        return await _call(f"page changes of {name} {since!r}", lambda: feed.function(client, since))

    return _Wrapped(feed.function, changes)


def _fetch(name: str, function: Function) -> Function:
    async def fetch(client: Any, keys: Sequence[Any]) -> Any:
        return await _call(f"fetch {name} {', '.join(map(repr, keys))}", lambda: function(client, keys))

    return _Wrapped(function, fetch)
