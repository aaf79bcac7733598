"""The parts of a card: distributions of columns from a recorded profile, and many files in few lines."""

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import artifactstore
from artifactstore.display.distributions import distribution
from artifactstore.display.folded_files import folded_tree, grouped, in_words, range_of
from artifactstore.display.html_renderer import as_html
from artifactstore.display.outline import Bars, Inline, Line
from artifactstore.display.text_renderer import inline_text
from artifactstore.display.values import sparkline
from tests.cli.test_hostile_text import EVIL, is_clean


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = artifactstore.create(tmp_path_factory.mktemp("cards") / "store", cache=None)
    rows = 1000
    random = np.random.default_rng(1)
    frame = pd.DataFrame({
        "number": random.normal(size=rows), "whole": np.arange(rows), "word": random.choice(["n", "s", "e"], rows, p=[0.5, 0.3, 0.2]),
        "flag": random.random(rows) > 0.5, "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(rows), unit="D"),
        "text": [f"text {i}" for i in range(rows)], "many": [f"word {i % 9}" for i in range(rows)], "same": 1.0, "empty": [None] * rows,
    })  # fmt: skip
    frame.loc[:99, "number"] = np.nan
    return store.put(frame, "t").profile


def bars(shown: Inline) -> Bars:
    found = shown if isinstance(shown, Bars) else shown[0] if isinstance(shown, list) else None
    assert isinstance(found, Bars)
    return found


def kind(profile: Any, name: str) -> str:
    return str(next(field["type"] for field in profile["schema"]["fields"] if field["name"] == name))


@pytest.mark.parametrize(
    ("name", "values", "title"),
    [
        ("number", 900, "-"),
        ("whole", 1000, "0 to 999"),
        ("day", 1000, "2024-01-01 00:00 to 2026-09-26 00:00"),
        ("same", 1000, "0.5 to 1.5"),
    ],
)
def test_numbers_and_times_have_a_histogram_of_what_is_there(profile: Any, name: str, values: int, title: str):
    found = bars(distribution(profile, name, kind(profile, name), tips=True))
    assert sum(found.counts) == values
    assert not found.of_whole
    assert found.title.startswith(title)
    assert len(found.tips) == len(found.counts) == 20
    assert bars(distribution(profile, name, kind(profile, name), tips=False)).tips == ()


@pytest.mark.parametrize(
    ("name", "count", "named"), [("word", 4, "n "), ("flag", 3, ""), ("many", 5, "word 0 11%, word 1 11% …")]
)
def test_frequent_values_have_shares_and_the_rest_has_its_own(profile: Any, name: str, count: int, named: str):
    shown = distribution(profile, name, kind(profile, name), tips=True)
    found = bars(shown)
    assert found.of_whole
    assert len(found.counts) == count
    assert sum(found.counts) == 1000
    assert named in inline_text(shown)


def test_what_has_no_frequent_value_has_no_chart(profile: Any):
    assert inline_text(distribution(profile, "text", "string", tips=True)) == "all distinct"
    assert distribution(profile, "empty", "any", tips=True) == ""
    assert distribution(profile, "absent", "string", tips=True) == ""


FALSE: list[Any] = [
    None, 5, {}, {"counts": [1]}, {"counts": [1], "edges": [0]}, {"counts": ["1"], "edges": [0, 1]}, {"counts": [1], "edges": [0, EVIL]},
    {"counts": [-1], "edges": [0, 1]}, {"counts": [float("inf")], "edges": [0, 1]}, {"counts": [1] * 1000, "edges": [0] * 1001}, {"counts": [True], "edges": [0, 1]},
]  # fmt: skip


@pytest.mark.parametrize("false", FALSE)
def test_a_false_histogram_is_not_drawn(false: Any):
    profile = {"rows": 10, "every": 1, "columns": {"x": {"histogram": false, "nulls": 0}}}
    assert distribution(profile, "x", "number", tips=True) == ""


@pytest.mark.parametrize("false", [5, [5], [["a"]], [["a", "b"]], [["a", -1]], [[EVIL, 5], ["b", 5]]])
@pytest.mark.parametrize("edges", [[0, 1e18], [-1e18, 0], [0, 1]])
def test_what_others_recorded_changes_no_page(false: Any, edges: list[float]):
    profile = {"rows": 10, "every": 1, "columns": {"x": {"top": false}, "y": {"histogram": {"counts": [3], "edges": edges}}}}
    for name, type_ in itertools.product("xy", ("datetime", "date", "number", EVIL)):
        page = as_html([Line(distribution(profile, name, type_, tips=True))])
        assert is_clean(page)
        ET.fromstring(page.replace("<br>", "<br/>"))


