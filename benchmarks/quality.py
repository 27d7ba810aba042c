"""Compares the codes of sid_jax and of other tools on the same vectors: distinct rate, R^2, codebook usage, time.

python benchmarks/quality.py --vectors=items.npy --levels=3 --codes=256 --seeds=0,1 --out=quality.png

This script needs the `bench` extra. All methods get vectors of length 1. R^2 is over all items and features, relative
to the mean vector. It is computed from the code tuples, or, in the rows "unique", from the unique IDs. Other tools run
with their default settings, except that `faiss` has beam 1 (`faiss-beam` has the default, 5), and that
vector-quantize-pytorch initializes its codebooks with k-means. vector-quantize-pytorch has no training loop, so this
script trains its quantizer for 60 epochs. Runs that the file --json contains are not repeated, so a stopped comparison
resumes, and methods or seeds can be added. All runs in the file must have the same --vectors, --labels, --levels and
--codes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from sid_jax import SemanticIdTokenizer
from sid_jax.data.scaling import normalize
from sid_jax.evaluate import read_labels
from sid_jax.metrics.codes import distinct_rate, max_distinct_rate, usage
from sid_jax.metrics.ids import purity
from sid_jax.quantize.kmeans import kmeans
from sid_jax.quantize.nearest import assign_codes, nearest_codes, sum_codewords
from sid_jax.streams import stream_key
from sid_jax.whole_file import write_json

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of the backend)

# The k-means baseline: number of starts per level, and of iterations per start.
_STARTS = 4
_ITERATIONS = 200

# Maps vectors, L, K and a seed to names, codes `[N, L]` and reconstructions `[N, D]`.
Contestant = Callable[[np.ndarray, int, int, int], list[tuple[str, np.ndarray, np.ndarray]]]
# Results of one method with one seed.
Run = dict[str, Any]


def main() -> None:
    """Prints one row per method over all seeds, and plots the distinct rate against R^2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True, help=".npy, [N, D]")
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--codes", type=int, default=256)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--labels", help="FILE:COLUMN of labels, for the purity of the items' first codes; needs --ids")
    parser.add_argument("--ids", type=Path, help="a text file with one item id per line, as in the labels")
    parser.add_argument(
        "--only", default="", help=f"methods, separated by commas: {', '.join(CONTESTANTS)}; default: all"
    )
    parser.add_argument("--out", type=Path, help="a .png file for the plot")
    parser.add_argument("--json", type=Path, help="a .json file for the results of every seed")
    arguments = parser.parse_args()
    if arguments.labels and not arguments.ids:
        parser.error("--labels needs --ids, the ids of the items in the order of the vectors")
    vectors = np.asarray(normalize(jnp.asarray(np.load(arguments.vectors).astype(np.float32)), True))
    wanted = arguments.only.split(",") if arguments.only else list(CONTESTANTS)
    labels = read_labels(arguments.labels, _item_ids(arguments.ids)) if arguments.labels else None
    about = {
        "labels": arguments.labels,
        "vectors": hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest(),
        "levels": arguments.levels,
        "codes": arguments.codes,
    }
    runs = _read(arguments.json, about)
    for name in wanted:
        for seed in map(int, arguments.seeds.split(",")):
            if any((run["contestant"], run["seed"]) == (name, seed) for run in runs):
                continue
            began = time.perf_counter()
            results = CONTESTANTS[name](vectors, arguments.levels, arguments.codes, seed)
            seconds = time.perf_counter() - began
            for label, codes, reconstructions in results:
                run = {
                    "contestant": name,
                    "label": label,
                    "seed": seed,
                    "distinct": distinct_rate(codes),
                    "r2": _r2(vectors, reconstructions),
                    "usage": usage(codes, [arguments.codes] * arguments.levels),
                    "purity": purity(codes[:, :1], labels)[0]["purity"] if labels else None,
                    "seconds": seconds,
                }
                runs.append(run)
                print(f"{label}, seed {seed}: distinct {run['distinct']:.4f}, R^2 {run['r2']:.4f}", flush=True)
            if arguments.json:
                write_json(arguments.json, {**about, "runs": runs})
    rows: dict[str, list[Run]] = {}
    for run in runs:
        if run["contestant"] in wanted:
            rows.setdefault(run["label"], []).append(run)
    most = max_distinct_rate(vectors)
    Console(width=150).print(
        _table(rows, f"{arguments.vectors.name}: {len(vectors):,} items, distinct at most {most:.4f}")
    )
    if arguments.out:
        _plot(rows, most, arguments.out)


