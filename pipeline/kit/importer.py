"""Importer: what loads data into an app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from pipeline.domain.ids import StreamName
from pipeline.kit.authors_line import calling_line, line_of, misuse
from pipeline.kit.context import Import
from pipeline.kit.declared import Delivery, Function, Handler, TransactionFunctions
from pipeline.kit.plugin import CheckDeclaration, Plugin
from pipeline.kit.row_types import RowType, row_type
from pipeline.kit.signatures import check_coroutine, check_generator, check_name
from pipeline.kit.values import Batch, Key, StagedFile

C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")
ALL_STREAMS = "*"
DumpFunction = TypeVar("DumpFunction", bound=Callable[..., AsyncIterator[tuple[str, Key, Mapping[str, object]]]])
ScratchFunction = TypeVar("ScratchFunction", bound=Callable[[], AsyncIterator[object]])
MAX_BATCH = 100_000


class Importer(Plugin):
    """What loads data into an app. `accepts` names the contracts of the Exporters that it may be connected to."""

    def __init__(self, name: str, *, accepts: str | Sequence[str] | None = None, api: int = 1) -> None:
        """ConfigurationError when this kit does not know `api`, the version that the author wrote for."""
        super().__init__(name, api)
        self.accepts = _contracts(accepts, self.line)
        self.handlers: dict[str, Handler] = {}
        self.transactions: TransactionFunctions | None = None
        self.dump_function: Function | None = None
        self.scratch_function: Function | None = None

    def creates(
        self,
        stream: str,
        *,
        row: type[R],
        delivery: Literal["found", "at-least-once"] = "found",
        after: Sequence[str] = (),
    ) -> CreatesDeclaration[R]:
        """Declare a function that creates one object and returns its new id. The streams `after` are imported before."""
        level = _level(delivery, (Delivery.FOUND, Delivery.AT_LEAST_ONCE))
        return CreatesDeclaration(self, stream, _row(stream, row), level, _after(after))

    def applies(
        self,
        stream: str,
        *,
        row: type[R],
        delivery: Literal["keyed", "transaction"] = "keyed",
        batch: int = 500,
        after: Sequence[str] = (),
    ) -> AppliesDeclaration[R]:
        """Declare a function that applies `batch` records at a time by their keys; applying again is harmless.

        The streams `after` are imported before. With the delivery "transaction" it gets what `transaction` yields, and rows
        and mark are committed together.
        """
        level = _level(delivery, (Delivery.KEYED, Delivery.TRANSACTION))
        if type(batch) is not int or not 1 <= batch <= MAX_BATCH:
            raise misuse(calling_line(), f"batch={batch!r} is not possible", f"Write a number from 1 to {MAX_BATCH:,}")
        return AppliesDeclaration(self, stream, _row(stream, row), level, batch, _after(after))

    def stages(self, stream: str, *, row: type[R], after: Sequence[str] = ()) -> StagesDeclaration[R]:
        """Declare a function that stages a whole Event File under its id, and returns a token to publish it by.

        The streams `after` are imported before.
        """
        return StagesDeclaration(self, stream, _row(stream, row), _after(after))

    def transaction(self, function: Callable[[C], AsyncIterator[T]]) -> Transaction[T]:
        """Declare a transaction: it yields once, commits when it goes on, and rolls back on an error."""
        check_generator(function, "a transaction", ("target",))
        if self.transactions is not None:
            raise misuse(line_of(function), f"{self.name!r} has two functions for a transaction", "Keep one")
        self.transactions = TransactionFunctions(function, line_of(function))
        return Transaction(self.transactions)

    def check(self, id: str, *, title: str) -> CheckDeclaration:  # the fixed name of the kit
        """Declare a check that runs before a Movement."""
        return CheckDeclaration(self.connection, id, title)

    def dump(self, function: DumpFunction) -> DumpFunction:
        """Declare a function that yields all there is at the destination: stream, key and row.

        The key is the app's own: for a stream of `creates`, the id that `create` returned; else that of the records.
        """
        check_generator(function, "the dump", ("target",))
        if self.dump_function is not None:
            raise misuse(line_of(function), f"{self.name!r} has two functions for the dump", "Keep one")
        self.dump_function = function
        return function

    def scratch(self, function: ScratchFunction) -> ScratchFunction:
        """Declare a function that gives a new, empty destination for tests."""
        check_generator(function, "the scratch destination", ())
        if self.scratch_function is not None:
            raise misuse(line_of(function), f"{self.name!r} has two functions for a scratch destination", "Keep one")
        self.scratch_function = function
        return function

    def add(self, handler: Handler) -> None:
        """Add a handler. ConfigurationError when the stream has one."""
        if handler.stream in self.handlers:
            raise misuse(handler.line, f"stream {handler.stream!r} has two handlers", "Keep one")
        self.handlers[handler.stream] = handler

    def handler_of(self, stream: str) -> Handler | None:
        """Return the handler that takes a stream; None when there is none. "*" takes no stream that is not a table's."""
        return self.handlers.get(stream) or (None if stream.startswith("@") else self.handlers.get(ALL_STREAMS))


