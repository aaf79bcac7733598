"""Private keys in files: of each kind and form, and what is wrong with them."""

import os
import pickle
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from artifactstore.errors import InvalidInputError, UnsupportedError
from artifactstore.signing import KeyFile, Signer
from artifactstore.signing.envelope import APPROVAL, pae
from artifactstore.signing.registered import signer_of
from tests.signing.private_keys import FORMS, KINDS, PASSPHRASE, pem, private, public_pem, write

OPENSSL = shutil.which("openssl")


@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind in KINDS for form in FORMS if kind != "Ed25519" or form.startswith("pkcs8")]
)
def test_a_key_of_each_kind_and_form_signs(kind: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "qa.pem", kind, form=form)
    signers: list[KeyFile] = []
    if form.endswith("encrypted"):
        for passphrase in (None, "", "wrong", b"wrong", PASSPHRASE.upper()):
            with pytest.raises(InvalidInputError, match=r"qa\.pem") as caught:
                KeyFile(path, passphrase=passphrase)
            assert ("is encrypted" if not passphrase else "passphrase is wrong") in str(caught.value)
            assert "$ARTIFACTSTORE_KEY_PASSPHRASE" in str(caught.value) or passphrase
        signers += [KeyFile(path, passphrase=PASSPHRASE), KeyFile(path, passphrase=PASSPHRASE.encode())]
        monkeypatch.setenv("ARTIFACTSTORE_KEY_PASSPHRASE", PASSPHRASE)
        with pytest.raises(InvalidInputError):
            KeyFile(path, passphrase="wrong")  # what is passed goes before the environment
    signers.append(KeyFile(path))
    monkeypatch.setenv("ARTIFACTSTORE_KEY_PASSPHRASE", "of another key")
    if not form.endswith("encrypted"):
        signers.append(KeyFile(str(path)))
    for signer in signers:
        assert isinstance(signer, Signer)
        assert (signer.name, signer.algorithm) == ("qa", kind)
        assert signer.public_key.pem == public_pem(private(kind))
        assert signer.public_key.verifies(signer.sign(b"data"), b"data")
        assert not signer.public_key.verifies(signer.sign(b"data"), b"datb")
        assert signer.key_id == signers[0].key_id


