"""Packages whose modules are imported when they are first named: `import genjax; genjax.models.vae`."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any


def submodules(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a package, for its `__init__.py`."""

    def names() -> list[str]:
        return [module.name for module in pkgutil.iter_modules(sys.modules[package].__path__)]

    def import_named(name: str) -> Any:
        if name in names():
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names()})

    return import_named, listed
