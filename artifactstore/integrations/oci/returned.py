"""The way back: what a manifest says of the artifact that it was made from is compared with the files, and believed only if they agree."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.integrations.oci import media_types as types
from artifactstore.integrations.oci.tree import Tree
from artifactstore.model.digest import Digest, new_hasher
from artifactstore.model.encoding import parse_json
from artifactstore.model.listing import Extra, identify
from artifactstore.model.reference import check_kind
from artifactstore.runtime.records import dataclass
from artifactstore.runtime.remarks import remark
from artifactstore.store import Store
from artifactstore.work.put.arguments import PutOptions, checked_request
from artifactstore.work.put.put import put_listed
from artifactstore.work.put.sources import find

__all__ = ["put_returned"]

_BLOCK: Final = 2**20


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a manifest says of its artifact.

    Attributes:
        digest: of it.
        kind: data, model, code …
        format: of the object, or None.
        modes: whether executable bits are part of its identity.
        single: whether it was put from one file.
        extra: what its listing has beyond the files.
    """

    digest: Digest
    kind: str | None
    format: str | None
    modes: bool
    single: bool
    extra: Extra


def put_returned(
    store: Store,
    tree: Tree,
    name: str,
    annotations: Mapping[str, str],
    *,
    kind: str | None,
    guess: str,
    metadata: Mapping[str, Any],
    reason: str | None,
    what: str,
) -> Any:
    """Store a tree; as the artifact that it was, if its manifest says so and the bytes agree.

    Raises:
        FormatError: it has what an artifact cannot have.
    """
    claim = _claim(annotations)
    if claim is not None and not _agrees(tree, claim):
        claim = None
    if claim is not None:
        _complete(tree, claim)
    tree.finish()
    chosen = kind or (claim.kind if claim is not None else None) or guess
    session = store._session  # noqa: SLF001 - the format of an object is no option of a put of files
    options: PutOptions = {"rehash": True}
    if claim is not None and claim.single and len(tree.files) == 1 and not tree.links:
        source = tree.folder / next(iter(tree.files))
    else:
        source = tree.folder
        options |= {"modes": claim.modes if claim is not None else chosen == "code", "allow_empty": True}
    request = checked_request(source, name, options={}, kind=chosen, metadata=metadata)
    found = find(session, source, options, request)
    found.sha256 = bool(tree.files)  # a next pull and a push need not read the files for them
    found.root, found.format = "", claim.format if claim is not None else None
    made = put_listed(session, found, request, reason, own=False)
    claimed = annotations.get(types.DIGEST)
    if claimed is not None and made.digest != claimed and (claim is None or made.digest.startswith(f"{claim.digest.algorithm}:")):
        remark(f"{what} says that it is {claimed:.100}, and its files are not: it was stored as what it is, {made.digest}")
    return made


def _claim(annotations: Mapping[str, str]) -> _Claim | None:
    """Return what a manifest says of its artifact; None: nothing that can be read."""
    folders: list[str] = []
    links: list[tuple[str, str]] = []
    executables: list[str] = []
    formats: list[str] = []
    try:
        digest = Digest.parse(annotations[types.DIGEST])
        if types.KIND in annotations:
            check_kind(annotations[types.KIND])
        for line in filter(None, annotations.get(types.LISTING, "").split("\n")):  # names may have other line ends
            row: Sequence[Any] = parse_json(line.removeprefix("#"), "a line of the listing")
            if not isinstance(row, list) or not all(isinstance(one, str) for one in row):
                return None
            match row:
                case ["dir", path]:
                    folders.append(path)
                case ["link", path, target]:
                    links.append((path, target))
                case ["x", path]:
                    executables.append(path)
                case ["format", name]:
                    formats.append(name)
                case _:
                    return None
    except (KeyError, InvalidInputError, ValueError):
        return None
    form = formats[0] if formats else None
    return _Claim(
        digest,
        annotations.get(types.KIND),
        form,
        bool(executables),
        annotations.get(types.SINGLE) == "true",
        Extra(folders, links, executables, form),
    )


def _agrees(tree: Tree, claim: _Claim) -> bool:
    """Return whether the files have the digest, with the rest of the listing as the manifest has it."""
    if not set(tree.links.items()) <= set(claim.extra.links) or not set(claim.extra.executables) <= set(tree.files):
        return False
    rows = []
    for path in sorted(tree.files):
        hasher = new_hasher(claim.digest.algorithm)
        with (tree.folder / path).open("rb") as file:
            while block := file.read(_BLOCK):
                hasher.update(block)
        rows.append((path, hasher.digest()))
    return identify(rows, claim.extra, claim.digest.algorithm)[1] == claim.digest


def _complete(tree: Tree, claim: _Claim) -> None:
    """Add what layers of files cannot have: links, empty folders, and executable bits that are a part of the identity.

    Raises:
        FormatError: a link leads out of the tree.
    """
    for path, target in claim.extra.links:
        if path not in tree.links:
            tree.add_link(path, target)
    for path in claim.extra.folders:
        tree.add_folder(path)
    for path in tree.files if claim.modes else ():
        (tree.folder / path).chmod(0o755 if path in claim.extra.executables else 0o644)
