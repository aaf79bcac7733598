"""Private keys in files."""

import os
import stat
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.local_files import READ
from artifactstore.runtime.remarks import remark
from artifactstore.signing.public_keys import PublicKey, crypto, is_supported, public_key, sign_with
from artifactstore.signing.signer import check_printed_name

__all__ = ["KeyFile"]

_VARIABLE: Final = "ARTIFACTSTORE_KEY_PASSPHRASE"
_LARGEST: Final = 64 * 1024  # bytes


class KeyFile:
    """A private key in a PEM file: Ed25519, ECDSA P-256 or ECDSA P-384, in PKCS #8 or in OpenSSL's own form.

    `openssl genpkey -algorithm ed25519 -out qa.pem` makes one, `openssl pkey -in qa.pem -pubout -out qa.pub` its public key.

    Args:
        path: the file.
        passphrase: of an encrypted key; by default `$ARTIFACTSTORE_KEY_PASSPHRASE`.
        name: the printed name of the signer; by default the file's name without its ending.

    Attributes:
        name: the printed name.
        key_id: `sha256:` and the SHA-256 of the public key's PEM text, as `sha256sum qa.pub` prints it.
        path: the file.

    A copy in another process (pickle) reads the file again, and takes the passphrase from its environment.

    Raises:
        InvalidInputError: the file cannot be read, is not a private key of these algorithms, or the passphrase is missing or wrong.
        UnsupportedError: the extra `sign` is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, passphrase: str | bytes | None = None, name: str | None = None) -> None:
        self.path = _path(path)
        self.name = check_printed_name(self.path.stem if name is None else name, "name")
        self._private = _load(self.path, passphrase)
        self._public = public_key(self._private.public_key(), str(self.path))

    @property
    def key_id(self) -> str:
        """The id of the public key."""
        return self._public.id

    @property
    def public_key(self) -> PublicKey:
        """The public key; `.pem` is its text."""
        return self._public

    @property
    def algorithm(self) -> str:
        """`Ed25519`, `ECDSA P-256` or `ECDSA P-384`."""
        return self._public.algorithm

    def sign(self, data: bytes) -> bytes:
        """Return the signature of these bytes."""
        return sign_with(self._private, data)

    def __repr__(self) -> str:
        return f"KeyFile({str(self.path)!r}, name={self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (str(self.path), self.name)


def _again(path: str, name: str) -> KeyFile:
    return KeyFile(path, name=name)


def _path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise InvalidInputError(f"a private key must be the path of a file, got a {type(path).__name__}")
    text = os.fspath(path)
    if "PRIVATE KEY" in text or "\n" in text or "\0" in text or not text:
        raise InvalidInputError("a private key must be the path of a file, not the text of a key")
    return Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 - links must stay


def _load(path: Path, passphrase: Any) -> Any:
    if passphrase is not None and not isinstance(passphrase, str | bytes):
        raise InvalidInputError(f"passphrase= must be a str or bytes, got {type(passphrase).__name__}")
    data = _read(path)
    if b"PUBLIC KEY" in data and b"PRIVATE KEY" not in data:
        raise InvalidInputError(f"{path} is a public key: signing needs the private key")
    given = passphrase if passphrase is not None else os.environ.get(_VARIABLE, "")
    secret = given.encode("utf-8", "surrogateescape") if isinstance(given, str) else given
    key = _parse(path, data, secret)
    if not is_supported(key):
        public_key(key.public_key(), str(path))  # names the algorithm
    return key


def _parse(path: Path, data: bytes, secret: bytes) -> Any:
    """Parse a key; the library's own errors are not chained where a secret is involved."""
    load = crypto("serialization").load_pem_private_key
    try:
        return load(data, None)
    except TypeError:  # it is encrypted
        pass
    except Exception as error:
        raise InvalidInputError(
            f"{path} is not a private key in PEM (-----BEGIN PRIVATE KEY-----) of a supported algorithm: {error}"
        ) from error
    if not secret:
        raise InvalidInputError(f"{path} is encrypted: pass passphrase= or set ${_VARIABLE}")
    try:
        return load(data, secret)
    except Exception:  # noqa: BLE001 - of many classes
        raise InvalidInputError(f"{path} cannot be decrypted: the passphrase is wrong, or the file is damaged") from None


def _read(path: Path) -> bytes:
    try:
        with os.fdopen(os.open(path, READ), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISFIFO(mode):
                os.set_blocking(file.fileno(), True)
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise InvalidInputError(f"cannot read the private key {path}: {error.strerror or error}") from error
    if len(data) > _LARGEST:
        raise InvalidInputError(f"{path} is not a private key: it has more than {_LARGEST:,} bytes")
    if os.name == "posix" and stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        remark(f"other users can read the private key {path}: chmod go-rwx it")
    return data