def test_what_is_not_such_a_key_is_one_clear_error(tmp_path: Path):
    good = pem(private("ECDSA P-256"))
    cases = {
        b"": "not a private key in PEM",
        b"hello": "not a private key in PEM",
        good[: len(good) // 2]: "not a private key in PEM",
        good.replace(b"EC", b"XX").replace(b"BEGIN PRIVATE", b"BEGIN PUBLIC"): "PEM",
        public_pem(private("Ed25519")).encode(): "is a public key",
        b"x" * 70_000: "more than 65,536 bytes",
        pem(private("RSA")): "RSA",
        pem(private("Ed448")): "Ed448",
        pem(private("ECDSA P-521")): "secp521r1",
        pem(private("k1")): "secp256k1",
    }
    for number, (data, words) in enumerate(cases.items()):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(InvalidInputError, match=f"{number}.pem") as caught:
            KeyFile(path)
        assert words in str(caught.value)
    with pytest.raises(InvalidInputError, match=r"cannot read the private key .*none\.pem: No such file"):
        KeyFile(tmp_path / "none.pem")
    with pytest.raises(InvalidInputError, match="cannot read"):
        KeyFile(tmp_path)
    for value in (None, 3, good, b"qa.pem", good.decode(), "", "a\0b"):
        with pytest.raises(InvalidInputError) as caught:
            KeyFile(value)  # type: ignore[arg-type]
        assert good.decode().splitlines()[1] not in str(caught.value)
    path = write(tmp_path / "qa.pem", "Ed25519")
    with pytest.raises(InvalidInputError, match="passphrase= must be"):
        KeyFile(path, passphrase=3)  # type: ignore[arg-type]
    for name in ("", " ", "a\nb", "x" * 201, "\u202eeve", 3):
        with pytest.raises(InvalidInputError, match="printed name"):
            KeyFile(path, name=name)  # type: ignore[arg-type]
    assert KeyFile(path, name="Älice Müller").name == "Älice Müller"


@pytest.mark.skipif(os.name != "posix", reason="no modes")
def test_a_key_that_others_can_read_gives_a_warning(tmp_path: Path):
    path = write(tmp_path / "qa.pem", "Ed25519")
    for mode in (0o600, 0o400, 0o640):
        path.chmod(mode)
        KeyFile(path)
    for mode in (0o644, 0o604, 0o666):
        path.chmod(mode)
        with pytest.warns(UserWarning, match="other users can read the private key .*qa.pem: chmod") as caught:
            KeyFile(path)
        assert caught[0].filename == __file__


def test_no_secret_is_shown_or_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ARTIFACTSTORE_KEY_PASSPHRASE", raising=False)
    path = write(tmp_path / "qa.pem", "ECDSA P-256", form="pkcs8 encrypted")
    signer = KeyFile(path, passphrase=PASSPHRASE, name="QA")
    pickled = pickle.dumps(signer)
    secret = private("ECDSA P-256").private_numbers().private_value.to_bytes(32)
    for shown in (repr(signer).encode(), str(signer).encode(), pickled, repr(vars(signer)).encode()):
        assert PASSPHRASE.encode() not in shown
        assert secret not in shown
    with pytest.raises(InvalidInputError, match="is encrypted") as caught:
        pickle.loads(pickled)
    monkeypatch.setenv("ARTIFACTSTORE_KEY_PASSPHRASE", PASSPHRASE)
    again = pickle.loads(pickled)
    assert (again.name, again.key_id) == ("QA", signer.key_id)
    wrong = "not the " + "passphrase"
    with pytest.raises(InvalidInputError) as caught:
        KeyFile(path, passphrase=wrong)
    assert wrong not in "".join(traceback.format_exception(caught.value))


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_openssl_are_read_and_openssl_verifies_what_they_sign(kind: str, tmp_path: Path):
    def openssl(*command: str) -> bytes:
        return subprocess.run(["openssl", *command], cwd=tmp_path, check=True, capture_output=True).stdout

    curve = {"ECDSA P-256": "prime256v1", "ECDSA P-384": "secp384r1"}.get(kind)
    paths = ["key.pem"]
    if curve is None:
        openssl("genpkey", "-algorithm", "ed25519", "-out", "key.pem")
    else:
        openssl("ecparam", "-name", curve, "-genkey", "-out", "key.pem")  # with the parameters before the key
        openssl("pkcs8", "-topk8", "-nocrypt", "-in", "key.pem", "-out", "pkcs8.pem")
        paths.append("pkcs8.pem")
    openssl("pkey", "-in", "key.pem", "-aes256", "-passout", f"pass:{PASSPHRASE}", "-out", "secret.pem")
    openssl("pkey", "-in", "key.pem", "-pubout", "-out", "key.pub")
    for path in tmp_path.glob("*.pem"):
        path.chmod(0o600)
    signers = [KeyFile(tmp_path / path) for path in paths] + [KeyFile(tmp_path / "secret.pem", passphrase=PASSPHRASE)]
    told = subprocess.run(["sha256sum", "key.pub"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    for signer in signers:
        assert signer.public_key.pem == (tmp_path / "key.pub").read_text()
        assert signer.key_id == f"sha256:{told[:64]}"
        (tmp_path / "data").write_bytes(pae(APPROVAL, b'{"a":1}'))
        (tmp_path / "sig").write_bytes(signer.sign((tmp_path / "data").read_bytes()))
        if curve is None:
            openssl("pkeyutl", "-verify", "-pubin", "-inkey", "key.pub", "-rawin", "-in", "data", "-sigfile", "sig")
        else:
            digest = "-sha256" if kind.endswith("256") else "-sha384"
            assert openssl("dgst", digest, "-verify", "key.pub", "-signature", "sig", "data") == b"Verified OK\n"


class Service:
    """A signer of another package."""

    def __init__(self, text: str) -> None:
        self.name, self.key_id = f"service {text}", "kms:1"

    def sign(self, data: bytes) -> bytes:
        return data[:1]


def test_a_signer_is_a_path_an_object_or_one_that_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "qa.pem", "Ed25519")
    assert signer_of(str(path)).name == "qa"
    assert signer_of(path).name == "qa"
    one = Service("x")
    assert signer_of(one) is one
    package = tmp_path / "site" / "kms-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: kms\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[artifactstore.signers]\nkms = tests.signing.test_key_files:Service\n")
    monkeypatch.syspath_prepend(str(package.parent))
    made = signer_of("kms:alias/qa")
    assert isinstance(made, Service) or type(made).__name__ == "Service"
    assert made.name == "service alias/qa"
    with pytest.raises(InvalidInputError, match="did you mean 'kms'"):
        signer_of("kmss:alias/qa")
    (tmp_path / "odd:name.pem").write_bytes(path.read_bytes())
    (tmp_path / "odd:name.pem").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    assert signer_of("odd:name.pem").name == "odd:name"


def test_what_is_not_a_signer_is_one_clear_error():
    class NoName(Service):
        def __init__(self) -> None:
            self.name, self.key_id = "", "x"

    class NoId(Service):
        def __init__(self) -> None:
            self.name, self.key_id = "x", None  # type: ignore[assignment]

    for value in (None, 3, Service, object(), NoName(), NoId(), [], b"qa.pem"):
        with pytest.raises(InvalidInputError, match=r"sign|name"):
            signer_of(value)
    key = pem(private("Ed25519")).decode()
    with pytest.raises(InvalidInputError) as caught:
        signer_of(key)
    assert key.splitlines()[1] not in str(caught.value)


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "qa.pem", "Ed25519")
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'artifactstore-ml\[sign\]'"):
        KeyFile(path)


def test_the_pure_part_loads_no_cryptography():
    code = (
        "import sys, artifactstore.signing.envelope, artifactstore.signing.verify, artifactstore.signing.oms;"
        "assert not [name for name in sys.modules if name.startswith('cryptography')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
