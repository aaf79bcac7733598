"""RO-Crates: what readers and validators of crates say, what is in them, and that none is half there."""

import json
import random
import stat
import subprocess
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import artifactstore
from artifactstore import AlreadyExistsError, CorruptionError, Store
from tests.servers.place import SERVERS

VALIDATOR = SERVERS / "rocrate/bin"
# What the validator would fetch comes along with rocrate. Its imports take longer than a crate: they are done once.
VALIDATE = """
import io, os, sys
from pathlib import Path
import requests_cache, rocrate, rocrate_validator.services
from requests.adapters import BaseAdapter, HTTPAdapter
from rocrate_validator.cli import cli
from urllib3 import HTTPResponse

class Shipped(BaseAdapter):
    def send(self, request, **_):
        body = (Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_bytes()
        raw = HTTPResponse(io.BytesIO(body), {"Content-Type": "application/ld+json"}, 200, preload_content=False)
        return HTTPAdapter().build_response(request, raw)
    def close(self):
        pass

context, profile, *crates = sys.argv[1:]
with requests_cache.CachedSession(context, backend="sqlite", expire_after=-1, allowable_methods=("GET",)) as session:
    session.mount("https://", Shipped())
    session.get("https://w3id.org/ro/crate/1.1/context")
for crate in crates:
    if not os.fork():
        cli(["--no-interactive", "validate", "--offline", "--cache-path", context, "--skip-availability-check", "--no-paging",
             "-p", profile, "-l", "required", "--output-format", "json", "-o", crate + ".json", crate])
    status = os.wait()[1]
    assert status == 0, f"{crate}: {status}"
"""


def crate(store: Store, target: Path, ref: str = "churn/report", **options: Any) -> dict[str, dict[str, Any]]:
    """Export, and return the entities by id."""
    made = store.lineage(ref).export("ro-crate", target, **options)
    assert made == target
    return {one["@id"]: one for one in json.loads((target / "ro-crate-metadata.json").read_text())["@graph"]}


def refs(value: Any) -> list[str]:
    return [one["@id"] for one in (value if isinstance(value, list) else [value])]


