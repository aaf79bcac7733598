"""What the scripts share: the machine in words, and `results.md`, of which each script owns one section."""

import json
import mmap
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "keep_memory", "machine", "table", "write_section"]

RESULTS = Path(__file__).with_name("results.md")
_TITLE = "# Results\n\nAs measured, misses included. What the figures mean and how to repeat them: [README](README.md).\n"


def machine() -> str:
    """Say on what and when this was measured, in one line of Markdown."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [
        _processor(),
        f"{os.cpu_count()} cores",
        f"{memory:.0f} GiB of memory",
        f"{platform.system()} {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        datetime.now(UTC).strftime("%Y-%m-%d"),
        f"load average {os.getloadavg()[0]:.1f}",
    ]
    return ", ".join(parts)


def _processor() -> str:
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    if platform.system() == "Darwin":
        said = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        return said.stdout.strip()
    return platform.processor() or platform.machine()


def keep_memory(size: int = 16 * 2**30) -> mmap.mmap:
    """Make free memory stay with this machine for as long as what is returned lives.

    A virtual machine gives blocks of 2 MB back to its host soon after they were freed (free page reporting), and pays
    dearly to get them again: up to 2.4 seconds of processors a GB were measured, for a page cache that otherwise takes
    0.2. That says nothing about a program. So each block is touched here, and one page of it is kept: what is left of
    it is free for all, and not worth reporting.
    """
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") * 9 // 10
    room = mmap.mmap(-1, min(size, most) // 2**20 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, len(room), 4096):
        room[at] = 1
    for at in range(0, len(room), 2**18):
        room.madvise(mmap.MADV_DONTNEED, at + 4096, 2**18 - 4096)
    return room


def own_process(part: str, **variables: str) -> dict[str, Any]:
    """Run this script again for one part alone; returns what it printed as JSON, in its last line."""
    command = [sys.executable, *sys.argv, "--part", part]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | variables)
    print(done.stderr, end="", file=sys.stderr)
    if done.returncode:
        raise SystemExit(1)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(head: list[str], rows: list[list[str]]) -> str:
    """Lay out a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def write_section(path: Path, title: str, text: str) -> None:
    """Write or replace the section `## title` and leave the others alone."""
    whole = path.read_text() if path.exists() else _TITLE
    section = f"## {title}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    whole, replaced = pattern.subn(lambda _: section + "\n", whole)
    path.write_text((whole if replaced else f"{whole.rstrip()}\n\n{section}").rstrip() + "\n")
