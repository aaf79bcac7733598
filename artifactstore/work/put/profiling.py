"""Profiling: profiles of the Parquet files of one put, and warnings about files that have none."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from artifactstore.content.write.source import Source
from artifactstore.errors import ArtifactStoreError, InvalidInputError
from artifactstore.objects.tables.parquet_files import check_profilable, is_table, profile_file
from artifactstore.work.get.artifact import Artifact

__all__ = ["Profiling"]

_NAMED = 5  # files in a warning


class Profiling:
    """Profiles the Parquet files of one put. A single file that cannot be profiled is refused; of several, the others are profiled.

    Args:
        files: the files to put.
        full: compute from every row what is otherwise based on a sample.
        single: whether the source is a single file.

    Raises:
        InvalidInputError: no file has a suffix of Parquet, or the single file is not Parquet.
    """

    def __init__(self, files: Sequence[Source], *, full: bool, single: bool) -> None:
        self._tables = [one for one in files if is_table(one.path)]
        self._full = full
        self._single = single
        self._looked = False
        self._failed: list[str] = []
        if not self._tables:
            what = f"{files[0].path} is not named" if single else "no file in it is named"
            raise InvalidInputError(f"profile= is for tables, and {what} .parquet or .pq: leave it out")
        if single:
            check_profilable(self._tables[0])  # before anything is stored

    def look(self) -> Iterator[tuple[str, bytes]]:
        """Yield names and bytes of side content, each read on access.

        Raises:
            InvalidInputError: the single file cannot be profiled.
            ConflictError: a file changed since it was found.
            BackendError: a remote file cannot be read.
        """
        self._looked, self._failed = True, []
        for one in self._tables:
            try:
                known = profile_file(one, full=self._full)
            except InvalidInputError as error:
                if self._single:
                    raise
                self._failed.append(str(error))
                continue
            yield from ((f"{one.path}/{name}", data) for name, data in known.items())

    def lacking(self, made: Artifact) -> str | None:
        """Return a warning about files without a profile, although profiles were requested; None if all have one."""
        if self._looked:
            if not self._failed:
                return None
            more = f"; and {len(self._failed) - _NAMED} more" if len(self._failed) > _NAMED else ""
            return f"{self._of(len(self._failed))}: {'; '.join(self._failed[:_NAMED])}{more}"
        with suppress(ArtifactStoreError):  # the put is done: an error now would contradict that
            known = made.profiles
            missing = sum(one.path not in known for one in self._tables)
            if missing:
                return f"{self._of(missing)}: {made.ref} was stored already, and existing content is not stored again"
        return None

    def _of(self, count: int) -> str:
        if self._single:
            return f"{self._tables[0].path} has no profile"
        return f"{count} of {len(self._tables)} Parquet files {'has' if count == 1 else 'have'} no profile"
