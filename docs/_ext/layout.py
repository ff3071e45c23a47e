"""How the TeX of factors, words and operators is put together."""

from __future__ import annotations

import re

from docs._ext.lexicon import NotationError

_TIMES = r"\cdot"
_TALL = re.compile(r"\\(frac|sum|prod|int|sqrt|operatorname\*|lfloor)|\\(max|min|inf)_")


class Line:
    """A line of TeX in pieces: operators and words, and between them factors that are multiplied."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.factors: list[str] = []
        self.tight = 0  # where the factors that touch the last one begin
        self.after_word = False

    @property
    def begins(self) -> bool:
        """Whether an operand is expected, and no operator."""
        return not self.factors and not self.after_word

    def close(self) -> None:
        """Ends a product."""
        self.pieces.append(" ".join(self.factors))
        self.factors, self.tight = [], 0

    def space(self) -> None:
        """Separates two parts of the line."""
        if any(self.pieces) or self.factors:
            self.close()
            self.pieces.append(r"\quad ")

    def operator(self, tex: str, *, spaces: int) -> None:
        """Appends what is no factor."""
        self.close()
        self.pieces.append(("\\ " if self.after_word and spaces == 1 else "") + tex)
        self.after_word = False

    def word(self, word: str, *, spaces: int) -> None:
        """Appends a word, to the words before it if there are any."""
        if self.after_word and spaces == 1:
            self.pieces[-1] = f"{self.pieces[-1][:-1]} {word}}}"
            return
        joined = self.factors and self.factors[-1] != _TIMES and spaces == 1
        self.close()
        self.pieces.append(("\\ " if joined else "") + f"\\text{{{word}}}")
        self.after_word = True

    def factor(self, tex: str, *, spaces: int) -> None:
        """Appends a factor."""
        if self.after_word and spaces == 1:
            self.pieces.append("\\ ")
        if spaces:
            self.tight = len(self.factors)
        self.factors.append(tex)
        self.after_word = False

    def times(self) -> None:
        """Appends a sign of multiplication."""
        self._word_to_factor()
        self.factor(_TIMES, spaces=2)

    def numerator(self, *, tight: bool) -> str:
        """Removes the factors that touch the last one, or all, for a fraction."""
        self._word_to_factor()
        start = self.tight if tight else 0
        taken = " ".join(self.factors[start:])
        del self.factors[start:]
        if not taken:
            raise NotationError("nothing before a slash")
        return taken

    def _word_to_factor(self) -> None:
        """Takes the last word for a quantity."""
        if not self.after_word:
            return
        words, space, word = self.pieces.pop()[:-1].rpartition(" ")
        if space:
            self.pieces.append(words + "}\\ ")
        self.factors.append(f"\\text{{{word}}}" if space else words + word + "}")
        self.after_word = False


def fenced(left: str, inner: str, right: str) -> str:
    """Brackets that grow with what they hold."""
    return f"\\left{left} {inner} \\right{right}" if _TALL.search(inner) else f"{left}{inner}{right}"


def accented(tex: str, scripts: str) -> str:
    """A symbol with its accents and indices."""
    accents, mark, rest = scripts.rpartition("!")
    if not mark:
        return tex + scripts
    for accent in re.findall(r"\\[a-z]+", accents):
        tex = f"{accent}{{{tex}}}"
    return tex + rest


def is_alone(tex: str) -> bool:
    """Whether this is one fraction, perhaps rounded down, and nothing else."""
    if tex.startswith(r"\left\lfloor") and tex.count(r"\lfloor") == 1:
        return tex.endswith(r"\right\rfloor")
    if not tex.startswith(r"\frac{"):
        return False
    depth, groups = 0, 0
    for place, character in enumerate(tex):
        depth += {"{": 1, "}": -1}.get(character, 0)
        groups += character == "}" and depth == 0
        if groups == 2:
            return place == len(tex) - 1
    return False


def bare(tex: str) -> str:
    """Without the parentheses around all of it, which a fraction does not need."""
    for left, right in (("\\left( ", " \\right)"), ("(", ")")):
        if tex.startswith(left) and tex.endswith(right):
            inner = tex[len(left) : len(tex) - len(right)]
            depth = 0
            for character in re.sub(r"\\(left|right)", "", inner):
                depth += {"(": 1, ")": -1}.get(character, 0)
                if depth < 0 or (depth == 0 and character == ","):
                    return tex
            return inner
    return tex