class Creates(Generic[C, R]):
    """A function that creates objects, to which `find`, `update` and `delete` are added."""

    def __init__(self, handler: Handler, function: Callable[[C, R, Import], Coroutine[Any, Any, str]]) -> None:
        self._handler = handler
        self._function = function

    def __call__(self, target: C, row: R, ctx: Import) -> Coroutine[Any, Any, str]:
        """Call the author's function, as a test may."""
        return self._function(target, row, ctx)

    def find(
        self, function: Callable[[C, R, Import], Coroutine[Any, Any, str | None]]
    ) -> Callable[[C, R, Import], Coroutine[Any, Any, str | None]]:
        """Declare the function that finds an object whose creation may or may not have happened."""
        check_coroutine(function, f"finding {self._handler.stream!r}", ("target", "row", "ctx"))
        self._handler.find = function
        return function

    def update(
        self, function: Callable[[C, str, R, Import], Coroutine[Any, Any, None]]
    ) -> Callable[[C, str, R, Import], Coroutine[Any, Any, None]]:
        """Declare the function that updates an object."""
        check_coroutine(function, f"updating {self._handler.stream!r}", ("target", "id", "row", "ctx"))
        self._handler.update = function
        return function

    def delete(
        self, function: Callable[[C, str, Import], Coroutine[Any, Any, None]]
    ) -> Callable[[C, str, Import], Coroutine[Any, Any, None]]:
        """Declare the function that deletes an object."""
        check_coroutine(function, f"deleting {self._handler.stream!r}", ("target", "id", "ctx"))
        self._handler.delete = function
        return function


class CreatesDeclaration(Generic[R]):
    """Declares the function for `creates`."""

    def __init__(
        self, importer: Importer, stream: str, row: RowType, delivery: Delivery, after: tuple[StreamName, ...]
    ) -> None:
        self._importer, self._stream, self._row = importer, stream, row
        self._delivery, self._after = delivery, after

    def __call__(self, function: Callable[[C, R, Import], Coroutine[Any, Any, str]]) -> Creates[C, R]:
        """Declare `function`."""
        check_coroutine(function, f"creating {self._stream!r}", ("target", "row", "ctx"))
        line = line_of(function)
        handler = Handler(self._stream, function, self._row, self._delivery, line, after=self._after)
        self._importer.add(handler)
        return Creates(handler, function)


