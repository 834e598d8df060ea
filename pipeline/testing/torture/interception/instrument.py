"""Loading an author's modules so that something may go wrong at every `await` in them.

The modules are compiled from their source, with each awaited value passed through a hook. Files and lines stay what
they are. Only modules in the author's own directory are treated so.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from pipeline.kit.authors_line import PACKAGE
from pipeline.testing.torture.interception.hooks import HOOKS

ALIAS = "tortured_"
"""The beginning of the name under which a module that is no part of a package is loaded."""
MOST_SOURCE = 60
"""Characters of an `await` that a story shows."""


class _Hooked(ast.NodeTransformer):
    """Passes what is awaited, iterated and entered through the hooks."""

    def __init__(self, source: str, name: str) -> None:
        self._lines, self._name = source.splitlines(), name

    def visit_Await(self, node: ast.Await) -> ast.AST:  # the name in the standard library
        self.generic_visit(node)
        node.value = self._hooked("await", node.value, node.lineno)
        return node

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        self.generic_visit(node)
        node.iter = self._hooked("each", node.iter, node.lineno)
        return node

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        self.generic_visit(node)
        for item in node.items:
            item.context_expr = self._hooked("within", item.context_expr, item.context_expr.lineno)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        if node.is_async:
            node.iter = self._hooked("each", node.iter, node.iter.lineno)
        return node

    def _hooked(self, kind: str, value: ast.expr, line: int) -> ast.expr:
        text = self._lines[line - 1].strip()
        shown = text if len(text) <= MOST_SOURCE else f"{text[: MOST_SOURCE - 1]}…"
        where = ast.Constant(f"{self._name}, line {line}: {shown}")
        call = ast.Call(ast.Name(f"__pipeline_{kind}__", ast.Load()), [value, where], [])
        return ast.fix_missing_locations(ast.copy_location(call, value))


class _Loader(SourceFileLoader):
    """Compiles a module with the hooks. Modules that Python has compiled before are neither used nor replaced."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_source(fullname) or ""
        tree = _Hooked(source, Path(path).name).visit(ast.parse(source, path))
        code: CodeType = compile(tree, path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(HOOKS)
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or not is_below(spec.origin, self._root):
            return None
        places = spec.submodule_search_locations
        return spec_from_file_location(
            fullname, spec.origin, loader=_Loader(fullname, spec.origin), submodule_search_locations=places
        )


def is_below(file: str, root: Path) -> bool:
    """Whether a file is an author's Python file below a directory: none of an environment in it, and none of ours."""
    path = Path(file)
    inner = path.relative_to(root).parts if path.is_relative_to(root) else ("site-packages",)
    return path.suffix == ".py" and "site-packages" not in inner and not file.startswith(PACKAGE)


@contextmanager
def _finding(root: Path, names: Collection[str]) -> Iterator[None]:
    """Load the modules below `root` with the hooks; afterwards, those that were loaded before are back in their places.

    A module of another directory that has one of the top-level `names` is taken out meanwhile as well.
    """
    finder = _Finder(root)
    before = {
        name: module
        for name, module in sys.modules.items()
        if is_below(_file(module), root) or (name.partition(".")[0] in names and not _is_installed(_file(module)))
    }
    for name in before:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(before)


def _modules_in(directory: Path) -> Collection[str]:
    """Return the names of the modules in a directory; those of the standard library come first."""
    found = {path.stem for path in directory.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    return found - sys.stdlib_module_names


def _is_installed(file: str) -> bool:
    return file.startswith((sys.prefix, sys.base_prefix, PACKAGE))


def _file(module: object) -> str:
    return getattr(module, "__file__", None) or ""


def reloaded(file: str, module: str, name: str) -> Any:
    """Return the object `name` of an author's file, loaded again with the hooks. `module` is its name if it is in a package."""
    path, package = Path(file).resolve(), module.rpartition(".")[0]
    top = path.parents[package.count(".") + 1] if package else path.parent
    root = top / package.partition(".")[0]
    alias = module if package else f"{ALIAS}{blake2b(bytes(path), digest_size=8).hexdigest()}_{path.stem}"
    names = () if package else _modules_in(root)
    with _finding(root, names), _on_path(top):
        loader = _Loader(alias, str(path))
        spec = spec_from_file_location(alias, path, loader=loader)
        assert spec is not None  # it has a loader
        if package:
            importlib.import_module(package)
        loaded = sys.modules[alias] = module_from_spec(spec)
        loader.exec_module(loaded)
    found: Any = loaded
    for part in name.split("."):
        found = getattr(found, part)
    return found


@contextmanager
def _on_path(directory: Path) -> Iterator[None]:
    """Look for modules in a directory first; afterwards last, for `import` statements that run later."""
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        if str(directory) not in sys.path:
            sys.path.append(str(directory))
