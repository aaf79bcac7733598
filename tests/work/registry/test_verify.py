"""What verify finds that has effect and breaks a rule, and what it only notes."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import RefusedError, Store
from artifactstore.cli import main
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.maintenance.verify.report import Finding, Report
from artifactstore.model.encoding import format_time, new_id
from tests.catalog.telling import received
from tests.work.falsified import append

from .conftest import evaluate, frame, run

Person = Callable[[str], Store]
PRODUCTION = {"names": "churn/*", "alias": "production"}


def force(store: Store, actor: str, fact: dict[str, Any]) -> int:
    """Append a transaction that the library itself would not, as a writer with rights to the bucket can; return its entry."""
    core = store._session.core()
    head = core.journal.catch_up()
    record = {"birth": head, "base": head, "adoptable": False, "actor": actor, "identity": "claimed", "host": "h", "tool": "t"}
    time = format_time(datetime.now(UTC))
    txn = {**record, "txn": new_id(), "time": time, "facts": [fact]}
    raw = encode_entry(
        head + 1, core.journal.digest, writer=new_id(), time=time, txns=[txn], format=core.journal.fold.header["format"]
    )
    core.backend.create(entry_key(head + 1), raw)
    return head + 1


def gate(store: Store, *rules: Any, **more: Any) -> None:
    store.registry.gates([{**PRODUCTION, "all": list(rules), **more}], reason="CR-1")


def found(report: Report, severity: str) -> list[tuple[str, str]]:
    return [(one.rule, one.what) for one in report.findings if one.severity == severity]


def rules(report: Report, severity: str = "note") -> list[str]:
    return [rule for rule, _ in found(report, severity)]


def yes(conditions: list[Any]) -> list[Any]:
    """Claim that every condition holds."""
    return [{**one, "ok": True, "parts": yes(one.get("parts", []))} for one in conditions]


def lying(store: Store, ref: str) -> dict[str, Any]:
    """A move with a verdict that claims yes, as a cheat records it."""
    verdict = copy.deepcopy(store.registry.check(ref, "production").to_json())
    verdict |= {"ok": True, "conditions": yes(verdict["conditions"])}
    return {
        "fact": "aliased",
        "name": "churn/model",
        "alias": "production",
        "version": int(ref.rpartition("v")[2]),
        "verdict": verdict,
    }


LEAK = {"evaluated": "apart", "metric": "auc"}
REPORT = {"report": "drift", "field": "psi.max", "is": "<= 0.2"}


def leaked(store: Store) -> None:
    store.put(frame(0), "churn/leak")
    evaluate(store, "churn/model:v1", 0.99, on="churn/leak")


def drifted(store: Store) -> None:
    with run(store, "drift") as one:
        one.get("churn/model:v1")
        one.put({"psi": {"max": 0.9}}, "churn/drift", kind="report", role="drift")


@pytest.mark.parametrize(
    ("rule", "prepare", "text"),
    [
        (LEAK, leaked, "is among what it was made from"),
        (REPORT, drifted, "psi.max is 0.9, asked is <= 0.2"),
        ({"any": [{"metric": "auc", "is": ">= 2"}, REPORT]}, drifted, "psi.max is 0.9"),
        ({"not": {"format": "safe"}}, lambda _: None, "asked is that this does not hold: reading it runs no code"),
    ],
)
def test_a_verdict_that_lies_about_content_is_a_breach(
    churn: Store, rule: Any, prepare: Callable[[Store], None], text: str
) -> None:
    gate(churn, rule)
    prepare(churn)
    fact = lying(churn, "churn/model:v1")
    if "not" in rule:  # the part must be claimed not to hold
        (condition,) = fact["verdict"]["conditions"]
        condition["parts"][0]["ok"] = False
    assert churn.verify().ok
    append(churn, [fact])
    assert churn.artifact("churn/model:production").ref == "churn/model:v1", "the fold knows no content"
    report = churn.verify()
    assert not report.ok
    assert not report.damaged
    ((kind, what),) = found(report, "breach")
    assert kind == "gate"
    entry = churn.log(alias="production")[-1].seq
    assert f"entry {entry} by {churn.log()[-1].actor} makes churn/model:v1 production" in what
    assert text in what
    assert "BREACH" in str(report)


def test_an_honest_promotion_is_none_also_after_what_it_was_judged_on_has_changed(churn: Store) -> None:
    gate(churn, LEAK, {"format": "safe"}, {"metric": "auc", "is": ">= 0.9"})
    churn.promote("churn/model:v1", "production", reason="r")
    leaked(churn)
    churn.registry.measure("churn/model:v1", {"auc": 0.1})
    gate(churn, {"metric": "auc", "is": ">= 0.99"})
    report = churn.verify(level="full")
    assert report.ok
    assert rules(report) == ["gate", "gate"], "two changes of the gate"


def test_what_cannot_be_read_again_is_not_a_breach(churn: Store) -> None:
    gate(churn, LEAK)
    churn.promote("churn/model:v1", "production", reason="r")
    with churn._session.state() as state:
        digest = churn.artifact("churn/test").digest
        key = f"manifests/{state.current_manifest(digest)[:2]}/{state.current_manifest(digest)}.parquet"  # type: ignore[index]
    churn._session.backend.delete(key)
    reader = artifactstore.open(churn.url, "r", cache=None)
    report = reader.verify()
    assert not found(report, "breach")
    assert [one.location for one in report.findings if one.severity == "damage"] == [key]
    assert any("judged on" in one for one in report.not_checked)


def test_a_rollback_to_a_move_that_broke_a_gate_breaks_it_too(churn: Store) -> None:
    gate(churn, REPORT)
    drifted(churn)
    append(churn, [lying(churn, "churn/model:v1")])
    with run(churn, "drift") as one:
        one.get("churn/model:v2")
        one.put({"psi": {"max": 0.1}}, "churn/drift", kind="report", role="drift")
    churn.promote("churn/model:v2", "production", reason="r")
    churn.rollback("churn/model", "production", reason="r")
    (_, first), (_, second) = found(churn.verify(), "breach")
    assert "makes churn/model:v1 production" in first
    assert "rolls churn/model:production back to v1, whose own move broke a gate" in second


def test_attempts_without_effect_are_notes_with_actor_entry_and_gate(churn: Store) -> None:
    gate(churn, {"metric": "auc", "is": ">= 2"})
    (gated,) = churn.registry.gates()
    force(churn, "eve", {"fact": "aliased", "name": "churn/model", "alias": "production", "version": 1})
    force(churn, "eve", lying(churn, "churn/model:v1"))
    with pytest.raises(RefusedError):
        churn.promote("churn/model:v1", "production", reason="r")
    force(churn, "bob", {"fact": "released", "hold": "0" * 32})
    report = churn.verify()
    assert report.ok
    assert rules(report) == ["gate", "gate", "gate", "void"], "a refused attempt is not a note"
    (_, change), (_, bare), (_, cheat), (_, void) = found(report, "note")
    assert change == f"entry {gated.entry} by {churn.log(fact='gated')[0].actor} sets the gate of churn/* production: CR-1"
    for text in (bare, cheat):
        assert "by eve has no effect (gate: " in text
        assert text.endswith(f"; the gate is churn/* production of entry {gated.entry}")
    assert "by bob has no effect (missing: there is no hold" in void
    assert [one.location for one in report.findings][1] == f"journal/000000000/{gated.entry + 1:012d}.json"


def test_changes_of_rules_unsigned_approvals_and_slow_clocks_are_notes(churn: Store, person: Person, monkeypatch: Any) -> None:
    gate(churn, {"approvals": 1})
    churn.registry.retention([{"names": "s/*", "keep_last": 1}], reason="CR-2")
    approval = person("ada").registry.approve("churn/model:v1", reason="r")
    churn.promote("churn/model:v1", "production", reason="r")
    churn.registry.gates([{**PRODUCTION, "all": []}], reason="CR-3")
    report = churn.verify()
    assert rules(report) == ["gate", "retention", "approval", "gate"]
    assert f"by approvals that are only claimed: ada in entry {approval.entry}" in found(report, "note")[2][1]
    assert "lifts the gate of churn/* production: CR-3" in found(report, "note")[3][1]

    class Late(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Late":
            return datetime.now(tz) - timedelta(days=365)  # type: ignore[return-value]

    with monkeypatch.context() as patch:
        patch.setattr("artifactstore.journal.append.datetime", Late)
        for reason in "ab":
            churn.registry.describe("churn/model:v1", {"a": reason}, reason=reason)
    (kind, what) = found(churn.verify(), "note")[-1]
    assert kind == "clock"
    assert what.startswith("2 transactions by ")
    assert "up to 31,53" in what
    assert [round((one.clock or 0) / 86400) for one in churn.log(fact="described")] == [365, 365]


def test_a_move_of_another_store_on_a_gated_alias_is_a_note(churn: Store) -> None:
    gate(churn, {"run": "finished"})
    move = {"fact": "aliased", "name": "churn/model", "alias": "production", "version": 1}
    force(churn, "eve", received(move, {**move, "alias": "free"}))
    report = churn.verify()
    assert rules(report) == ["gate", "origin"]
    assert "the move of churn/model:production that entry" in found(report, "note")[1][1]
    assert not churn.exists("churn/model:production")
    assert churn.exists("churn/model:free")


def test_findings_say_which_rule_they_are_of(churn: Store) -> None:
    assert {one.rule for one in churn.verify(anchor=f"999:blake3:{'0' * 64}").findings} == {"anchor"}
    assert not churn.verify(anchor=f"999:blake3:{'0' * 64}").ok
    key = "journal/000000000/000000000003.json"
    raw = churn._session.backend.read(key)
    churn._session.backend.write(key, raw.replace(b'"host"', b'"hast"'))
    damage = [one for one in artifactstore.open(churn.url, "r", cache=None).verify().findings if one.severity == "damage"]
    assert damage[0] == Finding("damage", damage[0].what, key, rule="chain")


@pytest.mark.parametrize("broken", ["nothing", "a rule", "content"])
def test_exit_codes_tell_damage_from_breaches(churn: Store, broken: str, capsys: pytest.CaptureFixture[str]) -> None:
    gate(churn, REPORT)
    drifted(churn)
    if broken != "nothing":
        append(churn, [lying(churn, "churn/model:v1")])
    if broken == "content":
        with churn._session.state() as state:
            holder = str(state.current_manifest(churn.artifact("churn/train").digest))
        churn._session.backend.delete(f"manifests/{holder[:2]}/{holder}.parquet")
    assert main(["verify", "--store", churn.url, "--json"]) == {"nothing": 0, "a rule": 1, "content": 5}[broken]
    assert '"rule": "gate"' in capsys.readouterr().out


# -- keys


@pytest.fixture
def signed(churn: Store, person: Person, tmp_path: Path) -> tuple[Store, dict[str, Any]]:
    """A promotion by ada's signed approval, and the keys that count."""
    pytest.importorskip("cryptography")
    from artifactstore.signing import KeyFile
    from tests.signing.private_keys import private, public_pem, write

    path = write(tmp_path / "ada.pem", "Ed25519")
    known = {"ada": {"key": public_pem(private("Ed25519")), "roles": ["qa"]}}
    gate(churn, {"approvals": 1, "role": "qa", "signed": True})
    person("ada").registry.approve("churn/model:v1", reason="r", role="qa", signer=KeyFile(path, name="Ada"))
    churn.promote("churn/model:v1", "production", reason="r", keys=known)
    return churn, known


