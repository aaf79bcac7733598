"""Known answers: results that were fixed once, and must be the same with every version, on every machine, for ever."""

import hashlib
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, Final

from artifactstore.cli.selftest.report import Check, judged, skipped
from artifactstore.content.codecs.codec import decode
from artifactstore.model.digest import hash_bytes, new_hasher
from artifactstore.model.encoding import canonical_json
from artifactstore.objects.registry import ENTRIES
from artifactstore.opening import create
from artifactstore.opening import open as open_store
from artifactstore.runtime.loading import numpy
from artifactstore.store import Store

__all__ = ["checks"]

_ID: Final = "OQ-A-"
_DIGESTS: Final = "R1, R13: a digest is the same everywhere and for ever"
_READS: Final = "R13: what was written is read for ever"
# (algorithm, bytes, digest): of the authors of the algorithms, and of a longer text.
_HASHES: Final = (
    ("blake3", b"", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    ("blake3", b"abc", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
    ("blake3", bytes(range(251)) * 4096, "e9217465559f4b80d6ca88ff66a242824cdc8e22f99aaf775f7362cab8c03771"),
    ("sha256", b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("sha256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("sha256", bytes(range(251)) * 4096, "08e33aedf25337c87eb15e08c32a58f6f4caa21fe073d00b53014c57f8d148e0"),
)
# (name, codec, stored form, length, SHA-256 of the content)
_CODECS: Final = (
    ("raw", 0, "AAH+/wAB/v8AAf7/AAH+/w==", 16, "2d16e7c26be768482b376ed59c8a279a930340d6c403c02bec7931fc5950e9f1"),
    (
        "zstd",
        1,
        "KLUv/WAYAK0AAHBhcnRpZmFjdHN0b3JlIAEAB6FOJQ==",
        280,
        "3e13af1878906b741400d93823fc222857de0e58e5762aa1466e059f15955099",
    ),
    (
        "grouped-2",
        2,
        "ZQAAABYAAIAABw4VHCMqMTg/Rk1UW2JpcHd+hYyTmqGor7a9xMvS2eDn7vX8AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dzj6vH4/wYNFBsiKTA3PkVMU1phaG92fYSLkpmgp661eCi1L/0gZG0AACAAAAECAxAAiyQvEgs=",
        201,
        "fcf398fd7755b0c685b80f24112a399ab1fcf46d6696ac36ff0fa91b3cc72925",
    ),
    (
        "grouped-4",
        3,
        "ZQAAABYAAIARAACAEQAAgAAHDhUcIyoxOD9GTVRbYmlwd36FjJOaoaivtr3Ey9LZ4Ofu9fwDChEYHyYtNDtCSVBXXmVsc3qBiI+WnaSrsrnAx87V3OPq8fj/Bg0UGyIpMDc+RUxTWmFob3Z9hIuSmaCnrrV4KLUv/SBkbQAAIAAAAQIDEACLJC8SCyi1L/0gZEUAABAAAAEAPwEsKLUv/SBkRQAAEAAAAQA/ASw=",
        401,
        "cbbbe17bead1c0b2ca2f2ec82c27da138b1e671b06caa3cdc0968246ba70f472",
    ),
    (
        "delta-2",
        4,
        "ARIAAIARAACAKLUv/SA8TQAAGAkHBQEA9nRDKLUv/SA8RQAAEAAAAQA/ARZj",
        121,
        "8569e10c6033b2d1ee12bd3829137b63809924e3c22dac28512c9c9b8731d313",
    ),
    (
        "delta-4",
        5,
        "ARIAAIARAACAEQAAgBEAAIAotS/9IDxNAAAYCQcFAQD2dEMotS/9IDxFAAAQAAABAD8BFii1L/0gPEUAABAAAAEAPwEWKLUv/SA8RQAAEAAAAQA/ARZj",
        241,
        "a7fefec595b65157d9aee1ef48fb5f59ff3de319f43207344f8fcdadc75ddacb",
    ),
    (
        "delta-8",
        6,
        "ARIAAIARAACAEQAAgBEAAIARAACAEQAAgBEAAIARAACAKLUv/SA8TQAAGAkHBQEA9nRDKLUv/SA8RQAAEAAAAQA/ARYotS/9IDxFAAAQAAABAD8BFii1L/0gPEUAABAAAAEAPwEWKLUv/SA8RQAAEAAAAQA/ARYotS/9IDxFAAAQAAABAD8BFii1L/0gPEUAABAAAAEAPwEWKLUv/SA8RQAAEAAAAQA/ARZj",
        481,
        "2507d44ba4e956b6a7845eba2bcf4f21d4bc437ea4224497b586c87638f790c2",
    ),
)
# Objects, and the digest of each in a store with BLAKE3 and with SHA-256.
_OBJECTS: Final[dict[str, tuple[Callable[[], Any], dict[str, Any], str, str]]] = {
    "bytes": (
        lambda: b"bytes",
        {},
        "f338a45b2fbd0ddc9600bfb0a092a4a57c3a04a67c3d91300de36619761942fe",
        "4b9970fe5189bbd4c509dd8f926f1661a7b680d2903ab01da537e44ae04df02a",
    ),
    "json": (
        lambda: {"b": [1, 2.5, None], "a": "\u00e4"},
        {},
        "660d12a24c8cd4b2101a0165aa8fc4c93491199dce64a4a101bbfbd6464c4764",
        "93bfad920059987622861ced8e581ecc2fd0d05a7ae5d7f6d66ae0981c45d238",
    ),
    "text": (
        lambda: "text\n",
        {"format": "text"},
        "b540d2fe1ce6ac27edd965e8ee19f7a0cbc4980622e30cd75f67a4254cc9741d",
        "0d7cd13f9eb5c41316d90057903f35b6d9f59cedeb645f64281eb30ae6ac6091",
    ),
    "array": (
        lambda: numpy().arange(12, dtype="<f4").reshape(3, 4),
        {},
        "48f1d9038b2cb1aaaf4db9615f93d4839a770f1023bce27fb0351e4b8f9a0dc2",
        "b1735aef23f2d54d7eb27c978c3d57fcb041345993f3c1db65f9c5c8458f6b40",
    ),
}
_STORE: Final = "known_store.zip"
_HEAD: Final = "7:blake3:cede86e088a15cad46978b3eb8e664cc0a9ddb6c8f67a7abb7ac8b80f5ed3493"
_STORED: Final = {
    "folder": (
        "blake3:3f331b9a7f066d492173535b4c3fcb677ae1616b02104e5718a6f3a77a728c61",
        "0c4bb25398de5758fe1147a1d3fae491a3e71b668fbbcff88aa2971b01c50ce5",
    ),
    "data": (
        "blake3:f338a45b2fbd0ddc9600bfb0a092a4a57c3a04a67c3d91300de36619761942fe",
        "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9",
    ),
    "json": (
        "blake3:660d12a24c8cd4b2101a0165aa8fc4c93491199dce64a4a101bbfbd6464c4764",
        "324d0f98e8e7b390bd24bc556eff388b74bd640e9df12c341becba7b8658c628",
    ),
    "text": (
        "blake3:b540d2fe1ce6ac27edd965e8ee19f7a0cbc4980622e30cd75f67a4254cc9741d",
        "ea39a77e5a211db019d10f5896c4d9e28bc25c3a2020857087ead6e8cc3e4907",
    ),
    "array": (
        "blake3:48f1d9038b2cb1aaaf4db9615f93d4839a770f1023bce27fb0351e4b8f9a0dc2",
        "5ea8eb7fe6c5e4b1fb57232f7789e4a9871b8919f32a3b8d71e1f1f377a52047",
    ),
    "table": (
        "blake3:b6a24e6933e7e803df208770ebf1fc69aa4988fa23cb2831a09bc8d55d494166",
        "bd56edd5a6a16bf391a1e9c55cd8748dbb452fd04015285be631768d1bdc12a1",
    ),
}


def checks() -> Iterator[Check]:
    """Yield the checks of digests, codecs, formats, and of a store that an earlier version wrote."""
    yield from _computed()
    yield from _stored()
    covered = {"array", "data", "json", "table", "text"}
    others = ", ".join(sorted({entry.name for entry in ENTRIES} - covered))
    yield skipped(f"{_ID}90", "other formats", _READS, f"their bytes depend on the libraries that write them: {others}")


def _computed() -> Iterator[Check]:
    """Yield the checks of what is computed anew."""
    number = 0
    for algorithm, data, digest in _HASHES:
        number += 1
        yield judged(
            f"{_ID}{number:02}",
            f"{algorithm} of {len(data):,} bytes",
            _DIGESTS,
            digest,
            _digest,
            algorithm,
            data,
        )
    for name, codec, stored, size, digest in _CODECS:
        number += 1
        yield judged(f"{_ID}{number:02}", f"the codec {name} decodes", _READS, digest, _decoded, codec, stored, size)
    for algorithm in ("blake3", "sha256"):
        store = create(f"memory://selftest-{token_hex(8)}", digest=algorithm, cache=None)
        for name, (make, options, *digests) in _OBJECTS.items():
            number += 1
            expected = f"{algorithm}:{digests[algorithm == 'sha256']}"
            title = f"{name}: the digest of what is put, with {algorithm}"
            yield judged(f"{_ID}{number:02}", title, _DIGESTS, expected, _put, store, make, options)


def _stored() -> Iterator[Check]:
    """Yield the checks of the store in this package."""
    with ExitStack() as stack:
        path = stack.enter_context(as_file(files("artifactstore.cli.selftest") / _STORE))
        store = open_store(f"zip://{path}", "r", cache=None)
        yield judged(f"{_ID}22", "a store of version 0.1.0: its last entry", _READS, _HEAD, lambda: store.head)
        yield judged(
            f"{_ID}23",
            "a store of version 0.1.0: everything verifies",
            "R1",
            "ok",
            lambda: "ok" if store.verify(level="full").ok else store.verify(level="full"),
        )
        for offset, (name, (digest, value)) in enumerate(_STORED.items(), 24):
            yield judged(
                f"{_ID}{offset:02}",
                f"a store of version 0.1.0: {name}",
                _READS,
                f"{digest} {value}",
                _read,
                store,
                name,
            )


def _digest(algorithm: str, data: bytes) -> str:
    """Hash at once and in pieces: both must agree."""
    hasher = new_hasher(algorithm)
    for start in range(0, len(data), 100_003):
        hasher.update(data[start : start + 100_003])
    once, pieces = hash_bytes(data, algorithm).hex(), hasher.digest().hex()
    return once if once == pieces else f"{once} at once, {pieces} in pieces"


def _decoded(codec: int, stored: str, size: int) -> str:
    base = _base(size) if codec in {4, 5, 6} else None
    return hashlib.sha256(decode(codec, b64decode(stored), size, "a known answer", base)).hexdigest()


def _base(size: int) -> bytes:
    """Return the base chunk of a delta: one byte, then 60 numbers."""
    width = (size - 1) // 60
    numbers: bytes = (numpy().arange(60, dtype=f"<u{width}") * 1000 + 5).tobytes()
    return b"b" + numbers


def _put(store: Store, make: Callable[[], Any], options: Mapping[str, Any]) -> str:
    return store.put(make(), **options).digest


def _read(store: Store, name: str) -> str:
    return f"{store.artifact(name).digest} {_value(_got(store, name))}"


def _got(store: Store, name: str) -> Any:
    if name != "folder":
        return store.get(name)
    with TemporaryDirectory(prefix="artifactstore-") as scratch:
        return _listing(store.get(name, to=Path(scratch, "folder")))


def _listing(folder: Path) -> list[list[str]]:
    """Return the files of a folder with their SHA-256."""
    found = [one for one in sorted(folder.rglob("*")) if one.is_file()]
    return [[one.relative_to(folder).as_posix(), hashlib.sha256(one.read_bytes()).hexdigest()] for one in found]


def _value(found: Any) -> str:
    """Return the digest of a value that was read, whatever it is made of."""
    if hasattr(found, "to_pydict"):
        found = found.to_pydict()
    elif hasattr(found, "tolist"):
        found = [str(found.dtype), found.tolist()]
    raw = found if isinstance(found, bytes) else canonical_json(found)
    return hashlib.sha256(raw).hexdigest()
