"""A series of checkpoints of a network that is really trained, stored by this library and by its peers, in one run.

    python benchmarks/series.py --folder DIR [--tools artifactstore,restic,borg,casync,dvc] [--tools-venv TOOLS]
        [--versions 20] [--width 1024] [--write benchmarks/results.md]

The network has three layers (64, WIDTH, WIDTH, 10) and learns scikit-learn's handwritten digits with Adam and a falling
rate of learning, on the CPU, in NumPy. Each epoch is a version: the weights in fp32, the same in bf16, and both moments of
the optimizer, each a safetensors file. `put` is the time of all versions together, `get` that of the last one.
"""

import argparse
import json
import shutil
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from peer_tools import TOOLS, Took, Tool, ToolError, size_of
from report import machine, table, write_section

import artifactstore

FILES: Final = ("weights", "weights-bf16", "optimizer")
Tensors = Mapping[str, "np.ndarray[Any, Any]"]


def trained(width: int, epochs: int) -> Iterator[tuple[Tensors, Tensors]]:
    """Yield the weights and the moments of Adam after each epoch."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - heavy

    digits = load_digits()
    inputs, labels = (digits.data / 16).astype("f4"), digits.target
    random = np.random.default_rng(0)
    sizes = [(64, width), (width, width), (width, 10)]
    weights = {f"layer.{i}.weight": (random.standard_normal(s) * (2 / s[0]) ** 0.5).astype("f4") for i, s in enumerate(sizes)}
    weights |= {f"layer.{i}.bias": np.zeros(s[1], "f4") for i, s in enumerate(sizes)}
    moments = {f"{name}.{which}": np.zeros_like(one) for name, one in weights.items() for which in ("exp_avg", "exp_avg_sq")}
    step = 0
    for epoch in range(epochs):
        rate = 1e-3 * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        order = random.permutation(len(labels))
        for rows in np.array_split(order, 28):
            step += 1
            found = gradients(weights, inputs[rows], labels[rows])
            for name, gradient in found.items():
                first, second = moments[f"{name}.exp_avg"], moments[f"{name}.exp_avg_sq"]
                first += 0.1 * (gradient - first)
                second += 0.001 * (gradient**2 - second)
                change = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
                weights[name] -= (rate * change).astype("f4")
        yield weights, moments


def gradients(weights: Tensors, inputs: "np.ndarray[Any, Any]", labels: "np.ndarray[Any, Any]") -> dict[str, Any]:
    """Return the gradient of the cross-entropy by each weight."""
    layers = [inputs]
    for i in range(3):
        out = layers[-1] @ weights[f"layer.{i}.weight"] + weights[f"layer.{i}.bias"]
        layers.append(np.maximum(out, 0) if i < 2 else out)
    chances = np.exp(layers[-1] - layers[-1].max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    chances[np.arange(len(labels)), labels] -= 1
    back, found = chances / len(labels), {}
    for i in (2, 1, 0):
        found[f"layer.{i}.weight"], found[f"layer.{i}.bias"] = layers[i].T @ back, back.sum(0)
        back = (back @ weights[f"layer.{i}.weight"].T) * (layers[i] > 0)
    return found


def save(path: Path, tensors: Tensors, *, half: bool = False) -> None:
    """Write a safetensors file, in bf16 if `half`."""
    header, at, parts = {}, 0, []
    for name, one in sorted(tensors.items()):
        raw = one.astype("f4").tobytes()
        if half:
            bits = np.frombuffer(raw, np.uint32)
            raw = ((bits + (bits >> 16 & 1) + 0x7FFF) >> 16).astype(np.uint16).tobytes()
        header[name] = {"dtype": "BF16" if half else "F32", "shape": list(one.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        parts.append(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(b"".join([struct.pack("<Q", len(text)), text, *parts]))


def write_versions(folder: Path, width: int, versions: int) -> list[Path]:
    """Train, and write a folder for each epoch."""
    made = []
    for number, (weights, moments) in enumerate(trained(width, versions), 1):
        path = folder / f"epoch-{number:02}"
        path.mkdir(parents=True)
        save(path / "weights.safetensors", weights)
        save(path / "weights-bf16.safetensors", weights, half=True)
        save(path / "optimizer.safetensors", moments)
        made.append(path)
    return made


def measure(kind: type[Tool], root: Path, venv: Path | None, versions: list[Path]) -> tuple[float, Took, int]:
    """Return seconds of all puts, what the get of the last took, and bytes stored."""
    tool = kind(root, venv)
    tool.start()
    seconds = 0.0
    for number, version in enumerate(versions, 1):
        work = root / "data"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(version, work)
        seconds += tool.put(work, f"v{number}").seconds
    target = root / "out"
    took = tool.get(f"v{len(versions)}", target)
    for path in versions[-1].iterdir():
        if (tool.arrived(target) / path.name).read_bytes() != path.read_bytes():
            raise ToolError(f"{kind.name} gave other bytes back")
    return seconds, took, tool.stored()


def shares(folder: Path, versions: list[Path]) -> list[list[str]]:
    """Return, for each file of a version, what a full one and the others on average take of their size, stored alone."""
    rows = []
    for name in FILES:
        store = artifactstore.create(folder / name, cache=None)
        paths = [version / f"{name}.safetensors" for version in versions]
        took = [store.put(path, "model").uploaded / path.stat().st_size for path in paths]
        rest = sorted(took[1:])
        figures = (took[0], sum(took[1:]) / len(rest), rest[0], rest[-1], sum(took) / len(took))
        rows.append([name, *(f"{share:.2f}" for share in figures)])
    return rows


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tools", default="artifactstore,restic,borg,casync,dvc")
    parser.add_argument("--tools-venv", type=Path)
    parser.add_argument("--versions", type=int, default=20)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    scratch = (args.folder / "series").absolute()
    shutil.rmtree(scratch, ignore_errors=True)
    versions = write_versions(scratch / "versions", args.width, args.versions)
    raw = size_of(scratch / "versions")
    rows = []
    for name in args.tools.split(","):
        if TOOLS[name](scratch / "ask", args.tools_venv).program() is None:
            print(f"{name} is left out: it is not installed ({TOOLS[name].install})", file=sys.stderr)
            continue
        seconds, took, stored = measure(TOOLS[name], scratch / name, args.tools_venv, versions)
        rows.append([name, f"{stored / 1e6:.0f}", f"{stored / raw:.2f}", f"{seconds:.1f}", f"{took.seconds:.2f}"])
    network = f"{args.versions} epochs of a network of three layers, {raw / 1e6:.0f} MB in all"
    parts = [
        f"{network}. Measured on {machine()}; artifactstore {artifactstore.__version__}.",
        table(["tool", "stored MB", "share", "put all s", "get last s"], rows),
        "What a version takes of its size, each file under a name of its own:",
        table(["file", "first", "later, mean", "least", "most", "all, mean"], shares(scratch / "shares", versions)),
    ]
    text = "\n\n".join(parts)
    print(text)
    shutil.rmtree(scratch, ignore_errors=True)
    if args.write:
        write_section(args.write, "Series of checkpoints", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
