"""docs/reference/flows.md names every table and every name of a file of Flows, with default and meaning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.settings.flow_file import parse_flows, table_rules
from pipeline.settings.flow_tables import NAMED, OPTIONS, TABLES

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "flows.md").read_text()


def heading(table: str) -> str:
    return {"": "[flow.NAME]", "stream": '[flow.NAME.stream."GLOB"]', "group": "[flow.NAME.group.LABEL]"}.get(
        table, f"[flow.NAME.{table}]"
    )


@pytest.mark.parametrize("table", TABLES)
def test_every_name_is_documented_and_no_other(table: str) -> None:
    section = PAGE.partition(f"## `{heading(table)}`")[2].partition("\n## ")[0]
    shown = {(): "`[]`", "": "", True: "`true`", False: "`false`"}
    rows = [
        f"| `{name}` | {shown[rule.default] if isinstance(rule.default, tuple | str | bool) else f'`{rule.default}`'} | "
        f"{rule.description} |"
        for name, rule in table_rules(table).items()
    ]
    assert re.findall(r"^\| `.*\|$", section, re.MULTILINE) == rows


def test_every_table_has_a_section() -> None:
    assert all(f"`{heading(table)}`" in PAGE for table in (*TABLES, *OPTIONS))
    assert set(NAMED) <= set(TABLES)


def test_the_example_of_the_page_is_valid() -> None:
    import tomllib

    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (entry,), problems = parse_flows(tomllib.loads(example), "flows.toml")
    assert problems == []
    assert entry.declared.source_options["token"] == "env:TRACKER_TOKEN"
    assert entry.declared.excluded == ("audit_log",)
