"""The end of a journal: what was deleted there shows by an anchor, or on a machine that knew it; never by what is left."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import artifactstore
from artifactstore import InvalidInputError, RefusedError
from artifactstore.cli import main
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.store import Store

ENTRIES = 6


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def cache(tmp_path: Path, root: Path) -> Path:
    """The cache of a machine that has seen all entries."""
    store = artifactstore.open(root, cache=tmp_path / "cache")
    for number in range(ENTRIES):
        store.put(str(number).encode(), "n")
    return tmp_path / "cache"


def entry(root: Path, seq: int) -> Path:
    return root / f"journal/000000000/{seq:012d}.json"


def heads(root: Path) -> list[str]:
    raws = [entry(root, seq).read_bytes() for seq in range(1, ENTRIES + 1)]
    return [f"{seq}:{Digest.of(raw)}" for seq, raw in enumerate(raws, 1)]


def cut(root: Path, last: int) -> None:
    for seq in range(last + 1, ENTRIES + 1):
        entry(root, seq).unlink()


def rewrite(root: Path, first: int) -> None:
    """Change an entry, and join the chain behind it again, as whoever controls the place can."""
    previous = None
    for seq in range(first, ENTRIES + 1):
        record = json.loads(entry(root, seq).read_bytes())
        if previous is None:
            record["txns"][0]["actor"] = "mallory"
        else:
            record["previous"] = previous
        raw = canonical_json(record)
        entry(root, seq).write_bytes(raw)
        previous = str(Digest.of(raw))


HARM: list[tuple[str, Callable[[Path], None]]] = [
    *((f"cut behind {last}", lambda root, last=last: cut(root, last)) for last in (1, 3, 5)),
    *((f"rewritten from {first} on", lambda root, first=first: rewrite(root, first)) for first in (1, 4, 6)),
]
harmed = pytest.mark.parametrize("harm", [one for _, one in HARM], ids=[name for name, _ in HARM])


def both(root: Path, known: str) -> str:
    """Return a pattern of a message that names both heads."""
    now = max((root / "journal/000000000").glob("*.json"))
    return f"up to {known}, and it .* {int(now.stem)}:{Digest.of(now.read_bytes())} "


@pytest.mark.slow
@harmed
def test_a_machine_that_knew_more_says_so_and_writes_no_more(root: Path, cache: Path, harm: Callable[[Path], None]):
    known = heads(root)[-1]
    harm(root)
    for _ in range(2):  # each opening, not the first alone
        store = artifactstore.open(root, cache=cache)
        with pytest.warns(UserWarning, match=both(root, known)):
            assert store.names()
        assert store.get("n:v1") == b"0"
    store = artifactstore.open(root, cache=cache)
    before = sorted(root.rglob("*"))
    with pytest.warns(UserWarning, match=known), pytest.raises(RefusedError, match=both(root, known)):
        store.put(b"more", "n")
    with pytest.raises(RefusedError, match=known):
        store.alias("n:v1", "best")
    assert [path for path in sorted(root.rglob("*")) if path.name.endswith(".json")] == [
        path for path in before if path.name.endswith(".json")
    ]
    report = artifactstore.open(root, cache=cache).verify()
    assert known in "".join(one.what for one in report.findings if one.severity == "damage")
    assert report.head in both(root, known)


@pytest.mark.slow
@harmed
@pytest.mark.parametrize("way", ["accept", "command", "clear"])
def test_it_goes_on_when_it_is_told_to(root: Path, cache: Path, harm: Callable[[Path], None], way: str):
    harm(root)
    store = artifactstore.open(root, cache=cache)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way == "accept":
            assert store.maintenance.accept_head() == store.head
        elif way == "command":
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ARTIFACTSTORE_CACHE", str(cache))
                assert main(["head", "--accept", "--store", str(root)]) == 0
        else:
            shutil.rmtree(cache)
    store = artifactstore.open(root, cache=cache)
    assert store.put(b"more", "n").new
    assert artifactstore.open(root, cache=cache).verify().ok


def test_a_process_that_is_at_work_notices_it_too(root: Path, cache: Path):
    store = artifactstore.open(root, cache=cache)
    store.names()
    known = heads(root)[-1]
    cut(root, 4)
    with pytest.warns(UserWarning, match=known), pytest.raises(RefusedError, match=known):
        store.put(b"more", "n")


def test_another_copy_of_the_store_has_an_end_of_its_own(root: Path, cache: Path, tmp_path: Path):
    shutil.copytree(root, tmp_path / "copy")
    cut(tmp_path / "copy", 3)
    older = artifactstore.open(tmp_path / "copy", cache=cache)
    assert older.put(b"more", "n").new
    assert artifactstore.open(root, cache=cache).put(b"more", "n").new


@pytest.mark.parametrize("harm", [b"", b"7", b"7:blake3:00", b"\xff" * 80, b"1:md5:0"])
def test_a_damaged_note_of_the_end_says_nothing(root: Path, cache: Path, harm: bytes):
    (note,) = cache.glob("stores/*/heads/*")
    assert note.read_text().strip() == heads(root)[-1]
    note.write_bytes(harm)
    assert artifactstore.open(root, cache=cache).put(b"more", "n").new


def test_without_an_anchor_a_cut_is_not_missed(root: Path, cache: Path):
    """It can't be: what is left is a sound store. README and docs say so."""
    del cache
    cut(root, 4)
    assert artifactstore.open(root, cache=None).verify(level="full").ok


