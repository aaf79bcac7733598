"""Files that arrive from elsewhere, in a folder of their own until they are stored: no path leaves it, none is written twice.

Links are kept aside and made last, so that nothing is written through one.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final, NoReturn

from artifactstore.errors import BackendError, FormatError, InvalidInputError
from artifactstore.model.listing import check_link, check_links, check_path

__all__ = ["Tree"]

_BLOCK: Final = 2**20


class Tree:
    """A tree that grows.

    Args:
        folder: it is made in; empty.
        what: it comes from, for messages.

    Attributes:
        folder: as passed.
        files: paths of the files.
        links: path → target.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self.folder = folder
        self.files: dict[str, None] = {}
        self.links: dict[str, str] = {}
        self._folders: set[str] = {""}
        self._what = what

    def room(self, size: int) -> None:
        """Refuse what cannot fit.

        Raises:
            BackendError: the disk has less free space.
        """
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise BackendError(
                f"{self._what} has {size:,} bytes, and {self.folder.parent} has {free:,} free: set TMPDIR to a larger disk"
            )

    @contextmanager
    def writing(self, path: str, *, executable: bool = False, replace: bool = False) -> Iterator[BinaryIO]:
        """Open a new file.

        Args:
            path: in the tree.
            executable: whether it gets an executable bit.
            replace: whether it may take the place of another entry, as in the layers of an image.

        Raises:
            FormatError: the path leads elsewhere, or is taken.
        """
        target = self.new_file(path, replace=replace)
        with target.open("xb") as file:
            yield file
        if executable:
            target.chmod(0o755)

    def new_file(self, path: str, *, replace: bool = False) -> Path:
        """Return where a new file is to be written; the folders above it are there.

        Raises:
            FormatError: the path leads elsewhere, or is taken.
        """
        self._free(path, replace=replace)
        self.files[path] = None
        return self.folder / path

    def _free(self, path: str, *, replace: bool) -> None:
        try:
            check_path(path)
        except InvalidInputError as error:
            self._refuse(str(error))
        if replace:
            self.remove(path)
        if path in self.files or path in self.links or path in self._folders:
            self._refuse(f"it has {path!r} twice")
        self._make(path.rpartition("/")[0])

    def add_folder(self, path: str) -> None:
        """Make a folder, unless it is there.

        Raises:
            FormatError: the path leads elsewhere, or is a file.
        """
        try:
            check_path(path)
        except InvalidInputError as error:
            self._refuse(str(error))
        self._make(path)

    def _make(self, path: str) -> None:
        missing = []
        while path not in self._folders:
            if path in self.files or path in self.links:
                self._refuse(f"{path!r} is a file or a link, and something is to be inside it")
            missing.append(path)
            path = path.rpartition("/")[0]
        for one in reversed(missing):
            (self.folder / one).mkdir()
            self._folders.add(one)

    def add_link(self, path: str, target: str, *, replace: bool = False) -> None:
        """Note a symbolic link.

        Raises:
            FormatError: it leads out of the tree, or its path is taken.
        """
        self._free(path, replace=replace)
        try:
            check_link(path, target)
        except InvalidInputError as error:
            self._refuse(str(error))
        self.links[path] = target

    def check_same(self, path: str, source: IO[bytes]) -> None:
        """Refuse a second file for a path, unless it has the same content.

        Raises:
            FormatError: it has another.
        """
        with (self.folder / path).open("rb") as file:
            while True:
                first, second = file.read(_BLOCK), source.read(_BLOCK)
                if first != second:
                    self._refuse(f"it has {path!r} twice, with different content")
                if not first:
                    return

    def add_copy(self, path: str, of: str, *, replace: bool = False) -> None:
        """Make a file with the content of another one, as a hard link in a tar means it.

        Raises:
            FormatError: there is no such file, or the path leads elsewhere.
        """
        if of not in self.files:
            self._refuse(f"{path!r} is a hard link to {of!r}, which is no file before it")
        if path == of:
            return
        target = self.new_file(path, replace=replace)
        shutil.copy(self.folder / of, target)  # not a link: the two may be replaced apart

    def remove(self, path: str) -> None:
        """Remove an entry, and what is in it, if there is one: the whiteout of an image's layer."""
        inside = f"{path}/" if path else ""
        for one in [one for one in self.links if one == path or one.startswith(inside)]:
            del self.links[one]
        if path in self.files:
            (self.folder / path).unlink()
            del self.files[path]
        elif path in self._folders:
            for one in [one for one in self.files if one.startswith(inside)]:
                del self.files[one]
            self._folders = {one for one in self._folders if one != path and not one.startswith(inside)} | {""}
            for entry in [self.folder / path] if path else list(self.folder.iterdir()):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def finish(self) -> None:
        """Make the links.

        Raises:
            FormatError: they lead out of the tree together.
        """
        try:
            check_links([*self.links.items()])
        except InvalidInputError as error:
            self._refuse(str(error))
        for path, target in self.links.items():
            (self.folder / path).symlink_to(target)

    def _refuse(self, why: str) -> NoReturn:
        raise FormatError(f"{self._what} cannot be unpacked: {why}; nothing was stored")
