import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore.errors import InvalidInputError
from artifactstore.model import path_clashes
from artifactstore.model.digest import Digest, hash_bytes
from artifactstore.model.listing import Extra, check_link, check_path, check_paths, identify, plain_line
from artifactstore.model.path_clashes import case_clashes, clash

ODD_NAMES = [
    "plain.txt",
    "a b",
    "new\nline",
    "back\\slash",
    "both\\\n",
    "ends\\",
    "#comment",
    "ünï",
    "'quoted'",
    "\\n",
    "a/b/c",
    "-/x",
    " lead",
    "*star",
]
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\ufffd/"), min_size=1, max_size=20).filter(
    lambda name: name not in {".", "..", "-"}
)


def test_lines_are_those_of_b3sum() -> None:
    assert plain_line("00", "a b") == "00  a b\n"
    assert plain_line("00", "new\nline") == "\\00  new\\nline\n"
    assert plain_line("00", "back\\slash") == "\\00  back\\\\slash\n"
    assert plain_line("00", "\\n") == "\\00  \\\\n\n"


@given(st.lists(NAMES, unique=True, max_size=8))
def test_no_two_trees_share_a_text(names: list[str]) -> None:
    text = "".join(plain_line("0" * 64, name) for name in names)
    lines = text.splitlines(keepends=False) if not names else text[:-1].split("\n")
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        shown = line.removeprefix("\\").removeprefix("0" * 64 + "  ")
        if line.startswith("\\"):
            shown = shown.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")
        assert shown == name


@pytest.mark.skipif(shutil.which("b3sum") is None, reason="b3sum is not installed")
@pytest.mark.parametrize(("tool", "algorithm"), [("b3sum", "blake3"), ("sha256sum", "sha256")])
def test_anybody_can_check_the_identity_without_this_library(tmp_path: Path, tool: str, algorithm: str) -> None:
    for number, name in enumerate(ODD_NAMES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"%d" % number)
    files = sorted((name, hash_bytes(b"%d" % number, algorithm)) for number, name in enumerate(ODD_NAMES))
    command = f"find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0r {tool} --"
    shown = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True).stdout
    assert shown.decode() == "".join(plain_line(raw.hex(), name) for name, raw in files)
    content, digest = identify(files, Extra(), algorithm)
    assert content == digest == Digest.of(shown, algorithm)


def test_an_empty_tree_is_the_digest_of_nothing() -> None:
    assert identify([], Extra(), "blake3")[0].raw == blake3(b"").digest()


@pytest.mark.parametrize("count", [4095, 4096, 4097])
def test_long_listings_hash_like_their_text(count: int) -> None:
    files = [(f"{number:06d}", bytes(32)) for number in range(count)]
    text = "".join(plain_line("00" * 32, name) for name, _ in files)
    assert identify(files, Extra(), "sha256")[0].raw == hashlib.sha256(text.encode()).digest()


def test_extra_lines_follow_the_plain_ones() -> None:
    extra = Extra(folders=["z", "e\nf"], links=[("l", "ä")], executables=["run"], format="table")
    lines = [
        b'#["dir","e\\nf"]\n',
        b'#["dir","z"]\n',
        b'#["format","table"]\n',
        '#["link","l","ä"]\n'.encode(),
        b'#["x","run"]\n',
    ]
    assert extra.lines() == lines
    files = [("a", bytes(32))]
    content, digest = identify(files, extra, "blake3")
    assert content == identify(files, Extra(), "blake3")[1]
    assert digest.raw == blake3(plain_line("00" * 32, "a").encode() + b"".join(lines)).digest()


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_python_sorts_paths_as_their_bytes(names: list[str]) -> None:
    assert [name.encode() for name in sorted(names)] == sorted(name.encode() for name in names)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "empty"),
        ("-", "standard input"),
        ("a\x00b", "NUL"),
        ("a\rb", "CR"),
        ("a\ufffdb", "U\\+FFFD"),
        ("a\udcff", "UTF-8"),
        ("/a", "absolute"),
        ("C:/a", "drive"),
        ("C:a", "drive"),
        ("a//b", "segment"),
        ("a/", "segment"),
        ("./a", "segment"),
        ("a/../b", "segment"),
        ("ü" * 128, "255"),
        ("a/" + "b" * 256, "255"),
    ],
)
def test_a_path_that_cannot_stand_in_a_listing_is_refused(path: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        check_path(path)


@pytest.mark.parametrize("path", [*ODD_NAMES, "a/-", "..a", "a..", "b" * 255, "/".join(["b" * 255] * 4)])
def test_odd_paths_are_fine(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    ("path", "target"), [("l", "x"), ("a/l", "../x"), ("a/b/l", "../../x"), ("l", "./x/../y"), ("l", "dangling")]
)
def test_links_inside_are_fine(path: str, target: str) -> None:
    check_link(path, target)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["", "/etc/passwd", "../x", "a/../../x", "C:x", "\\\\host", "x\x00", "x\udcff", "a/../../l/x"])
