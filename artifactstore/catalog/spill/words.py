"""Digests and ids that many rows repeat: kept once, as bytes; in the rows a number stands for each.

They are in rows of many tables and do not compress. Sorted, as the keys of the rows are: numbers of neighbours are neighbours.
"""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["Words", "find_words"]

_MARK: Final = b"\x01"  # no JSON text has it
_NUMBER: Final = 4  # bytes of a number
_DIGEST: Final = 32  # bytes of a digest; an id has half as many
_ID: Final = 16
_WORD: Final = re.compile(rb"[0-9a-f]{64}|[0-9a-f]{32}")
_MARKED: Final = re.compile(rb"\x01(.{0,4})", re.DOTALL)

find_words: Final = _WORD.findall


class Words:
    """Digests and ids by their numbers.

    Args:
        digests: the digests, one after the other, each of 32 bytes.
        ids: the ids, whose numbers follow those of the digests, each of 16 bytes.

    Raises:
        ValueError: one of them is cut off.
    """

    def __init__(self, digests: bytes, ids: bytes) -> None:
        if len(digests) % _DIGEST or len(ids) % _ID:
            raise ValueError("a digest or an id is cut off")
        self.digests = digests
        self.ids = ids
        self._marks: dict[bytes, bytes] = {}

    @classmethod
    def of(cls, words: Iterable[bytes]) -> "Words":
        """Number some words, each found by `find_words`."""
        ordered = sorted(words, key=lambda word: (-len(word), word))
        digests = [bytes.fromhex(word.decode()) for word in ordered if len(word) == 2 * _DIGEST]
        ids = [bytes.fromhex(word.decode()) for word in ordered if len(word) == 2 * _ID]
        made = cls(b"".join(digests), b"".join(ids))
        made._marks = {word: _MARK + number.to_bytes(_NUMBER, "big") for number, word in enumerate(ordered)}
        return made

    def encoded(self, text: bytes) -> bytes:
        """Return a text with numbers in the place of words; only of an object made by `of`.

        Raises:
            ValueError: the text has a control character, as JSON has not.
        """
        if _MARK in text:
            raise ValueError("a control character is in what should be JSON")
        marks = self._marks
        return _WORD.sub(lambda found: marks.get(found[0], found[0]), text)

    def decoded(self, text: bytes, most: int) -> bytes:
        """Return a text with words in the place of numbers.

        Args:
            text: the text.
            most: bytes that it may have then.

        Raises:
            ValueError: it may be longer, or has a number that no word has.
        """
        if len(text) + text.count(_MARK) * (2 * _DIGEST - _NUMBER - 1) > most:
            raise ValueError(f"a block has more than {most:,} bytes")
        digests, ids, end = self.digests, self.ids, len(self.digests)

        def word(found: re.Match[bytes]) -> bytes:
            at = int.from_bytes(found[1], "big") * _DIGEST
            if at < end:
                one = digests[at : at + _DIGEST]
            else:
                at = (at - end) // 2
                one = ids[at : at + _ID]
            if not one or len(found[1]) < _NUMBER:
                raise ValueError("a number that no word has")
            return one.hex().encode()

        return _MARKED.sub(word, text)
