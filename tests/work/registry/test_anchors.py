"""Anchors: noted, signed, kept in a file or in another store, and compared by verify."""

import json
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import AlreadyExistsError, InvalidInputError, RefusedError, Store
from artifactstore.cli import main
from artifactstore.maintenance.verify.report import Report


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = artifactstore.create(tmp_path / "store", cache=None)
    made.put(b"1", "a")
    return made


def severities(report: Report) -> list[tuple[str, str]]:
    return [(one.severity, one.rule) for one in report.findings]


def test_an_anchor_is_the_head_before_it_and_a_fact(store: Store, tmp_path: Path) -> None:
    head = store.head
    made = store.registry.anchor(tmp_path / "anchor.json", reason="end of the quarter")
    assert (made.text, f"{made.seq}:{made.entry}") == (head, head)
    (event,) = store.log(fact="anchored")
    assert (event.fields["seq"], event.fields["entry"], event.reason) == (made.seq, made.entry, "end of the quarter")
    assert json.loads((tmp_path / "anchor.json").read_text()) == made.to_json()
    assert made.to_json().keys() == {"store", "seq", "entry", "time", "text", "reason"}
    store.put(b"2", "a")
    for anchor in (made, made.text, made.to_json(), tmp_path / "anchor.json", [made.text, tmp_path / "anchor.json"]):
        assert store.verify(anchor=anchor).findings == []
    false = {**made.to_json(), "text": made.text[:-1] + ("0" if made.text[-1] != "0" else "1")}
    assert severities(store.verify(anchor=false)) == [("damage", "anchor")]
    assert severities(store.verify(anchor={**made.to_json(), "store": "0" * 32})) == [("damage", "anchor")]


def test_an_anchor_is_put_into_a_store_of_others(store: Store, tmp_path: Path) -> None:
    notary = artifactstore.create(tmp_path / "notary", cache=None)
    made = store.registry.anchor(notary)
    name = f"anchors/{made.store}"
    assert notary.get(name) == made.to_json()
    store.registry.anchor(notary)
    assert len(notary.versions(name)) == 2
    assert store.verify(anchor=[notary.get(f"{name}:v1"), notary.get(name)]).findings == []


def test_what_cannot_be_noted_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text("mine")
    head = store.head
    for error, call in (
        (AlreadyExistsError, lambda r: r.anchor(tmp_path / "there.json")),
        (InvalidInputError, lambda r: r.anchor(tmp_path / "no" / "such.json")),
        (InvalidInputError, lambda r: r.anchor(meaning="review")),
        (InvalidInputError, lambda r: r.anchor(meaning="blessing", signer=str(tmp_path / "key.pem"))),
        (InvalidInputError, lambda r: r.anchor(reason=" ")),
        (InvalidInputError, lambda r: r.anchor(signer=str(tmp_path / "no.pem"))),
    ):
        with pytest.raises(error):
            call(store.registry)
    with pytest.raises(RefusedError):
        artifactstore.open(store.url, "r", cache=None).registry.anchor(tmp_path / "new.json")
    with pytest.raises(InvalidInputError, match="empty"):
        artifactstore.create(tmp_path / "empty", cache=None).registry.anchor()
    with store.batch(), pytest.raises(InvalidInputError, match="batch"):
        store.registry.anchor()
    assert store.head == head
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "store", "there.json"]
    assert (tmp_path / "there.json").read_text() == "mine"


def test_a_signed_anchor_is_judged_by_the_keys_that_are_passed(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from artifactstore.signing import KeyFile
    from artifactstore.signing.envelope import ANCHOR, payload_of
    from tests.signing.private_keys import private, public_pem, write

    path = write(tmp_path / "ann.pem", "ECDSA P-256")
    made = store.registry.anchor(tmp_path / "a.json", signer=KeyFile(path, name="Ann"), meaning="review", reason="read it all")
    payload = payload_of(made.signature, ANCHOR)
    assert payload is not None
    assert {key: payload[key] for key in ("store", "seq", "entry", "name", "meaning", "reason")} == {
        "store": made.store, "seq": made.seq, "entry": made.entry, "name": "Ann", "meaning": "review", "reason": "read it all",
    }  # fmt: skip
    assert store.log(fact="anchored")[0].fields["signature"] == made.signature
    assert store.log(fact="anchored").transactions[0].what == f"anchor entry {made.seq} (signed by Ann)"
    known: dict[str, Any] = {"ann": {"key": public_pem(private("ECDSA P-256"))}}
    other: dict[str, Any] = {"ann": {"key": public_pem(private("ECDSA P-256", 1))}}
    file = tmp_path / "a.json"
    assert store.verify(anchor=file, keys=known).findings == store.verify(anchor=file).findings == []
    assert sorted(severities(store.verify(anchor=file, keys=other))) == [("breach", "signature"), ("note", "signature")]
    expired = store.verify(anchor=made, keys={"ann": {**known["ann"], "until": "2020-01-01"}})
    assert sorted(severities(expired)) == [("breach", "signature"), ("note", "signature")], "of the file, and of its fact"
    later = store.registry.anchor()
    assert severities(store.verify(anchor=later, keys=known)) == [("note", "signature")], "it is not signed"
    changes: list[dict[str, Any]] = [{"text": later.text}, {"signature": {}}]
    for change in changes:
        assert severities(store.verify(anchor={**made.to_json(), **change})) == [("breach", "signature")]
    elsewhere = {**made.to_json(), "store": "0" * 32}
    assert severities(store.verify(anchor=elsewhere)) == [("damage", "anchor"), ("breach", "signature")]
    keys = tmp_path / "keys.toml"
    keys.write_text(f"[ann]\nkey = '''{other['ann']['key']}'''\n")
    assert main(["verify", "--store", store.url, "--anchor", str(file), "--keys", str(keys)]) == 1


@pytest.mark.parametrize("text", ["{}", '{"text": 3, "store": "x"}', '{"text": "x", "store": "x"}', "{", "[]", ""])
def test_a_file_that_is_no_anchor_is_refused(store: Store, tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(InvalidInputError):
        store.verify(anchor=tmp_path / "file")


def test_the_command_notes_an_anchor(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = store.head
    assert main(["anchor", "--store", store.url, "--to", str(tmp_path / "a.json"), "-m", "quarter"]) == 0
    assert capsys.readouterr().out == f"{head}\n"
    assert main(["verify", "--store", store.url, "--anchor", str(tmp_path / "a.json")]) == 0
    capsys.readouterr()
    assert main(["anchor", "--store", store.url, "--json"]) == 0
    assert (
        json.loads(capsys.readouterr().out)["text"]
        == f"{store.log(fact='anchored')[1].fields['seq']}:{store.log(fact='anchored')[1].fields['entry']}"
    )