class Transaction(Generic[T]):
    """A declared transaction, to which the functions for marks are added."""

    def __init__(self, functions: TransactionFunctions) -> None:
        self._functions = functions

    def read_marks(
        self, function: Callable[[T], Coroutine[Any, Any, Mapping[str, bytes]]]
    ) -> Callable[[T], Coroutine[Any, Any, Mapping[str, bytes]]]:
        """Declare the function that returns all marks."""
        check_coroutine(function, "reading marks", ("tx",))
        self._functions.read_marks = function
        return function

    def write_mark(
        self, function: Callable[[T, str, bytes], Coroutine[Any, Any, None]]
    ) -> Callable[[T, str, bytes], Coroutine[Any, Any, None]]:
        """Declare the function that stores a mark under the name of a file, in the transaction."""
        check_coroutine(function, "writing a mark", ("tx", "file", "mark"))
        self._functions.write_mark = function
        return function


class Stages(Generic[C]):
    """A function that stages files, to which `publish` is added."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def publish(
        self, function: Callable[[C, Sequence[str], Import], Coroutine[Any, Any, None]]
    ) -> Callable[[C, Sequence[str], Import], Coroutine[Any, Any, None]]:
        """Declare the function that publishes what was staged. Publishing again is harmless."""
        check_coroutine(function, f"publishing {self._handler.stream!r}", ("target", "tokens", "ctx"))
        self._handler.publish = function
        return function


class StagesDeclaration(Generic[R]):
    """Declares the function for `stages`."""

    def __init__(self, importer: Importer, stream: str, row: RowType, after: tuple[StreamName, ...]) -> None:
        self._importer, self._stream, self._row, self._after = importer, stream, row, after

    def __call__(self, function: Callable[[C, StagedFile[R], Import], Coroutine[Any, Any, str]]) -> Stages[C]:
        """Declare `function`."""
        check_coroutine(function, f"staging {self._stream!r}", ("target", "file", "ctx"))
        line = line_of(function)
        handler = Handler(self._stream, function, self._row, Delivery.STAGED, line, after=self._after)
        self._importer.add(handler)
        return Stages(handler)


class AppliesDeclaration(Generic[R]):
    """Declares the function for `applies`."""

    def __init__(
        self,
        importer: Importer,
        stream: str,
        row: RowType,
        delivery: Delivery,
        batch: int,
        after: tuple[StreamName, ...],
    ) -> None:
        self._importer, self._stream, self._row = importer, stream, row
        self._delivery, self._batch, self._after = delivery, batch, after

    def __call__(
        self, function: Callable[[C, Batch[R], Import], Coroutine[Any, Any, None]]
    ) -> Callable[[C, Batch[R], Import], Coroutine[Any, Any, None]]:
        """Declare `function`."""
        check_coroutine(function, f"applying {self._stream!r}", ("target", "batch", "ctx"))
        line = line_of(function)
        self._importer.add(Handler(self._stream, function, self._row, self._delivery, line, self._batch, self._after))
        return function


def _row(stream: str, row: Any) -> RowType:
    line = calling_line()
    check_name(stream, "a stream", line)
    if stream == ALL_STREAMS and row is not dict:
        raise misuse(line, 'the handler for all other streams, "*", has a row type', "Write row=dict")
    return row_type(row, None, line, open_=True)


def _contracts(accepts: Any, line: str) -> tuple[str, ...]:
    found = (accepts,) if isinstance(accepts, str) else accepts or ()
    if not isinstance(found, Collection) or not all(isinstance(one, str) for one in found):
        raise misuse(
            line, f"accepts={accepts!r} names no contracts", "Write a text such as 'tracker/1', or a tuple of several"
        )
    return tuple(found)


def _after(streams: Sequence[str]) -> tuple[StreamName, ...]:
    if isinstance(streams, str):
        raise misuse(calling_line(), f"after={streams!r} is text", f"Write a tuple of names: after=({streams!r},)")
    for stream in streams:
        check_name(stream, "a stream in after=", calling_line())
    return tuple(map(StreamName, streams))


def _level(delivery: str, possible: Sequence[Delivery]) -> Delivery:
    if delivery not in possible:
        known = " or ".join(f'"{level}"' for level in possible)
        raise misuse(calling_line(), f"delivery={delivery!r} is not possible here", f"Write {known}")
    return Delivery(delivery)
