"""The public view of an artifact: identity, names, record and files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from artifactstore.catalog import versions as catalog
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import Input, code_of, inputs_of
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.versions import Resolved, Version
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.side_content import read_side
from artifactstore.errors import ArtifactStoreError, ConflictError, CorruptionError, InvalidInputError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import parse_json
from artifactstore.model.listing import plain_line
from artifactstore.objects.tables.profile_names import own_profile, profiled
from artifactstore.runtime.records import dataclass
from artifactstore.work.get.profiles import Profiles
from artifactstore.work.session.session import Session

__all__ = ["Artifact", "File", "artifact", "exists", "files_of", "of_committed", "of_resolved", "record_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class File:
    """One entry of an artifact.

    Attributes:
        path: in the artifact.
        size: in bytes.
        digest: of its bytes, as text; None for a link or an empty folder.
        executable: whether it has an executable bit.
        type: file, link or dir.
        target: of a link, else None.
    """

    path: str
    size: int
    digest: str | None
    executable: bool = False
    type: str = "file"
    target: str | None = None


class Artifact:
    """Immutable content with a digest, and its record.

    Attributes:
        name: the name that was requested or put, or None.
        version: k of `v<k>`; None for an unnamed artifact and inside a batch.
        digest: its identity, as `<algorithm>:<hex>`.
        ref: a reference that always resolves to this artifact.
        size: bytes of all files.
        count: the number of files; unlike `files`, needs no manifest.
        kind: data, model, code, or the user's own word.
        metadata: the metadata of its last put or description.
        metrics: the newest measured value of each metric.
        tainted: whether it is marked as not to be used.
        time: when it was put, UTC.
        actor: who put it.
        reason: the reason given, or None.
        aliases: the aliases that pointed to it when this record was read.
        single: whether it was put from one file, and is got as one.
        run: the run that produced it, or None.
        new: whether the put that returned it recorded anything.
        uploaded: bytes of packs and manifests that this put wrote.
    """

    def __init__(
        self,
        session: Session,
        record: Version,
        *,
        new: bool | None = None,
        uploaded: int = 0,
        run: str | None = None,
        content: str | None = None,
    ) -> None:
        self._session = session
        self._content = content  # computed by the put that returned it: no manifest is read for it
        self._record = record
        self.new = bool(new)
        self._put = new is not None
        self.uploaded = uploaded
        self.run = run
        self.name = record.name
        self.version = record.version
        self.digest = record.digest
        self.size = record.size
        self.count = record.files
        self.kind = record.kind
        self.metadata: Mapping[str, Any] = record.metadata
        self.metrics: Mapping[str, float] = record.metrics
        self.tainted = record.tainted
        self.time = record.time
        self.actor = record.actor
        self.reason = record.reason
        self.aliases = record.aliases
        self.single = record.file

    if not TYPE_CHECKING:  # a type checker finds what is missing itself

        def __getattr__(self, name: str) -> Any:
            from artifactstore.habits.calls import missing  # noqa: PLC0415 - only for a message

            raise missing(self, name)

    @property
    def ref(self) -> str:
        """`name:v3`, or the digest if it has no version."""
        return self.digest if self.version is None else f"{self.name}:v{self.version}"

    @property
    def uri(self) -> str:
        """The URI that names this artifact anywhere, pinned to its digest: `artifactstore+s3://bucket/ml#churn/model@blake3:…`."""
        from artifactstore.work.settings.uri import make_uri  # noqa: PLC0415 - few artifacts are asked for it

        url, options, _ = self._session.connection_args
        return make_uri(url, self.digest if self.name is None else f"{self.name}@{self.digest}", options)

    @property
    def commit(self) -> str | None:
        """The git commit of the code that its newest run recorded, in full; None if there is none."""
        if self.run is None:
            return None
        with self._session.state(fresh=False) as state:
            return code_of(state, self.run)[1].get("commit")

    @property
    def inputs(self) -> Rows[Input]:
        """What its newest run used, with the roles: data and models first, then code and environment."""
        with self._session.state(fresh=False) as state:
            return Rows(Input, [] if self.run is None else inputs_of(state, self.run))

    @property
    def content(self) -> str:
        """The digest of the plain listing: equals `b3sum` (or `sha256sum`) of the listing of the files."""
        return self._content or str(self._with(lambda manifest: manifest.identify()[0]))

    @property
    def listing(self) -> str:
        """The plain lines of the listing, in the format of `b3sum --check`."""
        return self._with(
            lambda m: "".join(plain_line(digest.hex(), path) for path, digest in zip(m.paths, m.digests, strict=True))
        )

    @property
    def sha256(self) -> str | None:
        """The lines of the listing with SHA-256 digests, in the format of `sha256sum --check`; None unless put as a model or with `sha256=True`.

        In a store with SHA-256 digests, every artifact has them: they are its listing.
        """
        if self.digest.startswith("sha256:"):
            return self.listing
        raw = self._side("sha256")
        return None if raw is None else raw.decode()

    @property
    def format(self) -> str | None:
        """The name of the stored object's format; None for plain files."""
        return self._with(lambda manifest: manifest.format)

    @property
    def profile(self) -> Mapping[str, Any] | None:
        """The profile of its table (docs/reference/format.md, "Side content"); None for an artifact that is not a table.

        A table is a stored table object, or an artifact whose only file was put with `profile=`. See `profiles` for tables
        inside folders and dicts.

        Raises:
            CorruptionError: the profile is damaged.
        """
        found = self._side_json(self._with(own_profile))
        return found if isinstance(found, Mapping) else None

    @property
    def profiles(self) -> Profiles:
        """The profiles of its tables, by file path: of members, and of Parquet files that were put with `profile=`.

        A profile is read on access, which may raise a `CorruptionError`.
        """

        def read(name: str) -> Mapping[str, Any]:
            found = self._side_json(name)
            if not isinstance(found, Mapping):
                raise CorruptionError(f"the {name} of {self.ref} must be a JSON object", digest=self.digest)
            return found

        return Profiles(self._with(profiled), read)

    @property
    def imports(self) -> Sequence[str] | None:
        """The globals that a stored pickle would import, as scanned when it was put; None for other formats.

        Raises:
            CorruptionError: the list is damaged.
        """
        found = self._side_json("imports")
        return [str(one) for one in found] if isinstance(found, list) else None

    @property
    def files(self) -> Rows[File]:
        """The files, then the links, then the empty folders; each sorted by path."""
        return self._with(files_of)

    def _side(self, name: str) -> bytes | None:
        return self._with(lambda manifest: read_side(self._session.core().cached_backend, manifest, name))

    def _side_json(self, name: str) -> Any:
        raw = self._side(name)
        try:
            return None if raw is None else parse_json(raw, f"the {name}")
        except InvalidInputError as error:
            raise CorruptionError(f"cannot read the {name} of {self.ref}: {error}", digest=self.digest) from error

    def _with(self, use: Callable[[Manifest], T]) -> T:
        return self._session.with_manifest(self.digest, use)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and (self.digest, self.name, self.version) == (other.digest, other.name, other.version)

    def __hash__(self) -> int:
        return hash((self.digest, self.name, self.version))

    def __repr__(self) -> str:
        from artifactstore.display.artifact_card import line  # noqa: PLC0415 - most processes show no artifact

        return line(self.ref, self.digest, self.count, self.size, new=self.new if self._put else None)

    def _repr_html_(self) -> str:
        from artifactstore.display.artifact_card import TABLES, card  # noqa: PLC0415 - as above
        from artifactstore.work.get.provenance import Provenance, provenance  # noqa: PLC0415 - as above

        record, origin = self._record, Provenance()
        files: Iterable[tuple[str, int]] = ()
        shown: Mapping[str, Mapping[str, Any]] = {}
        tables = 0
        try:
            origin = provenance(self._session, self.digest, self.name, self.version)
            files = self._with(lambda manifest: zip(manifest.paths, manifest.sizes, strict=True))
            profiles = self.profiles
            shown, tables = {path: profiles[path] for path in [*profiles][:TABLES]}, len(profiles)
        except ArtifactStoreError:  # removed, or the backend is unreachable: show the record only
            files, shown, tables = (), {}, 0
        metadata = dict(self.metadata)
        about = metadata.pop("description", None)
        sections = {"metric": self.metrics, "tag": {}, "metadata": metadata}
        if isinstance(metadata.get("tags"), Mapping):
            sections["tag"] = metadata.pop("tags")
        words = {"about": about, "reason": self.reason}
        return card(
            self.ref,
            self.digest,
            kind=self.kind,
            count=self.count,
            size=self.size,
            time=record.time,
            actor=record.actor,
            sections=sections,
            files=files,
            profiles=shown,
            tables=tables,
            aliases={**dict.fromkeys(self.aliases), **origin.aliases},
            tainted=self.tainted,
            origin={**{key: str(text) for key, text in words.items() if text}, **origin.lines()},
        )


