"""The whole site: it builds without a warning, its pages need no network, and what is missing stops the build."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from docs._ext import inventory

pytestmark = pytest.mark.slow


class References(HTMLParser):
    """What a page loads: scripts, styles, images and frames, but no links that a reader may follow."""

    def __init__(self):
        super().__init__()
        self.loaded = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed", "input"):
            self.loaded.append(values.get("src"))
        elif tag == "link" and values.get("rel") not in ("canonical", "next", "prev", "author", "index", "search"):
            self.loaded.append(values.get("href"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of a copy of the sources, as in a fresh clone, with KaTeX's fonts from the cache if they are there."""
    root = tmp_path_factory.mktemp("clone")
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=inventory.ROOT, **READ).stdout
    for name in files.splitlines():
        if (inventory.ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(inventory.ROOT / name, root / name)
    if (inventory.ROOT / "docs/_build/katex").exists():
        shutil.copytree(inventory.ROOT / "docs/_build/katex", root / "docs/_build/katex")
    built = build(root)
    assert built.returncode == 0, built.stderr[-3000:]
    return root


READ = dict(capture_output=True, text=True, check=True)


def build(root):
    return subprocess.run([sys.executable, "-m", "docs", "-q"], cwd=root, capture_output=True, text=True)


def test_no_page_loads_anything_from_a_network(site):
    built = site / "docs/_build/html"
    pages = [page for page in built.rglob("*.html") if built / "_static" not in page.parents]  # templates
    assert len(pages) > 150
    for page in pages:
        reader = References()
        reader.feed(page.read_text())
        assert ":py:" not in page.read_text(), page  # a link that was taken for text
        assert len(reader.loaded) > 3
        assert [url for url in reader.loaded if url and re.match(r"(https?:)?//", url)] == []


def test_no_style_loads_anything_from_a_network(site):
    styles = list((site / "docs/_build/html/_static").rglob("*.css"))
    assert any(style.name == "katex.min.css" for style in styles)
    for style in styles:
        assert re.findall(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", style.read_text()) == []


def test_formulas_are_set_in_fonts_that_lie_beside_the_pages(site):
    static = site / "docs/_build/html/_static"
    page = (site / "docs/_build/html/api/genjax.losses.divergence.html").read_text()
    assert page.count('class="katex-display"') == 6
    assert "katex-error" not in page
    fonts = re.findall(r"url\((fonts/[^)]+)\)", (static / "katex.min.css").read_text())
    assert len(fonts) > 20
    assert all((static / font).exists() for font in fonts)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("genjax/losses/reconstruction.py", "sum_j (x_j - x'_j)^2", "sum_j (x_j - x'_j^2", "squared_error.*no closing"),
        ("genjax/losses/reconstruction.py", '"""Sums over all axes but the first.', '""" """', "sum_features"),
        ("BUILD_NOTES.md", "`losses.weight_l1`", "`losses.weight_l11`", "no function 'losses.weight_l11'"),
        ("docs/index.md", "{doc}`map`", "{doc}`mapp`", "unknown document"),
    ],
)
def test_what_is_wrong_stops_the_build(site, file, old, new, message):
    path = site / file
    before = path.read_text()
    assert old in before
    changed = before.replace(old, new)
    if new == '""" """':
        changed = re.sub(r'    """Sums over all axes but the first\..*?"""\n', "", before, flags=re.DOTALL)
    path.write_text(changed)
    try:
        built = build(site)
        assert built.returncode != 0
        assert re.search(message, built.stderr + built.stdout)
    finally:
        path.write_text(before)
