"""Translates the equations of docstrings from plain text to TeX.

The notation is the one that the docstrings use, close to how a formula is read aloud:

    KL(N(mu, diag e^s) || N(0, I)) = 1/2 sum_k (e^{s_k} + mu_k^2 - 1 - s_k)

`_` and `^` make indices and exponents; `x'`, `x~`, `x^` and `x*` are primes, tildes, hats and stars. Symbols that
stand beside each other are multiplied. A slash without spaces divides what touches it (`1/2n`); a slash between
spaces divides the whole product before it by the one factor after it. `||v||` is a norm, `|v|` an absolute value,
`p(x|z)` a condition. Names of more than one letter are Greek, functions (`lexicon`) or words, which are upright.
Two or more spaces separate parts; a long line is broken between parts that are separated by three.
"""

from __future__ import annotations

import re

from docs._ext.cursor import Cursor
from docs._ext.layout import Line, accented, bare, fenced, is_alone
from docs._ext.lexicon import (
    BINARY,
    CLOSING,
    FUNCTIONS,
    OVER_INDEX,
    RELATIONS,
    NotationError,
    Token,
    index,
    is_index,
    is_word,
    symbol,
    tokenize,
)

_LONG = 76  # characters of a line that is broken between its parts


def to_tex(block: str) -> str:
    """The TeX of a block of one or more lines.

    Raises:
      NotationError: the block is not in the notation above; the message names the line.
    """
    rows = [row for line in block.splitlines() for row in _rows(line)]
    if len(rows) == 1:
        return _row(rows[0])[0].strip()
    translated = [(row, *_row(row)) for row in rows]
    aligned = all(relation >= 0 for row, _, relation in translated if not _continues(row))
    lines = []
    for row, tex, relation in translated:
        if _continues(row):
            lines.append(r"&\quad " + tex)
        elif aligned:
            lines.append(tex[:relation] + "&" + tex[relation:])
        else:
            lines.append("&" + tex)
    return r"\begin{aligned}" + r" \\[0.4em] ".join(lines) + r"\end{aligned}"


def _rows(line: str) -> list[str]:
    """A line, cut between parts that three spaces separate if it is long."""
    if len(line) <= _LONG:
        return [line]
    return [part.strip() if number else part for number, part in enumerate(re.split(r"(?<=[,;])   (?=\S)", line))]


def _continues(row: str) -> bool:
    """Whether a row goes on with the expression of the row before."""
    return bool(re.match(r"\s*([-+=]|<=|>=)\s", row))


def _row(row: str) -> tuple[str, int]:
    """The TeX of a row, and the place of its first relation, or -1."""
    try:
        parser = _Parser(tokenize(row.strip()))
        pieces = parser.pieces(frozenset())
        if parser.peek().kind != "end":
            raise NotationError(f"{parser.peek().text!r} closes nothing")
    except NotationError as error:
        raise NotationError(f"{error}, in the equation {row.strip()!r}") from None
    place, first = 0, -1
    for piece in pieces:
        if piece == r"\quad ":
            break
        if piece.strip() in RELATIONS.values():
            first = place if r"\ " not in "".join(pieces)[:place] else -1
            break
        place += len(piece)
    return "".join(pieces), first


