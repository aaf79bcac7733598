"""The keys that count: the file, its errors, and its digest."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from artifactstore.errors import InvalidInputError
from artifactstore.signing.keys import Keys
from tests.signing.private_keys import pem, private, public_pem

ALICE, BOB = public_pem(private("Ed25519", 1)), public_pem(private("ECDSA P-256", 1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "alice.pub").write_text(ALICE)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/bob.pub").write_text(BOB)
    path = tmp_path / "keys.toml"
    path.write_text(
        '[alice]\nkey = "alice.pub"\nroles = ["qa", "release"]\n\n[bob]\nkey = "deep/bob.pub"\nactors = ["bob"]\nuntil = 2027-01-01\n'
    )
    return path


def test_a_file_and_a_dict_mean_the_same_however_they_are_written(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = Keys.load(file)
    assert found is not None
    assert [one.owner.name for one in found.keys] == ["alice", "bob"]
    assert found.digest.startswith("blake3:")
    same: list[Any] = [
        found,
        str(file),
        {
            "bob": {"key": BOB, "actors": ["bob"], "until": date(2027, 1, 1)},
            "alice": {"key": ALICE, "roles": ["release", "qa", "qa"]},
        },
        {
            "alice": {"key": tmp_path / "alice.pub", "roles": ("release", "qa")},
            "bob": {"key": BOB.replace("\n", "\r\n"), "actors": ["bob"], "until": "2027-01-01T23:59:59.999999Z", "roles": []},
        },
    ]
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path, elsewhere, ignore=shutil.ignore_patterns("elsewhere"))
    (elsewhere / "keys.toml").write_text(
        f'# keys\r\nbob.key = """{BOB}"""\r\nbob.actors = ["bob"]\r\nbob.until = 2027-01-02T01:59:59.999999+02:00\r\n'
        "alice = { roles = ['release', 'qa'], key = './alice.pub' }\r\n"
    )
    same.append(elsewhere / "keys.toml")
    for one in same:
        again = Keys.load(one)
        assert again is not None
        assert again.digest == found.digest, one
    other: list[Any] = [
        {"alice": {"key": ALICE, "roles": ["release", "qa"]}},
        {"alicia": {"key": ALICE, "roles": ["release", "qa"]}, "bob": same[2]["bob"]},
        {"alice": {"key": ALICE, "roles": ["qa"]}, "bob": same[2]["bob"]},
        {"alice": same[2]["alice"], "bob": {**same[2]["bob"], "actors": ["bob", "rob"]}},
        {"alice": same[2]["alice"], "bob": {**same[2]["bob"], "until": date(2027, 1, 2)}},
        {"alice": same[2]["alice"], "bob": {"key": BOB, "until": date(2027, 1, 1)}},
        {"alice": {**same[2]["alice"], "key": public_pem(private("Ed25519", 2))}, "bob": same[2]["bob"]},
    ]
    digests = {found.digest} | {Keys.load(one).digest for one in other}  # type: ignore[union-attr]
    assert len(digests) == len(other) + 1
    monkeypatch.delenv("ARTIFACTSTORE_KEYS", raising=False)
    assert Keys.load() is None
    monkeypatch.setenv("ARTIFACTSTORE_KEYS", str(file))
    assert Keys.load() == found
    assert Keys.load({}) == Keys(())  # given, and empty: no signature counts
    monkeypatch.setenv("ARTIFACTSTORE_KEYS", str(tmp_path / "none.toml"))
    with pytest.raises(InvalidInputError, match=r"cannot read .*none.toml"):
        Keys.load()


def test_the_digest_of_keys_stays_the_same_for_ever():
    """Verdicts have it: an Ed25519 key of RFC 8032, in more roles than a set keeps in order."""
    der = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    key = f"-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n"
    roles, actors = [f"role {n}" for n in range(9)], [f"actor {n}" for n in range(9)]
    found = Keys.load({"ada": {"key": key, "roles": roles[::-1], "actors": actors[::-1], "until": date(2027, 1, 1)}})
    assert found is not None
    assert found.digest == "blake3:115626ee8157662268686187455bfabbfb8871836ed855cc88fc71505fee4aed"
    assert found.keys[0].public.id == "sha256:7f2d9ed0b71b8e5a6c5cf30e647d6e20b5bca6dac8071f11abe3fef8014db610"


def test_what_is_wrong_in_a_file_is_named_with_line_and_column(file: Path):
    head = file.read_text()
    private_key = pem(private("Ed25519")).decode()
    cases = {
        "[alice": "line 1, column 7: expected ']'",
        'x = "': "line 1, column 6:",
        "[alice]\nkey = 1\nkey = 2": "line 3, column 8: cannot overwrite a value",
        head + "[carol]\n  keey = 'alice.pub'": "line 10, column 3: unknown field 'keey'; did you mean 'key'?",
        head + "[carol]\nzzz = 1": "line 10, column 1: unknown field 'zzz'; expected key, roles, actors, until",
        head + "[carol]\nroles = []": "line 9, column 1: [carol] lacks key =",
        head + "carol = 1": "line 9, column 1: unknown field 'carol'",
        "carol = 1": "line 1, column 1: carol must be a table",
        "[[carol]]\nkey = 'alice.pub'": "line 1, column 1: carol must be a table",
        "[carol]\nkey = 3": "line 2, column 1: key must be a path or a PEM text, got a int",
        "[carol]\nkey = 'none.pub'": "line 2, column 1: cannot read ",
        "[carol]\nkey = ''": "line 2, column 1: key must be the path of a file",
        "[carol]\nkey = 'keys.toml'": "line 2, column 1: the key of [carol] is not a public key in PEM",
        f"[carol]\nkey = '''{private_key}'''": "line 2, column 1: the key of [carol] is a private key: replace it",
        f"[carol]\nkey = '''{public_pem(private('RSA'))}'''": "line 2, column 1: the key of [carol] is a RSAPublicKey",
        "[carol]\nkey = '''-----BEGIN CERTIFICATE-----'''": "is a certificate: pass its public key",
        "[carol]\nkey = 'alice.pub'\nroles = 'qa'": "line 3, column 1: roles must be a list of strings, got 'qa'",
        "[carol]\nkey = 'alice.pub'\nactors = [1]": "line 3, column 1: actors must be a list of strings",
        "[carol]\nkey = 'alice.pub'\nuntil = 'soon'": "line 3, column 1: until must be a date",
        "[carol]\nkey = 'alice.pub'\nuntil = 2027": "line 3, column 1: until must be a date",
        "[carol]\nkey = 'alice.pub'\nuntil = 2027-01-01T00:00:00": "line 3, column 1: until = 2027-01-01T00:00:00 has no time zone",
        head + "[carol]\nkey = 'alice.pub'": "line 10, column 1: [carol] has the same key as [alice]",
        "['']\nkey = 'alice.pub'": "line 1, column 1: the name of a key",
    }
    for text, words in cases.items():
        file.write_text(text)
        with pytest.raises(InvalidInputError) as caught:
            Keys.load(file)
        assert str(caught.value).startswith(f"{file}, line "), text
        assert words in str(caught.value), text
        assert private_key.splitlines()[1] not in str(caught.value)
    file.write_bytes(b"[a]\nkey = '\xff'")
    with pytest.raises(InvalidInputError, match=r"keys.toml, line 2, column 8: not UTF-8"):
        Keys.load(file)


def test_what_is_wrong_in_a_dict_is_named_by_its_keys(tmp_path: Path):
    for value, words in (
        ({"alice": {"key": ALICE, "rolls": []}}, r"keys\['alice'\]\['rolls'\]: unknown field 'rolls'; did you mean 'roles'"),
        ({"alice": 3}, r"keys\['alice'\]: alice must be a table"),
        ({3: {"key": ALICE}}, r"keys\[3\]: the name of a key must be a str"),
        ([], "keys must be the path of a TOML file or a dict"),
        (b"keys.toml", "keys must be the path"),
        (tmp_path, "cannot read"),
        ("a\0b", "not a valid path"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            Keys.load(value)
