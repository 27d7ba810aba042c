"""Measures how the time and the memory of exports, and of training from files, grow with the number of items N.

python benchmarks/scale.py --items=1000000,2000000,4000000 --folder=runs/scale
python benchmarks/scale.py --train --items=1000000,4000000 --folder=runs/scale

Vectors are synthetic: many small clusters on a curved surface. Exports use a model that is trained on 131,072 vectors,
and their speed is compared with the speed of the encoder on vectors in memory. Each export, or training, is a separate
process, as a user would start it. Files of vectors that the folder already contains are reused.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from contest import Contestant, Round, contest
from rich.console import Console
from rich.table import Table

from sid_jax.whole_file import write_json

_ROOT = Path(__file__).parent.parent
_ROWS_A_BLOCK = 2**16
_TRAINED_ON = 2**17


def main() -> None:
    """Exports or trains with each number of items, and prints a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="1000000,2000000,4000000", help="N of each export or training")
    parser.add_argument("--features", type=int, default=384)
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--folder", type=Path, required=True, help="folder for vectors and runs")
    parser.add_argument("--train", action="store_true", help="train on files for an epoch instead of exporting")
    parser.add_argument("--flags", default="", help="flags for the command, as in --flags='--unique=none'")
    parser.add_argument("--rounds", type=int, default=5, help="number of timed rounds of the encoder alone")
    parser.add_argument("--json", type=Path, help=".json file for the results")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    sizes = [int(size) for size in arguments.items.split(",")]
    files = {size: _made_vectors(arguments.folder / f"{size}.npy", size, arguments.features) for size in sizes}
    about = {name: value for name, value in vars(arguments).items() if name not in ("folder", "json")}
    if arguments.train:
        rows = [_trained_on(arguments.folder, path, size, arguments.flags.split()) for size, path in files.items()]
        report: dict[str, object] = {"about": about, "rows": rows}
        _report_training(rows)
    else:
        workdir = _trained(arguments.folder, arguments.features, arguments.levels)
        encoder = {"encoder": Contestant(prepare_encoder, (workdir, arguments.folder / "trained.npy"))}
        in_memory = contest(encoder, arguments.rounds)["encoder"].items_per_second
        print(f"the encoder alone, vectors in memory: {in_memory:,.0f} items/s")
        rows = [_exported(arguments.folder, workdir, files[size], size, arguments.flags.split()) for size in sizes]
        report = {"about": about, "encoder": in_memory, "rows": rows}
        _report(rows, in_memory)
    if arguments.json:
        write_json(arguments.json, report)


def prepare_encoder(workdir: Path, path: Path) -> Round:
    """Reads a file of vectors, and returns a function that encodes all of them.

    The function makes one call per batch of vectors in memory, as a user's own program would.
    """
    import jax
    import jax.numpy as jnp

    from sid_jax.models.rqvae import RQVAE
    from sid_jax.training.restore import restore_model

    model, vectors = restore_model(workdir)[1], np.load(path)
    assign = jax.jit(RQVAE.assign)

    def run() -> int:
        calls = [assign(model, jnp.asarray(vectors[first : first + 4096])) for first in range(0, len(vectors), 4096)]
        np.concatenate([np.asarray(codes) for codes in calls])
        return len(vectors)

    return run


