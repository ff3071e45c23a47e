"""Mutation testing: changes one thing in a formula, runs the tests that match, and prints the changes none noticed.

    python -m tests.mutate
    python -m tests.mutate --files=genjax/losses/divergence.py --num=50 --seed=1
    python -m tests.mutate --results=mutants.jsonl

A mutant is a module with a single change: an operator, a sign, a constant, an axis, an argument, a reduction, a key.
For each of `--num` mutants, drawn evenly over the kinds of change, the quick tests of its module run in a copy of the
project, those of the same name first, until one fails. Before that they run once on the unchanged project, and must
pass. The output is the survivors, and a table of the kinds with the number of mutants and of those noticed.

With `--results`, each result is kept in a file, and the same command on the same code goes on from it. It needs Linux
and takes about half a minute per mutant and core. The exit status is 1 if fewer than 97 % were noticed.
"""

from __future__ import annotations

import argparse
import ast
import collections
import concurrent.futures
import copy
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PLACES = (
    "genjax/losses",
    "genjax/models",
    "genjax/evaluation",
    "genjax/networks",
    "genjax/stochastic",
    "genjax/information.py",
    "genjax/variational.py",
    "genjax/gradients.py",
)
SECONDS = 1200  # a mutant that takes longer never ends, which is noticed too
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
}
COMPARISONS = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}  # not `<` and `<=`, which differ nowhere among random numbers; boundaries of integers move with their constants
FUNCTIONS = {
    "sum": "mean",
    "mean": "sum",
    "max": "min",
    "min": "max",
    "maximum": "minimum",
    "minimum": "maximum",
    "exp": "expm1",
    "expm1": "exp",
    "log": "log1p",
    "log1p": "log",
    "sin": "cos",
    "cos": "sin",
    "square": "abs",
    "sqrt": "square",
    "sigmoid": "tanh",
    "tanh": "sigmoid",
    "relu": "softplus",
    "softplus": "relu",
    "argmax": "argmin",
    "logsumexp": "max",
    "normal": "uniform",
    "floor": "ceil",
    "zeros": "ones",
    "ones": "zeros",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
}
LEFT_ALONE = ("axis", "strict")  # arguments: `axis` is a kind of its own, `strict` is not part of a formula
IDENTITIES = ("stop_gradient", "abs", "square", "clip", "transpose", "flip", "roll", "cumsum", "sort", "log", "exp")


class Mutant(NamedTuple):
    """One change of a module."""

    file: str  # below the root
    line: int
    kind: str
    before: str
    after: str
    source: str  # of the whole module


def changes(node: ast.AST, keys: set[str]) -> Iterator[tuple[str, ast.AST]]:
    """The kinds of change that a node admits, each with the node that takes its place.

    Args:
      keys: the names of random keys in the function around it.
    """
    match node:
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            yield "operator", ast.BinOp(node.left, OPERATORS[type(op)](), node.right)
            if isinstance(op, ast.Add | ast.Sub):
                yield "term left out", node.left
        case ast.BinOp(op=ast.MatMult()):
            yield "arguments exchanged", ast.BinOp(node.right, ast.MatMult(), node.left)
        case ast.UnaryOp(op=ast.USub()):
            yield "sign", node.operand
        case ast.UnaryOp(op=ast.Not()):
            yield "condition", node.operand
        case ast.BoolOp(op=op):
            yield "condition", ast.BoolOp(ast.And() if isinstance(op, ast.Or) else ast.Or(), node.values)
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield "condition", ast.Compare(node.left, [COMPARISONS[type(op)]()], node.comparators)
        case ast.IfExp():
            yield "condition", ast.IfExp(node.test, node.orelse, node.body)
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield "constant", ast.Constant(value + 1)
        case ast.Name(id=name, ctx=ast.Load()) if name in keys:
            for other in sorted(keys - {name}):
                yield "key", ast.Name(other, ast.Load())
        case ast.Call():
            yield from _changes_of_call(node)


