"""What is read without trust can be hostile: it is refused, or it can be used, and never ends the process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
COUNTS = {"lightgbm": 1000, "xgboost": 1000, "sparse": 1000, "estimators": 1000}


@pytest.mark.slow
@pytest.mark.parametrize("family", COUNTS)
def test_a_changed_model_is_refused_or_can_be_used_and_never_ends_the_process(family: str):
    """It takes long: each of 1,000 changed models is read and used as a whole, and only in a process of its own can one end."""
    if family in {"lightgbm", "xgboost"}:
        pytest.importorskip(family)
    environment = {**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.objects.hostile_models", family, "7", str(COUNTS[family])]
    ran = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, f"{ran.stdout.splitlines()[-2:]}: {ran.stderr[-2000:]}"
    counts = re.search(r"taken (\d+) refused (\d+)", ran.stdout)
    assert counts is not None
    assert min(int(counts[1]), int(counts[2])) > COUNTS[family] // 50  # the fuzzing itself: enough was taken, enough refused
