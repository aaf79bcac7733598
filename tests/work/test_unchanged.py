"""A put of content that the store has: what it returns is known without reading anything of it back."""

import subprocess
import sys
from pathlib import Path

import pytest

import artifactstore
from artifactstore.content.write import stat_cache


@pytest.mark.parametrize("extra", [False, True], ids=["plain", "with a link, an empty folder and an executable"])
@pytest.mark.parametrize("batch", [False, True])
def test_the_digest_of_the_listing_is_known_from_the_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, extra: bool, batch: bool
):
    monkeypatch.setattr(stat_cache, "lasting", lambda *_arguments, **_options: True)  # files of a moment ago, on any file system
    source = tmp_path / "data"
    source.mkdir()
    for number in range(20):
        (source / f"{number}.txt").write_text(f"{number}\n" * 500)
    if extra and sys.platform != "win32":
        (source / "empty").mkdir()
        (source / "link").symlink_to("1.txt")
        (source / "2.txt").chmod(0o755)
    store = artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")
    if batch:
        with store.batch():
            first = store.put(source, "data")
            found = first.content
    else:
        first = store.put(source, "data")
        found = first.content
    assert (found != first.digest) == extra

    program = (
        "import sys, artifactstore\n"
        "made = artifactstore.open(sys.argv[1], cache=sys.argv[2]).put(sys.argv[3], 'data')\n"
        "print(made.new, made.content, 'pyarrow' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program, *map(str, (tmp_path / "store", tmp_path / "cache", source))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", found, "False"], "its manifest was read, by Arrow"
    assert artifactstore.open(tmp_path / "store", cache=None).artifact("data").content == found, "as its manifest has it"