def _changes_of_call(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in FUNCTIONS and isinstance(node.func, ast.Attribute):
        other = ast.Attribute(node.func.value, FUNCTIONS[name], ast.Load())
        yield "function", ast.Call(other, node.args, node.keywords)
    if name in IDENTITIES and node.args:
        yield "function left out", node.args[0]
    if name == "fold_in":
        yield "key", node.args[0]
    if len(node.args) >= 2 and all(isinstance(a, ast.Name | ast.Attribute | ast.Subscript) for a in node.args[:2]):
        yield "arguments exchanged", ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
    for index, keyword in enumerate(node.keywords):
        rest = [*node.keywords[:index], *node.keywords[index + 1 :]]
        if keyword.arg == "axis" and isinstance(keyword.value, ast.Constant | ast.UnaryOp | ast.Tuple):
            axis = ast.literal_eval(keyword.value)
            other = ast.Constant(0 if axis != 0 else -1)
            yield "axis", ast.Call(node.func, node.args, [*rest, ast.keyword("axis", other)])


class _Sites(ast.NodeVisitor):
    """The nodes of a module that may change, each with the keys in scope; not its texts, types and error messages."""

    def __init__(self) -> None:
        self.found: list[tuple[ast.AST, set[str]]] = []
        self._keys: set[str] = set()

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            arguments = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
            outer, self._keys = self._keys, {*self._keys, *filter(_is_key, arguments)}
            for child in ast.walk(node):
                if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store) and _is_key(child.id):
                    self._keys.add(child.id)
            for part in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                self.visit(part)
            for part in node.body if isinstance(node, ast.FunctionDef) else [node.body]:
                self.visit(part)
            self._keys = outer
            return
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
            return
        if isinstance(node, ast.keyword) and node.arg in LEFT_ALONE:
            return
        self.found.append((node, self._keys))
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self.visit(node.value)
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        self.generic_visit(node)


def _is_key(name: str) -> bool:
    return name == "key" or name.endswith("_key")


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else super().generic_visit(node)


def mutants_of(file: str) -> list[Mutant]:
    """Every mutant of a module, without those whose text is that of the module."""
    source = (ROOT / file).read_text()
    tree = ast.parse(source)
    sites, unchanged = _Sites(), ast.unparse(tree)
    sites.visit(tree)
    found = []
    for node, keys in sites.found:
        for kind, other in changes(node, keys):
            memo: dict[int, object] = {}
            whole = copy.deepcopy(tree, memo)
            changed = _Replace(memo[id(node)], other).visit(whole)  # type: ignore[arg-type]
            text = ast.unparse(ast.fix_missing_locations(changed))
            if text != unchanged:
                found.append(Mutant(file, node.lineno, kind, ast.unparse(node), ast.unparse(other), text))
    return found


def draw(mutants: list[Mutant], num: int, seed: int) -> list[Mutant]:
    """Chooses `num` mutants, as evenly over the kinds as there are mutants of each."""
    chance = random.Random(seed)
    by_kind: dict[str, list[Mutant]] = collections.defaultdict(list)
    for mutant in chance.sample(mutants, len(mutants)):
        by_kind[mutant.kind].append(mutant)
    chosen: list[Mutant] = []
    while len(chosen) < min(num, len(mutants)):
        for kind in sorted(by_kind):
            if by_kind[kind] and len(chosen) < num:
                chosen.append(by_kind[kind].pop())
    return chosen


def tests_of(file: str) -> list[str]:
    """The test files of a module: of the same name, then those that use its public names, the most often first."""
    path = Path(file).relative_to("genjax")
    module, folder = path.stem, path.parent
    names = [folder / f"test_{module}.py", folder / f"test_{folder.name}.py", Path(f"test_{folder.name}.py")]
    first = [ROOT / "tests" / name for name in names]
    uses = re.compile(rf"\b({'|'.join([module, *_public(ROOT / file)])})\b")
    counts = {test: len(uses.findall(test.read_text())) for test in sorted((ROOT / "tests").rglob("test_*.py"))}
    using = sorted((test for test, count in counts.items() if count), key=lambda test: -counts[test])
    slow = ROOT / "tests" / "experiments"  # its tests start processes
    ordered = [test for test in (*first, *using) if test.exists() and slow not in test.parents]
    return list(dict.fromkeys(str(test.relative_to(ROOT)) for test in ordered))


def _public(path: Path) -> list[str]:
    """The public names that a module defines."""
    nodes = ast.parse(path.read_text()).body
    named = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assigned = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    named += [target.id for target in assigned if isinstance(target, ast.Name)]
    return [name for name in named if not name.startswith("_")]


def passes(folder: Path, tests: list[str]) -> bool:
    """Whether these tests pass in this copy of the project, within the time limit."""
    process = _start(folder, ["-x", "-n0", *tests], output=subprocess.DEVNULL)
    try:
        return process.wait(timeout=SECONDS) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return False


def _start(folder: Path, arguments: list[str], *, output: int | None) -> subprocess.Popen:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True)


