"""Dataclasses that are made faster behave as those of the standard library."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pytest

from artifactstore.runtime.records import dataclass

_fast: Any = dataclass(frozen=True, slots=True)
_usual: Any = dataclasses.dataclass(frozen=True, slots=True)


def _classes(make: Callable[[type], type]) -> dict[str, Any]:
    """Return a class for each way of writing one."""

    class Empty:
        """Nothing."""

    class One:
        """One."""

        a: int

    class Defaults:
        """Defaults."""

        a: int
        b: str = "b"
        c: "list[int]" = dataclasses.field(default_factory=list)
        d: Any = dataclasses.field(default=None, repr=False, compare=False)
        e: tuple[Any, ...] = dataclasses.field(default=(), hash=False)
        KNOWN: ClassVar[int] = 7

        @property
        def twice(self) -> int:
            return 2 * self.a

    class Checked:
        """Checks itself."""

        a: int = 1

        def __post_init__(self) -> None:
            object.__setattr__(self, "a", self.a + 1)

    class Shown:  # noqa: PLW1641 - it has none: that is the case
        """Has methods of its own."""

        a: int = 1
        b: int = 2

        def __repr__(self) -> str:
            return "shown"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Shown) and self.a == other.a

    class Hashed:
        """Has a hash of its own."""

        a: int = 1

        def __hash__(self) -> int:
            return 5

    return {one.__name__: make(one) for one in (Empty, One, Defaults, Checked, Shown, Hashed)}


@dataclass(frozen=True, slots=True)
class Kept:
    """A class that can be found again."""

    a: int
    b: list[int]


FAST, USUAL = _classes(_fast), _classes(_usual)
CALLS: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
    ((), {}), ((1,), {}), ((), {"a": 3}), ((1, 2), {}), ((1,), {"b": "x", "d": 9}), ((1, "b", [1], None, (1,)), {}), ((), {"z": 1}),
)  # fmt: skip


def _outcome(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except (TypeError, AttributeError) as error:
        return type(error), str(error)


def _told(one: Any) -> list[Any]:
    """Return all that a record answers."""
    again = [copy.copy(one), copy.deepcopy(one), _outcome(lambda: dataclasses.replace(one, a=8))]
    return [
        repr(one),
        [one == other for other in (*again, 1)],
        repr(again),
        _outcome(lambda: hash(one)) == _outcome(lambda: hash(again[0])),
        type(_outcome(lambda: hash(one))),
        _outcome(lambda: dataclasses.asdict(one)),
        [(each.name, each.type, each.repr, each.compare) for each in dataclasses.fields(one)],
        *(_outcome(partial(act, one, "a", *more)) for act, more in ((setattr, [1]), (delattr, [])) if dataclasses.fields(one)),
        hasattr(one, "__dict__"),
        type(one).__match_args__,
        type(one).__doc__,
        repr(type(one).__dataclass_params__),
        _outcome(lambda: one.twice),
        _outcome(lambda: one.KNOWN),
    ]


@pytest.mark.parametrize("name", FAST)
def test_a_fast_dataclass_is_a_dataclass(name: str) -> None:
    for args, named in CALLS:
        fast, usual = (_outcome(partial(of[name], *args, **named)) for of in (FAST, USUAL))
        if isinstance(usual, tuple):
            assert fast == usual
        else:
            assert _told(fast) == _told(usual)
            assert fast != usual


def test_each_record_has_defaults_of_its_own() -> None:
    one, other = FAST["Defaults"](1), FAST["Defaults"](1)
    one.c.append(1)
    assert other.c == []


def test_records_are_pickled() -> None:
    assert pickle.loads(pickle.dumps(Kept(1, [2]))) == Kept(1, [2])


def test_what_is_not_made_as_usual_is_refused() -> None:
    class Named:
        """Its fields are named in each call."""

        a: int = dataclasses.field(default=1, kw_only=True)

    with pytest.raises(AssertionError, match=r"dataclasses\.dataclass"):
        _fast(Named)
