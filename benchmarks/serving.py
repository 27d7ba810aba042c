"""Compares five runtimes that assign codes to one vector: installed size, time to the first result, time per vector.

python benchmarks/serving.py --export=exports/items --vectors=vectors.npy

Each runtime runs in a separate process with one thread, and the processes are timed in turn. The installed size covers
the package and its dependencies, without compiled Python files. PyTorch runs the function of docs/pytorch.md, changed
so that it reads `codebooks.pt` once instead of in each call. Without --vectors, the export's codes are decoded, and the
decoded vectors are encoded. This script needs the `test` extra.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "PYTHONPATH": str(ROOT),
}
# Turns a batch [n, D] float32 into codes [n, L].
Encode = Callable[[Any], Any]


def read_lite(folder: Path) -> Encode:
    """Returns `encode` of `sid_jax.lite`."""
    from sid_jax import lite

    return lite.load(folder).encode


def read_onnx(folder: Path) -> Encode:
    """Returns a function that calls ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "encoder.onnx", options, providers=["CPUExecutionProvider"])
    return lambda vectors: session.run(["codes"], {"vectors": vectors})[0]


def read_stablehlo(folder: Path) -> Encode:
    """Returns a function that calls the StableHLO program, compiled by JAX without sid_jax."""
    import jax
    import jax.export
    import numpy as np

    call = jax.jit(jax.export.deserialize(bytearray((folder / "encoder.stablehlo").read_bytes())).call)
    return lambda vectors: np.asarray(call(vectors))


def read_jax(folder: Path) -> Encode:
    """Returns `encode` of the loaded tokenizer."""
    import sid_jax

    return sid_jax.load(folder).encode


def read_torch(folder: Path) -> Encode:
    """Returns the function of docs/pytorch.md, changed so that it reads `codebooks.pt` only once."""
    import torch

    names: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", (ROOT / "docs" / "pytorch.md").read_text(), re.S)[1], names)
    dump = torch.load(folder / "codebooks.pt", weights_only=True)
    names["torch"].load = lambda *_, **__: dump
    torch.set_num_threads(1)
    return torch.inference_mode()(lambda vectors: names["semantic_codes"](torch.from_numpy(vectors), "").numpy())


# For each runtime, the function that reads an export, and the package to install.
RUNTIMES: dict[str, tuple[Callable[[Path], Encode], str]] = {
    "NumPy: sid_jax.lite": (read_lite, "numpy"),
    "ONNX Runtime": (read_onnx, "onnxruntime"),
    "JAX: StableHLO": (read_stablehlo, "jax"),
    "JAX: sid_jax": (read_jax, "sid_jax"),
    "PyTorch": (read_torch, "torch"),
}


def measure(name: str, folder: Path, vectors_file: Path, codes_file: Path, calls: int) -> dict[str, float]:
    """Measures one runtime in this process, and writes the codes of all vectors.

    Returns:
      The seconds to import and load, the seconds of the first call, and percentiles of later calls in milliseconds.
    """
    began = time.perf_counter()
    encode = RUNTIMES[name][0](folder)
    loaded = time.perf_counter() - began
    import numpy as np

    vectors = np.load(vectors_file)
    began = time.perf_counter()
    encode(vectors[:1])
    first, durations = time.perf_counter() - began, []
    for call in range(calls):
        one = vectors[call % len(vectors)][None]
        began = time.perf_counter()
        encode(one)
        durations.append(time.perf_counter() - began)
    np.save(codes_file, encode(vectors))
    p50, p99 = np.percentile(durations, [50, 99]) * 1e3
    return {"load": loaded, "first": first, "p50": float(p50), "p99": float(p99)}


def installed_megabytes(package: str) -> float:
    """Returns the size of a package and its dependencies in megabytes."""
    from packaging.requirements import Requirement

    waiting, sizes = [package], {}
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in sizes:
            continue
        distribution = metadata.distribution(name)
        files = (Path(str(distribution.locate_file(file))) for file in distribution.files or ())
        sizes[name] = sum(file.stat().st_size for file in files if file.suffix != ".pyc" and file.is_file())
        required = map(Requirement, distribution.requires or ())
        waiting += [each.name for each in required if each.marker is None or each.marker.evaluate({"extra": ""})]
    return sum(sizes.values()) / 1e6


def main() -> None:
    """Prints one row per runtime."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, help="a .npy file [n, D]")
    parser.add_argument("--calls", type=int, default=2_000, help="number of timed calls in each process")
    parser.add_argument("--rounds", type=int, default=5, help="number of processes for each runtime")
    parser.add_argument("--measure", choices=RUNTIMES, help="only for child processes: the runtime to measure")
    parser.add_argument("--codes", type=Path, help="only for child processes: file for the codes")
    arguments = parser.parse_args()
    if arguments.measure:
        given = arguments.measure, arguments.export, arguments.vectors, arguments.codes, arguments.calls
        print(json.dumps(measure(*given)))
        return
    import numpy as np

    import sid_jax

    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = sid_jax.load(arguments.export)
        folder = tokenizer.save(Path(scratch) / "export", onnx=True, stablehlo=True)
        given = arguments.vectors or Path(scratch) / "given.npy"
        vectors = np.load(given) if arguments.vectors else tokenizer.decode(tokenizer.table.codes)
        np.save(Path(scratch) / "vectors.npy", vectors.astype(np.float32))
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in RUNTIMES}
        for _ in range(arguments.rounds):
            for number, name in enumerate(RUNTIMES):
                words = [f"--export={folder}", f"--vectors={scratch}/vectors.npy", f"--codes={scratch}/{number}.npy"]
                command = [sys.executable, __file__, f"--measure={name}", f"--calls={arguments.calls}", *words]
                done = subprocess.run(command, env={**os.environ, **_ONE_THREAD}, stdout=subprocess.PIPE, check=True)
                runs[name].append(json.loads(done.stdout))
        codes = [np.load(f"{scratch}/{number}.npy") for number in range(len(RUNTIMES))]
    wanted = codes[list(RUNTIMES).index("JAX: sid_jax")]
    print(f"{len(vectors):,} vectors of {vectors.shape[1]} features, medians of {arguments.rounds} processes\n")
    print(
        "| runtime | installed, MB | import and load, s | first result, s | p50, ms | p99, ms "
        "| items whose codes differ from those of sid_jax |"
    )
    print("|---|---|---|---|---|---|---|")
    for (name, (_, package)), found in zip(RUNTIMES.items(), codes, strict=True):
        load, first, p50, p99 = (
            statistics.median(run[figure] for run in runs[name]) for figure in ("load", "first", "p50", "p99")
        )
        other = int((found != wanted).any(axis=1).sum())
        size = installed_megabytes(package)
        print(f"| {name} | {size:,.0f} | {load:.2f} | {load + first:.2f} | {p50:.3f} | {p99:.3f} | {other} |")


if __name__ == "__main__":
    main()
