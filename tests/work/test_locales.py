"""Names of files are bytes on disk: what a locale makes of them is not part of an artifact."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import artifactstore


def _latin(folder: Path) -> dict[str, str]:
    """Make a locale whose names of files are Latin-1; returns its environment."""
    done = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / "de_DE.ISO-8859-1")], capture_output=True, check=False
    )
    if done.returncode > 1 or not (folder / "de_DE.ISO-8859-1").exists():
        pytest.skip("no such locale can be made here")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.ISO-8859-1"}


_ODD = (
    "import json, os, sys, artifactstore\n"
    "top, found = sys.argv[1], {}\n"
    "store = artifactstore.open(top + '/s', cache=None)\n"
    "def note(what, do):\n"
    "    try: found[what] = do()\n"
    "    except artifactstore.ArtifactStoreError as error: found[what] = f'{type(error).__name__}: {error}'\n"
    "for name in ('plain', 'utf8', 'latin', 'folder', 'empty', 'link', 'target'):\n"
    "    note('put ' + name, lambda: store.put(f'{top}/src/{name}', 'x-' + name).digest)\n"
    "for name in ('plain', 'utf8', 'folder', 'empty', 'link', 'target'):\n"
    "    note('get ' + name, lambda: store.put(store.get('good/' + name, to=f'{top}/out/{name}'), 'y-' + name).digest)\n"
    "note('read', lambda: [len(store.open_file('good/utf8', one.path).read()) for one in store.artifact('good/utf8').files])\n"
    "note('words', lambda: store.put({'\\u00fc\\u20ac': '\\u00fc\\u20ac'}, 'words', metadata={'\\u00fc': '\\u20ac'}, reason='\\u00fc\\u20ac').digest)\n"
    "print(json.dumps(found))\n"
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
@pytest.mark.parametrize("locale", ["C", "Latin-1"])
def test_a_tree_is_the_same_artifact_in_every_locale_or_refused_by_name(tmp_path: Path, locale: str):
    source = tmp_path / "src"
    for name in (b"plain/a", b"utf8/\xc3\xa9.txt", b"latin/\xe9.txt", b"folder/\xc3\xbc/a"):
        path = source / os.fsdecode(name)
        path.parent.mkdir(parents=True)
        path.write_bytes(name)
    (source / "empty/ü").mkdir(parents=True)
    for link, target in (("link/ü", "a"), ("target/b", "ü/a")):
        (source / link).parent.mkdir()
        (source / link).symlink_to(target)
    store = artifactstore.open(tmp_path / "s", cache=None)
    right = {name: store.put(tmp_path / "src" / name, f"good/{name}").digest for name in ("plain", "utf8", "folder", "empty")}
    right |= {name: store.put(tmp_path / "src" / name, f"good/{name}").digest for name in ("link", "target")}
    words = store.put({"ü€": "ü€"}, "words").digest
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    chosen = {"LC_ALL": "C"} if locale == "C" else _latin(tmp_path)
    environment = {**plain, **chosen, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _ODD, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("read") == [len(b"utf8/\xc3\xa9.txt")]
    assert found.pop("words") == words
    assert found["put plain"] == found["get plain"] == right["plain"]
    assert "not valid UTF-8; rename it" in found.pop("put latin")
    for what, said in found.items():
        if not what.endswith("plain"):
            assert "PYTHONUTF8=1" in said, (what, said)
    assert not [one for one in (tmp_path / "out").iterdir() if one.name != "plain" and any(one.iterdir())]