def noticed(mutant: Mutant, folder: Path) -> bool:
    """Whether a test fails with this mutant in a copy of the project."""
    path = folder / mutant.file
    whole = path.read_text()
    path.write_text(mutant.source)
    try:
        return not passes(folder, tests_of(mutant.file))
    finally:
        path.write_text(whole)


def _left_out(folder: str, names: list[str]) -> set[str]:
    """What a copy of the project does without: history, caches, virtual environments, runs and the built site."""
    at_root = {".git", "runs"} if Path(folder) == ROOT else set()
    left_out = {"__pycache__", ".pytest_cache", "_build", *at_root}
    return {name for name in names if name in left_out or (Path(folder) / name / "pyvenv.cfg").exists()}


def in_copies(workers: int, action: Callable[[object, Path], bool], items: list) -> Iterator[bool]:
    """Applies an action to each item, with one copy of the project for each worker; results in order."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        own, number = threading.local(), iter(range(workers))

        def start() -> None:
            own.folder = Path(scratch) / str(next(number))
            shutil.copytree(ROOT, own.folder, ignore=_left_out)

        with concurrent.futures.ThreadPoolExecutor(workers, initializer=start) as pool:
            yield from pool.map(lambda item: action(item, own.folder), items)


class Results:
    """What is known of mutants, by their descriptions: kept in a file, one line each, if there is a path."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._lock = path, threading.Lock()
        lines = path.read_text().splitlines() if path and path.exists() else []
        self.known: dict[str, bool] = dict(json.loads(line) for line in lines)

    def add(self, description: str, seen: bool) -> bool:
        """Keeps a result, and returns it."""
        with self._lock:
            self.known[description] = seen
            if self._path:
                with self._path.open("a") as file:
                    file.write(json.dumps([description, seen]) + "\n")
        return seen


def describe(mutant: Mutant) -> str:
    """A mutant in one line."""
    return f"{mutant.file}:{mutant.line} {mutant.kind}: {mutant.before}  ->  {mutant.after}"


def choose(files: str, num: int, seed: int) -> list[Mutant]:
    """Draws mutants of these modules and folders, separated by commas; by default of those with formulas."""
    places = [ROOT / place for place in (files.split(",") if files else PLACES)]
    found = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*.py")))]
    names = [str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py"]
    return draw([mutant for name in names for mutant in mutants_of(name)], num, seed)


def attempt(chosen: list[Mutant], results: Results, workers: int) -> None:
    """Runs the tests on the unchanged project, then on each mutant that has no result yet."""
    tests = list(dict.fromkeys(test for mutant in chosen for test in tests_of(mutant.file)))
    if "unchanged" not in results.known:
        pytest = [f"-n{workers}", *tests]
        if not all(in_copies(1, lambda _, folder: _start(folder, pytest, output=None).wait() == 0, [None])):
            sys.exit("a test fails on the unchanged project")
        results.add("unchanged", True)
    left = [mutant for mutant in chosen if describe(mutant) not in results.known]
    tried = in_copies(workers, lambda mutant, folder: results.add(describe(mutant), noticed(mutant, folder)), left)
    for number, (mutant, seen) in enumerate(zip(left, tried, strict=True), start=1):
        if not seen:
            print(f"survived: {describe(mutant)}", flush=True)
        elif sys.stderr.isatty():
            print(f"\r{number} of {len(left)}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Draws the mutants, runs the tests, and prints the table and the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="", help="modules, separated by commas; by default those with formulas")
    parser.add_argument("--num", type=int, default=400, help="number of mutants")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="mutants tried at a time")
    parser.add_argument("--results", type=Path, help="file of the results, from which the same command goes on")
    flags = parser.parse_args()
    chosen, results = choose(flags.files, flags.num, flags.seed), Results(flags.results)
    attempt(chosen, results, flags.workers)
    counts: dict[str, list[int]] = {kind: [0, 0] for kind in sorted({mutant.kind for mutant in chosen})}
    for mutant in chosen:
        counts[mutant.kind][0] += 1
        counts[mutant.kind][1] += results.known[describe(mutant)]
    total, caught = (sum(column) for column in zip(*counts.values(), strict=True))
    print("\n| kind | mutants | noticed |\n| --- | --- | --- |")
    for kind, (num, seen) in counts.items():
        print(f"| {kind} | {num} | {seen} |")
    print(f"| all | {total} | {caught} ({caught / total:.1%}) |")
    return 0 if caught >= 0.97 * total else 1


if __name__ == "__main__":
    sys.exit(main())
