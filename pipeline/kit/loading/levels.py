"""The delivery level that a Flow needs, and whether the handlers of an Importer reach it."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.authors_line import misuse
from pipeline.kit.configuration.names import REQUIRES
from pipeline.kit.declared import Delivery, Handler
from pipeline.kit.importer import Importer

_LEVELS = list(Delivery)
_REMEDIES = {
    Delivery.TRANSACTION: 'Declare it with @importer.applies and delivery="transaction"',
    Delivery.STAGED: "Declare it with @importer.stages",
    Delivery.KEYED: "Declare it with @importer.applies",
    Delivery.FOUND: 'Declare it with delivery="found" and give it `find`',
    Delivery.AT_LEAST_ONCE: "",  # no handler is weaker
}


def split_requires(settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the author's settings, and the pipeline's own one."""
    return (
        {name: text for name, text in settings.items() if name != REQUIRES},
        {name: text for name, text in settings.items() if name == REQUIRES},
    )


def read_level(text: str) -> Delivery:
    """Return the delivery level of this name. ConfigurationError, which names all, when there is none."""
    if text not in _LEVELS:
        known = ", ".join(_LEVELS)
        raise ConfigurationError(f"The delivery level {text[:80]!r} is not known. It must be one of: {known}.")
    return Delivery(text)


def check_levels(importer: Importer, settings: Mapping[str, str]) -> None:
    """ConfigurationError when a handler is weaker than the level that the Flow needs, `found` by default."""
    if not importer.handlers:
        raise ConfigurationError(f"{importer.line}: the Importer {importer.name!r} has no handler. Declare one.")
    wanted = read_level(settings.get(REQUIRES, Delivery.FOUND.value))
    check_complete(importer)
    for handler in importer.handlers.values():
        if _LEVELS.index(handler.delivery) > _LEVELS.index(wanted):
            raise misuse(
                handler.line,
                f"the handler of {handler.stream!r} delivers {handler.delivery.value}, and the Flow needs {wanted.value}",
                f"{_REMEDIES[wanted]}, or let the Flow accept less with --requires {handler.delivery.value}",
            )


def check_complete(importer: Importer) -> None:
    """ConfigurationError when a handler lacks a function that its level needs, or the order of streams cannot be."""
    _check_order(importer)
    for handler in importer.handlers.values():
        _check_complete(importer, handler)


def _check_order(importer: Importer) -> None:
    """ConfigurationError when a stream comes after one that no handler takes, or after itself."""
    before: dict[str, set[str]] = {}
    for handler in importer.handlers.values():
        for name in handler.after:
            first = importer.handler_of(name)
            if first is None:
                fault = f"{handler.stream!r} comes after {name!r}, which no handler takes"
                raise misuse(handler.line, fault, "Write the name of a stream that has one, or leave it out of after=")
            before.setdefault(handler.stream, set()).add(first.stream)
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        circle = error.args[1]
        way = " after ".join(map(repr, reversed(circle)))
        fault = f"the streams come after each other in a circle: {way}"
        raise misuse(importer.handlers[circle[0]].line, fault, "Take one of them out of after=") from None


def _check_complete(importer: Importer, handler: Handler) -> None:
    """ConfigurationError when a handler lacks a function that its delivery level needs."""
    if handler.delivery is Delivery.STAGED and handler.publish is None:
        raise misuse(handler.line, f"the handler of {handler.stream!r} has no `publish`", "Declare it")
    if handler.delivery is not Delivery.TRANSACTION:
        return
    functions = importer.transactions
    if functions is None:
        fault = f'the handler of {handler.stream!r} has the delivery "transaction", and the Importer has no transaction'
        raise misuse(handler.line, fault, "Declare one with @importer.transaction")
    for name, function in (("read_marks", functions.read_marks), ("write_mark", functions.write_mark)):
        if function is None:
            raise misuse(functions.line, f"the transaction has no `{name}`", "Declare it")
