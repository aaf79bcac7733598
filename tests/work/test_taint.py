"""Taint: refused by alias, warned of by version and digest, passed by as `latest`, spread to what was made from it."""

import warnings
from pathlib import Path

import pytest

import artifactstore
from artifactstore import InvalidInputError, NotFoundError, RefusedError, Store
from artifactstore.cli import main


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two versions of raw, features of the first, a model of these in production."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    made = artifactstore.create(tmp_path / "store", cache=tmp_path / "cache")
    made.put(b"1", "raw")
    with made.run("prepare", code=False):
        made.get("raw")
        made.put(b"f", "features")
    with made.run("train", code=False):
        made.get("features")
        made.put(b"m", "model", kind="model")
    made.alias("model", "production")
    made.alias("raw", "golden")
    made.put(b"2", "raw")
    return made


def test_by_alias_it_is_refused_by_version_and_digest_warned_of(store: Store, tmp_path: Path):
    rows = store.registry.taint("raw:v1", "wrong labels, CR-77")
    assert [(one.label, one.aliases) for one in rows] == [("features:v1", ()), ("model:v1", ("model:production",))]
    with pytest.raises(RefusedError, match=r"raw:golden points to raw:v1, which is tainted: wrong labels, CR-77 \(") as refused:
        store.get("raw:golden")
    assert refused.value.reasons
    for read in (lambda: store.open_file("raw:golden"), lambda: store.get("raw:golden", to=tmp_path / "x")):
        with pytest.raises(RefusedError):
            read()
    assert not (tmp_path / "x").exists()
    with pytest.warns(UserWarning, match="raw:v1 is tainted: wrong labels"):
        assert store.get("raw:v1") == b"1"
    with pytest.warns(UserWarning, match="is tainted: wrong labels"):
        store.get(store.artifact("raw:v1").digest)
    # Whoever looks into it must be able to.
    assert store.artifact("raw:golden").tainted
    assert store.lineage("raw:golden").impact()
    assert "TAINTED" in str(store.lineage("model").upstream())


def test_what_was_made_from_it_warns_unless_it_does_not_spread(store: Store):
    store.registry.taint("raw:v1", "wrong labels")
    with pytest.warns(UserWarning, match="model:v1 was made from raw:v1, which is tainted: wrong labels"):
        assert store.get("model:production") == b"m"
    with pytest.warns(UserWarning, match="features:v1 was made from raw:v1"):
        store.get("features")
    store.registry.taint("raw:v1", "only this one", spread=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.get("model:production")
        store.get("raw")  # v2


def test_latest_passes_it_by_and_putting_it_again_does_not_help(store: Store):
    store.put(b"bad", "raw")
    store.registry.taint("raw:v3", "bad")
    assert store.artifact("raw").version == 2
    again = store.put(b"bad", "raw")
    assert (again.version, again.new, again.tainted) == (3, False, True)
    assert store.get("raw") == b"2"
    store.put(b"bad", "other")
    with pytest.raises(NotFoundError, match=r"tainted; get a version by number: other:v1"):
        store.get("other")


def test_it_can_be_cleared_and_both_are_in_the_trail(store: Store):
    store.registry.taint("raw:v1", "wrong labels")
    store.registry.taint("raw:v1", "wrong labels")
    store.registry.untaint("raw:golden", "they were right, CR-78")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.get("raw:golden") == b"1"
        store.get("model")
    assert [(one.fact, one.reason) for one in store.log() if one.fact in {"tainted", "cleared"}] == [
        ("tainted", "wrong labels"),
        ("cleared", "they were right, CR-78"),
    ]
    with pytest.raises(InvalidInputError, match="raw:v1 is not tainted"):
        store.registry.untaint("raw:v1", "again")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tainted", "meant"),
    [
        ((3,), 3), ((2, 3), 3), ((1, 2, 3), 3),  # the newest is tainted
        ((2,), "raw (now raw:v3) is not tainted, but raw:v2 is: pass that version"),
        ((1, 2), "raw (now raw:v3) is not tainted, but raw:v2 is: pass that version"),
        ((), "raw (now raw:v3) is not tainted"),
    ],
)  # fmt: skip
def test_untaint_of_a_name_means_its_newest_version_tainted_or_not(store: Store, tainted: tuple[int, ...], meant: int | str):
    store.put(b"3", "raw")
    for version in tainted:
        store.registry.taint(f"raw:v{version}", "wrong")
    if isinstance(meant, str):
        with pytest.raises(InvalidInputError) as caught:
            store.registry.untaint("raw", "right")
        assert str(caught.value) == meant
        return
    store.registry.untaint("raw", "right")
    assert [row.version for row in store.versions("raw") if row.tainted] == [k for k in tainted if k != meant]


