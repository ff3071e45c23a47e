"""Sphinx's configuration of the site. `python -m docs` builds it."""

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])  # of notebooks

import genjax  # noqa: E402

project = "genjax"
author = "the genjax authors"
copyright = author
version = release = genjax.__version__

extensions = [
    "myst_nb",
    "docs._ext.katex",
    "docs._ext.reference",
    "docs._ext.experiments",
    "docs._ext.notes",
]
exclude_patterns = ["_build", "gallery", "**/.ipynb_checkpoints"]
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!genjax).*"),  # types of other packages, whose references need a network
    ("py:class", r"genjax\..*\.[A-Z]"),  # type variables
]

autodoc_typehints = "signature"
autodoc_type_aliases = {
    "ArrayLike": "ArrayLike",
    **{name: f"genjax.types.{name}" for name in ("Array", "Key", "Params", "Metrics")},
}
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 120
smartquotes = False  # of --flags

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_cache_path = str(_ROOT / "docs" / "_build" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_merge_streams = True

html_theme = "sphinx_book_theme"
html_title = "genjax"
html_static_path = ["_static"]
html_css_files = ["genjax.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navbar_persistent": [],  # the search is in the sidebar
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