class _Parser(Cursor):
    """A reader of one row, from left to right."""

    def __init__(self, tokens: list[Token], place: int = 0, *, small: bool = False) -> None:
        super().__init__(tokens, place)
        self.small = small  # in an index or exponent
        self.divergence = False  # whether || separates two distributions

    def expression(self, *stops: str, divergence: bool = False) -> str:
        """The TeX up to one of these tokens, which is taken."""
        outer, self.divergence = self.divergence, divergence
        tex = "".join(self.pieces(frozenset(stops))).strip()
        self.divergence = outer
        if self.peek().kind == "end":
            raise NotationError(f"no closing {' or '.join(stops)}")
        self.take()
        return tex

    def pieces(self, stops: frozenset[str]) -> list[str]:
        """The TeX up to one of these tokens, which is not taken, or to the end; relations are pieces of their own."""
        line = Line()
        while True:
            token = self.peek()
            opens = line.begins and token.text in ("|", "||")
            if token.kind == "end" or (token.text in stops and not opens):
                line.close()
                return line.pieces
            if token.spaces > 1:
                line.space()
            self._next(line, token)

    def _next(self, line: Line, token: Token) -> None:
        """Reads the next word, operator or factor."""
        word = self.word(line.after_word)
        if word is not None:
            line.word(word, spaces=token.spaces)
        elif token.text in ("/", "//"):
            self._divide(line)
        elif (tex := self._sign(token, line.begins)) is not None:
            line.operator(tex, spaces=0)
        elif token.text == "*" or (token.text == "." and token.spaces):
            self.take()
            line.times()
        elif self.is_over_index():
            line.operator(self._operator() + " ", spaces=token.spaces)
        else:
            line.factor(self.factor(), spaces=token.spaces)

    def _sign(self, token: Token, begins: bool) -> str | None:
        """The TeX of a relation, a binary operator or a mark, which is taken; None if it is something else."""
        text, after = token.text, self.peek(1)
        if text in RELATIONS:
            tex = f" {RELATIONS[text]} "
        elif text in BINARY:
            tex = text if begins and after.spaces == 0 else f" {text} "
        elif text in (",", ";"):
            tex = text + (" " if after.spaces == 1 else "")
        elif text == ":":
            tex = r" \colon " if after.spaces > 1 or not token.spaces else " : "
        elif text == "...":
            tex = r"\dots "
        elif text == "." and after.text == ")":
            tex = r"\cdot"
        elif text == "||" and not begins and self.divergence:
            tex = r" \,\|\, "
        elif text == "|" and not begins and token.spaces == 0:
            tex = r" \mid "
        else:
            return None
        self.take()
        return tex

    def _operator(self) -> str:
        """The TeX of an operator with the indices that touch it."""
        return OVER_INDEX[self.take().text] + self.scripts()

    def _divide(self, line: Line) -> None:
        """Makes the last factors a numerator, and reads the denominator."""
        slash = self.take()
        tight = slash.spaces == 0 and self.peek().spaces == 0
        numerator = line.numerator(tight=tight)
        denominator = f"{self._operator()} " if self.is_over_index() else ""
        denominator += self.factor()
        while tight and self.peek().spaces == 0 and self.peek().kind in ("number", "name"):
            denominator += self.factor()
        if denominator == "d" and self.peek().kind == "name":
            denominator += " " + self.factor()  # a derivative, d f / d x
        numerator, denominator = numerator.removeprefix(r"\,"), denominator.removeprefix(r"\,")
        if slash.text == "//":
            tex = f"\\left\\lfloor \\frac{{{bare(numerator)}}}{{{bare(denominator)}}} \\right\\rfloor"
        elif self.small:
            tex = f"{numerator}/{denominator}"
        else:
            tex = f"\\frac{{{bare(numerator)}}}{{{bare(denominator)}}}"
        line.factor(tex, spaces=0 if tight else 1)

    def factor(self) -> str:
        """The TeX of one factor with its indices and arguments."""
        token = self.take()
        if token.kind == "number":
            mantissa, _, exponent = token.text.partition("e")
            number = mantissa if not exponent else f"10^{{{exponent}}}"
            if exponent and mantissa != "1":
                number = f"{mantissa} \\cdot {number}"
            return self._indicator() if number == "1" and self.touches("[") else number + self.scripts()
        if token.kind == "name":
            return self._named(token.text)
        if token.text in CLOSING:
            group, scripts = self._bracket(token.text), self.scripts()
            return bare(group) if token.text == "(" and not scripts and is_alone(bare(group)) else group + scripts
        if token.text in ("|", "||"):
            bar = "Vert" if token.text == "||" else "vert"
            inner = self.expression(token.text)
            return fenced(f"\\l{bar}", f" {inner}", f"\\r{bar}") + self.scripts()
        raise NotationError(f"unexpected {token.text!r}" if token.text else "an operand is missing")

    def _bracket(self, left: str, *, divergence: bool = False) -> str:
        """The TeX of what is in the brackets that have just been opened."""
        inner = self.expression(CLOSING[left], divergence=divergence)
        return fenced(*((left, inner, CLOSING[left]) if left != "{" else (r"\{", inner, r"\}")))

    def _indicator(self) -> str:
        """The TeX of `1[condition]`."""
        return r"\mathbb{1}" + self._bracket(self.take().text)

    def _named(self, name: str) -> str:
        """The TeX of a name with its indices and arguments."""
        while self.touches("_") and is_word(name) and self.peek(1).kind == "name" and not is_index(self.peek(1).text):
            self.take()  # rate_weight is one name
            name += r"\_" + self.take().text
        if name == "sqrt" and self.touches("("):
            self.take()
            return f"\\sqrt{{{self.expression(')')}}}" + self.scripts()
        tex = r"\mathcal{N}" if name == "N" and self.touches("(") else symbol(name)
        tex = tex if r"\_" not in name else f"\\text{{{name}}}"
        scripts = self.scripts()
        if name == "E" and self.touches("["):
            tex = r"\mathbb{E}"
        tex = accented(tex, scripts)
        while self.touches("(", "[", "{"):
            tex += self._bracket(self.take().text, divergence=name == "KL") + self.scripts()
        return tex + (" " if name in FUNCTIONS else "")

    def scripts(self) -> str:
        """The TeX of the indices, exponents and accents that touch what was read."""
        tex, accent = "", ""
        while True:
            if self.touches("_"):
                self.take()
                tex += f"_{{{self._script()}}}"
            elif self.touches("^") and self.operand_touches():
                self.take()
                tex += f"^{{{self._script()}}}"
            elif self.touches("^", "~") and not self.operand_touches():
                accent += {"^": r"\hat", "~": r"\tilde"}[self.take().text]
            elif self.touches("*") and not self.operand_touches() and self.is_star():
                self.take()
                tex += "^{*}"
            elif self.touches("'"):
                self.take()
                tex += "'"
            else:
                return f"{accent}!{tex}" if accent else tex

    def _script(self) -> str:
        """The TeX of one index or exponent."""
        token = self.take()
        if token.text == "{":
            small = _Parser(self.tokens, self.place, small=True)
            tex = small.expression("}")
            self.place = small.place
            return tex
        if token.text == "(":
            return f"({self.expression(')')})"
        if token.text == "-":
            return "-" + self._script()
        if token.kind == "number":
            return token.text
        if token.kind == "name":
            return r"\top" if token.text == "T" and self.tokens[self.place - 2].text == "^" else index(token.text)
        raise NotationError(f"unexpected {token.text!r} in an index")
