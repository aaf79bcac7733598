"""Values as Python code holds them have one JSON form each: the table of docs/reference/values.md, and matrices of it."""

import argparse
import dataclasses
import enum
import math
import types
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, check_json
from artifactstore.model.json_values import MAX_ITEMS, json_value, number_of

pd = pytest.importorskip("pandas")


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


@dataclasses.dataclass
class Settings:
    rate: float = 0.1
    where: Path = Path("data/x")


class Scalar:
    """As PyTorch's tensors of one element."""

    shape = ()

    def detach(self) -> "Scalar":
        return self

    def item(self) -> float:
        return 0.25


FORMS: list[tuple[Any, Any]] = [
    (np.float32(0.5), 0.5),
    (np.float16(1.5), 1.5),
    (np.int8(-3), -3),
    (np.uint64(2**63), 2**63),
    (np.bool_(1), True),
    (np.str_("x"), "x"),
    (np.array(7), 7),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.datetime64("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
    (np.datetime64("NaT"), None),
    (np.timedelta64(1500, "ms"), 1.5),
    (pd.Timestamp("2026-01-02", tz="UTC"), "2026-01-02T00:00:00+00:00"),
    (pd.Timedelta(seconds=3), 3.0),
    (pd.NaT, None),
    (pd.NA, None),
    (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00"),
    (date(2026, 1, 2), "2026-01-02"),
    (time(3, 4), "03:04:00"),
    (timedelta(minutes=2), 120.0),
    (Decimal("0.1"), 0.1),
    (Decimal(12), 12),
    (Decimal("0.1000000000000000000001"), "0.1000000000000000000001"),
    (Decimal("NaN"), {"repr": "nan"}),
    (Fraction(1, 3), "1/3"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Path("a/b"), "a/b"),
    (Colour.RED, "red"),
    (Size.LARGE, 3),
    (Settings(), {"rate": 0.1, "where": "data/x"}),
    (argparse.Namespace(depth=8), {"depth": 8}),
    (types.SimpleNamespace(depth=8), {"depth": 8}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    ({1: "a", 2.5: "b", None: "c", Colour.RED: "d"}, {"1": "a", "2.5": "b", "null": "c", "red": "d"}),
    ((1, (2, 3)), [1, [2, 3]]),
    ({3, 1, 2}, [1, 2, 3]),
    (range(3), [0, 1, 2]),
    (math.nan, {"repr": "nan"}),
    (-math.inf, {"repr": "-inf"}),
    (Scalar(), 0.25),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=[type(value).__name__ for value, _ in FORMS])
def test_each_value_has_its_form_alone_and_inside_of_others(value: Any, form: Any):
    for made, wanted in (
        (value, form),
        ([value], [form]),
        ({"key": (value, value)}, {"key": [form, form]}),
        (types.SimpleNamespace(inner={"k": value}), {"inner": {"k": form}}),
    ):
        found = json_value(made, "params")
        assert found == wanted
        assert type(found) is type(wanted)
        check_json(found)
        canonical_json(found)


@pytest.mark.parametrize("value", [b"x", object(), int, 1j, len, np.complex64(1), np.zeros(MAX_ITEMS + 1), pd.Series([1])])
def test_what_has_no_form_is_refused_with_its_place_or_given_away(value: Any):
    with pytest.raises(InvalidInputError, match=r"params\['deep'\]\[1\] is a .*has no JSON form"):
        json_value({"deep": [0, value]}, "params")
    assert json_value({"deep": [0, value]}, "params", otherwise=lambda one: "odd") == {"deep": [0, "odd"]}


def test_two_keys_with_one_form_and_endless_nesting_are_refused():
    with pytest.raises(InvalidInputError, match="two keys that are '1' in JSON"):
        json_value({1: "a", "1": "b"}, "params")
    with pytest.raises(InvalidInputError, match="a key must be a str or a number"):
        json_value({(1, 2): "a"}, "params")
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidInputError, match="nested deeper"):
        json_value(endless, "params")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (True, 1.0),
        (np.bool_(0), 0.0),
        (Decimal("0.5"), 0.5),
        (np.float32(0.5), 0.5),
        (np.array([2]), 2.0),
        (Scalar(), 0.25),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        (math.inf, math.inf),
    ],
)
def test_a_metric_is_any_number(value: Any, number: float):
    assert number_of(value) == number


@pytest.mark.parametrize("value", ["0.5", None, b"1", [1], object(), np.array([1, 2]), {}])
def test_what_is_no_number_is_no_metric(value: Any):
    assert number_of(value) is None
