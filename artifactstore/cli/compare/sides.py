"""What a word of `diff` means: a reference, or a path of this machine."""

import os
from pathlib import Path
from typing import Any, Final

from artifactstore.cli import printing
from artifactstore.errors import InvalidInputError, NotFoundError

__all__ = ["side"]

_OF_PATHS: Final = ("./", "../", "/", "~")


def side(store: Any, word: str) -> str | Path:
    """Return a reference as it is, and a path of this machine as `Path`.

    A word that begins with `./`, `../`, `/` or `~`, or ends with `/`, is a path. Every other word is a reference if the store has
    it, else a path if there is one.

    Raises:
        NotFoundError: the store does not have it, and there is no such path.
        InvalidInputError: it is not a reference, and there is no such path.
    """
    if word in {".", ".."} or word.startswith(_OF_PATHS) or Path(word).is_absolute() or (word.endswith("/") and ":" not in word):
        return Path(word)
    is_path = os.path.lexists(word)
    try:
        found = store.exists(word)
    except (InvalidInputError, NotFoundError):
        if is_path:
            return Path(word)
        raise
    if found:
        if is_path:
            printing.echo_error(f"note: {word} is a name in the store and a path: read as the name; for the path write ./{word}")
        return word
    return Path(word) if is_path else word
