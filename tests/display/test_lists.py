"""Lists show what a reader looks for: short, aligned, without what is empty, and with the way to the rest."""

import copy
import pickle
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

import artifactstore
from artifactstore import InvalidInputError, Store
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.runs.info import RunInfo
from artifactstore.catalog.runs.table import RunTable
from artifactstore.catalog.versions import Version
from artifactstore.display.lists import cell
from artifactstore.display.outline import Span
from artifactstore.display.text_renderer import inline_text
from artifactstore.display.values import duration

NOW = datetime(2026, 11, 30, 12, 1, 59, tzinfo=UTC)
DIGEST = "blake3:" + "0123456789abcdef" * 4


def versions(many: int, **more: Any) -> Rows[Version]:
    return Rows(Version, [Version("churn/model", k, DIGEST, "model", 1234, 3, NOW, "ada", **more) for k in range(1, many + 1)])


@dataclass
class Odd:
    """A record without a list of columns of its own."""

    text: str = "x" * 500
    number: float = 1.23456789
    nothing: None = None
    empty: dict[str, int] = field(default_factory=dict)
    many: dict[str, int] = field(default_factory=lambda: {f"k{i}": i for i in range(9)})
    yes: bool = True


def test_a_list_says_how_many_there_are_and_how_to_see_the_rest():
    text = repr(versions(1000)).splitlines()
    assert text[0] == "1,000 versions"
    assert len([line for line in text if line.startswith("churn/model:v")]) == 10
    assert text[2].startswith("churn/model:v1 ")
    assert text[-2].startswith("churn/model:v1000 ")
    assert "… and 990 more" in text[-4]
    assert ".to_pandas()" in text[-1]
    html = versions(1000)._repr_html_()
    assert html.count("churn/model:v") == 50
    assert "… and 950 more" in html
    assert "more" not in repr(versions(10))
    assert repr(versions(0)) == "no versions"
    assert "no versions" in versions(0)._repr_html_()


def test_what_is_empty_takes_no_room():
    html = versions(3)._repr_html_()
    for absent in ("{}", "None", "aliases", "reason", "metadata"):
        assert absent not in html
    full = versions(3, aliases=("best",), metrics={"auc": 0.91234567}, reason="r" * 200, metadata={"team": "risk"})
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", full._repr_html_())
    assert heads[:4] == ["ref", "aliases", "auc", "size"]
    assert {"reason", "metadata"} <= {*heads}


def test_digests_times_and_numbers_are_short_with_the_full_ones_under_the_pointer():
    html = versions(1, metrics={"auc": 0.91234567})._repr_html_()
    assert f'title="{DIGEST}"' in html
    assert ">blake3:01234567<" in html
    assert 'title="2026-11-30 12:01:59 UTC"' in html
    assert ">2026-11-30 12:01<" in html
    assert 'title="0.91234567"' in html
    assert ">0.9123<" in html
    assert "1.2 kB" in html
    right = re.findall(r'<th style="[^"]*text-align:right[^"]*">([^<]*)', html)
    assert right == ["auc", "size"]


@pytest.mark.parametrize("name", ["m", "a/very/long/name/of/an/artifact/that/takes/room"])
@pytest.mark.parametrize("metrics", [0, 1, 3, 12])
def test_text_fits_eighty_columns_and_names_what_it_leaves_out(name: str, metrics: int):
    made = [
        Version(
            name,
            k,
            DIGEST,
            "model",
            10**k,
            3,
            NOW,
            "ada",
            aliases=("best",),
            metrics={f"metric{i}": k / 7 for i in range(metrics)},
        )
        for k in range(1, 5)
    ]
    lines = repr(Rows(Version, made)).splitlines()
    assert len(lines) == (6 if (name, metrics) == ("m", 0) else 7)
    assert max(map(len, lines[:6])) <= 80
    assert f"{name}:v4" in lines[5]
    if len(lines) == 7:
        assert lines[6].startswith("not shown: ")
        assert "digest" in lines[6]


@pytest.mark.parametrize("fit", [1, 5])
def test_a_record_of_any_class_is_shown(fit: int):
    rows = Rows(Odd, [Odd()] * fit)
    for text in (repr(rows), rows._repr_html_()):
        assert "{}" not in text
        assert "None" not in text
    assert "yes" in rows._repr_html_()
    assert "… 6 more" in rows._repr_html_()
    assert "x" * 60 not in repr(rows)
    assert ">" + "x" * 47 + "…<" in rows._repr_html_()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), ({}, ""), ((), ""), ("", ""), (0, "0"), (False, "no"), (12345, "12,345"), (1e-5, "1e-05"), (float("nan"), "nan"), (NOW, "2026-11-30 12:01"),
     (DIGEST, "blake3:01234567"), ({"a": 1, "b": "x"}, "a=1, b=x"), (("a", "b"), "a, b"), ("word", "word"), ({"a": object}, "a=<class 'object'>")],
)  # fmt: skip
def test_a_cell_is_short(value: Any, shown: str):
    assert inline_text(cell(value)) == shown


