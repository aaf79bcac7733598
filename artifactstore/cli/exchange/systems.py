"""Other systems' modules, found by name and called with the options that were given."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from artifactstore.errors import InvalidInputError

__all__ = ["call"]


def call(system: str, verb: str, *args: Any, options: Mapping[str, Any]) -> Any:
    """Call a function of a system's module, with those options that were given.

    Args:
        system: name of a module in `artifactstore.integrations`.
        verb: name of the function.
        *args: its positional arguments.
        options: option → value; None, False and empty ones were not given.

    Raises:
        InvalidInputError: this system does not have one of the options.
    """
    function: Callable[..., Any] = getattr(importlib.import_module(f"artifactstore.integrations.{system}"), verb)
    given = {key: value for key, value in options.items() if value not in (None, False, ())}
    known = inspect.signature(function).parameters
    if odd := [key for key in given if key not in known]:
        flags = ", ".join(f"--{key.replace('_', '-')}" for key in odd)
        mine = ", ".join(f"--{key.replace('_', '-')}" for key in options if key in known)
        raise InvalidInputError(f"{system} does not have {flags}; its options: {mine or 'none'}")
    return function(*args, **given)
