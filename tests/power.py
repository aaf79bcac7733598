"""Power losses: what a folder has on the disk at each moment, when only what was synced is sure to be there.

`Disk` records what this process does in a folder. Of a moment it makes the folders that a power loss may leave: a file has the
content of its last sync, a name is there if its folder was synced since, and of what was not synced any part may be there
(T. S. Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014: names of one folder are not written in order).
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Disk", "Step"]


@dataclass(frozen=True)
class Step:
    """One thing that was done.

    Attributes:
        what: make, link, replace, remove, folder (a name changes), content (a file was synced), sync (a folder was), or told.
        path: what it was done to.
        file: number of the file.
        data: its content, or what was told.
    """

    what: str
    path: str
    file: int = 0
    data: Any = None


@dataclass
class Disk:
    """Records what is done below a folder.

    Attributes:
        root: the folder.
        steps: what was done, in order.
    """

    root: Path
    steps: list[Step] = field(default_factory=list)
    _files: dict[int, int] = field(default_factory=dict)  # open descriptor → file
    _named: dict[str, int] = field(default_factory=dict)  # path → file
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def told(self, what: Any) -> None:
        """Note that a caller was told something, which no power loss may take back."""
        with self._lock:
            self.steps.append(Step("told", "", data=what))

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record inside the block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("open", "close", "fsync", "link", "replace", "rename", "unlink", "mkdir"):
                patch.setattr(os, name, self._recording(name, getattr(os, name)))
            yield

    def _recording(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        note = getattr(self, f"_{name}")

        def call(*args: Any, **more: Any) -> Any:
            with self._lock:
                done = None if name == "fsync" else real(*args, **more)
                note(done, *args)
                return done

        return call

    def _inside(self, path: Any) -> str | None:
        text = str(Path(path).absolute()) if isinstance(path, str | os.PathLike) else ""
        return text if text.startswith(f"{self.root}{os.sep}") or text == str(self.root) else None

    def _open(self, fd: int, path: Any, flags: int, *_mode: Any) -> None:
        text = self._inside(path)
        if text is None or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            if text is not None and Path(text).is_dir():
                self._files[fd] = 0
            return
        if text not in self._named:
            self._named[text] = len(self.steps) + 1
            self.steps.append(Step("make", text, self._named[text]))
        self._files[fd] = self._named[text]

    def _close(self, _done: None, fd: int) -> None:
        self._files.pop(fd, None)

    def _fsync(self, _done: None, fd: int) -> None:
        if fd not in self._files:
            return
        file, path = self._files[fd], str(Path(f"/proc/self/fd/{fd}").readlink())
        if file:
            self.steps.append(Step("content", path, file, Path(path).read_bytes()))
        else:
            self.steps.append(Step("sync", path))

    def _link(self, _done: None, source: Any, target: Any) -> None:
        self._renamed("link", source, target)

    def _replace(self, _done: None, source: Any, target: Any) -> None:
        self._renamed("replace", source, target)

    _rename = _replace

    def _renamed(self, what: str, source: Any, target: Any) -> None:
        text, before = self._inside(target), self._inside(source)
        if text is None:
            return
        assert before is not None, "a file from elsewhere"
        self._named[text] = self._named[before]
        self.steps.append(Step(what, text, self._named[text], before))
        if what == "replace":
            del self._named[before]

    def _unlink(self, _done: None, path: Any) -> None:
        if (text := self._inside(path)) is not None:
            self.steps.append(Step("remove", text, self._named.pop(text, 0)))

    def _mkdir(self, _done: None, path: Any, *_mode: Any) -> None:
        if (text := self._inside(path)) is not None:
            self.steps.append(Step("folder", text))

    # -- after the loss

    def after(self, moment: int, target: Path, chance: random.Random | None, *, torn: bool = False) -> list[Any]:
        """Make the folder that a power loss after so many steps may leave; return what callers had been told by then.

        Args:
            moment: the number of steps before it.
            target: a new folder.
            chance: chooses what of the steps that were not synced is there; None: nothing.
            torn: whether what is not there of a file's content is there as zeros, not as an empty file.
        """
        done = self.steps[:moment]
        synced: dict[str, int] = {}  # folder → the last step that synced it
        for number, step in enumerate(done):
            if step.what == "sync":
                synced[step.path] = number
        names: dict[str, int] = {}
        folders = {str(self.root)}
        contents: dict[int, bytes] = {}
        for number, step in enumerate(done):
            if step.what == "content":
                contents[step.file] = step.data
            if step.what not in {"make", "link", "replace", "remove", "folder"}:
                continue
            if number > synced.get(str(Path(step.path).parent), -1) and (chance is None or chance.random() < 0.5):
                continue
            if step.what == "folder":
                folders.add(step.path)
            elif step.what == "remove":
                names.pop(step.path, None)
            else:
                names[step.path] = step.file
            if step.what == "replace":
                names.pop(step.data, None)
        whole = {step.file: step.data for step in self.steps if step.what == "content"}
        target.mkdir(parents=True)
        for path, file in sorted(names.items()):
            if all(str(one) in folders for one in Path(path).parents if str(one).startswith(str(self.root))):
                here = target / Path(path).relative_to(self.root)
                here.parent.mkdir(parents=True, exist_ok=True)
                lacking = bytes(len(whole.get(file, b""))) if torn else b""
                here.write_bytes(contents.get(file, lacking))
        return [step.data for step in done if step.what == "told"]
