"""Names of table profiles among an artifact's side content."""

from typing import Final

from artifactstore.content.manifests.manifest import Manifest

__all__ = ["own_profile", "profiled", "side_prefix"]

_PROFILE: Final = "profile"  # present for every table with side content
_TABLE: Final = "data.parquet"  # the file of a table object: its side content belongs to its folder


def side_prefix(manifest: Manifest, path: str) -> str:
    """Return the prefix of the names of a table's side content: for a file its path, for an object its folder.

    Args:
        manifest: manifest of the table.
        path: path of its file.
    """
    folder, slash, name = path.rpartition("/")
    return f"{path}/" if name != _TABLE or f"{path}/{_PROFILE}" in manifest.side else folder + slash


def own_profile(manifest: Manifest) -> str:
    """Return the name of the profile of the whole artifact: of an object that is a table, or of its only file."""
    return _PROFILE if _PROFILE in manifest.side or len(manifest.paths) != 1 else f"{manifest.paths[0]}/{_PROFILE}"


def profiled(manifest: Manifest) -> dict[str, str]:
    """Return the tables that have a profile, sorted: path → name of the profile.

    A table object under another file name than this library's, as of a third-party format, has its folder's path.
    """
    found = {}
    for name in manifest.side:
        above, slash, last = name.rpartition("/")
        if last == _PROFILE:
            inside = above + slash + _TABLE
            known = manifest.index(above) is None and manifest.index(inside) is not None
            found[inside if known else above] = name
    return dict(sorted(found.items()))
