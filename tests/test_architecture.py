"""The structure of the package: which way imports go, how large its parts are, and what is public."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import get_args

import grimp
import pytest

import pipeline
import pipeline.domain.errors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pipeline"


def test_imports_only_go_down() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_every_public_name_is_there_and_no_other() -> None:
    assert sorted(pipeline.__all__) == dir(pipeline)
    for name in pipeline.__all__:
        assert getattr(pipeline, name) is not None
        assert not list((ROOT / "pipeline").glob(f"{name}*"))  # a module of that name would hide it
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pipeline.no_such_name  # type: ignore[attr-defined]


def test_every_error_and_event_is_public() -> None:
    errors = {name for name, thing in vars(pipeline.domain.errors).items() if isinstance(thing, type)}
    events = {event.__name__ for event in get_args(pipeline.Event)}
    assert errors | events <= set(pipeline.__all__)


def test_importing_the_package_loads_nothing_else() -> None:
    program = "import sys; before = set(sys.modules); import pipeline; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if name.startswith("pipeline")} == {"pipeline"}


def test_the_version_is_that_of_the_distribution() -> None:
    assert f'version = "{pipeline.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph("pipeline", cache_dir=None)
    imports = {
        module: graph.find_modules_directly_imported_by(module) | late_imports(module) for module in graph.modules
    }
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"an import circle: {' -> '.join(error.args[1])}")


def late_imports(module: str) -> set[str]:
    """Return the modules that a module imports by name, when it needs them. The package itself is no floor."""
    path = ROOT / module.replace(".", "/")
    if module == "pipeline":
        return set()
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    return set(re.findall(r'import_module\("(pipeline[\w.]+)"\)', text))


def test_files_and_folders_stay_small() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > 400} == {}
    assert statistics.median(lines[path] for path in lines if path.name != "__init__.py") <= 130
    simulation = (ROOT / "tests" / "simulation").rglob("*.py")  # as large as a floor of the package
    folders = Counter(path.parent for path in (*lines, *simulation) if path.name != "__init__.py")
    assert {str(folder.relative_to(ROOT)): count for folder, count in folders.items() if count > 12} == {}


def test_functions_stay_short() -> None:
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)]
    lines = sorted((node.end_lineno or node.lineno) - node.lineno + 1 for node in functions)
    assert lines[len(lines) * 9 // 10] <= 20
    assert lines[-1] <= 60
