"""Functions whose calls are runs: `@store.step`."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from artifactstore.errors import InvalidInputError
from artifactstore.model.json_values import json_value
from artifactstore.model.reference import check_name
from artifactstore.work.runs.run import Run
from artifactstore.work.session.session import Session

__all__ = ["P", "R", "step"]

P = ParamSpec("P")
R = TypeVar("R")


def step(session: Session, name: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that makes a run of each call; see `Store.step`.

    Raises:
        InvalidInputError: the name is invalid; from the decorator: not a function, or a generator.
    """
    if name is not None:
        name = check_name(name)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not callable(function):
            raise InvalidInputError(f"a step must be a function, got {function!r:.200}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidInputError(
                f"{function.__qualname__} is a generator, which runs after its call returns: use `with store.run(…)`"
            )
        signature = inspect.signature(function)

        def begin(*args: P.args, **kwargs: P.kwargs) -> Run:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return Run(session, f"{function.__module__}.{function.__qualname__}", params=_json_arguments(bound.arguments))

        def keep(run: Run, result: Any) -> Any:
            if name is not None:
                run.put(result, name)
            return result

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with begin(*args, **kwargs) as run:
                result: R = keep(run, function(*args, **kwargs))
                return result

        if not inspect.iscoroutinefunction(function):
            return call
        waited: Callable[..., Awaitable[Any]] = function

        @functools.wraps(function)
        async def call_and_wait(*args: P.args, **kwargs: P.kwargs) -> Any:
            with begin(*args, **kwargs) as run:
                return keep(run, await waited(*args, **kwargs))

        return cast("Callable[P, R]", call_and_wait)

    return decorate


def _json_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that have a JSON form."""
    found = {}
    for key, value in arguments.items():
        try:
            found[key] = json_value(value, key)
        except Exception:  # noqa: BLE001, S112 - not JSON, or user code that fails
            continue
    return found
