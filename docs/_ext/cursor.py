"""A place in a row of tokens, and what can be told from the tokens that come next."""

from __future__ import annotations

from docs._ext.lexicon import BINARY, OVER_INDEX, RELATIONS, NotationError, Token, is_word

_NO_OPERAND = (*RELATIONS, *BINARY, ",", ";", ")", "]", "}", "*", "/", "^")


class Cursor:
    """A place in a row of tokens."""

    def __init__(self, tokens: list[Token], place: int = 0) -> None:
        self.tokens, self.place = tokens, place

    def peek(self, ahead: int = 0) -> Token:
        """A token that comes next, without taking it."""
        return self.tokens[min(self.place + ahead, len(self.tokens) - 1)]

    def take(self) -> Token:
        """The next token."""
        token = self.peek()
        self.place += 1
        return token

    def touches(self, *texts: str) -> bool:
        """Whether the next token is one of these and follows without a space."""
        return self.peek().spaces == 0 and self.peek().text in texts and self.peek().kind != "end"

    def operand_touches(self) -> bool:
        """Whether an operand follows the next token without a space."""
        after = self.peek(1)
        return after.spaces == 0 and (after.kind in ("number", "name") or after.text in ("{", "(", "-"))

    def is_star(self) -> bool:
        """Whether the next token is a star of a name, as in I*, and no product."""
        after = self.peek(1)
        return after.kind == "end" or after.text in (")", ",", "^", "]", "|", "||") or after.spaces > 0

    def is_over_index(self) -> bool:
        """Whether the next name is an operator over an index, rather than a function or a variable with an index."""
        name, after = self.peek(), self.peek(1)
        if name.text not in OVER_INDEX:
            return False
        if name.text == "integral":
            return True
        if after.text != "_" or after.spaces:
            plain = after.kind in ("name", "number") or after.spaces > 0
            return name.text in ("sum", "prod", "mean") and plain and not self._is_end(1)
        place = 3 if self.peek(2).text != "{" else 1 + self._length(2)
        return not self._is_end(place) and not (self.peek(place).text == "(" and self.peek(place).spaces == 0)

    def _is_end(self, ahead: int) -> bool:
        """Whether no operand follows at this place."""
        token = self.peek(ahead)
        return token.kind == "end" or token.text in _NO_OPERAND

    def _length(self, ahead: int) -> int:
        """Where the brace that opens at this place ends."""
        depth = 0
        while self.peek(ahead).kind != "end":
            depth += {"{": 1, "}": -1}.get(self.peek(ahead).text, 0)
            if depth == 0:
                return ahead
            ahead += 1
        raise NotationError("no closing }")

    def word(self, after_word: bool) -> str | None:
        """Takes the next token if it is a word, with a colon that touches it; None if it is something else."""
        token, after = self.peek(), self.peek(1)
        if token.kind == "word":
            return self.take().text
        if token.kind != "name" or (after.text in ("(", "[", "{", "_", "^", "'", "/", "~") and after.spaces == 0):
            return None
        before_word = after.kind == "name" and is_word(after.text)
        article = token.text == "a" and before_word and after.text not in ("and", "or")
        spoken = token.text in OVER_INDEX and before_word and after.text not in OVER_INDEX
        spoken = spoken or (token.text == "mean" and after_word)
        if not (article or spoken or (is_word(token.text) and token.text not in OVER_INDEX)):
            return None
        self.take()
        colon = self.take().text if self.touches(":") else ""
        return token.text + colon