@pytest.mark.slow
@harmed
@pytest.mark.parametrize("form", ["text", "file", "path", "list", "mixed"])
def test_an_anchor_finds_it_in_every_form(root: Path, cache: Path, tmp_path: Path, harm: Callable[[Path], None], form: str):
    del cache
    noted, file = heads(root), tmp_path / "anchors"
    file.write_text("# noted each night\n\n" + "\n".join(noted) + "\n")
    anchor = {"text": noted[-1], "file": str(file), "path": file, "list": noted, "mixed": [noted[0], file]}[form]
    assert artifactstore.open(root, cache=None).verify(anchor=anchor).ok
    harm(root)
    report = artifactstore.open(root, cache=None).verify(anchor=anchor)
    assert not report.ok
    assert noted[-1] in report.findings[-1].what or noted[-1].partition(":")[2] in report.findings[-1].what
    if form in {"file", "path", "mixed"}:
        assert any("anchors, line" in one.what for one in report.findings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "anchor",
    [
        "",
        "5",
        "x:blake3:00",
        f"5:{'0' * 64}",
        f"5:md5:{'0' * 64}",
        f"-1:blake3:{'0' * 64}",
        5,
        [5],
        ["nonsense"],
        b"x",
        "/no/file",
    ],
)
def test_what_is_no_anchor_is_refused(root: Path, cache: Path, anchor: object):
    with pytest.raises(InvalidInputError, match=r"expected <entry>:<algorithm>:<hex>"):
        artifactstore.open(root, cache=cache).verify(anchor=anchor)


def test_files_without_anchors_are_refused(root: Path, cache: Path, tmp_path: Path):
    for text, why in (("", "contains no anchor"), ("# only this\n", "contains no anchor"), ("1:x\n", "line 1")):
        (tmp_path / "a").write_text(text)
        with pytest.raises(InvalidInputError, match=why):
            artifactstore.open(root, cache=cache).verify(anchor=tmp_path / "a")


def test_every_place_that_shows_a_head_prints_an_anchor(
    root: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    del cache
    store: Store = artifactstore.open(root, cache=None)
    head = heads(root)[-1]
    assert store.head == head
    assert store.at(2).head == heads(root)[1]
    assert store.verify().head == head
    for command, stream in ((["head"], 0), (["verify"], 0), (["log"], 1)):
        capsys.readouterr()
        assert main([*command, "--store", str(root)]) == 0
        assert head in capsys.readouterr()[stream]
    assert main(["verify", "--json", "--store", str(root)]) == 0
    assert json.loads(capsys.readouterr().out)["head"] == head
    assert main(["head", "--json", "--store", str(root)]) == 0
    assert json.loads(capsys.readouterr().out) == {"head": head}
    (tmp_path / "x").write_text("x")
    assert main(["put", str(tmp_path / "x"), "x", "--json", "--store", str(root)]) == 0
    made = json.loads(capsys.readouterr().out)["head"]
    (tmp_path / "file").write_text(f"{head}\n{made}\n")
    assert main(["verify", "--anchor", str(tmp_path / "file"), "--anchor", head, "--store", str(root)]) == 0
    entry(root, ENTRIES + 1).unlink()
    assert main(["verify", "--anchor", str(tmp_path / "file"), "--store", str(root)]) == 5
