"""The executed cells of a notebook or of an interactive IPython; and running them again.

One text file, with a line `# %% [n]` before each cell: the percent format of editors.
"""

import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from artifactstore.work.secrets import redactor

__all__ = ["Cells", "executed", "run_cells", "split_cells"]

_MARK: Final = re.compile(r"^# %% \[(\d+)\]$", re.MULTILINE)


class Cells:
    """Executed cells.

    Attributes:
        text: all of them, each after its mark.
        name: of the stored file: `.ipy` if IPython syntax (`%magic`, `!command`) is used, else `.py`.
        notebook: the notebook's path, if its front end reports it.
    """

    def __init__(self, text: str, name: str, notebook: str | None) -> None:
        self.text = text
        self.name = name
        self.notebook = notebook


def executed() -> Cells | None:
    """Return the cells executed by this process, the running one included; None outside notebooks."""
    shell = _shell()
    history = getattr(shell, "history_manager", None)
    sources = list(getattr(history, "input_hist_raw", ()))[1:]
    if not any(one.strip() for one in sources):
        return None
    clean = redactor()
    shown = ((number, clean.source(source.rstrip())) for number, source in enumerate(sources, 1) if source.strip())
    text = "".join(f"# %% [{number}]\n{source}\n\n" for number, source in shown)
    plain = all(_is_plain(source) for source in sources)
    return Cells(text, "cells.py" if plain else "cells.ipy", _notebook(shell))


def _shell() -> Any:
    module = sys.modules.get("IPython")  # never imported here: if it is not loaded, there are no cells
    return module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None


def _is_plain(source: str) -> bool:
    try:
        compile(source, "<cell>", "exec", flags=0x2000)  # with top-level `await`, as IPython allows
    except (SyntaxError, ValueError):
        return False
    return True


def _notebook(shell: Any) -> str | None:
    path = getattr(shell, "user_ns", {}).get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return Path(path).name if isinstance(path, str) and path else None


def split_cells(text: str) -> Iterator[tuple[int, str]]:
    """Yield the cells of such a text: number and source."""
    parts = _MARK.split(text)
    for number, source in zip(parts[1::2], parts[2::2], strict=True):
        yield int(number), source.strip("\n") + "\n"


def run_cells(path: Path) -> int:
    """Run the cells of a file in order in one namespace, as a notebook does: a failed cell does not stop the next ones.

    Returns:
        The number of failed cells.
    """
    cells = list(split_cells(path.read_text(encoding="utf-8")))
    try:
        from IPython.core.interactiveshell import InteractiveShell  # noqa: PLC0415 - where it is
    except ImportError:
        return sum(not _run_plain(number, source, _namespace()) for number, source in cells)
    shell: Any = InteractiveShell.instance()
    return sum(not shell.run_cell(source, store_history=True).success for _, source in cells)


def _namespace() -> dict[str, Any]:
    module = sys.modules.get("__cells__")
    if module is None:
        module = sys.modules["__cells__"] = ModuleType("__main__")
    return vars(module)


def _run_plain(number: int, source: str, names: dict[str, Any]) -> bool:
    try:
        exec(compile(source, f"<cell {number}>", "exec"), names)  # noqa: S102 - what was asked for
    except Exception:  # noqa: BLE001 - a cell that fails stops none behind it
        traceback.print_exc()
        return False
    return True


if __name__ == "__main__":
    run_cells(Path(sys.argv[1]))
