"""Progress in words: nothing for what is short, a bar in a notebook's kernel, a line a minute in a log, silence in a script."""

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import Store
from artifactstore.cli import progress as command_progress
from artifactstore.display import progress
from artifactstore.display.progress import Meter, in_log, in_notebook, is_long
from artifactstore.work.session.core import watch_in_notebook


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_is_short_is_not_shown():
    assert [is_long(*one) for one in ((0, 0), (7_999_999, 1999), (8_000_000, 0), (5, 2000))] == [False, False, True, True]


def test_a_log_gets_a_line_a_minute(clock: Clock):
    lines: list[str] = []
    meter = in_log("get", 1000 * 10**6, 0, lines.append, clock=clock)
    for _ in range(100):
        clock.now += 1.5
        meter(10 * 10**6)
    assert lines == [
        "get: 400.0 MB of 1.0 GB (40%), 6.7 MB/s, 90 s left", "get: 800.0 MB of 1.0 GB (80%), 6.7 MB/s, 30 s left", "get: 1.0 GB, 2 min 30 s",
    ]  # fmt: skip


def test_what_ends_within_a_minute_leaves_no_line(clock: Clock):
    lines: list[str] = []
    meter = in_log("get", 100, 0, lines.append, clock=clock)
    clock.now += 59
    meter(100)
    assert lines == []


def test_files_are_counted_where_they_are_known(clock: Clock):
    meter = Meter("verify", 100, 4, lambda *_: None, first=1, every=1, clock=clock)
    clock.now += 10
    meter(50, 1)
    assert meter.text == "verify: 50 bytes of 100 bytes (50%), 1 of 4 files, 5 bytes/s, 10 s left"
    assert Meter("verify", 0, 0, lambda *_: None, first=1, every=1, clock=clock).text.startswith("verify: 0 bytes, ")


class Shell:
    """What IPython returns as its shell."""


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A kernel that keeps what is displayed."""
    shown: list[dict[str, Any]] = []
    shell = Shell()
    shell.kernel = object()  # type: ignore[attr-defined]

    class Handle:
        def update(self, data: dict[str, Any], *, raw: bool) -> None:
            assert raw
            shown.append(data)

    def display(data: dict[str, Any], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        shown.append({"first": True, **data})
        return Handle()

    module, inner = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    module.get_ipython = lambda: shell  # type: ignore[attr-defined]
    inner.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    return shown


def test_a_notebook_shows_a_bar_and_at_last_the_result(kernel: list[dict[str, Any]], clock: Clock):
    meter = in_notebook("get", 100 * 10**6, 0, clock=clock)
    meter(10**6)
    assert kernel == [], "nothing before a second has passed"
    clock.now += 2
    meter(49 * 10**6)
    meter(10**6)
    assert len(kernel) == 1, "not at each call"
    clock.now += 1
    meter(49 * 10**6)
    assert [one.get("first", False) for one in kernel] == [True, False]
    assert '<progress value="50000000" max="100000000"' in kernel[0]["text/html"]
    assert kernel[1]["text/plain"] == "get: 100.0 MB, 3.0 s"
    assert "<progress" not in kernel[1]["text/html"]


def test_gets_and_checks_in_a_kernel_know_their_totals(
    kernel: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[Meter] = []

    def watched(what: str, total: int, files: int) -> Meter:
        made.append(Meter(what, total, files, lambda *_: None, first=0, every=0))
        return made[-1]

    monkeypatch.setattr(progress, "in_notebook", watched)
    monkeypatch.setattr(progress, "LEAST", 1)
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i}.bin").write_bytes(os.urandom(1000 + i))
    (folder / "again").write_bytes((folder / "3.bin").read_bytes())
    (folder / "empty").write_bytes(b"")
    (folder / "large").write_bytes(os.urandom(10_000_000))
    store = artifactstore.create(tmp_path / "store", cache=None)
    store.put(folder, "n")
    store.get("n", to=tmp_path / "got")
    for level in ("frames", "full"):
        assert store.verify(level=level).ok, [(one.what, one.total, one.files) for one in made]
    size = store.artifact("n").size
    assert [(one.what, one.total, one.files) for one in made[:2]] == [("put", size, 0), ("get", size, 33)]
    assert [one.what for one in made[2:]] == ["verify", "verify"], [(one.what, one.total, one.files, one.done) for one in made]
    assert (made[3].total, made[3].files) == (size, 33)
    for one in made[1:]:
        assert (one.done, one.files_done) == (one.total, one.files), one.what
    assert kernel == []


def test_a_script_stays_quiet_and_pays_nothing(tmp_path: Path):
    assert watch_in_notebook("get", 10**12) is watch_in_notebook("put", 10**12, 10**6)
    script = (
        "import sys, artifactstore\n"
        f"s = artifactstore.open({str(tmp_path / 'store')!r}, cache=None); s.put(b'x' * 9_000_000, 'n'); s.get('n')\n"
        "print([m for m in ('IPython', 'rich', 'artifactstore.display.progress') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_shell_without_a_kernel_is_no_notebook(kernel: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch):
    assert progress.notebook() is not None
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", Shell)
    assert progress.notebook() is None
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    assert progress.notebook() is None
    assert kernel == []


@pytest.mark.parametrize(
    ("terminal", "ci", "lines"),
    [(False, None, True), (True, None, False), (True, "true", True), (True, "false", False), (False, "1", True)],
)
def test_commands_write_lines_in_ci_and_wherever_there_is_no_terminal(
    terminal: bool, ci: str | None, lines: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: FBT001
):  # fmt: skip
    store: Store = artifactstore.create(tmp_path / "store", cache=None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    with command_progress.shown(store._session):
        meter = store._session.watch("get", 10**9)
        assert isinstance(meter, Meter) == lines
        store._session.watch("get", 10)(10)
