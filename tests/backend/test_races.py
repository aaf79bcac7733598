"""Many processes create the same keys at the same time: exactly one wins each."""

import json
import threading
import time
import uuid
from pathlib import Path

import pytest

from artifactstore.backend.connect import connect
from artifactstore.backend.memory import MemoryBackend
from artifactstore.errors import AlreadyExistsError
from tests.warm import Warm

PROCESSES = 8
KEYS = 300
FAR_KEYS = 50  # a request takes some ten times as long as a file
# Ten keys at a time, each racer in an order of its own: so the one that is ahead does not win them all.
RACER = """
import json, random, sys, time
from artifactstore.backend.connect import connect
from artifactstore.errors import AlreadyExistsError

url, number, keys, pace = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
backend = connect(url)
backend.create("warm/" + number, b"")
print("ready", flush=True)
start = float(sys.stdin.readline())
won = []
for first in range(0, keys, 10):
    time.sleep(max(0.0, start + first * pace - time.time()))
    for key in random.Random(f"{number} {first}").sample(range(first, first + 10), 10):
        try:
            backend.create(f"race/{key}", (number * 100).encode())
        except AlreadyExistsError:
            continue
        won.append(key)
print(json.dumps(won), flush=True)
"""


def race(url: str, keys: int, pace: float) -> list[list[int]]:
    """Return which keys each of the processes won; `pace` is the seconds that each key gets."""
    racers = [Warm("-c", RACER, url, str(number), str(keys), str(pace)) for number in range(PROCESSES)]
    for racer in racers:
        racer.until("ready\n")
    start = time.time() + 0.2
    for racer in racers:
        racer.say(f"{start}\n")
    assert all(racer.wait() == 0 for racer in racers)
    return [json.loads(racer.output.removeprefix("ready\n")) for racer in racers]


def check(url: str, results: list[list[int]], keys: int) -> None:
    assert sorted(key for won in results for key in won) == list(range(keys))
    backend = connect(url)
    for number, won in enumerate(results):
        for key in won:
            assert backend.read(f"race/{key}") == (str(number) * 100).encode()
    assert sum(1 for won in results if won) > 1, "one process won all: there was no race"


@pytest.mark.slow
def test_of_many_processes_exactly_one_creates_a_file(tmp_path):
    url = str(tmp_path / "store")
    check(url, race(url, KEYS, 0.003), KEYS)
    assert not [path for path in Path(url).rglob("*") if path.name.startswith(".tmp-")]


@pytest.mark.slow
def test_of_many_processes_exactly_one_creates_an_object_in_s3(s3_url):
    check(s3_url, race(s3_url, FAR_KEYS, 0.02), FAR_KEYS)


@pytest.mark.slow
def test_of_many_processes_exactly_one_creates_a_blob_in_azure(azure_url):
    check(azure_url, race(azure_url, FAR_KEYS, 0.03), FAR_KEYS)


@pytest.mark.slow
def test_of_many_processes_exactly_one_creates_an_object_in_google_cloud_storage(gcs_url):
    check(gcs_url, race(gcs_url, FAR_KEYS, 0.02), FAR_KEYS)


@pytest.mark.slow
def test_of_many_processes_exactly_one_creates_a_file_by_sftp(sftp_url):
    check(sftp_url, race(sftp_url, FAR_KEYS, 0.04), FAR_KEYS)


def test_of_many_threads_exactly_one_creates_in_memory():
    """Memory is one process's own, so here threads race."""
    url = f"memory://{uuid.uuid4().hex}"
    results: list[list[int]] = [[] for _ in range(PROCESSES)]
    start = threading.Barrier(PROCESSES)

    def racer(number):
        backend = MemoryBackend(url)
        start.wait()
        for key in range(KEYS):
            if key % 10 == 0:
                start.wait()
            try:
                backend.create(f"race/{key}", (str(number) * 100).encode())
            except AlreadyExistsError:
                continue
            results[number].append(key)

    threads = [threading.Thread(target=racer, args=(number,)) for number in range(PROCESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for won in results for key in won) == list(range(KEYS))
