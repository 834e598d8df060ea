"""What an Exporter and an Importer have in common: a name, the version of the kit, a connection, and checks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from pipeline.kit.authors_line import calling_line, line_of, misuse
from pipeline.kit.declared import API, Check, Connection
from pipeline.kit.signatures import check_generator, check_name, takes
from pipeline.kit.values import Finding

C = TypeVar("C")
Function = TypeVar("Function", bound=Callable[..., AsyncIterator[object]])


class Plugin:
    """An Exporter or an Importer."""

    def __init__(self, name: str, api: int) -> None:
        self.name = name
        self.line = calling_line()
        self.connection = Connection()
        check_name(name, "the plug-in", self.line)
        if api != API:
            raise misuse(
                self.line,
                f"{name!r} is written for version {api!r} of the kit, and this release knows version {API}",
                "Install the release that it was written for, or change it to this version",
            )

    def connect(self, function: Function) -> Function:
        """Declare the function that opens the app: `async def connect(settings)` with one `yield` of the client."""
        check_generator(function, f"connecting to {self.name!r}", ("settings",), optional=1)
        if self.connection.function is not None:
            raise misuse(line_of(function), f"{self.name!r} has two functions for connecting", "Keep one")
        self.connection.function = function
        self.connection.takes_settings = takes(function, 1)
        return function


class CheckDeclaration:
    """Declares a check."""

    def __init__(self, connection: Connection, id_: str, title: str) -> None:
        self._connection, self._id, self._title = connection, id_, title
        check_name(id_, "a check", calling_line())
        if id_ in connection.checks:
            raise misuse(calling_line(), f"there are two checks {id_!r}", "Give one of them another id")

    def __call__(self, function: Callable[[C], AsyncIterator[Finding]]) -> Callable[[C], AsyncIterator[Finding]]:
        """Declare `function`."""
        check_generator(function, f"the check {self._id!r}", ("client",))
        self._connection.checks[self._id] = Check(self._id, self._title, function)
        return function