def test_links_out_of_the_tree_are_refused(target: str) -> None:
    with pytest.raises(InvalidInputError, match="outside"):
        check_link("l", target)


def test_names_that_differ_by_how_accents_are_written_clash() -> None:
    assert list(case_clashes(["\u00e9", "e\u0301", "E\u0301", "e"])) == [("\u00e9", "e\u0301"), ("\u00e9", "E\u0301")]


def test_case_clashes_are_found() -> None:
    assert list(case_clashes(["a", "B", "A", "straße", "STRASSE", "b"])) == [("a", "A"), ("straße", "STRASSE"), ("B", "b")]


PIECES = st.sampled_from(["a", "b", "a-b", "ab", "a.b", "A", "aa", "é", "-"])
TREES = st.lists(st.lists(PIECES, min_size=1, max_size=3).map("/".join), max_size=6)


def clashes(files: list[str], folders: list[str], links: list[str]) -> bool:
    every, leaves = files + folders + links, {*files, *links}
    above = {path[:at] for path in every for at in range(len(path)) if path[at] == "/"}
    return len({*every}) < len(every) or not leaves.isdisjoint(above)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(TREES, TREES, TREES)
def test_a_clash_is_found_wherever_it_is(files: list[str], folders: list[str], links: list[str]) -> None:
    found = clash(files, folders, [(path, "x") for path in links])
    assert (found is not None) is clashes(files, folders, links)
    if found is not None:
        assert {*found} <= {*files, *folders, *links}
        assert found[0] == found[1] or found[1].startswith(f"{found[0]}/")


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(PIECES, min_size=1, max_size=3).map("/".join), max_size=12), st.integers(1, 4))
def test_a_clash_among_files_is_found_in_batches_of_any_size(files: list[str], size: int) -> None:
    with mock.patch.object(path_clashes, "_AT_ONCE", size):
        found = clash(sorted(files), (), ())
    assert (found is not None) is clashes(files, [], [])
    assert found is None or ({*found} <= {*files} and (found[0] == found[1] or found[1].startswith(f"{found[0]}/")))


@pytest.mark.parametrize("count", [4095, 4096, 4097, 8192])
def test_a_clash_between_batches_is_found(count: int) -> None:
    files = [f"{number:05}" for number in range(count)]
    last = files[-1]
    assert clash(files, (), ()) is None
    assert clash([*files, f"{last}/x"], (), ()) == (last, f"{last}/x")
    assert clash([*files, f"{last}-", f"{last}.", f"{last}/x"], (), ()) == (last, f"{last}/x")
    assert clash([*files, last], (), ()) == (last, last)


@given(
    st.lists(
        st.one_of(NAMES, st.sampled_from(["a", "a/b", "", "/", "a//b", "a\nb", "\n", "a" * 251, "a" * 256, "é/a"])), max_size=4
    )
)
def test_paths_are_refused_together_as_one_by_one(paths: list[str]) -> None:
    def refusal(call: Callable[[], object]) -> str | None:
        try:
            call()
        except InvalidInputError as error:
            return str(error)
        return None

    assert refusal(lambda: check_paths(paths)) == refusal(lambda: [*map(check_path, paths)])


@pytest.mark.parametrize("count", [10, 19_999, 20_000, 20_001])
def test_case_clashes_are_found_among_many(count: int) -> None:
    paths = [f"{number:05}" for number in range(count - 6)]
    assert list(case_clashes(paths)) == []
    odd = ["B", "straße", "b", "STRASSE", "c", "é"]
    assert list(case_clashes([*odd[:2], *paths, *odd[2:]])) == [("B", "b"), ("straße", "STRASSE")]


def test_a_name_that_is_too_long_is_refused_among_others_though_it_has_a_line_feed() -> None:
    with pytest.raises(InvalidInputError, match="255"):
        check_paths(["a", "b" * 200 + "\n" + "c" * 200, "d"])
