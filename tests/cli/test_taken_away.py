"""Stored objects that an expiry rule or a person took away are named, each with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.app import CommandLine, make_database

OBJECTS = Path(".pipeline/store/objects/flows/crm")


@pytest.mark.parametrize(
    ("pattern", "command", "words"),
    [
        ("movements/1/movement.json", ("move",), "The Movement flows/crm/movements/1/movement.json"),
        ("movements/1/groups/*/files.1.jsonl", ("move",), "The File List flows/crm/movements/1/groups/"),
        ("snapshots/people/1.1", ("move",), "The snapshot state flows/crm/snapshots/people/1.1"),
        ("flow.json", ("compact",), "There is no Flow named 'crm' here"),
    ],
)
def test_an_object_that_is_gone_is_named_with_the_way_out(
    pattern: str, command: tuple[str, ...], words: str, pipeline: CommandLine
) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db", "--flow", "crm").code == 0
    (gone,) = OBJECTS.glob(pattern)
    gone.unlink()
    arguments = ("app.db", "copy.db", "--flow", "crm") if command == ("move",) else ("crm",)
    outcome = pipeline(*command, *arguments)
    said = outcome.err + outcome.out
    assert outcome.code == 1, said
    assert words in said
    assert "flow.json" in pattern or ("is missing from the store" in said and "--flow NAME" in said)
