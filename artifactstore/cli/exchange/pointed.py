"""Which store a command opens that gets a pointer file."""

import os
from collections.abc import Callable
from typing import Any

from artifactstore.cli import printing

__all__ = ["from_pointer", "pointed_store"]


def pointed_store(given: str | None, named: Callable[[], str | None]) -> str | None:
    """Return the store to open: what was passed or is configured outweighs what a pointer names, which anybody may have written.

    Args:
        given: the value of `--store`.
        named: returns the store that pointers name; not called if there is another.
    """
    from artifactstore.work.settings.settings import find_url  # noqa: PLC0415 - `--help` must not load it

    if given is not None or not find_url(None).is_default:
        return given
    if (found := named()) is not None:
        printing.echo_error(f"the store that the pointer names: {found}")
    return found


def from_pointer(ref: str, store: str | None) -> tuple[str, str | None, Callable[[Any], None]]:
    """Return the reference and the store of a pointer file that was passed in the place of a reference; others as they are.

    The last part checks in the open store what else the pointer says.
    """
    if not ref.endswith((".artifact", ".artifact.json")) or not os.path.isfile(ref):  # noqa: PTH113 - before pathlib's import
        return ref, store, lambda _: None
    from artifactstore.integrations.pointers.pointer import check, read  # noqa: PLC0415 - only for a pointer

    pointer = read(ref)
    where = pointed_store(store, lambda: pointer.store)
    return pointer.ref, where, lambda opened: check(pointer, opened.artifact(pointer.ref), ref)
