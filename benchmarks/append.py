"""Benchmark of daily updates: number of published IDs that change, share of unique IDs, and R^2 of the new items.

python benchmarks/append.py --vectors=items.npy --folder=runs/append --trained=11000 --batches=10 --batch=1000

The rows are shuffled. The quantizer is trained on the first --trained rows, with --config and --flags, and exported.
The remaining rows are added in --batches appends of --batch rows each. If the folder already contains the training run,
this run is resumed.

The script prints three values of R^2 of the new items of each append, and the R^2 of the first version and of the cold
items. "R^2 new" is computed from the codes of the new items, and "R^2 of IDs" from their unique IDs. The denominator of
both is the spread of the first version's items, as docs/daily-updates.md explains. "R^2, own mean" is computed from the
codes, and its denominator is the spread of the new items. "moved" is the number of IDs that differ from the previous
version plus the number of IDs that differ from the first version.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from sid_jax.diff import compare
from sid_jax.export.id_tables import read_id_table
from sid_jax.export.manifest import read_manifest

_ROOT = Path(__file__).parent.parent


def main() -> None:
    """Trains a quantizer, runs the appends, and prints one row per version."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True, help=".npy, [N, D]")
    parser.add_argument("--folder", type=Path, required=True, help="folder for the run, the versions and their inputs")
    parser.add_argument("--trained", type=int, default=11_000)
    parser.add_argument("--cold", type=int, default=0, help="number of cold items among the --trained items")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--batch", type=int, default=1_000, help="items per append; the last append may have fewer")
    parser.add_argument("--config", default="configs/embeddings.py")
    parser.add_argument("--flags", default="", help="further flags for train.py, separated by spaces")
    arguments = parser.parse_args()
    folder, trained = arguments.folder, arguments.trained
    folder.mkdir(parents=True, exist_ok=True)
    vectors = np.load(arguments.vectors).astype(np.float32)
    vectors = vectors[np.random.default_rng(0).permutation(len(vectors))]
    _write(folder / "trained.parquet", vectors, 0, trained)
    flags = [f"--config.data.path={folder / 'trained.parquet'}", *arguments.flags.split()]
    if arguments.cold:
        (folder / "cold.txt").write_text("\n".join(map(str, range(arguments.cold))))
        flags.append(f"--config.data.cold_items={folder / 'cold.txt'}")
    _run("train.py", f"--config={arguments.config}", f"--workdir={folder / 'run'}", *flags)
    _run("export.py", f"--workdir={folder / 'run'}", f"--out={folder / 'v1'}")
    rows = []
    for number in range(arguments.batches):
        first, before, after = trained + number * arguments.batch, folder / f"v{number + 1}", folder / f"v{number + 2}"
        _write(folder / "new.parquet", vectors, first, min(first + arguments.batch, len(vectors)))
        began = time.perf_counter()
        _run("export.py", f"--append_to={before}", f"--input={folder / 'new.parquet'}", f"--out={after}")
        rows.append(_figures(folder / "v1", before, after) | {"seconds": time.perf_counter() - began})
    Console(width=140).print(_table(rows, f"{arguments.vectors.name}, {trained:,} training items; {arguments.config}"))


def _run(*words: str) -> None:
    ended = subprocess.run([sys.executable, *words], cwd=_ROOT, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(ended.stderr)


def _write(path: Path, vectors: np.ndarray, first: int, end: int) -> None:
    if first >= end:
        sys.exit(
            f"--vectors has {len(vectors):,} rows, too few for --trained, --batches and --batch; reduce one of them"
        )
    lists = pa.array(list(vectors[first:end]), pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": np.arange(first, end), "vector": lists}), path)


def _figures(first: Path, before: Path, after: Path) -> dict[str, Any]:
    old, new, manifest = read_id_table(before), read_id_table(after), read_manifest(after)
    drift = manifest["drift"]
    return {
        **drift["new_items"],
        "version": manifest["version"]["number"],
        "items": len(new.item_ids),
        # The sum of two counts: IDs that changed since the previous version, and IDs that changed since the first
        # version. Both are computed from the ID tables, not read from the manifest.
        "moved": compare(old, new)["num_changed"] + compare(read_id_table(first), new)["num_changed"],
        "unique": len(np.unique(new.semantic_ids, axis=0)) / len(new.item_ids),
        "r2_trained": drift["reference"]["r2"],
        "r2_cold": drift["reference"]["r2_cold"] or float("nan"),
        "due": drift["verdict"]["retraining_is_due"],
    }


def _table(rows: list[dict[str, Any]], title: str) -> Table:
    table = Table(title=title)
    columns: dict[str, str] = {
        "version": "{version}",
        "items": "{items:,}",
        "moved": "{moved}",
        "unique": "{unique:.2%}",
        "R^2 new": "{r2:.3f}",
        "R^2 of IDs": "{r2_unique:.3f}",
        "R^2, own mean": "{r2_own_mean:.3f}",
        "R^2 first version": "{r2_trained:.3f}",
        "R^2 cold": "{r2_cold:.3f}",
        "collisions": "{collide:.1%}",
        "retraining due": "{due}",
        "seconds": "{seconds:.1f}",
    }
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(form.format(**row) for form in columns.values()))
    return table


if __name__ == "__main__":
    main()
