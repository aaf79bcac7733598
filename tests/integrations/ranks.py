"""Ranks of a distributed job: processes that talk to each other through gloo, each a fork of the test with PyTorch loaded."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

__all__ = ["Failed", "start"]

_FORK: Final = multiprocessing.get_context("fork")


def start(folder: Path, size: int, work: Callable[[int], Any], **variables: str) -> list[Any]:
    """Start ranks and wait for all of them; return their outcomes: a value, an exception's text in a `Failed`, or -signal.

    Args:
        folder: in which they meet.
        size: how many.
        work: what each does, given its rank; it returns something that can be pickled.
        **variables: of the environment of each.
    """
    meeting = folder / f"meeting-{os.urandom(4).hex()}"
    running = []
    for number in range(size):
        results, mine = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=_run, args=(number, size, meeting, work, variables, mine), daemon=True)
        process.start()
        mine.close()
        running.append((process, results))
    found = []
    for process, results in running:
        try:
            value = results.recv() if results.poll(120) else "it does not answer"
        except EOFError:
            value = None
        process.join(10)
        if process.is_alive():
            process.kill()
        found.append(process.exitcode if value is None else value)
    return found


class Failed(str):
    """What a rank raised, as text."""

    __slots__ = ()


def _run(number: int, size: int, meeting: Path, work: Callable[[int], Any], variables: dict[str, str], results: Any) -> None:  # noqa: PLR0917 - a process's arguments
    import datetime as dt

    import torch.distributed as dist

    os.environ.update(variables, RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(size))
    try:
        dist.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=number, world_size=size, timeout=dt.timedelta(seconds=60)
        )
        value = work(number)
    except BaseException:  # noqa: BLE001 - it is the test's to judge
        value = Failed(traceback.format_exc())
    results.send(value)
    results.close()
    os._exit(0)
