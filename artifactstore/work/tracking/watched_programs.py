"""Programs that a run starts, watched as far as they are programs of Python: what they open outside the store.

Every Python among the program and its children finds a `sitecustomize.py` first on its path (`work.tracking.observer`), which
reports to a file. It sees what Python opens, and what native code still has open or mapped at its end. It does not see
programs that are not Python, nor a Python that ignores its environment (`-I`, `-E`, `-S`).
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from types import TracebackType
from typing import Self

from artifactstore.errors import BackendError
from artifactstore.work.tracking import observer
from artifactstore.work.tracking.outside_reads import OutsideReads

__all__ = ["WatchedPrograms", "report_known"]


class WatchedPrograms:
    """Watches programs that are started with its `environment` inside its block, for the record of a run.

    Attributes:
        environment: the variables that a program needs to be watched.
        processes: number of processes of Python that reported.
        direct: whether a child of this process was among them.
    """

    def __init__(self, reads: OutsideReads) -> None:
        self._reads = reads
        self._folder: Path | None = None
        self.environment: Mapping[str, str] = {}
        self.processes = 0
        self.direct = False

    def __enter__(self) -> Self:
        try:
            self._folder = Path(mkdtemp(prefix="artifactstore-watch-"))
            self._file.touch(mode=0o600)
            (self._folder / "sitecustomize.py").write_text(Path(observer.__file__).read_text(encoding="utf-8"), encoding="utf-8")
        except OSError as error:
            raise BackendError(f"cannot watch the program: no folder for temporary files ({error.strerror or error})") from error
        path = os.pathsep.join([str(self._folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.environment = {"PYTHONPATH": path, observer.READS: str(self._file)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        for what, *fields in self._reported():
            if what == "process":
                self.processes += 1
                self.direct = self.direct or fields[1] == str(os.getpid())
            elif what == "program":
                self._reads.note_program(fields)
            elif what == "known":
                self._reads.known.add(fields[0])
            elif what in {"read", "written"}:
                self._reads.note_file(fields[0], reads=what == "read")
        if self._folder is not None:
            rmtree(self._folder, ignore_errors=True)

    @property
    def _file(self) -> Path:
        assert self._folder is not None
        return self._folder / "reads"

    def _reported(self) -> Iterator[list[str]]:
        """Yield the records; a program that writes nonsense there is not believed, and stops nothing."""
        try:
            lines = self._file.read_bytes().splitlines()
        except OSError:
            return
        for line in lines:
            try:
                fields = [os.fsdecode(bytes.fromhex(word.decode("ascii"))) for word in line.split(b" ")]
            except ValueError:
                continue
            if len(fields) > (2 if fields[0] == "process" else 1):
                yield fields


def report_known(path: Path) -> None:
    """Report, in a watched program, that a file or folder came from the store."""
    if target := os.environ.get(observer.READS):
        observer.report(target, "known", str(path.absolute()))
