"""What is wrong with a file of Flows is said in the words of the file, and then nothing is changed."""

from __future__ import annotations

import codecs

import pytest

from tests.cli.app import CommandLine

CRM = '[flow.crm]\nsource = "app.db"\ndestination = "copy.db"\n'


@pytest.mark.parametrize("place", ["source", "destination"])
def test_a_flow_with_an_empty_place_is_a_mistake_and_not_passed_over(pipeline: CommandLine, place: str) -> None:
    (pipeline.directory / "flows.toml").write_text(CRM.replace(f'{place} = "', f'{place} = "" #'))
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert (outcome.code, outcome.err) == (2, f"pipeline: flows.toml, [flow.crm]: {place} is empty.\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CRM.encode("utf-16"), "it is not UTF-8 text, from byte 0 on. Save it as UTF-8."),
        (CRM.encode() + b'x = "\xe9"', "it is not UTF-8 text, from byte 58 on. Save it as UTF-8."),
        (None, "Is a directory"),
    ],
)
def test_a_file_that_is_no_text_is_named_in_words(pipeline: CommandLine, content: bytes | None, reason: str) -> None:
    file = pipeline.directory / "flows.toml"
    file.mkdir() if content is None else file.write_bytes(content)
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 2
    assert outcome.err == f"pipeline: The file of Flows flows.toml cannot be read: {reason}\n"


def test_a_byte_order_mark_is_no_mistake(pipeline: CommandLine) -> None:
    (pipeline.directory / "flows.toml").write_bytes(codecs.BOM_UTF8 + CRM.encode())
    assert pipeline("flow", "apply", "flows.toml", "--yes").code == 0


@pytest.mark.parametrize("value", ["true", "2026-01-01", "2026-01-01T08:00:00+02:00"])
def test_a_wrong_value_is_shown_as_the_file_has_it(pipeline: CommandLine, value: str) -> None:
    (pipeline.directory / "flows.toml").write_text(f"{CRM}[flow.crm.windows]\nlife_days = {value}\n")
    outcome = pipeline("flow", "apply", "flows.toml", "--yes")
    assert outcome.code == 2
    assert f"life_days: {value} is not valid." in outcome.err