def action(found: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    (one,) = [one for one in found.values() if one["@type"] == "CreateAction" and one["name"] == name]
    return one


@pytest.mark.parametrize("files", ["inside", "reference"])
def test_the_reference_library_reads_it(chain: Store, tmp_path: Path, files: str):
    pytest.importorskip("rocrate")
    from rocrate.rocrate import ROCrate

    found = crate(chain, tmp_path / "crate", files=files)
    read = ROCrate(str(tmp_path / "crate"))
    assert {one.id for one in read.get_entities()} == set(found)
    assert read.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    assert sorted(one["name"] for one in read.get_by_type("CreateAction")) == ["inner", "prepare äö", "report", "train"]
    again = tmp_path / "again"
    read.write(str(again))
    if files == "inside":
        assert (again / "artifacts/churn~model~v1/weights ä.bin").read_bytes() == b"w" * 100


@pytest.mark.slow
@pytest.mark.skipif(
    not (VALIDATOR / "rocrate-validator").exists(), reason=f"no roc-validator at {VALIDATOR}: .ci/run installs it"
)
def test_the_validator_finds_all_that_is_required(chain: Store, tmp_path: Path):
    """It takes long: the validator parses its profiles anew for each crate."""
    shapes = {("churn/report", "inside"), ("churn/report", "reference"), ("churn/half", "inside"), ("endless", "inside"),
              ("churn/raw", "inside")}  # fmt: skip
    crates = [tmp_path / f"crate{number}" for number in range(len(shapes))]
    for target, (ref, files) in zip(crates, sorted(shapes), strict=True):
        crate(chain, target, ref, files=files)
    with zipfile.ZipFile(chain.lineage("churn/report").export("dossier", tmp_path / "dossier.zip")) as packed:
        packed.extractall(tmp_path / "dossier")
    crates.append(tmp_path / "dossier")
    # The profile of runs demands all that the profile of crates does.
    command: list[str | Path] = [VALIDATOR / "python", "-c", VALIDATE, tmp_path / "context", "process-run-crate-0.5", *crates]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    for target in crates:
        report = json.loads(target.with_suffix(".json").read_text())
        assert report["passed"], report["issues"]
        assert report["statistics"]["total_passed_checks"] >= 42
    assert done.returncode == 0, done.stderr


def test_every_reference_leads_somewhere_and_every_file_is_told(chain: Store, tmp_path: Path):
    found = crate(chain, tmp_path / "crate")
    told = {key for one in found.values() for key in _references(one)}
    assert {key for key in told if not key.startswith("http")} <= set(found)
    there = {
        path.relative_to(tmp_path / "crate").as_posix()
        for path in (tmp_path / "crate").rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    assert there == {unquote(key) for key, one in found.items() if "File" in one["@type"]} | {
        "ro-crate-metadata.json",
        "ro-crate-preview.html",
    }


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [one for item in value for one in _references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["@id"]] if set(value) == {"@id"} else []
    return own + [one for item in value.values() for one in _references(item)]


def test_files_come_along_as_they_are(chain: Store, tmp_path: Path):
    found = crate(chain, tmp_path / "crate")
    model = tmp_path / "crate/artifacts/churn~model~v1"
    assert (model / "weights ä.bin").read_bytes() == b"w" * 100
    assert (model / "link").is_symlink()
    assert (model / "start.sh").stat().st_mode & stat.S_IXUSR
    weights = found["artifacts/churn~model~v1/weights%20%C3%A4.bin"]
    sums = chain.artifact("churn/model").sha256
    assert sums is not None
    assert f"{weights['sha256']}  weights ä.bin\n" in sums
    assert weights["contentSize"] == "100"
    entity = found["artifacts/churn~model~v1/"]
    assert (entity["identifier"], entity["version"]) == (chain.artifact("churn/model").digest, "v1")


def test_by_reference_nothing_comes_along(chain: Store, tmp_path: Path):
    found = crate(chain, tmp_path / "crate", files="reference", license="https://spdx.org/licenses/CC-BY-4.0")
    assert sorted(one.name for one in (tmp_path / "crate").iterdir()) == ["ro-crate-metadata.json", "ro-crate-preview.html"]
    place = f"{Path(chain.url).as_uri()}#{chain.artifact('churn/report').digest}"
    assert found[place]["@type"] == "File"
    assert found["./"]["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}


def test_a_run_is_an_action_of_somebody_with_something(chain: Store, tmp_path: Path):
    found = crate(chain, tmp_path / "crate")
    prepare = action(found, "prepare äö")
    assert found[refs(prepare["agent"])[0]]["@type"] == "Person"
    software = found[refs(prepare["instrument"])[0]]
    assert software["softwareVersion"] == chain.runs("prepare*")[0].code["commit"]
    assert software["url"] == "https://git.example/team/churn.git"
    assert any("SoftwareSourceCode" in found[one]["@type"] for one in refs(software["isBasedOn"]))
    values = {found[one]["name"]: found[one].get("value") for one in refs(prepare["object"]) if one.startswith("#")}
    assert (values["scale"], values["größe"], values["deep"]) == (2, "ß", '{"a":[1,null,true,1.5]}')
    assert prepare["actionStatus"].endswith("CompletedActionStatus")
    failed = action(crate(chain, tmp_path / "failed", "churn/half"), "evaluate")
    assert failed["actionStatus"].endswith("FailedActionStatus")
    assert failed["error"] == "ValueError: broken <here>"
    endless = action(crate(chain, tmp_path / "endless", "endless"), "endless")
    assert "endTime" not in endless


@pytest.mark.slow
def test_the_page_for_people_is_html_and_escapes(chain: Store, tmp_path: Path):
    crate(chain, tmp_path / "crate", "churn/half")
    text = (tmp_path / "crate/ro-crate-preview.html").read_text()
    assert "broken &lt;here&gt;" in text
    assert "<here>" not in text

    class Links(HTMLParser):
        found: tuple[str, ...] = ()

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += tuple(value or "" for key, value in attrs if tag == "a" and key == "href")

    links = Links()
    links.feed(text)
    assert len(links.found) > 3
    assert all((tmp_path / "crate" / unquote(one)).exists() for one in links.found)


def test_a_zip_holds_the_same_and_has_no_dates(chain: Store, tmp_path: Path):
    crate(chain, tmp_path / "crate")
    path = chain.lineage("churn/report").export("ro-crate", tmp_path / "crate.zip")
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        assert {one.date_time for one in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        for one in packed.infolist():
            there = tmp_path / "crate" / one.filename
            mode = one.external_attr >> 16
            assert stat.S_ISLNK(mode) == there.is_symlink()
            assert stat.S_ISDIR(mode) == (there.is_dir() and not there.is_symlink())
            if stat.S_ISREG(mode):
                assert packed.read(one) == there.read_bytes()
                assert (mode & 0o777) == (0o755 if there.stat().st_mode & stat.S_IXUSR else 0o644)
        assert len(packed.infolist()) == len(list((tmp_path / "crate").rglob("*")))


def test_what_is_there_is_never_written_over(chain: Store, tmp_path: Path):
    lineage = chain.lineage("churn/report")
    (tmp_path / "empty").mkdir()
    crate(chain, tmp_path / "empty")
    with pytest.raises(AlreadyExistsError, match="not empty"):
        lineage.export("ro-crate", tmp_path / "empty")
    (tmp_path / "x.zip").touch()
    for name in ("x.zip", "x"):
        (tmp_path / name).touch()
        with pytest.raises(AlreadyExistsError, match="exists already"):
            lineage.export("ro-crate", tmp_path / name)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty", "x", "x.zip"]


def test_damage_leaves_no_half_of_a_crate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = artifactstore.create(tmp_path / "store", cache=None)
    with store.run("make", code=False) as run:
        run.put(random.Random(0).randbytes(400_000), "big")
    pack = max((tmp_path / "store/packs").rglob("*.pack"), key=lambda path: path.stat().st_size)
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[100] ^= 1
    pack.write_bytes(data)
    for name in ("crate", "crate.zip"):
        with pytest.raises(CorruptionError):
            artifactstore.open(store.url, "r", cache=None).lineage("big").export("ro-crate", tmp_path / name)
    assert [one.name for one in tmp_path.iterdir()] == ["store"]