def test_signed_approvals_are_judged_again_by_the_keys_that_are_passed(
    signed: tuple[Store, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, known = signed
    from tests.signing.private_keys import private, public_pem

    assert store.verify(keys=known).ok
    report = store.verify()
    assert report.ok
    assert any("pass keys=" in one for one in report.not_checked)
    stranger = {"ada": {**known["ada"], "key": public_pem(private("Ed25519", 7))}}
    expired = {"ada": {**known["ada"], "until": "2020-01-01"}}
    roleless = {"ada": {"key": known["ada"]["key"]}}
    for keys, text in (
        (stranger, "none of the given keys"),
        (expired, "had expired"),
        (roleless, "does not have the role"),
        ({}, "0 of 1"),
    ):
        ((rule, what),) = found(store.verify(keys=keys), "breach")
        assert rule == "gate"
        assert text in what
    file = tmp_path / "keys.toml"
    file.write_text(f"[ada]\nkey = '''{stranger['ada']['key']}'''\nroles = ['qa']\n")
    assert main(["verify", "--store", store.url, "--keys", str(file)]) == 1
    monkeypatch.setenv("ARTIFACTSTORE_KEYS", str(file))
    assert not store.verify().ok


def test_a_transplanted_approval_is_a_breach_although_it_counts_nowhere(
    signed: tuple[Store, dict[str, Any]], person: Person
) -> None:
    store, known = signed
    (original,) = store.log(fact="approved")
    digest = store.artifact("churn/model:v2").digest
    append(person("eve"), [{**original.fields, "digest": digest}])
    for keys in (known, None):
        ((rule, what),) = found(store.verify(keys=keys), "breach")
        assert rule == "signature"
        assert f"of {digest} in entry" in what
        assert "by eve" in what


KINDS = ("approved", "gated", "anchored", "signed")


@pytest.fixture
def all_signed(churn: Store, person: Person, tmp_path: Path) -> tuple[Store, dict[str, Any]]:
    """One signature of each kind by one key, none of which a gate asks for."""
    from artifactstore.signing import KeyFile
    from tests.signing.private_keys import private, public_pem, write

    signer = KeyFile(write(tmp_path / "ada.pem", "ECDSA P-256", 0), name="Ada")
    ada = person("ada").registry
    ada.approve("churn/model:v1", reason="r", role="qa", signer=signer)
    ada.sign("churn/model:v1", reason="r", signer=signer)
    ada.anchor(signer=signer, meaning="review", reason="r")
    ada.gates({"names": "churn/*", "alias": "staging", "all": [{"run": "finished"}]}, reason="r", signer=signer)
    return churn, {"ada": {"key": public_pem(private("ECDSA P-256", 0)), "roles": ["qa"]}}


def test_every_kind_of_signature_is_judged_by_the_keys(all_signed: tuple[Store, dict[str, Any]]) -> None:
    store, known = all_signed
    from tests.signing.private_keys import private, public_pem

    assert not [
        one for severity in ("breach", "note") for one in found(store.verify(keys=known), severity) if one[0] == "signature"
    ]
    assert not [one for one in found(store.verify(), "note") if one[0] == "signature"], "without keys each is only claimed"
    for change, text in (
        ({"key": public_pem(private("ECDSA P-256", 7))}, "(unknown key): none of the given keys"),
        ({"until": "2020-01-01"}, "(expired): the key of ada had expired"),
    ):
        report = store.verify(keys={"ada": {**known["ada"], **change}})
        notes = [what for rule, what in found(report, "note") if rule == "signature"]
        assert report.ok, "no gate asks for them"
        assert len(notes) == len(KINDS)
        assert all(text in what and " by ada " in what for what in notes)
        assert [what for what in notes if "the model blake3:" in what]
        assert [what for what in notes if "the gate churn/* staging" in what]
        assert [what for what in notes if "the anchor of entry" in what]


@pytest.mark.parametrize("kind", KINDS)
def test_a_transplanted_signature_of_any_kind_is_a_breach(
    kind: str, all_signed: tuple[Store, dict[str, Any]], person: Person
) -> None:
    store, known = all_signed
    original = store.log(fact=kind)[-1].fields
    other = store.artifact("churn/model:v2").digest
    changes: dict[str, dict[str, Any]] = {
        "approved": {"digest": other},
        "signed": {"digest": other},
        "gated": {"alias": "production", "rules": {"all": [{"run": "finished"}]}},
        "anchored": {"seq": original.get("seq", 2) - 1},
    }
    append(person("eve"), [{**original, **changes[kind]}])
    ((rule, what),) = found(store.verify(keys=known), "breach")
    assert rule == "signature"
    assert "by eve belongs to something else" in what
