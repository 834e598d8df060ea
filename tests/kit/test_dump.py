"""`dump` gives what an app holds, and `scratch` a new, empty app; what they give is checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal

import pytest

from pipeline.domain.errors import ConfigurationError, PipelineError, TransientError, UnreadableError
from pipeline.kit import Importer, Key
from pipeline.kit.dump.dumped_rows import dumped_rows, scratch
from pipeline.kit.dump.natural import record_value

Held = dict[tuple[str, Key], Mapping[str, object]]


def app(importer: Importer) -> list[Held]:
    """Let an Importer have scratch destinations that are dictionaries, and dump them. Return those that are open."""
    opened: list[Held] = []

    @importer.scratch
    async def empty() -> AsyncIterator[Held]:
        opened.append({})
        yield opened[-1]
        opened.pop()

    @importer.dump
    async def dump(target: Held) -> AsyncIterator[tuple[str, Key, Mapping[str, object]]]:
        for (stream, key), row in target.items():
            yield stream, key, row

    return opened


async def test_a_scratch_destination_is_empty_and_dumped() -> None:
    importer = Importer("app")
    opened = app(importer)
    for _ in range(2):
        async with scratch(importer) as target:
            assert [row async for row in dumped_rows(importer, target)] == []
            target["a", 1] = {"name": "one"}
            target["b", ("x", 2)] = {}
            target["b", ("y",)] = {}
            found = [(row.stream, row.key, row.row) async for row in dumped_rows(importer, target)]
            assert found == [("a", 1, {"name": "one"}), ("b", ("x", 2), {}), ("b", "y", {})]
        assert opened == []


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (7, "yields a int that is no tuple of three"),
        (("a", 1), "yields a tuple that is no tuple of three"),
        ((1, 1, {}), "yields a int in place of the name of a stream"),
        (("a", None, {}), "yields NoneType in place of a key of 'a'"),
        (("a", (), {}), "yields an empty tuple in place of a key of 'a'"),
        (("a", (1, None), {}), "yields NoneType in place of a part of the key of 'a'"),
        (("a", 1, [1]), "yields a list in place of a row of 'a'"),
        (("a", 1, {1: 2}), "yields a dict in place of a row of 'a'"),
    ],
)
async def test_what_is_no_row_is_named_with_the_line(given: object, fault: str) -> None:
    importer = Importer("app")

    @importer.dump
    async def dump(target: None) -> AsyncIterator[tuple[str, Key, Mapping[str, object]]]:
        yield given  # type: ignore[misc]

    with pytest.raises(UnreadableError) as caught:
        [row async for row in dumped_rows(importer, None)]
    assert str(caught.value).startswith(f"{__file__}, line ")
    assert fault in str(caught.value)


@pytest.mark.parametrize("value", [2**70, -(2**63) - 1])
def test_an_integer_that_json_cannot_hold_is_what_a_decimal_column_has(value: int) -> None:
    assert record_value(value, "decimal") == record_value(Decimal(value), "decimal") == str(value)


async def test_an_importer_without_them_is_named_with_the_line() -> None:
    importer = Importer("app")
    with pytest.raises(ConfigurationError, match=r"test_dump.py, line \d+: .*'app' has no `dump`"):
        [row async for row in dumped_rows(importer, None)]
    with pytest.raises(ConfigurationError, match=r"test_dump.py, line \d+: .*'app' has no `scratch`"):
        async with scratch(importer):
            pass


async def test_a_function_that_fails_is_named_with_its_line() -> None:
    importer = Importer("app")

    @importer.scratch
    async def empty() -> AsyncIterator[None]:
        if importer.name:
            raise OSError("no room")
        yield

    @importer.dump
    async def dump(target: None) -> AsyncIterator[tuple[str, Key, Mapping[str, object]]]:
        if importer.name:
            raise OSError("no answer")
        yield "a", 1, {}

    errors: list[PipelineError] = []
    for use in (scratch(importer).__aenter__, dumped_rows(importer, None).__anext__):
        with pytest.raises(TransientError) as caught:
            await use()
        errors.append(caught.value)
    assert [("no room" in str(one), "no answer" in str(one)) for one in errors] == [(True, False), (False, True)]
    assert all(f"({__file__}, line " in str(one) for one in errors)
