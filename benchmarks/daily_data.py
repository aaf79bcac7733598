"""What a day needs before it begins: stores, databases and repositories with many names and many runs, made once and kept.

Each tool's is made by its own calls where that takes minutes at most, and else by its own bulk calls.
"""

import random
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import artifactstore
from artifactstore.model.digest import hash_bytes
from artifactstore.model.facts import Fact

__all__ = ["completion_store", "copy_to_s3", "kept", "store_of", "values"]

TEAMS: Final = 50


def kept(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` fills, from an earlier time if it was finished then."""
    if not (folder / "done").exists():
        print(f"making {folder.name}: kept for the next time", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        (folder / "done").touch()
    return folder


def values(number: int) -> tuple[str, dict[str, Any], dict[str, float]]:
    """Return the name, the parameters and the metrics of the run of that number: the same for every tool."""
    rng = random.Random(number)
    params = {"lr": rng.choice([1e-4, 3e-4, 1e-3]), "depth": rng.randrange(12), "seed": number}
    return f"team-{number % TEAMS}/model-{number}", params, {"auc": round(rng.random(), 6), "loss": round(rng.random(), 6)}


def store_of(folder: Path, names: int) -> Path:
    """Make a store of that many names and runs: each run reads one data set and puts one model, every 100th is in production.

    In memory first, as tens of thousands of synced files take minutes; the same objects then are files.
    """

    def make(folder: Path) -> None:
        store = artifactstore.open(f"memory://daily-{names}", cache=None)
        store.put({"rows": 12}, "data/raw")
        for number in range(names):
            name, params, metrics = values(number)
            with store.run(f"sweep-{number % 20}", params=params, code=False) as run:
                run.get("data/raw:v1")
                run.log(**metrics)
                run.put({"weights": number}, name, kind="model", metrics={"auc": metrics["auc"]})
            if number % 100 == 0:
                store.alias(f"{name}:v1", "production", expect=None)
        as_files(store, folder / "store")

    return kept(folder / f"store-{names}", make) / "store"


def as_files(store: artifactstore.Store, folder: Path) -> None:
    """Write the objects of a store in memory into a folder, which then is that store."""
    backend = store._session.core().backend  # noqa: SLF001 - the same bytes in another backend
    for item in backend.list(""):
        path = folder / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(backend.read(item.key))


def copy_to_s3(store: Path, bucket: str, prefix: str, endpoint: str, keys: Mapping[str, str]) -> None:
    """Copy the files of a store below a prefix of a bucket: the same store there."""
    import boto3  # noqa: PLC0415 - this alone needs it

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        region_name=keys["AWS_DEFAULT_REGION"],
    )
    files = [path for path in store.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda path: client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(store).as_posix()}"), files)
        )


def completion_store(folder: Path, names: int) -> Path:
    """Make a store with that many names: facts alone, as no content is looked at to complete a name."""

    def make(folder: Path) -> None:
        store = artifactstore.open(f"memory://names-{names}", cache=None)
        core = store._session.core_to_write()  # noqa: SLF001 - ten facts in a transaction, a hundredth of the time
        for first in range(0, names, 1000):
            facts: list[Fact] = []
            for number in range(first, min(first + 1000, names)):
                digest = f"blake3:{hash_bytes(str(number).encode(), 'blake3').hex()}"
                stored: Fact = {"fact": "stored", "digest": digest, "manifest": f"{number:032x}", "manifest_digest": digest}
                facts += [stored | {"size": 1000, "files": 1, "packs": []}]
                facts += [{"fact": "versioned", "name": values(number)[0], "digest": digest, "kind": "model"}]
            head = core.journal.head
            core.appender.commit(facts, birth=head, alive_at=head, refuse=lambda void: RuntimeError(str(void)))
            core.journal.seal()
        as_files(store, folder / "store")

    return kept(folder / f"names-{names}", make) / "store"
