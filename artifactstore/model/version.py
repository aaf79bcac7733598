"""This library's version, where every room can name it."""

from typing import Final

__all__ = ["VERSION"]

VERSION: Final = "0.1.0"
