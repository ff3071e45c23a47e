"""The package keeps its word: what it declares, what importing it does, and what its pages tell a reader to type."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
README = ROOT / "README.md"


def requirements(*extras: str) -> list[Requirement]:
    lines = PROJECT["dependencies"] + [line for name in extras for line in EXTRAS[name]]
    return [Requirement(line) for line in lines]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def trees(package: str) -> Iterator[tuple[str, ast.Module]]:
    for path in modules(package):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def locked(name: str) -> list[Requirement]:
    return [Requirement(line.rstrip(" \\")) for line in (ROOT / name).read_text().splitlines() if re.match(r"\w", line)]


LOCKS = {"requirements.lock": ("tensorboard",), "requirements-dev.lock": ("tensorboard", "test", "dev")}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_a_hash_for_everything_and_names_no_host(lock):
    text = (ROOT / lock).read_text()
    entries = [entry for entry in re.split(r"\n(?=\w)", text) if entry]
    assert [entry.splitlines()[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []
    assert [line for line in text.splitlines() if re.search(r"//|@|/|\.(com|org|io|net)\b", line)] == []


@pytest.mark.parametrize(("lock", "extras"), LOCKS.items())
@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_lock_answers_every_declared_dependency(lock, extras, python):
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    versions = {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for pin in locked(lock)
        if pin.marker is None or pin.marker.evaluate(environment)
    }
    declared = requirements(*extras)
    unmet = [
        str(need) for need in declared if not need.specifier.contains(versions.get(canonicalize_name(need.name), "0"))
    ]
    assert unmet == []


def test_both_locks_hold_the_same_versions():
    assert set(map(str, locked("requirements.lock"))) <= set(map(str, locked("requirements-dev.lock")))


def imported(tree: ast.AST, *, lazily: bool) -> set[str]:
    """Top-level names imported anywhere (`lazily`) or outside every function."""
    names, nodes = set(), [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
        if lazily or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            nodes += ast.iter_child_nodes(node)
    return names - set(sys.stdlib_module_names) - {"genjax", "experiments", "tests", "docs"}


@pytest.mark.parametrize(
    ("package", "extras"), [("genjax", ()), ("experiments", ()), ("docs", ("docs",)), ("tests", ("test", "docs"))]
)
@pytest.mark.parametrize("lazily", [False, True])
def test_every_import_is_declared(package, extras, lazily):
    """At the top of a module only what is always installed; inside a function an extra as well."""
    distributions = importlib.metadata.packages_distributions()
    declared = {canonicalize_name(need.name) for need in requirements(*(EXTRAS if lazily else extras))}
    # of modules that are imported where they are needed
    peers = {canonicalize_name(need.name) for need in requirements("bench")}
    undeclared = {
        f"{path}: {name}"
        for path, tree in trees(package)
        for name in imported(tree, lazily=lazily)
        if not (declared | (peers if path.endswith(("benchmark/peers.py", "_models.py")) else set()))
        & {canonicalize_name(found) for found in distributions.get(name, [name])}
    }
    assert undeclared == set()


def test_importing_starts_no_backend_and_no_tensorflow():
    """Threads, devices and deterministic kernels are chosen when the backend starts, so an import must not start it."""
    code = """
import importlib, sys
from jax._src import xla_bridge
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert not xla_bridge.backends_are_initialized(), f"{name} starts a JAX backend"
    assert "tensorflow" not in sys.modules, f"{name} imports tensorflow"
"""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules("genjax")]
    names = [name.removesuffix(".__init__") for name in names]
    run = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def public_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path, tree in trees("genjax"):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield f"{path}:{node.name}", node


def test_every_public_function_says_what_it_is():
    assert [name for name, function in public_functions() if not ast.get_docstring(function)] == []


def test_a_key_is_always_asked_for_and_comes_last():
    """One argument order everywhere: a key has no default and follows every other positional argument."""
    wrong = []
    for name, function in public_functions():
        arguments = function.args
        positional = [argument.arg for argument in arguments.posonlyargs + arguments.args]
        by_keyword = [argument.arg for argument in arguments.kwonlyargs]
        if "key" in by_keyword or ("key" in positional and (positional[-1] != "key" or arguments.defaults)):
            wrong.append(name)
    assert wrong == []


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Lines that are neither blank, nor comments, nor the docstring."""
    skipped = range(0)
    if ast.get_docstring(function) is not None:
        skipped = range(function.body[0].lineno, (function.body[0].end_lineno or 0) + 1)
    numbers = range(function.lineno, (function.end_lineno or 0) + 1)
    return sum(
        n not in skipped and not lines[n - 1].strip().startswith("#") and bool(lines[n - 1].strip()) for n in numbers
    )


@pytest.mark.parametrize("package", ["genjax", "experiments"])
def test_a_function_fits_on_a_screen_and_a_module_is_read_in_one_sitting(package):
    long = []
    for path in modules(package):
        lines = path.read_text().splitlines()
        if len(lines) > 320:
            long.append(f"{path.name}: {len(lines)} lines")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node, lines) >= 60:
                long.append(f"{path.name}:{node.name}: {code_lines(node, lines)} lines")
    assert long == []


def test_no_page_or_module_holds_somebodys_home_folder():
    pages = [path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".lock", ".yaml"}]
    pages += [ROOT / ".ci" / "run", *modules("genjax"), *modules("experiments"), *modules("tests")]
    home = re.compile(r"/(?:home|Users|root)/\w")
    assert [str(path.relative_to(ROOT)) for path in pages if home.search(path.read_text())] == []


@pytest.mark.skipif(not README.exists(), reason="README.md is not written yet")
def test_readme_tells_what_works():
    lines = README.read_text().splitlines()
    setups = [line for line in lines if line.startswith("python3 -m venv .venv && ")]
    assert any(line.endswith(" -m experiments.vae") for line in setups), "no command that trains a VAE"
    assert any("pytest" in line for line in setups), "no command that runs the tests"
    locks = {lock for line in setups for lock in re.findall(r"-r (\S+)", line)}
    assert locks == set(LOCKS)
    named = set(re.findall(r"python -m experiments\.(\w+)", "\n".join(lines)))
    assert {name for name in named if not (ROOT / "experiments" / f"{name}.py").exists()} == set()


def test_the_citation_and_the_changelog_are_of_this_version():
    cited = dict(re.findall(r"^([\w-]+): (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    version = importlib.import_module("genjax").__version__
    assert {"cff-version", "message", "title"} <= set(cited) and cited["version"] == version
    assert re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] in ("Unreleased", version)
