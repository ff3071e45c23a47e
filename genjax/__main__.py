"""What there is: versions, devices, modules, data sets and experiments.

python -m genjax
"""

from __future__ import annotations

import ast
import importlib.util
import platform
from importlib import metadata
from pathlib import Path

import jax

import genjax
from genjax import data
from genjax.paths import user_cache

LIBRARIES = ("jax", "flax", "optax", "numpy")


def main() -> None:
    """Prints it."""
    summary, _, rest = (genjax.__doc__ or "").partition("\n")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    devices = ", ".join(f"{device.device_kind} {device.id}" for device in jax.devices())
    print(f"genjax {genjax.__version__}: {summary}\n{rest}")
    print(f"Python {platform.python_version()}, {versions}")
    print(f"Devices of JAX ({jax.default_backend()}): {devices}")
    print(f"Data sets without a download: {', '.join(data.EMBEDDED)}")
    print(f"Cache: {user_cache()} ({_mebibytes(user_cache()):.0f} MiB)\n")
    pages = _pages()
    if not pages:
        print("The experiments are in a clone of the repository; run this command from there to list them.")
        return
    print("Experiments and commands, each with --helpshort:\n")
    for name, purpose in sorted(pages.items()):
        print(f"  python -m experiments.{name:<17} {purpose}")


def _mebibytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def _pages() -> dict[str, str]:
    """The runnable modules of `experiments` by name, with the first line of their docstrings; nothing is imported."""
    spec = importlib.util.find_spec("experiments")
    pages = {}
    for folder in map(Path, (spec and spec.submodule_search_locations) or ()):
        for path in [*folder.glob("*.py"), *folder.glob("*/__init__.py")]:
            source = path.read_text()
            entry = path if path.name != "__init__.py" else path.with_name("__main__.py")
            if path != folder / "__init__.py" and entry.exists() and '"__main__"' in entry.read_text():
                name = path.stem if path.name != "__init__.py" else path.parent.name
                pages[name] = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    return pages


if __name__ == "__main__":
    main()
