"""Reading runs nothing that the caller does not trust: every known way by which a pickle gets at `os.system`."""

import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path

import pytest

from artifactstore import CorruptionError, InvalidInputError, UnsupportedError, UntrustedError
from artifactstore.objects.formats.pickled import Pickled
from artifactstore.objects.trust import UNKNOWN, Trust, pickled_globals, trust_of
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def hostile(target: Path) -> dict[str, bytes]:
    command = f"touch {target}".encode()
    text = b"\x8c" + bytes([len(command)]) + command
    return {
        "reduce-0": pickle.dumps(Runs(target), 0),
        "reduce-2": pickle.dumps(Runs(target), 2),
        "reduce-5": pickle.dumps(Runs(target), 5),
        "global": b"cos\nsystem\n(S'" + command + b"'\ntR.",
        "inst": b"(S'" + command + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + command + b"'\no.",
        "posix": b"cposix\nsystem\n(S'" + command + b"'\ntR.",
        "stack-global": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + text + b"\x85R.",
        "memoised-name": b"\x80\x04\x8c\x06system\x940\x8c\x02osh\x00\x93" + text + b"\x85R.",
        "put-name": b"\x80\x02X\x06\x00\x00\x00systemq\x010X\x02\x00\x00\x00osh\x01\x93" + text + b"\x85R.",
        "duplicated-name": b"\x80\x04\x8c\x02os\x8c\x06system2\x860\x8c\x02os\x8c\x06system\x93" + text + b"\x85R.",
        "popen": b"\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93](\x8c\x05touch\x8c" + bytes([len(str(target))]) + str(target).encode() + b"e\x85R.",
        "eval": b"cbuiltins\neval\n(S'__import__(\"os\").system(\"" + command + b"\")'\ntR.",
        "getattr": b"cbuiltins\ngetattr\n(cos\n__dict__\nS'get'\ntR(S'system'\ntR(S'" + command + b"'\ntR.",
        "dotted": b"\x80\x04\x8c\x06shutil\x8c\x09os.system\x93" + text + b"\x85R.",
        "build": b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x0cimport os; 10\x85" + b"0cos\nsystem\n" + text + b"\x85R.",
        "extension": b"\x80\x02\x82\x01" + text + b"\x85R.",
    }  # fmt: skip


KINDS = sorted(hostile(Path("x")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_pickle_runs_nothing_without_trust(tmp_path: Path, kind: str):
    target = tmp_path / "ran"
    folder = MemoryFolder({"data.pickle": hostile(target)[kind]})
    with pytest.raises((UntrustedError, CorruptionError)):
        Pickled().read(folder)
    assert not target.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_pickle_runs_nothing_with_a_list_of_harmless_names(tmp_path: Path, kind: str):
    target = tmp_path / "ran"
    trust = Trust(names=frozenset({"collections.OrderedDict", "numpy.dtype", "builtins.list"}))
    with pytest.raises((UntrustedError, CorruptionError)):
        Pickled().read(MemoryFolder({"data.pickle": hostile(target)[kind]}, trust))
    assert not target.exists()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"build", "extension", "duplicated-name"}])
def test_the_catalogue_is_really_hostile(tmp_path: Path, kind: str):
    target = tmp_path / "ran"
    try:
        found = pickle.loads(hostile(target)[kind])
    except Exception:  # noqa: BLE001 - what it made of it is of no interest
        found = None
    if hasattr(found, "wait"):
        found.wait()
    assert target.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_scan_names_what_would_be_imported(kind: str):
    names = pickled_globals(hostile(Path("x"))[kind])
    assert names
    known = {"os.system", "posix.system", "subprocess.Popen", "builtins.eval", "os.__dict__", "shutil.os.system", UNKNOWN}
    assert known & set(names)


def test_the_scan_finds_all_that_the_unpickler_finds():
    import collections
    import decimal
    import functools
    import io
    import pathlib

    values = [
        collections.OrderedDict(a=1), complex(1, 2), decimal.Decimal("1.5"), functools.partial(sorted, key=len),
        pathlib.PurePosixPath("/a"), {"a": [collections.Counter("abc"), {1, 2}, frozenset({3})]}, ValueError("x"), range(3),
    ]  # fmt: skip

    class Watching(pickle.Unpickler):
        def __init__(self, file: io.BytesIO) -> None:
            super().__init__(file)
            self.seen: set[str] = set()

        def find_class(self, module: str, name: str):
            self.seen.add(f"{module}.{name}")
            return super().find_class(module, name)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for value in [*values, values]:
            raw = pickle.dumps(value, protocol)
            watching = Watching(io.BytesIO(raw))
            watching.load()
            if protocol > 2:
                assert watching.seen == set(pickled_globals(raw))
            else:  # the unpickler renames what Python 2 called otherwise
                assert len(watching.seen) == len(set(pickled_globals(raw)))


@pytest.mark.parametrize("raw", [b"", b"\x80", b"hello", b"\x80\x05\x8c\xff", pickletools.__doc__.encode()[:100]])
def test_what_is_no_pickle_is_damaged(raw: bytes):
    with pytest.raises(CorruptionError):
        Pickled().read(MemoryFolder({"data.pickle": raw}, Trust(names=frozenset({"a.b"}))))


