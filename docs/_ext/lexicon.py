"""The words and signs of the docstrings' equations, and what they are in TeX."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple


class NotationError(ValueError):
    """An equation that the translator cannot read."""


_SPELLED = {"eps": "epsilon", "lambda": "lamda", "Lambda": "lamda"}  # by Unicode


def _case(name: str) -> str:
    return "SMALL" if name.islower() else "CAPITAL"


GREEK = {
    name: f"\\{name}"
    for name in (
        *("alpha", "beta", "gamma", "delta", "eta", "theta", "kappa", "lambda", "mu", "nu", "pi", "rho", "sigma"),
        *("tau", "phi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi", "Psi", "Omega"),
    )
} | {"epsilon": r"\varepsilon", "eps": r"\varepsilon"}

# the same letters in running text
LETTERS = {name: unicodedata.lookup(f"GREEK {_case(name)} LETTER {_SPELLED.get(name, name)}") for name in GREEK}

# what TeX sets as an operator, with its own spaces; most have a command
FUNCTIONS = {name: f"\\{name}" for name in ("log", "exp", "sin", "cos", "tan", "tanh", "max", "min", "inf", "sup")}
FUNCTIONS |= {"asin": r"\arcsin", "log2": r"\log_2", "log10": r"\log_{10}", "grad": r"\nabla", "mod": r"\bmod"}
FUNCTIONS |= {
    name: f"\\operatorname{{{name}}}"
    for name in ("sign", "sigm", "softplus", "softmax", "soft", "diag", "tr", "Tr", "sg", "round", "Var", "KL", "RMSE")
}

# operators over an index, which stands below them in a display
OVER_INDEX = {"sum": r"\sum", "prod": r"\prod", "integral": r"\int", "max": r"\max", "min": r"\min", "inf": r"\inf"}
OVER_INDEX |= {name: f"\\operatorname*{{{name}}}" for name in ("argmin", "argmax", "mean", "median", "quantile")}

RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "<=": r"\le",
    ">=": r"\ge",
    "!=": r"\ne",
    "~": r"\sim",
    "~=": r"\approx",
    "->": r"\to",
    "<-": r"\leftarrow",
}
BINARY = {"+": "+", "-": "-"}
CLOSING = {"(": ")", "[": "]", "{": "}"}

_TOKEN = re.compile(
    r"(?P<space>[ ]*)(?:"
    r"(?P<word>[A-Za-z]+'s\b|(?:\d|[A-Za-z]{2,})-[A-Za-z]{3,})"  # x's, 1-Lipschitz
    r"|(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9]*)"
    r"|(?P<sign>\.\.\.|\|\||<=|>=|!=|->|<-|~=|//|[-+*/=<>~^_'|,;:()\[\]{}.])"
    r")"
)


class Token(NamedTuple):
    """A token, with the number of spaces before it."""

    kind: str
    text: str
    spaces: int


def tokenize(line: str) -> list[Token]:
    """The tokens of one line, closed by an empty one.

    Raises:
      NotationError: a character that the notation does not have.
    """
    tokens, place, line = [], 0, line.rstrip()
    while place < len(line):
        match = _TOKEN.match(line, place)
        if match is None:
            raise NotationError(f"cannot read {line[place:].strip()[:20]!r}")
        tokens.append(Token(str(match.lastgroup), match[match.lastgroup or 0], len(match["space"])))
        place = match.end()
    return [*tokens, Token("end", "", 1)]


def is_word(name: str) -> bool:
    """Whether a name is a word, set upright, rather than a symbol or a function."""
    special = name in GREEK or name in FUNCTIONS or differential(name) or re.fullmatch(r"\w\d+", name)
    return len(name) > 1 and not special


def differential(name: str) -> str | None:
    """TeX of a differential such as `dx`, `dtheta` or `dlog`."""
    rest = name[1:]
    if name[0] != "d" or not (rest in GREEK or rest in ("x", "z", "D", "log", "mean")):
        return None
    return r"\,d" + (GREEK.get(rest) or {"log": r"\log", "mean": r"\,\text{mean}"}.get(rest) or rest)


def symbol(name: str) -> str:
    """TeX of a name without its indices."""
    if name in GREEK:
        return GREEK[name]
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if (tex := differential(name)) is not None:
        return tex
    if match := re.fullmatch(r"([A-Za-z])(\d+)", name):
        return f"{match[1]}_{{{match[2]}}}"
    return name if len(name) == 1 else f"\\text{{{name}}}"


def index(name: str) -> str:
    """TeX of a name in an index: letters that count rows and columns are italic, words upright."""
    if re.fullmatch(r"[ijklmnuvxytc]{2}", name) and name != "in":
        return name
    return f"\\text{{{name}}}" if is_word(name) else symbol(name)


def is_index(name: str) -> bool:
    """Whether a name after an underscore is an index, rather than the next word of a name such as `rate_weight`."""
    return not is_word(name) or index(name) == name
