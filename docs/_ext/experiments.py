"""A page for each experiment and command, from its docstring, its pictures, its flags and its source; and a gallery."""

from __future__ import annotations

import importlib
import pkgutil
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from docs import gallery
from docs._ext import generated, inventory, katex
from docs._ext.docstrings import equations, summary, to_rst
from docs._ext.lexicon import NotationError
from docs._ext.notation import to_tex
from docs._ext.reference import linker


class Page(NamedTuple):
    """An experiment or a command: a module that is run by `python -m experiments.NAME`."""

    name: str
    doc: str
    flags: str  # as --helpshort prints them
    file: Path
    trains: bool  # whether it is an experiment, rather than a command on finished runs


@cache
def pages() -> tuple[Page, ...]:
    """All experiments and commands."""
    import experiments

    found = []
    for info in pkgutil.iter_modules(experiments.__path__):
        folder = inventory.ROOT / "experiments" / info.name
        file = folder / "__main__.py" if info.ispkg else folder.with_suffix(".py")
        if 'if __name__ == "__main__":' in file.read_text():
            found.append(_page(info.name, file, info.ispkg))
    return tuple(found)


def _page(name: str, file: Path, is_package: bool) -> Page:
    from genjax.runs import command
    from genjax.runs.flags import specs

    module = importlib.import_module(f"experiments.{name}")
    main = importlib.import_module(f"experiments.{name}.__main__") if is_package else module
    experiment = getattr(module, "EXPERIMENT", None)
    record = experiment.flags if experiment else getattr(main, "Flags", None) or main.reproduce.Flags
    more = specs(command.Start) if experiment else []
    text = command.help_page(record, name, more)
    flags = text[re.search(r"^usage: .*\n+", text, re.MULTILINE).end() :]  # type: ignore[union-attr]
    return Page(name, module.__doc__ or "", flags, file, experiment is not None or name == "lemmas")


def flag_names(page: Page) -> set[str]:
    """The names of a page's flags."""
    return set(re.findall(r"^  --(?:\[no\])?(\w+)", page.flags, re.MULTILINE))


def pictures(name: str) -> list[tuple[str, str]]:
    """The pictures of an experiment below docs/pictures, with their captions.

    Raises:
      ExtensionError: a picture is missing.
    """
    found = []
    for shown in gallery.SHOWN:
        if shown.experiment == name:
            for file, caption in shown.pictures.items():
                if not (gallery.PICTURES / shown.name / file).exists():
                    raise ExtensionError(f"docs/pictures/{shown.name}/{file} is missing: python -m docs.gallery")
                found.append((f"/pictures/{shown.name}/{file}", caption))
    return found


def source(page: Page) -> str:
    """The source of a page of the site.

    Raises:
      ExtensionError: an equation of the docstring cannot be translated or set.
    """
    place = f"the docstring of experiments.{page.name}"
    try:
        doc = to_rst(page.doc, linker(f"experiments.{page.name}"))
        for equation in equations(page.doc):
            katex.check(to_tex(equation), place=place)
    except NotationError as error:
        raise ExtensionError(f"{place}: {error}") from error
    lines = [page.name, "=" * len(page.name), "", *doc]
    shown = pictures(page.name)
    if shown:
        lines += ["Pictures", "--------", ""]
        for shown_run in gallery.SHOWN:
            if shown_run.experiment == page.name:
                lines += _figures(shown_run)
    lines += ["Flags", "-----", "", ".. code-block:: text", "", *(f"   {line}" for line in page.flags.splitlines()), ""]
    relative = page.file.relative_to(inventory.ROOT)
    lines += ["Source", "------", "", f"``{relative}``", ""]
    lines += [f".. literalinclude:: /../{relative}", "   :language: python", ""]
    return "\n".join(lines)


def _figures(shown: gallery.Shown) -> list[str]:
    command = " ".join(["python -m", f"experiments.{shown.experiment}", *gallery.readable(shown)])
    lines = [f"Of ``{command}``:", ""]
    for file, caption in shown.pictures.items():
        lines += [f".. figure:: /pictures/{shown.name}/{file}", "   :class: picture", "", f"   {caption}", ""]
    return lines


def first_sentence(page: Page) -> str:
    """What a page does, in reStructuredText."""
    return summary(page.doc, linker(f"experiments.{page.name}"))


def overview() -> str:
    """The source of the gallery: thumbnails that lead to the pages, then the commands on finished runs."""
    lines = ["Experiments", "===========", ""]
    lines += [
        "Each experiment is a command, ``python -m experiments.NAME``, and leaves its pictures in its run directory.",
        "Unless a page says otherwise, the pictures here are those of a run without any flag.",
        "",
        ".. container:: gallery",
        "",
    ]
    by_name = {page.name: page for page in pages()}
    for name in dict.fromkeys(shown.experiment for shown in gallery.SHOWN):
        file, caption = pictures(name)[0]
        lines += ["   .. container:: card", "", f"      .. image:: {file}", f"         :alt: {caption}"]
        lines += [f"         :target: {name}.html", "", f"      :doc:`{name}`", ""]
        lines += [f"      {first_sentence(by_name[name])}", ""]
    for title, trains in (("All experiments", True), ("Commands on finished runs", False)):
        lines += [title, "-" * len(title), "", ".. list-table::", "   :widths: 22 78", ""]
        for page in pages():
            if page.trains == trains:
                lines += [f"   * - :doc:`{page.name}`", f"     - {first_sentence(page)}"]
        lines += [""]
    return "\n".join([*lines, ".. toctree::", "   :hidden:", "", *(f"   {page.name}" for page in pages()), ""])


def _generate(app: Sphinx) -> None:
    wanted = {f"{page.name}.rst": source(page) for page in pages()} | {"index.rst": overview()}
    generated.write(Path(app.srcdir) / "experiments", wanted, pattern="*.rst")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects the extension."""
    app.connect("builder-inited", _generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