def test_a_cell_that_is_cut_has_the_full_text_under_the_pointer():
    found = cell("ab " * 100)
    assert isinstance(found, Span)
    assert found.tip == "ab " * 100
    assert len(found.text) <= 48


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0.0 s"), (9.94, "9.9 s"), (99.4, "99 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (360_000, "100 h 00 min")]
)  # fmt: skip
def test_a_duration_has_two_units(seconds: float, shown: str):
    assert duration(seconds) == shown


def runs(many: int) -> RunTable:
    made = [
        RunInfo(f"{i:032x}", "sweep", "failed" if i == 1 else "finished", NOW, seconds=90.0 * i, params={"seed": 7, "lr": 10.0**-i}, metrics={"auc": i / 7})
        for i in range(many)
    ]  # fmt: skip
    return RunTable(made)


def test_runs_show_metrics_then_what_differs_in_parameters():
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", runs(3)._repr_html_())
    assert heads == ["name", "status", "auc", "lr", "seed", "took", "started (UTC)", "run"]
    assert repr(runs(3)).splitlines()[3].split()[:3] == ["sweep", "failed", "0.1429"]
    assert "color:#d1453b" in runs(3)._repr_html_()
    chosen = RunTable(list(runs(3)), ["params.lr", "name"])
    assert re.findall(r"<th[^>]*>([^<]*)</th>", chosen._repr_html_()) == ["lr", "name"]


def test_fields_of_one_name_keep_their_paths():
    one = RunInfo("0" * 32, "sweep", "finished", NOW, params={"auc": 1}, metrics={"auc": 0.5})
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", RunTable([one], ["params.auc", "metrics.auc"])._repr_html_())
    assert heads == ["params.auc", "metrics.auc"]


def test_the_lists_of_a_store_are_shown(store: Store):
    store.put({"a": 1}, "n", metadata={"k": "v"}, metrics={"auc": 0.5})
    with store.run("train", code=False) as run:
        run.log(loss=1.0, step=1)
        store.get("n")
        run.put(b"x", "m")
    lists = [
        store.names(), store.versions("n"), store.find(), store.log(), store.runs(), store.runs()[0].history("loss"), store.artifact("n").files,
        store.artifact("m").inputs, store.lineage("m").upstream().artifacts,
    ]  # fmt: skip
    for rows in lists:
        lines = repr(rows).splitlines()
        assert lines[0].split(" ")[0] == str(len(rows))
        assert max(map(len, lines)) <= 100
        assert "dataclass" not in repr(rows)
        assert rows._repr_html_().count("<tr>") == len(rows) + 1


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


@pytest.mark.parametrize(
    ("name", "words"),
    [("head", "[:5]"), ("df", ".to_pandas()"), ("groupby", ".to_pandas().groupby"), ("to_csv", ".to_pandas().to_csv"), ("scatter", ".plot(x, y)"), ("nonsense", "'nonsense'")],
)  # fmt: skip
def test_what_users_of_frames_type_is_answered_with_the_call_that_does_it(name: str, words: str):
    for rows in (versions(3), runs(3)):
        with pytest.raises(AttributeError, match=re.escape(words)):
            getattr(rows, name)
    assert not hasattr(versions(1), "_repr_png_")


def test_a_column_is_not_an_index():
    with pytest.raises(InvalidInputError, match=re.escape(".values('auc')")):
        runs(3)["auc"]  # type: ignore[call-overload]
    with pytest.raises(InvalidInputError, match=re.escape(".to_pandas()['name']")):
        versions(3)["name"]  # type: ignore[call-overload]
    assert copy.copy(versions(3)) == versions(3)
    assert pickle.loads(pickle.dumps(Rows(Odd, [Odd(), Odd()])[1:])) == [Odd()]


def test_a_field_of_all_rows_is_a_list_whether_the_rows_are_in_columns_or_not(store: Store):
    for name in ("b", "a", "c"):
        store.put(b"1" * len(name), name)
    names = store.names()
    for part in (names, names[1:], names[::-1], names[:0], versions(4), versions(4)[1:3]):
        for column in part._names():
            assert part.values(column) == [getattr(row, column) for row in part]
    with pytest.raises(InvalidInputError, match="Name has no field 'bytes'; it has name, versions"):
        names.values("bytes")