def test_an_object_of_this_process_needs_no_trust_and_elsewhere_it_does(store: Store, elsewhere: Callable[[str], str]):
    import fractions

    made = store.put({fractions.Fraction(1, 3)}, "a", format="pickle")
    assert store.get("a") == {fractions.Fraction(1, 3)}
    said = elsewhere("store.get('a')")
    assert said.startswith("UntrustedError")
    assert "fractions.Fraction" in said
    assert "trust=True" in said
    assert elsewhere("out = str(store.get('a', trust=True))") == "{Fraction(1, 3)}"
    assert elsewhere("out = str(store.get('a', trust=['fractions.Fraction']))") == "{Fraction(1, 3)}"
    assert elsewhere(f"out = str(store.get('a', trust={made.digest!r}))") == "{Fraction(1, 3)}"
    assert elsewhere("out = str(store.get('a', trust=['fractions.Decimal']))").startswith("UntrustedError")
    assert elsewhere(f"out = store.get('a', trust={'blake3:' + '0' * 64!r})").startswith("UntrustedError")


def test_a_pickle_that_was_put_as_a_file_is_bytes(store: Store, tmp_path: Path):
    target = tmp_path / "ran"
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Runs(target)))
    store.put(tmp_path / "model.pkl", "a")
    assert store.get("a").read_bytes() == (tmp_path / "model.pkl").read_bytes()
    store.get("a", tmp_path / "to")
    assert not target.exists()


def test_files_of_an_untrusted_object_come_with_to(store: Store, elsewhere: Callable[[str], str], tmp_path: Path):
    store.put(Runs(tmp_path / "ran"), "a", format="pickle")
    assert elsewhere(f"out = str(store.get('a', {str(tmp_path / 'to')!r}))") == str(tmp_path / "to")
    assert (tmp_path / "to/data.pickle").exists()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("bad", [1, b"x", {"a": 1}, [1, 2]])
def test_what_trust_can_not_mean_is_refused(bad: object):
    with pytest.raises(InvalidInputError):
        trust_of(bad, "blake3:" + "0" * 64)


def test_large_arrays_in_a_pickle_are_files_of_their_own(store: Store):
    import numpy as np

    big = np.arange(100_000)
    made = store.put({"a": big, "b": {1, 2}}, "a", format="pickle")
    assert [one.path for one in made.files] == ["buffers/000000", "data.pickle"]
    back = store.get("a")
    assert (back["a"] == big).all()
    assert back["a"].flags.writeable


def test_what_can_not_be_pickled_is_said_so(store: Store):
    with pytest.raises(InvalidInputError, match="cannot pickle a"):
        store.put((x for x in [1]), "a", format="pickle")


def test_what_a_pickle_imports_is_known_without_opening_it(store: Store):
    made = store.put({"a": Path("x")}, "p", format="pickle")
    assert made.imports is not None
    assert "pathlib.PosixPath" in made.imports
    assert store.put(b"x", "b").imports is None
    inside = store.put({"a": 1, "b": b"x"}, "m")
    assert inside.imports is None


def test_a_scan_ends_and_says_so():
    raw = pickle.dumps(list(range(5000)))
    assert pickled_globals(raw) == []
    assert pickled_globals(raw, most=100) == [UNKNOWN]


@pytest.mark.parametrize(
    "raw", [b"\x80\x05.", b"(.", b"\x80\xff.", b"h\x05.", b"\x80\x05\x97.", b"N}s.", b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f."]
)
@pytest.mark.parametrize("trust", [Trust(everything=True), Trust(names=frozenset({"a.b"}))])
def test_a_pickle_that_can_not_be_unpickled_is_damaged(raw: bytes, trust: Trust):
    with pytest.raises(CorruptionError, match=r"data\.pickle .* to="):
        Pickled().read(MemoryFolder({"data.pickle": raw}, trust))


def test_a_class_that_is_not_here_is_said_so():
    raw = b"\x80\x04\x8c\x07pathlib\x8c\x06Nobody\x93."
    with pytest.raises(UnsupportedError, match=r"Nobody.*define it first"):
        Pickled().read(MemoryFolder({"data.pickle": raw}, Trust(everything=True)))


def test_a_place_in_memory_that_no_pickle_needs_is_damage():
    with pytest.raises(CorruptionError, match="memoizes index 2,147,483,647"):  # the unpickler would take 34 GB for it
        Pickled().read(MemoryFolder({"data.pickle": b"Nr\xff\xff\xff\x7f0N."}, Trust(names=frozenset({"a.b"}))))


def test_what_is_trusted_whole_is_not_searched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "artifactstore.objects.formats.pickled.pickled_globals",
        lambda _: pytest.fail("of ten million opcodes it takes ten seconds"),
    )
    assert Pickled().read(MemoryFolder({"data.pickle": pickle.dumps([1])}, Trust(everything=True))) == [1]
