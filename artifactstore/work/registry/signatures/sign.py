"""Sign: writes an OpenSSF Model Signing bundle from the digests in the manifest, and records it."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from artifactstore.errors import InvalidInputError, RefusedError
from artifactstore.model.encoding import format_time, parse_json
from artifactstore.model.facts import Fact
from artifactstore.model.reference import Referable, as_reference
from artifactstore.runtime.atomic_files import durable, name_new, refuse_existing, staged
from artifactstore.signing.oms import is_ignored, oms_bundle
from artifactstore.signing.registered import signer_of
from artifactstore.work.get.taint_check import check_taint
from artifactstore.work.registry.arguments import check_whole, required_reason
from artifactstore.work.registry.signatures.sha256 import sha256_of
from artifactstore.work.session.commit import commit, one_fact
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import target_of

__all__ = ["Signature", "sign", "signature_of"]


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature of a model, as OpenSSF Model Signing has it.

    Attributes:
        ref: the version, or the digest of an artifact without a name.
        digest: of the artifact.
        name: the printed name of the signer.
        time: when it was made, UTC.
        key: the id of the key.
        files: path → SHA-256 of each file; git's own (`.gitignore` …) are not covered.
        bundle: the Sigstore bundle: the bytes of the file that `model_signing verify key --signature` takes.
        read: bytes of content that had to be read: 0 where the SHA-256 digests are known.
    """

    ref: str
    digest: str
    name: str
    time: datetime
    key: str
    files: Mapping[str, str]
    bundle: bytes
    read: int

    def __repr__(self) -> str:
        return f"Signature({self.ref!r}, files={len(self.files)}, name={self.name!r}, key={self.key!r}, read={self.read})"

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {
            "ref": self.ref,
            "digest": self.digest,
            "name": self.name,
            "time": format_time(self.time),
            "key": self.key,
            "files": dict(self.files),
            "bundle": parse_json(self.bundle, "the bundle"),
            "read": self.read,
        }


def sign(
    session: Session, ref: str | Referable, to: str | os.PathLike[str] | None = None, *, reason: Any, signer: Any
) -> Signature:
    """Sign an artifact and record the bundle; see `Registry.sign`.

    Raises:
        NotFoundError: no such artifact.
        InvalidInputError: no reason, a path in the reference, a signer that cannot sign, links or no files in the artifact, or a
            target in the store or in a folder that does not exist.
        RefusedError: it is tainted, or the store is read-only.
        AlreadyExistsError: the target exists.
        UnsupportedError: the extra `sign` is not installed.
    """
    session.check_writable()
    required_reason(reason, "it is signed")
    target = None if to is None else target_of(session.url, to, what="to", kind="a signature")
    if target is not None:
        refuse_existing(target)
    made, fact = signature_of(session, ref, signer)

    with ExitStack() as stack:
        part = None if target is None else _written(stack, target, made.bundle)
        batch = session.batch()
        if batch is not None:
            batch.add(one_fact(session, fact, made.digest, reason=reason))
        else:
            commit(session, one_fact(session, fact, made.digest), reason=reason)
        if part is not None and target is not None:
            name_new(part, target)
    return made


def _written(stack: ExitStack, target: Path, data: bytes) -> Path:
    """Write the file before anything is recorded: a full disk then leaves nothing behind."""
    part = stack.enter_context(staged(target))
    with durable(part) as file:
        file.write(data)
    return part


def signature_of(session: Session, ref: str | Referable, signer: Any) -> tuple[Signature, Fact]:
    """Sign an artifact; return the signature, and the fact that records it.

    Raises:
        As `sign`.
    """
    chosen, text = signer_of(signer), as_reference(ref)
    session.core()
    found = check_whole(session.resolve(text), text)
    with session.state(fresh=False) as state:
        tainted = found.digest in state.tainted
        store = session.core().config.store
    own = found.digest if found.version is None else f"{found.name}:v{found.version}"
    if tainted:
        raise RefusedError(f"{own} is tainted: it cannot be signed; untaint it first", reasons=(f"{own} is tainted",))
    check_taint(session, text, found)
    if session.with_manifest(found.digest, lambda manifest: bool(manifest.links)):
        raise InvalidInputError(
            f"{own} has symbolic links, which a model signature does not cover: put it with links='follow', and sign that"
        )
    rows, read = sha256_of(session, found.digest)
    files = {path: one for path, one in rows if not is_ignored(path)}
    now = datetime.now(UTC)
    about = {"store": store, "digest": found.digest, "ref": own, "name": chosen.name, "time": format_time(now)}
    bundle = oms_bundle(files.items(), chosen, name=found.name or found.digest, about=about)
    fact: Fact = {
        "fact": "signed",
        "digest": found.digest,
        "type": "oms",
        "bundle": parse_json(bundle, "the bundle"),
        "key": chosen.key_id,
    }
    return Signature(own, found.digest, chosen.name, now, chosen.key_id, files, bundle, read), fact
