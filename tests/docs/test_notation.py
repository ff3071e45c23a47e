"""The translator of equations: what each sign means, and that KaTeX sets every equation of the project."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs._ext import experiments, inventory, katex
from docs._ext.docstrings import blocks, equations, is_code, is_python
from docs._ext.lexicon import NotationError
from docs._ext.notation import to_tex

PROJECT = Path(__file__).resolve().parents[2]


def squeezed(tex):
    """Without the spaces that TeX ignores."""
    return re.sub(r" (?![A-Za-z])|(?<![A-Za-z\\]) ", "", tex)


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("mu_k^2", r"\mu_{k}^{2}"),
        ("x_ij", "x_{ij}"),
        ("w_rec", r"w_{\text{rec}}"),
        ("x^{l-1}", "x^{l - 1}"),
        ("F_j^-1(u)", "F_{j}^{-1}(u)"),
        ("D_s^(i)(x)", "D_{s}^{(i)}(x)"),
        ("X^T X", r"X^{\top} X"),
        ("L_D' + x'", "L_{D}' + x'"),
        ("u x^ + (1 - u) x~", r"u \hat{x} + (1 - u) \tilde{x}"),
        ("(I_R - I*)^2", "(I_{R} - I^{*})^{2}"),
        ("scale * eps", r"\text{scale} \cdot \varepsilon"),
        ("1e-8 + 2e3", r"10^{-8} + 2 \cdot 10^{3}"),
    ],
)
def test_symbols(text, tex):
    assert squeezed(to_tex(text)) == squeezed(tex)


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("1/2 ||z||^2", r"\frac{1}{2} \lVert z \rVert^{2}"),
        ("1/2n", r"\frac{1}{2n}"),  # what touches the slash
        ("d B/D", r"d \frac{B}{D}"),
        ("a b / (c d) e", r"\frac{a b}{c d} e"),  # the product before a spaced slash, one factor after it
        ("max_t ||x_t|| / ||z_t||", r"\max_{t} \frac{\lVert x_{t}\rVert}{\lVert z_{t}\rVert}"),
        ("w_i / sum_j w_j", r"\frac{w_{i}}{\sum_{j} w_{j}}"),
        ("(d f_j / d x_k)^2", r"\left( \frac{d f_{j}}{d x_{k}} \right)^{2}"),
        ("(dz/dx) v", r"\frac{dz}{dx} v"),
        ("e^{s/2}", "e^{s/2}"),  # no fraction within an exponent
        ("(v_1, ..., v_k) / sqrt(k)", r"\frac{(v_{1}, \dots, v_{k})}{\sqrt{k}}"),
        ("(a + b) / (c (d + e))", r"\frac{a + b}{c (d + e)}"),
        ("(a) (b) / 2", r"\frac{(a) (b)}{2}"),
        ("x // f_k", r"\left\lfloor \frac{x}{f_{k}} \right\rfloor"),
    ],
)
def test_fractions(text, tex):
    assert squeezed(to_tex(text)) == squeezed(tex)


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("p(x|z)", r"p(x \mid z)"),
        ("KL(q(z) || p(z|x))", r"\operatorname{KL}(q(z) \,\|\, p(z \mid x))"),
        ("2 max |v|", r"2 \max \lvert v \rvert"),
        ("n ||x - y||_F^2", r"n \lVert x - y\rVert_{F}^{2}"),
        ("|{y : p(y|x) > 0}|", r"\lvert \{y : p(y \mid x) > 0\} \rvert"),
        ("log[p / q]", r"\log\left[ \frac{p}{q} \right]"),
    ],
)
def test_bars_and_brackets(text, tex):
    assert squeezed(to_tex(text)) == squeezed(tex)


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("E_q[z_j]", r"\mathbb{E}_{q}[z_{j}]"),
        ("E diag(L) E^T", r"E \operatorname{diag}(L) E^{\top}"),  # a matrix, for want of brackets
        ("z ~ N(0, I)", r"z \sim \mathcal{N}(0, I)"),
        ("N lambda", r"N \lambda"),
        ("z 1[z > tau]", r"z \mathbb{1}[z > \tau]"),
        ("m_i <- tanh(b_i)", r"m_{i} \leftarrow \tanh(b_{i})"),
        ("sum_{i > d} l_i", r"\sum_{i > d} l_{i}"),
        ("mean_n mu_nj", r"\operatorname*{mean}_{n} \mu_{nj}"),
        ("N(x; mean_k, I)", r"\mathcal{N}(x; \text{mean}_{k}, I)"),  # a variable, as nothing follows
        ("min_G max_D V", r"\min_{G} \max_{D} V"),
        ("log2 p_k", r"\log_2 p_{k}"),
        ("free_bits", r"\text{free\_bits}"),
    ],
)
def test_operators(text, tex):
    assert squeezed(to_tex(text)) == squeezed(tex)


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("x otherwise", r"x\ \text{otherwise}"),
        ("j among i's k nearest", r"j\ \text{among i's}\ k\ \text{nearest}"),
        ("S a sum of n draws", r"S\ \text{a sum of}\ n\ \text{draws}"),
        ("s = 2 - quality / 50 from there on", r"s = 2 - \frac{\text{quality}}{50}\ \text{from there on}"),
        ("over 1-Lipschitz critics", r"\text{over 1-Lipschitz critics}"),
        ("a = b,   c ~ d", r"a = b,\quad c \sim d"),
    ],
)
def test_words(text, tex):
    assert squeezed(to_tex(text)) == squeezed(tex)


def test_lines_are_aligned_at_their_relations():
    assert squeezed(to_tex("a = b\nc ~ d")) == squeezed(r"\begin{aligned}a& = b \\[0.4em] c& \sim d\end{aligned}")


def test_a_line_that_goes_on_is_indented():
    assert r"&\quad " in to_tex("L = a\n    + b")


def test_long_lines_are_broken_between_their_parts_and_short_ones_are_not():
    parts = ["x = " + " + ".join("abcdefgh"), "y = " + " + ".join("hgfedcba"), "z = 1"]
    assert to_tex(",   ".join(parts)).count(r"\\[") == 2
    assert r"\\[" not in to_tex(",   ".join(parts[1:]))


@pytest.mark.parametrize(
    "text", ["f(x", "f x)", "||x|", "x_", "a / ", "/ a", "x $ y", "`code`", "e^{s", "a = [b)", "x^)"]
)
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(NotationError, match="in the equation"):
        to_tex(text)


DOCUMENTED = {module.name: module.doc for module in inventory.modules()}
DOCUMENTED |= {path: symbol.doc for path, symbol in inventory.symbols().items()}


def test_katex_sets_every_equation():
    pages = {f"experiments.{page.name}": page.doc for page in experiments.pages()}
    found = [(place, each) for place, doc in (DOCUMENTED | pages).items() for each in equations(doc or "")]
    assert len(found) > 150
    for place, equation in found:
        katex.check(to_tex(equation), place=place)


def test_an_error_of_katex_names_the_place():
    with pytest.raises(Exception, match=r"the docstring of f: .*frac"):
        katex.check(r"\frac{1}", place="the docstring of f")


def test_what_is_shown_as_it_is_is_python_a_command_or_a_table_but_once():
    indented = [
        (path, "\n".join(block.lines))
        for path, doc in DOCUMENTED.items()
        for block in blocks(doc or "")
        if block.kind == "indented"
    ]
    shown = [path for path, block in indented if is_code(block) and not (is_python(block) or is_table(block))]
    assert [path for path in shown if path != "genjax.runs.reproduce"] == ["genjax.gradients"]  # an objective's types


def is_table(block):
    return all(re.search(r"\S {3,}\S|,$|^ ", line) for line in block.splitlines())


def test_a_forked_process_has_a_server_of_its_own_which_ends_with_it():
    code = """
import multiprocessing, os
from docs._ext import katex
context = multiprocessing.get_context("fork")
found = context.Queue()
def render():
    katex.check("x", place="here")
    found.put(katex.katex.KaTeXServer.katex_server.process.pid)
render()
child = context.Process(target=render)
child.start(), child.join()
own, of_child = found.get(), found.get()
assert own != of_child
os.kill(own, 0)
try:
    os.kill(of_child, 0)
except ProcessLookupError:
    pass
else:
    raise SystemExit("the server of the child is alive")
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0
