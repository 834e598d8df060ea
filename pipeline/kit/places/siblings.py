"""Plug-in files that import modules beside them: each directory has modules of its own, whatever their names.

The modules of a directory are loaded as those of a package of that directory, under a name that no other has. Their
`import` statements look into the directory first, also those that run later, inside of functions.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

_PREFIX = "pipeline_plugin_"
_INSTALLED = tuple({sys.prefix, sys.base_prefix})


def import_file(path: Path) -> ModuleType:
    """Import a file once in a process. Its errors pass through."""
    package = _package_of(path.parent)
    name = f"{package}.{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    assert spec is not None  # the loader is given
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    before = set(sys.modules)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for loaded in {name, *(set(sys.modules) - before)}:
            if loaded.startswith(f"{package}."):
                del sys.modules[loaded]
        raise
    return module


def _package_of(directory: Path) -> str:
    """Return the name of the package that has the modules of a directory."""
    name = f"{_PREFIX}{blake2b(bytes(directory), digest_size=8).hexdigest()}"
    if name not in sys.modules:
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(directory)]
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
    return name


class _Finder:
    """Finds the modules of such packages, and lets their imports look into the directory."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(_PREFIX) or path is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__.partition(".")[0]
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _importer(package)}
        super().exec_module(module)


@cache
def _importer(package: str) -> Any:
    """Return the function that the `import` statements of the modules of a package call."""

    def import_(
        name: str,
        globals: Mapping[str, object] | None = None,  # the names of the arguments of `__import__`
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or not _is_sibling(package, top):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = importlib.import_module(f"{package}.{name}")
        for member in fromlist or ():
            if member != "*" and not hasattr(module, member) and hasattr(module, "__path__"):
                importlib.import_module(f"{module.__name__}.{member}")
        return module if fromlist else sys.modules[f"{package}.{top}"]

    return import_


@cache
def _is_sibling(package: str, top: str) -> bool:
    """Whether the directory has a module of this name. The standard library and what is installed come first."""
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return False
    if PathFinder.find_spec(top, sys.modules[package].__path__) is None:
        return False
    elsewhere = PathFinder.find_spec(top)
    return elsewhere is None or not (elsewhere.origin or "").startswith(_INSTALLED)
