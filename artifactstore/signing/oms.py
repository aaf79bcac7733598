"""Model signatures of OpenSSF Model Signing: a Sigstore bundle with an in-toto statement, made from SHA-256 digests alone.

`model_signing verify key FOLDER --signature FILE --public_key qa.pub` checks one. The specification's root digest does not cover
names, so the bundle also states the artifact's own digest, which does; other tools ignore that field.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, parse_json
from artifactstore.signing.envelope import parse_envelope
from artifactstore.signing.keys import Keys
from artifactstore.signing.oidc import OidcToken
from artifactstore.signing.signer import Signer
from artifactstore.signing.verify import TRANSPLANTED, UNKNOWN, Verification, sign_payload, verify_envelope

__all__ = ["IGNORED", "is_ignored", "oms_bundle", "verify_oms"]

IGNORED: Final = (".git", ".gitattributes", ".github", ".gitignore")  # at the top of a folder: verifiers leave them out
_BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_OWN: Final = "artifactstore"  # the field of the predicate with the artifact's identity

Files = Iterable[tuple[str, str]]  # (path, hex digits of the SHA-256)


def is_ignored(path: str) -> bool:
    """Return whether verifiers leave a file out: git's own."""
    return path.split("/", 1)[0] in IGNORED


def oms_bundle(files: Files, signer: Signer, *, name: str, about: Mapping[str, str] | None = None) -> bytes:
    """Sign the files of a model.

    Args:
        files: path and SHA-256 of each; git's own are left out.
        signer: with an ECDSA key, for `model_signing verify key`.
        name: of the model, for people.
        about: the artifact's identity: `store`, `digest`, `ref`.

    Returns:
        The bundle: canonical JSON.

    Raises:
        InvalidInputError: there is no file to sign, or the signer is a token.
    """
    if isinstance(signer, OidcToken):
        raise InvalidInputError("a model is signed with a key: pass KeyFile(...) or the path of a private key, not a token")
    rows = _sorted(files)
    if not rows:
        raise InvalidInputError(f"{name} has no file that a model signature covers")
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in rows)).hexdigest()
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(IGNORED),
            },
            "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in rows],
            **({_OWN: dict(about)} if about else {}),
        },
    }
    hint = signer.key_id.removeprefix("sha256:")
    return canonical_json(
        {
            "mediaType": _BUNDLE,
            "verificationMaterial": {
                "publicKey": {"hint": hint} if len(hint) == 64 else {},
                "tlogEntries": [],
            },
            "dsseEnvelope": sign_payload(canonical_json(statement), signer, _PAYLOAD),
        }
    )


def _sorted(files: Files) -> list[tuple[str, str]]:
    """Return the files in the order of the specification: by the parts of their paths."""
    rows = sorted((path.split("/"), digest) for path, digest in files if not is_ignored(path))
    return [("/".join(parts), digest) for parts, digest in rows]


def verify_oms(
    bundle: Any,
    files: Files | None,
    keys: Keys | None,
    *,
    time: datetime | str,
    role: str | None = None,
    digest: str | None = None,
) -> Verification:
    """Judge a bundle.

    Args:
        bundle: bytes, text or the JSON value.
        files: path and SHA-256 of each file, as they are now; None: they are not compared.
        keys: those that count; None: every signature is only claimed.
        time: when it was signed: of the entry that recorded it.
        role: the role that its key must have.
        digest: of the artifact, which a bundle of this library states; one of another tool does not, and needs `files`.

    Returns:
        As for `verify_envelope`; `transplanted` if it speaks of other files or of another artifact.
    """
    statement = _statement(bundle)
    if statement is None:
        return Verification(UNKNOWN, text="the signature is not a bundle of OpenSSF Model Signing")
    signed, own, envelope = statement
    stated = own.get("digest")
    if digest is not None and stated != digest and not (stated is None and files is not None):
        text = "does not state its artifact" if stated is None else f"is about another artifact, {stated!s:.80}"
        return Verification(TRANSPLANTED, text=f"the bundle {text}")
    if files is not None and (different := _difference(signed, dict(_sorted(files)))) is not None:
        return Verification(TRANSPLANTED, text=f"the bundle is about other files: {different}")
    return verify_envelope(envelope, keys, role=role, time=time, payload_type=_PAYLOAD)


def _difference(signed: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    for path in sorted({*signed, *found}):
        if path not in found:
            return f"{path!r:.200} is missing"
        if path not in signed:
            return f"{path!r:.200} is not signed"
        if signed[path] != found[path]:
            return f"{path!r:.200} has other content"
    return None


def _statement(bundle: Any) -> tuple[dict[str, str], Mapping[str, Any], Any] | None:
    """Return the signed files, the artifact's identity and the envelope; None if it is not such a bundle."""
    try:
        value = parse_json(bundle, "the bundle") if isinstance(bundle, bytes | str) else bundle
        if value["mediaType"] != _BUNDLE or (envelope := parse_envelope(value["dsseEnvelope"])) is None:
            return None
        payload = parse_json(envelope.payload, "the statement")
        predicate, subject = payload["predicate"], payload["subject"]
        if payload["_type"] != _STATEMENT or payload["predicateType"] != _PREDICATE or len(subject) != 1:
            return None
        rows = [(one["name"], one["digest"], one["algorithm"]) for one in predicate["resources"]]
        root = hashlib.sha256(b"".join(bytes.fromhex(row[1]) for row in rows)).hexdigest()
        own = predicate.get(_OWN, {})
        signed = {name: digest for name, digest, algorithm in rows if algorithm == "sha256" and isinstance(name, str)}
        if subject[0]["digest"]["sha256"] != root or len(signed) != len(rows) or not isinstance(own, Mapping):
            return None
    except (InvalidInputError, KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    return signed, own, value["dsseEnvelope"]
