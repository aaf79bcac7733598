"""What runs where oras and kserve-storage are installed: one process for many jobs, since the imports take seconds.

Each line of stdin is a job, each line of stdout its result; everything else they print goes to stderr.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any


def oras_pull(target: str, folder: str) -> Any:
    import oras.client

    return oras.client.OrasClient(insecure=True).pull(target=target, outdir=folder)


def oras_push(target: str, folder: str) -> Any:
    import oras.client

    os.chdir(folder)
    files = sorted(one.as_posix() for one in Path().rglob("*") if one.is_file())
    oras.client.OrasClient(insecure=True).push(target=target, files=files, disable_path_validation=True)
    return files


def oras_push_folder(target: str, folder: str) -> Any:
    import oras.client

    os.chdir(Path(folder).parent)
    oras.client.OrasClient(insecure=True).push(target=target, files=[Path(folder).name], disable_path_validation=True)
    return Path(folder).name


def kserve(uri: str, folder: str) -> Any:
    from kserve_storage import Storage

    os.environ["KSERVE_OCI_INSECURE_REGISTRY"] = "1"
    return Storage.download_files([uri], [folder])


def validate(text: str) -> Any:
    """Check manifests against Kubernetes' own schemas, strictly."""
    import kubernetes_validate
    import yaml

    for one in yaml.safe_load_all(text):
        kubernetes_validate.validate(one, "1.37", strict=True)
    return kubernetes_validate.latest_version()


def main() -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    here = Path.cwd()
    for line in sys.stdin:
        name, *words = json.loads(line)
        try:
            found = {"result": globals()[name](*words)}
        except BaseException:  # noqa: BLE001 - the test shows it
            found = {"error": traceback.format_exc()}
        os.chdir(here)
        out.write(json.dumps(found) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
