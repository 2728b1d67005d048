"""A place in the tokens of a request, to read on from and to go back to."""

from __future__ import annotations

from collections.abc import Iterable

from .tokens import Kind, Token

Words = tuple[str, ...]


class Cursor:
    """Reads tokens; set `position` back to take back what was read."""

    def __init__(self, tokens: list[Token], text: str) -> None:
        self._tokens = tokens
        self._text = text
        words = {Kind.WORD, Kind.SIGN}
        self._words = [token.value.lower() if token.kind in words else "" for token in tokens]
        self.position = 0

    @property
    def is_done(self) -> bool:
        """Tell whether all was read."""
        return self.position >= len(self._tokens)

    def peek(self, ahead: int = 0) -> Token | None:
        """Return a token without reading it; None behind the end."""
        index = self.position + ahead
        return self._tokens[index] if index < len(self._tokens) else None

    def word(self, ahead: int = 0) -> str:
        """Return a token as a lower-case word or sign; empty for numbers, texts and the end."""
        index = self.position + ahead
        return self._words[index] if index < len(self._words) else ""

    def take(self, kind: Kind) -> Token | None:
        """Read a token of a kind, if there is one here."""
        token = self.peek()
        if token is None or token.kind is not kind:
            return None
        self.position += 1
        return token

    def skip(self, words: Words) -> bool:
        """Read these words, all or none."""
        if all(self.word(ahead) == word for ahead, word in enumerate(words)):
            self.position += len(words)
            return True
        return False

    def skip_any(self, choices: Iterable[Words]) -> bool:
        """Read the first of some word sequences that stands here."""
        return any(self.skip(words) for words in choices)

    def skip_words(self, words: Iterable[str]) -> bool:
        """Read one of some words."""
        if self.word() and self.word() in words:
            self.position += 1
            return True
        return False

    def raw(self, pattern_end: int) -> None:
        """Read on to a place in the text."""
        while not self.is_done and self._tokens[self.position].start < pattern_end:
            self.position += 1

    def rest(self) -> str:
        """Return the text that was not read."""
        token = self.peek()
        return self._text[token.start :].strip() if token else ""

    def span(self, begin: int) -> tuple[int, int]:
        """Return where the tokens read since `begin` stand in the text."""
        return self._tokens[begin].start, self._tokens[self.position - 1].end

    def since(self, begin: int) -> str:
        """Return the text of the tokens read since `begin`."""
        start, end = self.span(begin)
        return self._text[start:end]