def _made_vectors(path: Path, num_items: int, features: int) -> Path:
    if path.exists():
        return path
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (num_items, features)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in range(-(-num_items // _ROWS_A_BLOCK)):
            count = min(_ROWS_A_BLOCK, num_items - block * _ROWS_A_BLOCK)
            file.write(_block(block, features)[:count].tobytes())
    partial.rename(path)
    return path


def _block(number: int, features: int) -> np.ndarray:
    """Returns the vectors of a block. Each block is the same for all N."""
    world = np.random.default_rng(0)
    centers = world.normal(size=(20_000, 48)).astype(np.float32)
    inner, outer = (world.normal(size=shape).astype(np.float32) for shape in ((48, 256), (256, features)))
    random = np.random.default_rng([1, number])
    # A few clusters are large, many are small.
    chosen = (len(centers) * random.random(_ROWS_A_BLOCK) ** 2).astype(int)
    latents = centers[chosen] + 0.6 * random.normal(size=(_ROWS_A_BLOCK, 48)).astype(np.float32)
    vectors = np.tanh(latents @ inner / 7) @ outer
    vectors += 2.0 * random.normal(size=vectors.shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _trained(folder: Path, features: int, levels: int) -> Path:
    workdir = folder / f"run-{levels}"
    vectors = _made_vectors(folder / "trained.npy", _TRAINED_ON, features)
    settings = [f"--config.data.path={vectors}", f"--config.model.num_levels={levels}", "--config.train.num_epochs=6"]
    command = ["train.py", f"--config={_ROOT}/configs/embeddings.py", *settings, f"--workdir={workdir}"]
    subprocess.run([sys.executable, *command], cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)
    return workdir


def _exported(folder: Path, workdir: Path, vectors: Path, num_items: int, flags: list[str]) -> dict[str, float]:
    out = folder / "export"
    shutil.rmtree(out, ignore_errors=True)
    words = ["export.py", f"--workdir={workdir}", f"--input={vectors}", f"--out={out}", *flags]
    used = _timed(words)
    manifest = json.loads((out / "manifest.json").read_text())
    return {
        "items": num_items,
        **used,
        "distinct_rate": manifest["metrics"]["distinct_rate"],
        "r2": manifest["metrics"]["r2_sampled"],
        "moved": manifest["semantic_ids"]["relocated"],
        "unique": _unique_share(out, manifest["semantic_ids"]["sizes"]),
    }


def _trained_on(folder: Path, vectors: Path, num_items: int, flags: list[str]) -> dict[str, float]:
    """Returns the time and the peak memory of a training run that streams the vectors from their file."""
    workdir = folder / "training"
    shutil.rmtree(workdir, ignore_errors=True)
    settings = {"data.path": vectors, "train.num_epochs": 1, "train.warmup_epochs": 0.1, "train.resident_bytes": 0}
    words = ["train.py", f"--config={_ROOT}/configs/embeddings.py", f"--workdir={workdir}"]
    used = _timed([*words, *(f"--config.{name}={value}" for name, value in settings.items()), *flags])
    return {"items": num_items, **used}


def _timed(words: list[str]) -> dict[str, float]:
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], cwd=_ROOT)
    # wait4 returns the usage of this child process only, not the maximum over all child processes.
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the command has failed; its error is above")
    return {"seconds": time.perf_counter() - began, "peak_bytes": used.ru_maxrss * 1024}


def _unique_share(out: Path, sizes: list[int]) -> float:
    import pyarrow.parquet as pq

    from sid_jax.export.artifact import table_files

    numbers = []
    for path in table_files(out):
        ids = pq.read_table(path, columns=["semantic_id"])["semantic_id"].combine_chunks()
        codes = ids.flatten().to_numpy().reshape(-1, len(sizes)).T.astype(np.int64)
        numbers.append(np.ravel_multi_index(tuple(codes), sizes))
    every = np.concatenate(numbers)
    return len(np.unique(every)) / len(every)


def _report(rows: list[dict[str, float]], in_memory: float) -> None:
    columns = [
        "items",
        "seconds",
        "items/s",
        "share of encoder's rate",
        "s / million items",
        "peak memory",
        "distinct",
        "moved",
        "unique",
    ]
    table = Table(*columns, title="Exports from file to file, including the start of the process", title_justify="left")
    for row in rows:
        rate = row["items"] / row["seconds"]
        table.add_row(
            f"{row['items']:,}",
            f"{row['seconds']:.1f}",
            f"{rate:,.0f}",
            f"{rate / in_memory:.0%}",
            f"{1e6 * row['seconds'] / row['items']:.2f}",
            f"{row['peak_bytes'] / 2**20:,.0f} MiB",
            f"{row['distinct_rate']:.3f}",
            f"{row['moved']:.1%}",
            f"{row['unique']:.2%}",
        )
    Console().print(table)


def _report_training(rows: list[dict[str, float]]) -> None:
    columns = ["items", "seconds", "s / million items", "peak memory"]
    title = "An epoch and an evaluation, with vectors read from a file, including the start of the process"
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        peak = f"{row['peak_bytes'] / 2**20:,.0f} MiB"
        table.add_row(f"{row['items']:,}", f"{row['seconds']:.1f}", f"{1e6 * row['seconds'] / row['items']:.1f}", peak)
    Console().print(table)


if __name__ == "__main__":
    main()
