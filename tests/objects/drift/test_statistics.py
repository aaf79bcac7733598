"""Each statistic is that of scipy or scikit-learn, on samples of many shapes."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn import metrics

from artifactstore.objects.drift.columns import Sample, compare
from artifactstore.objects.drift.kolmogorov import p_value
from artifactstore.objects.drift.labels import Quality
from artifactstore.objects.drift.measures import bin_counts, js, ks, psi
from artifactstore.objects.drift.samples import Numbers

SHAPES = {
    "alike": lambda rng, n: rng.normal(size=n),
    "shifted": lambda rng, n: rng.normal(0.3, 1.2, size=n),
    "skewed": lambda rng, n: rng.lognormal(size=n),
    "tied": lambda rng, n: rng.integers(0, 7, size=n).astype(float),
    "heavy": lambda rng, n: rng.standard_cauchy(size=n),
}


def sample(values: Any, carrier: str = "float", limit: int = 2**20) -> Sample:
    made = Sample(carrier, limit)
    for start in range(0, len(values), 1000):
        made.add(pa.array(values[start : start + 1000]))
    return made


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sizes", [(5, 8), (400, 300), (3000, 2999), (15_000, 200), (12_000, 30_000)])
def test_the_kolmogorov_smirnov_test_is_that_of_scipy(shape: str, sizes: tuple[int, int]):
    rng = np.random.default_rng(sum(sizes))
    a, b = SHAPES["alike"](rng, sizes[0]), SHAPES[shape](rng, sizes[1])
    expected = stats.ks_2samp(a, b)
    found = compare(sample(a), sample(b))
    assert found["ks"] == pytest.approx(expected.statistic, rel=1e-9)
    assert found["ks_p"] == pytest.approx(expected.pvalue, rel=0.1 if expected.pvalue < 1e-5 else 1e-3, abs=1e-7)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 2), (2, 3), (7, 7), (20, 20), (499, 500), (501, 500), (3000, 1), (2000, 1999)])
def test_p_values_of_any_distance_are_those_of_scipy(m: int, n: int):
    """Also of the smallest distance, of the largest, and where counting gives way to the approximation."""
    for part in (1, 2, 3, max(2, round(0.3 * np.sqrt(n))), n // 2, n):
        distance = min(1.0, max(part, 1) / n)
        a, b = np.arange(m) + 0.5, np.arange(m) + 0.5
        _, _, expected = stats._stats_py._attempt_exact_2kssamp(m, n, np.gcd(m, n), distance, "two-sided")
        assert len(a) == len(b)
        if np.isfinite(expected):
            assert p_value(distance, m, n) == pytest.approx(min(1.0, expected), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_index_is_the_textbook_sum_over_numpys_quantiles(shape: str):
    rng = np.random.default_rng(3)
    a, b = SHAPES["alike"](rng, 5000), SHAPES[shape](rng, 4000)
    edges = np.quantile(a, np.linspace(0.1, 0.9, 9))
    p, q = (np.bincount(np.searchsorted(edges, one), minlength=10) / len(one) for one in (a, b))
    found = compare(sample(a), sample(b))
    assert found["js"] == pytest.approx(jensenshannon(p, q, base=2), rel=1e-9)
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    assert found["psi"] == pytest.approx(float(((q - p) * np.log(q / p)).sum()), rel=1e-9)


def test_jensen_shannon_is_the_distance_of_scipy():
    rng = np.random.default_rng(4)
    for bins in (1, 2, 10, 53):
        p, q = rng.integers(0, 50, bins) + (bins == 1), rng.integers(0, 50, bins) + 1
        assert js(p + 1, q) == pytest.approx(jensenshannon(p + 1, q, base=2), abs=1e-12)
    assert js([1, 0], [0, 1]) == 1.0
    assert js([3, 5], [6, 10]) == 0.0


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_deciles_are_numpys_and_parts_of_integers_are_exact(dtype: Any):
    rng = np.random.default_rng(5)
    values = rng.integers(2**53, 2**53 + 1000, 5000).astype(dtype)
    old, new = np.unique(values, return_counts=True), np.unique(values[:777], return_counts=True)
    counts = bin_counts(old, new)
    edges = np.quantile((values - dtype(2**53)).astype(float), np.linspace(0.1, 0.9, 9))
    expected = np.bincount(np.searchsorted(edges, (values - dtype(2**53)).astype(float)), minlength=10)
    if dtype is not np.float64:  # whose neighbours are 1 apart there
        assert counts[0].tolist() == expected.tolist()
    assert counts[0].sum() == 5000
    assert counts[1].sum() == 777


def test_integers_beyond_the_floats_are_told_apart():
    a, b = np.array([2**62, 2**62 + 1]), np.array([2**62 + 1, 2**62 + 2])
    found = compare(sample(a, "int"), sample(b, "int"))
    assert found["ks"] == 0.5
    assert found["out_of_range"] == 0.5
    assert found["current"]["max"] == 2**62 + 2


@pytest.mark.parametrize("order", ["random", "sorted", "falling"])
def test_a_summary_is_off_by_no_more_than_it_says(order: str):
    rng = np.random.default_rng(6)
    values = rng.normal(size=200_000)
    values = np.sort(values) if order == "sorted" else -np.sort(values) if order == "falling" else values
    exact, small = Numbers(2**20), Numbers(2**12)
    for start in range(0, len(values), 5000):
        exact.add(values[start : start + 5000])
        small.add(values[start : start + 5000])
    assert exact.error == 0.0
    assert 0 < small.error < 0.02
    assert small._held <= 2**12
    assert sum(len(level[0]) for level in small._levels if level) <= 2**12 * 10 // 4
    assert ks(exact.finish(), small.finish()) <= small.error
    assert (small.low, small.high, small.count) == (values.min(), values.max(), 200_000)
    assert int(small.finish()[1].sum()) == 200_000


@pytest.mark.parametrize("kind", ["binary", "tied", "booleans", "with gaps"])
def test_the_quality_of_scores_is_that_of_scikit_learn(kind: str):
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 2, 3000)
    score = np.clip(0.4 * truth + rng.random(3000) * 0.6, 0, 1)
    score = np.round(score, 1) if kind == "tied" else score
    gaps = rng.random(3000) < 0.1 if kind == "with gaps" else np.zeros(3000, bool)
    made = Quality()
    for part in (slice(0, 700), slice(700, 3000)):
        label = pa.array(truth[part].astype(bool) if kind == "booleans" else truth[part])
        made.add(label, pa.array(score[part], mask=gaps[part]))
    found, some = made.finish(), ~gaps
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(truth[some], score[some]), abs=1e-9)
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(truth[some], score[some]), abs=1e-9)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth[some], score[some] > 0.5), abs=1e-9)


def test_the_quality_of_numbers_and_of_classes_is_that_of_scikit_learn():
    rng = np.random.default_rng(8)
    truth, guess = rng.normal(size=900), rng.normal(size=900)
    made = Quality()
    made.add(pa.array(truth), pa.array(guess))
    assert made.finish() == {
        "rmse": pytest.approx(metrics.root_mean_squared_error(truth, guess)),
        "mae": pytest.approx(metrics.mean_absolute_error(truth, guess)),
    }
    classes = np.array(["cat", "dog", "eel"])
    one, other = rng.choice(classes, 900), rng.choice(classes, 900)
    made = Quality()
    made.add(pa.array(one).dictionary_encode(), pa.array(other))
    assert made.finish() == {"accuracy": pytest.approx(metrics.accuracy_score(one, other))}
    assert Quality().finish() == {}


def test_an_empty_bin_is_a_ten_thousandth():
    assert psi([50, 50], [100, 0]) == pytest.approx(0.5 * np.log(2) + (1e-4 - 0.5) * np.log(2e-4))
    assert psi([50, 50, 0], [10, 10, 0]) == 0.0
