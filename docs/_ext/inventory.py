"""The public interface of genjax, read from its source: every module, and what each defines or exports.

A name is public if it has no leading underscore. What a package lists in `__all__` is documented by the package's
name (`genjax.losses.gaussian_kl`), on the page of the module that defines it.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Symbol(NamedTuple):
    """A public class, function or constant."""

    name: str
    kind: str  # class, function or data
    module: str  # that defines it
    path: str  # by which it is documented
    doc: str | None
    fields: tuple[Field, ...] = ()  # of a class
    methods: tuple[Symbol, ...] = ()  # of a class


class Field(NamedTuple):
    """A field of a record: its type as written, and what the comment beside it says."""

    name: str
    annotation: str
    comment: str | None
    default: str | None = None  # as written


class Module(NamedTuple):
    """A public module, with its symbols in the order of the source."""

    name: str
    doc: str | None
    symbols: tuple[Symbol, ...]
    exports: tuple[str, ...]  # paths of a package's `__all__`
    is_package: bool


@cache
def modules(root: Path = ROOT, package: str = "genjax") -> tuple[Module, ...]:
    """All public modules, packages before their modules."""
    found = {}
    for file in sorted((root / package).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            found[".".join(parts)] = file
    exported = {}
    for name, file in found.items():
        exported |= _exports(name, file)
    return tuple(_module(name, file, exported) for name, file in sorted(found.items()))


def symbols() -> dict[str, Symbol]:
    """All public symbols by the path that they are documented by, methods included."""
    found = {}
    for module in modules():
        for symbol in module.symbols:
            found[symbol.path] = symbol
            found |= {method.path: method for method in symbol.methods}
    return found


def aliases() -> dict[str, str]:
    """The path by which a symbol is documented, by each path that it has."""
    found = {}
    for symbol in symbols().values():
        owner, _, name = symbol.path.rpartition(".")
        found[f"{symbol.module}.{symbol.name}"] = symbol.path
        found[f"{owner}.{name}"] = symbol.path
    return found


@cache
def names(module: str) -> dict[str, str]:
    """The path at which each name that a module imports or defines is defined."""
    parts = module.split(".")
    file = ROOT.joinpath(*parts).with_suffix(".py")
    tree = ast.parse((file if file.exists() else ROOT.joinpath(*parts, "__init__.py")).read_text())
    found = {
        symbol.name: f"{module}.{symbol.name}" for page in modules() if page.name == module for symbol in page.symbols
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def undocumented() -> list[str]:
    """Public modules, symbols and methods without a docstring or a comment."""
    missing = [module.name for module in modules() if not module.doc]
    return missing + [path for path, symbol in symbols().items() if not symbol.doc]


def _exports(name: str, file: Path) -> dict[str, str]:
    """What a package lists in `__all__`: the path of each name's definition -> the path that it is exported by."""
    if file.name != "__init__.py":
        return {}
    tree = ast.parse(file.read_text())
    origins = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(name + ".")
        for alias in node.names
    }
    return {origins[each]: f"{name}.{each}" for each in _all(tree) if each in origins}


def _all(tree: ast.Module) -> list[str]:
    """The names in `__all__`, in the order of the source."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def _module(name: str, file: Path, exported: dict[str, str]) -> Module:
    text = file.read_text()
    tree, comments = ast.parse(text), _comments(text)
    found = []
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        for symbol in _symbols(node, after, name, comments):
            origin = f"{name}.{symbol.name}"
            path = exported.get(origin, origin)
            methods = tuple(method._replace(path=f"{path}.{method.name}") for method in symbol.methods)
            found.append(symbol._replace(path=path, methods=methods))
    exports = tuple(path for path in exported.values() if path.rpartition(".")[0] == name)
    is_package = file.name == "__init__.py"
    return Module(name, ast.get_docstring(tree), tuple(found), exports, is_package)


def _symbols(node: ast.stmt, after: ast.stmt | None, module: str, comments: dict[int, str]) -> Iterator[Symbol]:
    """The public symbols that a statement defines."""
    if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
        yield Symbol(node.name, "function", module, "", ast.get_docstring(node))
    elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
        fields, methods = tuple(_fields(node, comments)), tuple(_methods(node, module, comments))
        yield Symbol(node.name, "class", module, "", ast.get_docstring(node), fields, methods)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        variable = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "TypeVar"
        if isinstance(target, ast.Name) and not target.id.startswith("_") and not variable:
            doc = comments.get(node.end_lineno or 0) or comments.get(node.lineno)
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                doc = str(after.value.value)
            yield Symbol(target.id, "data", module, "", doc)


def _fields(node: ast.ClassDef, comments: dict[int, str]) -> Iterator[Field]:
    """The fields of a record, and properties that have a comment in place of a docstring."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and not item.target.id.startswith("_"):
            comment = comments.get(item.end_lineno or 0)
            if isinstance(item.value, ast.Call) and ast.unparse(item.value.func) in ("flag", "runs.flag"):
                comment = str(ast.literal_eval(item.value.args[1]))
            default = ast.unparse(item.value) if item.value else None
            yield Field(item.target.id, ast.unparse(item.annotation), comment, default)
        elif isinstance(item, ast.FunctionDef) and _is_field(item, comments):
            yield Field(item.name, ast.unparse(item.returns) if item.returns else "", comments[item.end_lineno or 0])


def _is_field(item: ast.FunctionDef, comments: dict[int, str]) -> bool:
    return not ast.get_docstring(item) and (item.end_lineno or 0) in comments and bool(item.decorator_list)


def _methods(node: ast.ClassDef, module: str, comments: dict[int, str]) -> Iterator[Symbol]:
    """The public methods and properties of a class."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and not _is_field(item, comments):
            decorators = {ast.unparse(decorator) for decorator in item.decorator_list}
            kind = "property" if decorators & {"property", "functools.cached_property", "cached_property"} else "method"
            yield Symbol(item.name, kind, module, "", ast.get_docstring(item))


def _comments(text: str) -> dict[int, str]:
    """The comments behind code, by line."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            comment = token.string.lstrip("# ")
            if not comment.startswith(("type:", "noqa", "pyright:")):
                found[token.start[0]] = comment.split("  # ")[0]
    return found
