"""Calls with arguments that a method does not take are answered with the argument that does what they mean elsewhere."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

__all__ = ["answering"]

C = TypeVar("C", bound=Callable[..., Any])
_UNKNOWN: Final = re.compile(r"unexpected keyword argument '(\w+)'")
_EXAMPLE: Final = re.compile(r"`((?:with )?(?:store|run|artifactstore)\b[^`]*)`")


def answering(target: C) -> C:
    """Decorate a function, or a class for its public methods: a call that its signature refuses says what to write.

    What is raised is Python's own `TypeError`. A function that takes any keyword judges them itself, and stays as it is.
    """
    if not inspect.isclass(target):
        return _answering(target)
    for name, method in vars(target).copy().items():
        if not name.startswith("_") and inspect.isfunction(method):
            setattr(target, name, _answering(method))
    return target


def _answering(function: C) -> C:
    if function.__code__.co_flags & inspect.CO_VARKEYWORDS:
        return function

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # of what it calls
            raise TypeError(str(error) + _answer(function, str(error))) from None

    return call  # type: ignore[return-value]  # of the same signature


def _answer(function: Callable[..., Any], message: str) -> str:
    from artifactstore.habits.keywords import argument_hint  # noqa: PLC0415 - only for a message

    known = [name for name in inspect.signature(function).parameters if name != "self"]
    unknown = _UNKNOWN.search(message)
    hint = "" if unknown is None else argument_hint(function.__name__, unknown[1], known)
    example = _EXAMPLE.search((function.__doc__ or "").partition("\n")[0])
    return hint or (f"; for example {example[1]}" if example else f"; it takes {', '.join(known) or 'none'}")
