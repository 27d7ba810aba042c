"""Codes of sid_jax and of public peers for the same vectors: how distinct and faithful, how many in use, how fast.

python benchmarks/quality.py --vectors=items.npy --levels=3 --codes=256 --seeds=0,1 --out=quality.png

Needs the `bench` extra. Vectors are brought to length 1 first, for all. R^2 is over all items and features, against the
mean; before repair, but for the row "unique". A peer's settings are its own defaults where it has some.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from sid_jax.data.scaling import normalise
from sid_jax.export.load import load_export
from sid_jax.export.run import export
from sid_jax.quantize.health import distinct_rate, duplicate_floor, usage
from sid_jax.quantize.kmeans import kmeans
from sid_jax.quantize.nearest import assign_codes, nearest_codes, sum_codewords
from sid_jax.streams import stream_key
from sid_jax.training.loop import train

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of what draws)

# Of the k-means that ours is compared with: starts of a level, and iterations of a start.
_STARTS = 4
_ITERATIONS = 200

# From vectors, L, K and a seed to names, codes `[N, L]` and reconstructions `[N, D]`.
Contestant = Callable[[np.ndarray, int, int, int], list[tuple[str, np.ndarray, np.ndarray]]]


def main() -> None:
    """Prints a row for each contestant, the mean of the seeds, and draws distinctness against R^2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True, help=".npy, [N, D]")
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--codes", type=int, default=256)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", default="", help="names of contestants, with commas between; all if empty")
    parser.add_argument("--out", type=Path, help="a .png for the plot")
    arguments = parser.parse_args()
    vectors = np.asarray(normalise(jnp.asarray(np.load(arguments.vectors).astype(np.float32)), True))
    wanted = arguments.only.split(",") if arguments.only else list(_CONTESTANTS)
    rows: dict[str, list[tuple[float, float, list[float], float]]] = {}
    for name in wanted:
        for seed in map(int, arguments.seeds.split(",")):
            began = time.perf_counter()
            results = _CONTESTANTS[name](vectors, arguments.levels, arguments.codes, seed)
            seconds = time.perf_counter() - began
            for label, codes, reconstructions in results:
                in_use = usage(codes, [arguments.codes] * arguments.levels)
                measured = (distinct_rate(codes), _r2(vectors, reconstructions), in_use, seconds)
                rows.setdefault(label, []).append(measured)
                print(f"{label}, seed {seed}: distinct {measured[0]:.4f}, R^2 {measured[1]:.4f}", flush=True)
    floor = duplicate_floor(vectors)
    Console().print(_table(rows, f"{arguments.vectors.name}: {len(vectors):,} items, floor {floor:.4f}"))
    if arguments.out:
        _plot(rows, floor, arguments.out)


def _ours(method: str) -> Contestant:
    def run(vectors: np.ndarray, levels: int, codes: int, seed: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
        quiet = Console(file=io.StringIO())
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.save(folder / "items.npy", vectors)
            config = _config(method)
            config.seed, config.data.path = seed, str(folder / "items.npy")
            config.model.num_levels, config.model.codebook_size = levels, codes
            train(config, folder / "run", console=quiet)
            export(folder / "run", folder / "export", console=quiet)
            loaded = load_export(folder / "export")
        found = []
        for label, column in ((f"sid_jax {method}", "codes"), (f"sid_jax {method}, unique", "semantic_id")):
            rows = np.array(loaded.rows[column].to_pylist(), np.int32)
            found.append((label, rows, np.asarray(loaded.model.reconstruct(jnp.asarray(rows)))))
        return found

    return run


def _config(method: str) -> ConfigDict:
    path = Path(__file__).parents[1] / "configs" / "embeddings.py"
    spec = importlib.util.spec_from_file_location("embeddings", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(method)


def _kmeans(vectors: np.ndarray, levels: int, codes: int, seed: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Each level takes the best of several starts by k-means++, of which every one is run until it moves no more."""
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


_CONTESTANTS: dict[str, Contestant] = {
    "ste": _ours("ste"),
    "gumbel": _ours("gumbel"),
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


def _table(rows: dict[str, list[tuple[float, float, list[float], float]]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("codes", "distinct", "R^2", "in use, by level", "seconds"):
        table.add_column(column, justify="left" if column == "codes" else "right", no_wrap=True)
    for name, runs in rows.items():
        distinct, r2, in_use, seconds = zip(*runs, strict=True)
        by_level = " / ".join(f"{statistics.mean(level):.0%}" for level in zip(*in_use, strict=True))
        mean = statistics.mean
        table.add_row(name, f"{mean(distinct):.4f}", f"{mean(r2):.4f}", by_level, f"{mean(seconds):.0f}")
    return table


def _plot(rows: dict[str, list[tuple[float, float, list[float], float]]], floor: float, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, runs in rows.items():
        distinct, r2 = [run[0] for run in runs], [run[1] for run in runs]
        axes.scatter(r2, distinct, s=36, marker="s" if name.startswith("sid_jax") else "o", label=name)
    axes.axhline(floor, color="0.6", linewidth=1, linestyle="--", label="distinct vectors / items")
    axes.set_xlabel("reconstruction R²")
    axes.set_ylabel("distinct codes / items")
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
