"""A plug-in imports the modules beside it, and never those beside another plug-in."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.kit import Exporter
from pipeline.kit.calls import open_client
from pipeline.kit.places.load import load
from pipeline.kit.places.reference import Kind, PluginReference
from tests.kit.plugins import write_plugin

APP = """\
import helpers
import more.deep
from helpers import NAME, of_helper
from more import deep, here
from . import helpers as same

assert same is helpers and more.deep is deep

exporter = Exporter(NAME)

@exporter.connect
async def connect() -> AsyncIterator[list[str]]:
    from late import NAME as late
    yield [helpers.NAME, of_helper(), deep.NAME, here, late]

@exporter.rows("things", row=helpers.Row, key="id")
async def things(client: list[str]) -> AsyncIterator[helpers.Row]:
    yield helpers.Row(1)
"""
HELPERS = """\
from __future__ import annotations
from dataclasses import dataclass
from json import dumps

NAME = "{name}"

@dataclass
class Row:
    id: Number

def of_helper() -> str:
    import late
    return late.NAME

Number = int
"""


def make(directory: Path, name: str) -> Exporter:
    (directory / "more").mkdir(parents=True)
    write_plugin(directory / "app.py", APP)
    (directory / "helpers.py").write_text(HELPERS.format(name=name))
    (directory / "late.py").write_text(f"NAME = 'late {name}'\n")
    (directory / "json.py").write_text("raise AssertionError('the standard library comes first')\n")
    (directory / "pipeline.py").write_text("raise AssertionError('the pipeline itself comes first')\n")
    (directory / "more" / "__init__.py").write_text(f"here = 'here {name}'\n")
    (directory / "more" / "deep.py").write_text(
        f"from helpers import NAME as _\nNAME = 'deep ' + _\nassert _ == '{name}'\n"
    )
    return load(PluginReference(Kind.FILE, str(directory / "app.py"), "exporter"), Exporter)


def test_plugins_with_equally_named_modules_beside_them_get_their_own(tmp_path: Path) -> None:
    before = set(sys.path)
    plugins = {name: make(tmp_path / name, name) for name in ("one", "two")}
    for name, plugin in plugins.items():

        async def client(plugin: Exporter = plugin) -> list[str]:
            async with open_client(plugin.connection, None, "here") as client:
                return list(client)

        assert plugin.name == name
        assert anyio.run(client) == [name, f"late {name}", f"deep {name}", f"here {name}", f"late {name}"]
        assert [column.type for column in plugin.streams["things"].row.columns] == ["integer"]  # type: ignore[index]
    assert set(sys.path) == before


def test_an_error_in_a_module_beside_a_plugin_is_named_there_and_it_can_be_corrected(tmp_path: Path) -> None:
    write_plugin(tmp_path / "app.py", "from helpers import exporter\n")
    (tmp_path / "helpers.py").write_text("import no_such_module_anywhere\n")
    reference = PluginReference(Kind.FILE, str(tmp_path / "app.py"), "exporter")
    with pytest.raises(ConfigurationError, match=r"no_such_module_anywhere.*helpers\.py, line 1"):
        load(reference, Exporter)
    (tmp_path / "helpers.py").write_text(
        "from pipeline.kit import Exporter\nexporter = Exporter('corrected, and longer')\n"
    )
    assert load(reference, Exporter).name == "corrected, and longer"