def test_a_taint_by_name_that_is_made_again_marks_no_older_version(store: Store):
    for _ in range(2):
        store.registry.taint("raw", "wrong labels")
        assert [row.version for row in store.versions("raw") if row.tainted] == [2]
    store.registry.taint("raw", "another reason")  # not the same call: the name means v1 now
    assert [row.version for row in store.versions("raw") if row.tainted] == [1, 2]
    store.registry.taint("raw", "wrong labels")
    assert [one.reason for one in store.log(fact="tainted")] == ["wrong labels", "another reason"]


def test_the_only_version_of_a_name_is_untainted_by_the_name(store: Store):
    store.registry.taint("features", "wrong")
    with pytest.raises(NotFoundError, match=r"tainted; get a version by number: features:v1"):
        store.get("features")
    store.registry.untaint("features", "right")
    assert store.get("features") == b"f"


def test_what_only_descends_from_something_tainted_names_that(store: Store):
    store.registry.taint("raw:v1", "wrong")
    with pytest.raises(
        InvalidInputError, match="model:v1 is not tainted itself, but was made from raw:v1, which is: untaint that"
    ):
        store.registry.untaint("model:v1", "right")


def test_bad_calls_change_nothing(store: Store):
    head = store._session.core().journal.catch_up()
    for reason in ("", " ", None):
        with pytest.raises(InvalidInputError, match="must state why"):
            store.registry.taint("raw:v1", reason)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        store.registry.taint("row", "x")
    with pytest.raises(InvalidInputError, match="a whole artifact"):
        store.registry.taint("raw:v1/data", "x")
    with pytest.raises(RefusedError):
        artifactstore.open(store.url, "r").registry.taint("raw", "x")
    with pytest.raises(RefusedError):
        store.at(head).registry.taint("raw:v1", "x")
    assert store._session.core().journal.catch_up() == head


def test_a_second_process_reads_it_from_the_kept_fold(store: Store):
    store.registry.taint("raw:v1", "wrong labels")
    store.put(b"x", "y")
    again = artifactstore.open(store.url, cache=store._session.cache)
    with pytest.raises(RefusedError, match="wrong labels"):
        again.get("raw:golden")


def test_on_the_command_line(store: Store, capsys: pytest.CaptureFixture[str]):
    assert main(["taint", "raw:v1", "wrong labels", "--store", store.url]) == 0
    out = capsys.readouterr().out
    assert "model:v1" in out
    assert "model:production" in out
    assert main(["get", "raw:golden", "there", "--store", store.url]) == 6
    assert main(["impact", "raw:v1", "--store", store.url]) == 0
    assert main(["untaint", "raw:v1", "right after all", "--store", store.url]) == 0
    assert main(["get", "raw:golden", "there", "--store", store.url]) == 0
    assert main(["taint", "model", "wrong", "--store", store.url]) == 0
    assert main(["untaint", "model", "right", "--store", store.url]) == 0


def test_what_is_named_as_an_input_is_refused_and_warned_of_as_what_is_read(store: Store):
    store.alias("raw:v1", "production")
    store.registry.taint("raw:v1", "wrong labels")
    with store.run("train") as run:
        with pytest.raises(RefusedError, match="wrong labels"):
            run.use("raw:production")
        with pytest.warns(UserWarning, match="raw:v1 is tainted"):
            run.use("raw:v1")
    named = [event.fields.get("name") for event in store.log(fact="used") if event.fields["run"] == run.id]
    assert [name for name in named if name] == ["raw"]
