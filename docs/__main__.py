"""Builds the site: `python -m docs`, into docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.cmd.build import build_main

FOLDER = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    """Builds everything anew but the outputs of notebooks, with every warning an error.

    Args:
      arguments: more arguments of sphinx-build.

    Returns:
      The exit status.
    """
    built = FOLDER / "_build"
    options = ["-W", "-n", "-E", "-j", "auto", "--keep-going", "-b", "html", "-d", str(built / "doctrees")]
    status = build_main([*options, *arguments, str(FOLDER), str(built / "html")])
    if status == 0:
        print(f"open {built / 'html' / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
