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
        system: name of a module in `artifactstore.integrations`; of `sagemaker-tar` it is `sagemaker`, and the function `<verb>_tar`.
        verb: name of the function.
        *args: its positional arguments.
        options: option → value; None, False and empty ones were not given.

    Raises:
        InvalidInputError: this system does not have one of the options.
    """
    module, _, form = system.partition("-")
    loaded = importlib.import_module(f"artifactstore.integrations.{module}")
    function: Callable[..., Any] = getattr(loaded, f"{verb}_{form}" if form else verb)
    given = {key: value for key, value in options.items() if value not in (None, False, ())}
    known = inspect.signature(function).parameters
    if odd := [key for key in given if key not in known]:
        flags = ", ".join(f"--{key.replace('_', '-')}" for key in odd)
        mine = ", ".join(f"--{key.replace('_', '-')}" for key in options if key in known)
        raise InvalidInputError(f"{system} does not have {flags}; its options: {mine or 'none'}")
    return function(*args, **given)
