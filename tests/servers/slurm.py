"""A cluster of Slurm's with one node, on the loopback: Debian's programs, unpacked by `.ci/run`, and nothing of them installed."""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.servers.place import SERVERS, free_port

__all__ = ["Slurm", "slurm"]

_ROOT: Final = SERVERS / "slurm"
_LIBRARIES: Final = ("usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/slurm-wlm", "lib/x86_64-linux-gnu")
_CONFIGURATION: Final = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={control}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
PluginDir={plugins}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/linear
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=1
SchedulerParameters=sched_interval=1,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """The commands of a cluster.

    Attributes:
        folder: of its files; jobs write their output there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = {
            **os.environ,
            "LD_LIBRARY_PATH": ":".join(str(_ROOT / one) for one in _LIBRARIES),
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def command(self, name: str, *arguments: str) -> str:
        """Run one of its commands and return what it prints."""
        done = subprocess.run(
            [_ROOT / "usr/bin" / name, *arguments],
            check=False,
            env=self.variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, *program: str) -> str:
        """Submit a program as a job that may be requeued; return the job's id. Its processes get the variables of a clean shell."""
        script = self.folder / "job.sh"
        script.write_text("#!/bin/bash\nunset LD_LIBRARY_PATH SLURM_CONF\nexec " + " ".join(f"'{one}'" for one in program) + "\n")
        return self.command("sbatch", "--parsable", "--requeue", "--open-mode=append", "--output=%j.out", str(script)).strip()

    def state(self, job: str) -> str:
        """Return the state of a job, such as RUNNING, and COMPLETED after it has ended."""
        fields = dict(one.split("=", 1) for one in self.command("scontrol", "-o", "show", "job", job).split() if "=" in one)
        return fields["JobState"]

    def wait(self, job: str, *states: str, seconds: float = 60) -> None:
        """Wait until a job is in one of these states; one that waits for its time starts at once."""
        end = time.monotonic() + seconds
        while (found := self.state(job)) not in states:
            assert time.monotonic() < end, f"the job {job} is {found}: {(self.folder / f'{job}.out').read_text()}"
            if found == "FAILED" and "Traceback" not in (self.folder / f"{job}.out").read_text():
                self.command("scontrol", "requeue", job)  # on a busy machine the end of its last try may count for the next one
            if found == "PENDING" and not _is_there(job):  # else it would begin while its last try ends, and fail
                with suppress(AssertionError):  # it may have begun just now
                    self.command("scontrol", "update", f"JobId={job}", "StartTime=now")
            time.sleep(0.2)


def _is_there(job: str) -> bool:
    """Return whether a process of Slurm's still belongs to a job."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes().startswith(f"slurmstepd: [{job}.".encode()):
                return True
    return False


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A running cluster."""
    if not (_ROOT / "usr/sbin/slurmd-wlm").exists() or not (_ROOT / "usr/sbin/munged").exists():
        pytest.skip("Slurm is not unpacked here: .ci/run does it")
    folder = Path("/tmp", f"slurm-{secrets.token_hex(4)}")  # a socket's path is short
    for one in (folder, folder / "state", folder / "spool"):
        one.mkdir(mode=0o700)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(
            host=host,
            control=free_port(),
            node=free_port(),
            folder=folder,
            user=getpass.getuser(),
            plugins=_ROOT / _LIBRARIES[1],
        )
    )
    cluster = Slurm(folder)
    programs: list[list[Any]] = [
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.sock", f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed"],
        ["slurmctld-wlm", "-D", "-f", folder / "slurm.conf"],
        ["slurmd-wlm", "-D", "-f", folder / "slurm.conf", "-d", _ROOT / "usr/sbin/slurmstepd-wlm"],
    ]  # fmt: skip
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name, *arguments in programs:
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            command = [_ROOT / "usr/sbin" / name, *arguments]
            process = subprocess.Popen(command, env=cluster.variables, stdout=log, stderr=log, start_new_session=True)
            stack.callback(_end, process)
            time.sleep(0.3)  # the next one asks it at once
        end = time.monotonic() + 20
        while "idle" not in (found := _nodes(cluster)):
            if time.monotonic() > end:
                pytest.skip(f"Slurm does not start here: {found} {(folder / 'slurmctld-wlm.log').read_text()[-300:]}")
            time.sleep(0.2)
        yield cluster
        for line in cluster.command("squeue", "-h", "-o", "%i").split():
            cluster.command("scancel", "--signal=KILL", line)


def _nodes(cluster: Slurm) -> str:
    try:
        return cluster.command("sinfo", "-h", "-o", "%T")
    except AssertionError as error:
        return str(error)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
