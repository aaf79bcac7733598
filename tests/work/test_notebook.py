"""Notebooks, executed by a real kernel: a run over several cells, its cells as code, and the drawing that a notebook shows."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import Store
from artifactstore.work.runs.capture.notebook_cells import run_cells, split_cells

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

CELLS = [
    "import artifactstore\nstore = artifactstore.open('../store')\nrun = store.run('train', params={'k': 2}).start()",
    "%time rows = run.get('raw')",
    "1 / 0",
    "made = run.put([2 * one for one in rows], 'model', kind='model', metrics={'auc': 0.5})",
    "run.finish()",
    "store.lineage('model')",
]


def execute(folder: Path, cells: list[str]) -> Any:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    client = nbclient.NotebookClient(book, timeout=120, allow_errors=True, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return book


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "work").mkdir()
    made = artifactstore.create(tmp_path / "store", cache=None)
    made.put([1, 2], "raw")
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("repository", [False, True])
def test_a_run_over_cells_is_recorded_with_them_and_made_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, repository: bool
):
    if repository:
        if shutil.which("git") is None:
            pytest.skip("git is not installed")
        subprocess.run(["git", "init", "-q"], cwd=tmp_path / "work", check=True)
    (tmp_path / "work/notes.txt").write_text("beside it\n")
    book = execute(tmp_path / "work", CELLS)
    errors = [out for cell in book.cells for out in cell.outputs if out.output_type == "error"]
    assert [one.ename for one in errors] == ["ZeroDivisionError"]
    (info,) = store.runs()
    assert (info.name, info.status, info.params) == ("train", "finished", {"k": 2})
    code = store.lineage("model").code
    assert code is not None
    assert code.about["kind"] == ("git" if repository else "cells")
    with store._session.state() as state:
        (cells,) = [edge["digest"] for edge in state.edges[info.id] if edge.get("role") == "cells"]
    text = (store.get(cells, to=tmp_path / "cells") / "cells.ipy").read_text()
    assert [source.strip() for _, source in split_cells(text)] == CELLS[:5]
    shown = book.cells[5].outputs[0].data
    assert "<svg" in shown["text/html"]
    monkeypatch.chdir(tmp_path)
    found = store.lineage("model").reproduce(tmp_path / "again", env=False)
    assert found.verdict == "bit-equal", str(found)


def test_cells_run_one_by_one_and_one_that_fails_stops_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "cells.py"
    path.write_text(f"# %% [1]\nx = 1\n\n# %% [2]\nx.nothing\n\n# %% [5]\nopen({str(tmp_path / 'out')!r}, 'w').write(str(x))\n\n")
    for module in ("IPython", "IPython.core", "IPython.core.interactiveshell"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    assert [number for number, _ in split_cells(path.read_text())] == [1, 2, 5]
    assert run_cells(path) == 1
    assert (tmp_path / "out").read_text() == "1"