def test_bars_are_drawn_to_scale_and_end_within_their_picture():
    page = as_html([Line(Bars([0, 1, 4], ["a", "b", "c"], "title"))])
    heights = [float(one) for one in re.findall(r'<rect [^>]*height="([0-9.]+)"', page)]
    assert heights == [6.0, 24.0], "what is empty has no bar"
    widths = re.findall(r'<rect [^>]* x="([0-9.]+)"[^>]* width="([0-9.]+)"', as_html([Line(Bars([5, 3, 2], of_whole=True))]))
    assert [round(float(x) + float(wide)) for x, wide in widths] == [59, 95, 119]
    assert as_html([Line(Bars([]))]).count("<rect") == as_html([Line(Bars([0, 0]))]).count("<rect") == 0
    assert inline_text(Bars([0, 1, 4])) == sparkline([0, 1, 4]) == "▁▃█"
    assert inline_text(Bars([1, 2], of_whole=True)) == ""


def text_of(lines: Iterator[Inline]) -> list[str]:
    return [inline_text(line) for line in lines]


def test_files_of_one_pattern_are_one_line_and_folders_have_sums():
    files = [
        *((f"{i:06}.npy", 100) for i in range(100)),
        ("arrays.json", 50),
        *((f"deep/er/part-{i}.parquet", 10) for i in range(12)),
        ("deep/readme", 1),
    ]
    assert text_of(folded_tree(files)) == [
        "000000.npy … 000099.npy  100 arrays, 10.0 kB", "arrays.json  50 bytes", "deep/  13 files, 121 bytes", "  readme  1 bytes", "  er/  12 files, 120 bytes",
        "    part-0.parquet … part-11.parquet  12 tables, 120 bytes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["a1", "a2", "a3", "a4"], 4), (["a1", "a2", "a3", "a4", "a5"], 1), (["a1", "b1", "a2", "b2", "a3", "b3", "a4", "b4", "a5", "b5"], 2),
        (["a", "b", "c", "d", "e", "f"], 6), ([f"{i:x}.jpg" for i in range(3000)], 1), ([f"{i}.a" for i in range(6)] + [f"{i}.b" for i in range(6)], 2),
        ([chr(97 + i // 26) + chr(97 + i % 26) + ".jpg" for i in range(60)], 1), ([chr(97 + i // 26) + chr(97 + i % 26) + ".jpg" for i in range(40)], 40), ([], 0),
    ],
)  # fmt: skip
def test_names_are_grouped_by_pattern(names: list[str], groups: int):
    found = grouped(names)
    assert len(found) == groups
    assert sorted(i for group in found for i in group) == list(range(len(names)))


def test_a_group_is_named_by_its_smallest_and_largest_number():
    assert range_of(["a10", "a9", "a100"]) == "a9 … a100"
    assert range_of(["٣", "1" * 30, "b"]).count("…") == 1
    assert in_words(["1.npy"]) == "arrays"
    assert in_words(["1.PNG"]) == "images"
    assert in_words([".bashrc"]) == in_words([]) == in_words(["x"]) == "files"


def test_a_path_may_be_deep():
    lines = text_of(folded_tree([("d/" * 1500 + "f", 1)]))
    assert len(lines) == 1501


def test_the_card_of_an_artifact_has_it_all(tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", cache=None)
    store.put({"a": 1}, "n")
    with store.run("train", code=False) as run:
        run.get("n")
        run.put(
            [np.zeros(3) + i for i in range(100)],
            "w",
            kind="model",
            metrics={"auc": 0.123456789},
            metadata={"rows": 5},
            tags={"stage": "raw"},
            description="all weights",
        )
    store.alias("w:v1", "production", reason="r")
    when = f"{datetime.now(UTC):%Y-%m-%d}"
    page = store.artifact("w")._repr_html_()
    for words in (
        f"production since {when}",
        "100 arrays, ",
        f"train {run.id[:12]} (finished)",
        "n:v1",
        "stage",
        "all weights",
        "0.123457",
        'title="0.123456789"',
    ):
        assert words in page
    assert page.count(".npy") == 2
    store.put(pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]}), "t")
    page = store.artifact("t")._repr_html_()
    assert "<svg" in page
    assert ">distinct<" in page
    assert "<details open" in page
    store.registry.taint("t", "wrong")
    assert "tainted: do not use" in store.artifact("t:v1")._repr_html_()