def files_of(manifest: Manifest) -> Rows[File]:
    """Return a manifest's entries as rows."""
    files, links, folders = len(manifest.paths), manifest.links, manifest.folders

    def make(i: int) -> File:
        if i < files:
            digest = str(Digest(manifest.algorithm, manifest.digests[i]))
            return File(manifest.paths[i], manifest.sizes[i], digest, bool(manifest.executable[i]))
        if i < files + len(links):
            return File(links[i - files][0], 0, None, type="link", target=links[i - files][1])
        return File(folders[i - files - len(links)], 0, None, type="dir")

    return Rows(File, make, files + len(links) + len(folders))


def artifact(session: Session, ref: str) -> Artifact:
    """Return the artifact that a reference resolves to.

    Raises:
        NotFoundError: no such artifact, or it was removed.
        InvalidInputError: the reference is malformed, or names a path in an artifact.
    """
    found = session.resolve(ref)
    if found.path is not None:
        raise InvalidInputError(f"{ref!r} names a path in an artifact: pass the artifact, and look at its files")
    with session.state(fresh=False) as state:
        return of_resolved(session, state, found)


def exists(session: Session, ref: str) -> bool:
    """Return whether a reference resolves, with a path also whether the artifact has it.

    Raises:
        NotFoundError: it does not resolve.
    """
    found = session.resolve(ref)
    if found.path is None:
        return True
    path = found.path.rstrip("/")

    def has(manifest: Manifest) -> bool:
        return any(one.path == path or one.path.startswith(path + "/") for one in files_of(manifest))

    return session.with_manifest(found.digest, has)


def record_of(state: State, found: Resolved) -> Version:
    """Return the record of a resolved reference."""
    if found.name is not None and found.version is not None:
        return catalog.version(state, found.name, found.version)
    return catalog.unnamed(state, found.digest)


def of_resolved(
    session: Session, state: State, found: Resolved, *, new: bool | None = None, uploaded: int = 0, content: str | None = None
) -> Artifact:
    """Return the artifact of a resolved reference."""
    run = state.produced_by.get(found.digest, [None])[-1]
    return Artifact(session, record_of(state, found), new=new, uploaded=uploaded, run=run, content=content)


def of_committed(
    session: Session, digest: str, name: str | None, *, new: bool, uploaded: int = 0, content: str | None = None
) -> Artifact:
    """Return the artifact that was committed just now; `content` is the digest of its plain listing, where that was computed.

    Raises:
        ConflictError: its version was removed meanwhile.
    """
    with session.state(fresh=False) as state:
        number = None if name is None else state.version_of({"name": name, "digest": digest})
        if name is not None and number is None:
            raise ConflictError(f"{name} lost the version that this put made: it was removed meanwhile; put again")
        return of_resolved(session, state, Resolved(digest, name, number), new=new, uploaded=uploaded, content=content)
