"""The documentation names everything there is, and its links lead somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import pipeline.domain.errors
from pipeline.cli.main import COMMANDS, cli
from pipeline.connectors.registry import BUILT_IN
from pipeline.settings import ENVIRONMENT_PREFIX, rules

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def reference(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text()


def log_events() -> Iterator[tuple[str, str, set[str]]]:
    """Every literal that is logged in the package: the name of the event, its level, and its fields."""
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                logger = ast.unparse(node.func.value)
                if logger.endswith("log") and node.args and isinstance(node.args[0], ast.Constant):
                    yield str(node.args[0].value), node.func.attr, set(_fields(node.keywords))


def _fields(keywords: list[ast.keyword]) -> Iterator[str]:
    for keyword in keywords:
        if keyword.arg is not None:
            yield keyword.arg
        else:  # the one group of fields that several events share
            assert ast.unparse(keyword.value) == "_file(event)"
            yield from ("group", "file")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    page = reference("command-line")
    assert f"## `pipeline {name}" in page
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for parameter in command.params:
        for option in parameter.opts if isinstance(parameter, click.Option) else ():
            assert f"`{option}" in page, option


def test_every_connector_is_named_wherever_locations_are_explained() -> None:
    move = cli.get_command(click.Context(cli), "move")
    assert move is not None
    texts = {"move --help": move.help or "", "command-line.md": reference("command-line")}
    for name, text in texts.items():
        for connector in BUILT_IN.values():
            assert f"{connector.schemes[0]}://" in text, (name, connector.name)
            assert connector.name in text, (name, connector.name)


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    page = reference("settings")
    for name, rule in rules().items():
        limits = "" if rule.least is None else f"{rule.least:,} … {rule.most:,}"
        row = f"| `{name}` | `{ENVIRONMENT_PREFIX}{name.upper()}` | {_shown(rule.default)} | {limits} | {rule.description} |"
        assert row in page


def test_every_error_is_documented() -> None:
    page = reference("errors")
    for name, thing in vars(pipeline.domain.errors).items():
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert f"`{name}`" in page, name


def test_every_log_event_is_documented_with_its_fields_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|.*\|([^|]*)\|$", reference("log-events"), re.MULTILINE)
    documented = [(name, level, set(fields.replace(",", " ").split())) for name, level, fields in rows]
    logged: dict[tuple[str, str], set[str]] = {}
    for name, level, fields in log_events():
        logged.setdefault((name, level), set()).update(fields)
    assert sorted(documented) == sorted((*event, fields) for event, fields in logged.items())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_can_be_reached_from_the_index() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in reached:
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            found = (page.parent / target).resolve()
            if found.is_dir():
                waiting += found.glob("*.md")
            elif found.suffix == ".md" and found.exists():
                waiting.append(found)
    assert set(PAGES) <= reached


def _shown(default: object) -> str:
    """A default as the table has it; an empty text is nothing."""
    match default:
        case bool():
            return f"`{str(default).lower()}`"
        case int() | float():
            return "`" + f"{default:,}".removesuffix(".0") + "`"
        case "":
            return ""
        case tuple():
            return f"`{list(default)}`"
        case _:
            return f"`{default}`"
