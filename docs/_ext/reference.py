"""The API reference: a page for each module, with every public symbol, and the checks that nothing is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

from docs._ext import generated, inventory, katex
from docs._ext.docstrings import equations, summary, to_rst
from docs._ext.inventory import Module, Symbol
from docs._ext.lexicon import NotationError
from docs._ext.notation import to_tex

_DIRECTIVES = {"function": "autofunction", "class": "autoclass", "data": "autodata"}
_METHODS = {"method": "automethod", "property": "autoproperty"}


def linker(module: str, owner: str = "") -> Any:
    """A function that links a name in a docstring of a module, or of a class in it, if it is in the reference."""
    known = inventory.aliases()
    pages = {page.name for page in inventory.modules()}
    places = [owner, module, module.rpartition(".")[0], "genjax", ""]

    def link(code: str) -> str | None:
        for place in places:
            full = f"{place}.{code}".lstrip(".")
            if full in known:
                return f":py:obj:`{code} <{known[full]}>`"
            if full in pages:
                return f":py:mod:`{code} <{full}>`"
        return None

    return link


def documentation(path: str, *, is_module: bool) -> list[str] | None:
    """The reStructuredText of a module or a symbol by its path, with the fields of a record; None if it is not ours.

    Raises:
      ExtensionError: an equation cannot be translated or set; the message names the docstring.
    """
    symbol = None if is_module else inventory.symbols().get(inventory.aliases().get(path, path))
    module = next((module for module in inventory.modules() if is_module and module.name == path), None)
    if symbol is None and module is None:
        return None
    doc = (symbol.doc if symbol else module.doc if module else "") or ""
    home = symbol.module if symbol else path
    link = linker(home, symbol.path if symbol else "")
    try:
        lines = to_rst(doc, link)
        for equation in equations(doc):
            katex.check(to_tex(equation), place=f"the docstring of {path}")
    except NotationError as error:
        raise ExtensionError(f"the docstring of {path}: {error}") from error
    return lines + (_fields(symbol, link) if symbol and symbol.fields else [])


def _fields(symbol: Symbol, link: Any) -> list[str]:
    lines = [":Fields:"]
    for field in symbol.fields:
        doc = " ".join(to_rst(field.comment, link)).strip() if field.comment else ""
        lines.append(f"   * **{field.name}** : ``{field.annotation}``" + (f" – {doc}" if doc else ""))
    return [*lines, ""]


def page(module: Module) -> str:
    """The source of a module's page."""
    lines = [module.name, "=" * len(module.name), "", f".. automodule:: {module.name}"]
    lines += ["   :no-index:", ""] if _shadowed(module.name) else [""]
    if module.exports:
        lines += ["What it exports:", "", *_table(module.exports), ""]
    below = [each.name for each in inventory.modules() if each.name.rpartition(".")[0] == module.name]
    if below:
        lines += [".. toctree::", "   :maxdepth: 1", "", *(f"   {_last(name)} <{name}>" for name in below), ""]
    for symbol in module.symbols:
        lines += [f".. {_DIRECTIVES[symbol.kind]}:: {symbol.path}"]
        lines += ["   :no-value:"] if symbol.kind == "data" else []
        lines += [""]
        for method in symbol.methods:
            lines += [f"   .. {_METHODS[method.kind]}:: {method.path}", ""]
    return "\n".join(lines) + "\n"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _shadowed(module: str) -> bool:
    """Whether a function that its package exports has the name of a module."""
    return module in inventory.symbols()


def _table(paths: Iterable[str]) -> list[str]:
    """A list of symbols with the first sentence of each."""
    found = inventory.symbols()
    lines = [".. list-table::", "   :widths: 35 65", ""]
    for path in paths:
        symbol = found[path]
        first = summary(symbol.doc or "", linker(symbol.module))
        lines += [f"   * - :py:obj:`{symbol.name} <{path}>`", f"     - {first}"]
    return lines


def write_pages(folder: Path) -> None:
    """Writes the page of every module, and removes those of modules that are gone."""
    wanted = {f"{module.name}.rst": page(module) for module in inventory.modules()}
    generated.write(folder, wanted, pattern="genjax*.rst")


def _generate(app: Sphinx) -> None:
    missing = inventory.undocumented()
    if missing:
        raise ExtensionError(f"no docstring or comment: {', '.join(missing)}")
    write_pages(Path(app.srcdir) / "api")


def _replace_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Autodoc's hook: the docstring in this project's notation becomes reStructuredText."""
    converted = documentation(name, is_module=what == "module")
    if converted is not None:
        lines[:] = converted


def _replace_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Autodoc's hook: aliases by their names, and the defaults of a record's fields as they are written."""
    symbol = inventory.symbols().get(name)
    if symbol and symbol.fields and "<" in (signature or ""):
        shown = (
            f"{each.name}: {each.annotation}{f' = {each.default}' if each.default else ''}" for each in symbol.fields
        )
        return f"({', '.join(shown)})", returned
    pattern = re.compile(r"TypeAliasForwardRef\('([\w.]+)'\)")  # within a union
    return signature and pattern.sub(r"\1", signature), returned and pattern.sub(r"\1", returned)


def missing_from(documented: Iterable[str]) -> list[str]:
    """The public symbols and modules that are not among the documented objects."""
    wanted = {*inventory.symbols(), *(module.name for module in inventory.modules() if not _shadowed(module.name))}
    return sorted(wanted - set(documented))


def _check_coverage(app: Sphinx, env: BuildEnvironment) -> None:
    domain = env.domains.python_domain
    missing = missing_from([*domain.objects, *domain.modules])
    if missing:
        raise ExtensionError(f"missing from the API reference: {', '.join(missing)}")


def _qualify(app: Sphinx, doctree: Any) -> None:
    """Names in signatures become paths, as the imports of their module say, where autodoc has left them as written."""
    module = app.env.docname.removeprefix("api/")
    if module not in {page.name for page in inventory.modules()}:
        return
    for node in doctree.findall(pending_xref):
        name, _, attribute = node["reftarget"].partition(".")
        path = inventory.names(module).get(name)
        if node.get("refdomain") == "py" and node["reftype"] == "class" and path:
            full = f"{path}.{attribute}".rstrip(".")
            node["reftarget"] = inventory.aliases().get(full, full)


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Any) -> Any:
    """Links the path at which a symbol is defined to the one by which it is documented."""
    target = node.get("reftarget", "")
    path = inventory.aliases().get(target)
    if path is None or path == target or app.builder is None:
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", path, node, content)  # type: ignore[arg-type]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects the extension."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("builder-inited", _generate)
    app.connect("autodoc-process-docstring", _replace_docstring)
    app.connect("autodoc-process-signature", _replace_signature)
    app.connect("doctree-read", _qualify)
    app.connect("missing-reference", _resolve)
    app.connect("env-check-consistency", _check_coverage)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