def _item_ids(path: Path) -> np.ndarray:
    ids = path.read_text().split()
    return np.array(ids, object) if not all(map(str.isdigit, ids)) else np.array(ids, np.int64)


def _read(path: Path | None, about: dict[str, Any]) -> list[Run]:
    if path is None or not path.exists():
        return []
    content = json.loads(path.read_text())
    if {name: content[name] for name in about} != about:
        raise SystemExit(
            f"{path} contains runs with other --vectors, --labels, --levels or --codes; choose another --json"
        )
    return content["runs"]


def _ours(method: str) -> Contestant:
    """Returns the function that trains sid_jax with a quantization method and otherwise the default settings."""
    recipe = {"preset": method} if method in ("ste", "gumbel", "rkmeans") else {"quantization_method": method}

    def run(vectors: np.ndarray, levels: int, codes: int, seed: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
        tokenizer = SemanticIdTokenizer(**recipe, num_levels=levels, codebook_size=codes, seed=seed)
        table = tokenizer.fit(vectors, verbose=False).table
        return [
            (f"sid_jax {method}", table.codes, tokenizer.decode(table.codes)),
            (f"sid_jax {method}, unique", table.semantic_ids, tokenizer.decode(table.semantic_ids)),
        ]

    return run


def _kmeans(vectors: np.ndarray, levels: int, codes: int, seed: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Residual k-means: each level uses the best of `_STARTS` k-means++ runs, each of `_ITERATIONS` iterations."""
    remaining, books = jnp.asarray(vectors), []
    for level in range(levels):
        found = [
            kmeans(remaining, codes, _ITERATIONS, stream_key(seed, "kmeans", level * _STARTS + start))
            for start in range(_STARTS)
        ]
        left = [remaining - book[nearest_codes(remaining, book)] for book in found]
        best = min(range(_STARTS), key=lambda start: float(jnp.sum(jnp.square(left[start]))))
        books.append(found[best])
        remaining = left[best]
    chosen = assign_codes(jnp.asarray(vectors), books)
    return [("residual k-means, best starts", np.asarray(chosen), np.asarray(sum_codewords(chosen, books)))]


def _faiss(beam: int) -> Contestant:
    def run(vectors: np.ndarray, levels: int, codes: int, seed: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
        import faiss

        bits = int(np.log2(codes))
        quantizer = faiss.ResidualQuantizer(vectors.shape[1], levels, bits)
        quantizer.max_beam_size, quantizer.cp.seed = beam, seed + 1
        quantizer.train(vectors)
        packed = quantizer.compute_codes(vectors)
        reader = np.unpackbits(packed, axis=1, bitorder="little")[:, : levels * bits].reshape(
            len(vectors), levels, bits
        )
        name = f"faiss ResidualQuantizer, beam {beam}"
        return [(name, (reader @ (1 << np.arange(bits))).astype(np.int32), quantizer.decode(packed))]

    return run


def _vector_quantize_pytorch(
    vectors: np.ndarray, levels: int, codes: int, seed: int
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    import torch
    from vector_quantize_pytorch import ResidualVQ

    torch.manual_seed(seed)
    quantizer = ResidualVQ(dim=vectors.shape[1], num_quantizers=levels, codebook_size=codes, kmeans_init=True)
    corpus = torch.tensor(vectors)
    quantizer.train()
    for _ in range(60):
        for batch in torch.randperm(len(corpus)).split(1024):
            quantizer(corpus[batch][None])
    quantizer.eval()
    with torch.no_grad():
        quantized, found, _ = quantizer(corpus[None])
    return [("vector-quantize-pytorch ResidualVQ", found[0].numpy().astype(np.int32), quantized[0].numpy())]


def _semantic_id_kmeans(
    vectors: np.ndarray, levels: int, codes: int, seed: int
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    from semantic_id import RQKMeans

    model = RQKMeans(n_levels=levels, n_clusters=codes, random_state=seed).fit(vectors)
    found = np.asarray(model.encode(vectors))
    return [("semantic-id RQKMeans", found.astype(np.int32), np.asarray(model.decode(found)))]


def _semantic_id_rqvae(
    vectors: np.ndarray, levels: int, codes: int, seed: int
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    import torch
    from semantic_id import RQVAE

    torch.manual_seed(seed)
    model = RQVAE(in_dim=vectors.shape[1], num_emb_list=[codes] * levels).fit(vectors)
    found = np.asarray(model.encode(vectors))
    return [("semantic-id RQVAE", found.astype(np.int32), np.asarray(model.decode(found)))]


CONTESTANTS: dict[str, Contestant] = {
    "ste": _ours("ste"),
    "gumbel": _ours("gumbel"),
    "rotation": _ours("rotation"),
    "diveq": _ours("diveq"),
    "simvq": _ours("simvq"),
    "ema": _ours("ema"),
    "rkmeans": _ours("rkmeans"),
    "kmeans": _kmeans,
    "faiss": _faiss(1),
    "faiss-beam": _faiss(5),
    "vector-quantize-pytorch": _vector_quantize_pytorch,
    "semantic-id-kmeans": _semantic_id_kmeans,
    "semantic-id-rqvae": _semantic_id_rqvae,
}


def _r2(vectors: np.ndarray, reconstructions: np.ndarray) -> float:
    error = np.square(vectors - reconstructions, dtype=np.float64).sum()
    return float(1 - error / np.square(vectors - vectors.mean(axis=0, dtype=np.float64)).sum())


def _table(rows: dict[str, list[Run]], title: str) -> Table:
    """Returns a table of means over seeds, with the lowest R^2 of any seed and the lowest usage of any seed and level.

    Purity is the share of items whose label is the most common one among the items with the same first code.
    """
    table = Table(title=title, title_justify="left")
    for column in (
        "codes",
        "seeds",
        "distinct",
        "R^2",
        "lowest R^2",
        "usage, by level",
        "lowest usage",
        "purity",
        "seconds",
    ):
        table.add_column(column, justify="left" if column == "codes" else "right", no_wrap=True)
    for name, runs in rows.items():
        distinct, r2, in_use, seconds = ([run[key] for run in runs] for key in ("distinct", "r2", "usage", "seconds"))
        mean = statistics.mean
        by_level = " / ".join(f"{mean(level):.0%}" for level in zip(*in_use, strict=True))
        table.add_row(
            name,
            str(len(runs)),
            f"{mean(distinct):.4f}",
            f"{mean(r2):.4f}",
            f"{min(r2):.4f}",
            by_level,
            f"{min(map(min, in_use)):.1%}",
            "" if runs[0]["purity"] is None else f"{mean(run['purity'] for run in runs):.3f}",
            f"{mean(seconds):.0f}",
        )
    return table


def _plot(rows: dict[str, list[Run]], most: float, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, runs in rows.items():
        distinct, r2 = [run["distinct"] for run in runs], [run["r2"] for run in runs]
        axes.scatter(distinct, r2, s=36, marker="s" if name.startswith("sid_jax") else "o", label=name)
    axes.axvline(most, color="#8b95a1", linestyle=":", label="upper bound")
    axes.set(xlabel="distinct codes / items", ylabel="reconstruction R²")
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
