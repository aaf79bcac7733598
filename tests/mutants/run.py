"""Plant each fault of the tables beside this file in a copy of the project and run the tests that should see it.

    .venv/bin/python -m tests.mutants.run [--jobs N] [WORD …]

Without words all faults are planted; with words those whose name, file or tests contain one of them. README.md has the details.
"""

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import pytest

PROJECT: Final = Path(__file__).parents[2]
TABLES: Final = Path(__file__).parent
_SECONDS: Final = 600  # for the tests of one mutant: one that hangs is caught
_COPIED: Final = (
    "artifactstore",
    "tests",
    "benchmarks",
    "docs",
    "mkdocs.yml",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
)
_FAILED: Final = 1  # pytest's exit code where a test failed
_LOADED: Final = ("hypothesis", "numpy", "pyarrow.parquet", "pydantic", "fsspec", "zstandard", "blake3", "pyfastcdc", "typer")
_FORK: Final = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted fault.

    Attributes:
        name: the rule that it breaks, as a sentence.
        file: below the package's folder.
        old: text that is in the file exactly once.
        new: what replaces it.
        tests: arguments for pytest; at least one of these tests must fail.
        equivalent: why no test can see it; empty for all that must be caught.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str = ""

    def plant(self, text: str) -> str:
        """Return a module's text with the fault in it.

        Raises:
            ValueError: `old` is not in the text exactly once.
        """
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: {self.file} has its old text {count} times, expected 1: adapt tests/mutants")
        return text.replace(self.old, self.new)


def mutants(words: Sequence[str] = ()) -> list[Mutant]:
    """Read the tables; with `words` only the mutants that one of them fits."""
    found: list[Mutant] = []
    for table in sorted(TABLES.glob("*.toml")):
        rows = tomllib.loads(table.read_text(encoding="utf-8"))["mutant"]
        found += [Mutant(**{**row, "tests": tuple(row["tests"])}) for row in rows]
    return [one for one in found if not words or any(word in " ".join((one.name, one.file, *one.tests)) for word in words)]


def _copy(folder: Path) -> Path:
    for name in _COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=shutil.ignore_patterns(".mypy_cache", ".ruff_cache"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def _pytest(copy: Path, tests: Iterable[str], *, seconds: float | None = None) -> tuple[int | None, str]:
    """Run tests in a copy of the project, up to the first that fails; returns pytest's exit code and output, None if it hangs.

    In a fork of this process, which has loaded what takes long and nothing of the project.
    """
    output = copy / "output"
    options = [
        "-q",
        "-x",
        "-m",
        "",  # the slow ones, too
        "-n",
        "0",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        f"--basetemp={copy / '.pytest'}",
    ]
    child = _FORK.Process(target=_child, args=(copy, output, [*options, *tests]))
    child.start()
    child.join(seconds)
    code = child.exitcode
    if code is None:
        child.kill()
        child.join()
    return code, output.read_text(errors="replace")[-3000:]


def _child(copy: Path, output: Path, arguments: list[str]) -> None:
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["PYTHONPATH"] = str(copy)
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    for name in [name for name in sys.modules if name.partition(".")[0] in {"tests", "artifactstore"}]:
        del sys.modules[name]
    code = pytest.main(arguments)
    sys.stdout.flush()
    os._exit(code)


def _outcome(copy: Path, mutant: Mutant) -> str:
    """Return `caught`, `survived`, or what went wrong."""
    path = copy / "artifactstore" / mutant.file
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(mutant.plant(text), encoding="utf-8")
        _forget_compiled(path)
        code, output = _pytest(copy, mutant.tests, seconds=_SECONDS)
    except ValueError as error:
        return f"error: {error}"
    finally:
        path.write_text(text, encoding="utf-8")
        _forget_compiled(path)
    if code in {0, _FAILED, None}:
        return "survived" if code == 0 else "caught"
    return f"error: pytest ended with {code}\n{output}"


def _forget_compiled(path: Path) -> None:
    # Python compares seconds and sizes: a fault of the same length within a second would not be seen.
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants; 0 if all that are not equivalent are caught."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args(arguments)
    chosen = mutants(options.words)
    begun = time.monotonic()
    for name in _LOADED:
        importlib.import_module(name)
    outcomes: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            copies.put(_copy(Path(scratch, str(number))))
        first = copies.get()
        code, output = _pytest(first, sorted({test for one in chosen for test in one.tests}))
        copies.put(first)
        if code:
            print(f"the tests fail without any fault planted:\n{output}")
            return 2

        def look(mutant: Mutant) -> None:
            copy = copies.get()
            try:
                outcomes[mutant.name] = _outcome(copy, mutant)
            finally:
                copies.put(copy)
            expected = "survived" if mutant.equivalent else "caught"
            if outcomes[mutant.name] != expected:
                print(f"{mutant.file}: {mutant.name}: {outcomes[mutant.name]}", flush=True)

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(look, chosen))
    counted = [one for one in chosen if not one.equivalent]
    caught = sum(outcomes[one.name] == "caught" for one in counted)
    seconds = time.monotonic() - begun
    print(f"{caught} of {len(counted)} caught, {len(chosen) - len(counted)} equivalent, {seconds:.0f} s")
    return 0 if caught == len(counted) and all(outcomes[one.name] == "survived" for one in chosen if one.equivalent) else 1


if __name__ == "__main__":
    sys.exit(main())
