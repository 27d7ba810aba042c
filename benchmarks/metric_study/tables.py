"""The tokenizers of the study: sid_jax with many settings, other tools, simple baselines, and controls."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from quality import CONTESTANTS

from metric_study import trees
from metric_study.world import World
from sid_jax.export.artifact import load_export
from sid_jax.export.run import export
from sid_jax.ids.unique import append_suffix
from sid_jax.messages import Messages
from sid_jax.recommend.data.id_makers import kmeans_ids, lsh_ids, random_ids
from sid_jax.settings import set_field
from sid_jax.training.quantizer import train

# Families of tokenizers that the report treats separately: controls, such as random or shuffled IDs, and tokenizers
# that use interaction histories.
CONTROLS, HISTORIES = "controls", "histories"

_CONFIGS = Path(__file__).parents[2] / "configs"
# Number of epochs of most runs. It is small, so that each run takes minutes.
_EPOCHS = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Made:
    """A tokenizer's IDs of N items.

    Attributes:
      codes: `[N, L]` int32, before IDs are made unique.
      sizes: K of each level.
      semantic_ids: `[N, L']` int32, the IDs; L' is L, or L + 1 with a suffix.
      r2: R^2 of the vectors' reconstruction from codes; NaN if codes cannot be decoded to vectors.
    """

    codes: np.ndarray
    sizes: Sequence[int]
    semantic_ids: np.ndarray
    r2: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A tokenizer's family, and a function that makes the tokenizer's IDs, given the data and a folder for its runs."""

    family: str
    make: Callable[[World, Path], Made]


def _trained(family: str, model: str, unique: str = "relocate", config: str = "ml100k", **settings: Any) -> Tokenizer:
    """Returns a tokenizer of this project with some settings; tokenizers with the same `model` share a training run.

    Args:
      family: family of the tokenizer.
      model: name of the training run.
      unique: scheme that makes IDs unique.
      config: a file in `configs/`.
      **settings: `section__field=value`.
    """

    def make(world: World, folder: Path) -> Made:
        run = folder / model
        get_config = runpy.run_path(str(_CONFIGS / f"{config}.py"))["get_config"]
        chosen = get_config("text") if config == "ml100k" else get_config()
        common = {
            "data__source": "movielens-100k",
            "data__path": world.path,
            "data__histories__path": str(world.folder / "known.txt"),
            # known.txt does not contain the test items, so no interactions need to be held out.
            "data__collaborative_holdout": 0,
            "train__num_epochs": _EPOCHS,
        }
        if config == "ml100k":
            common |= {"train__batch_size": 512, "train__learning_rate": 3e-3, "model__noise_scale": 0.2}
        for name, value in {**common, **settings}.items():
            set_field(chosen, name.replace("__", "."), value)
        chosen.train.eval_every_epochs = float(chosen.train.num_epochs)
        train(chosen, run, messages=Messages.silent())
        out = folder / f"{model}-{unique}"
        if not out.exists():
            export(run, out, unique=unique, messages=Messages.silent())
        found = load_export(out)
        figures = found.metrics
        return Made(found.table.codes, figures["codebook_size"], found.table.semantic_ids, figures["r2"])

    return Tokenizer(family, make)


def _peer(contestant: str) -> Tokenizer:
    """Returns a tokenizer that uses a method of benchmarks/quality.py; its IDs have a suffix if items share codes."""

    def make(world: World, folder: Path) -> Made:
        found, reconstructions = CONTESTANTS[contestant](world.vectors, 3, 128, 0)[0][1:]
        error = np.square(world.vectors - reconstructions, dtype=np.float64).sum()
        spread = np.square(world.vectors - world.vectors.mean(axis=0, dtype=np.float64)).sum()
        return _suffixed(world, found, [128] * 3, float(1 - error / spread))

    return Tokenizer("peers", make)


def _plain(family: str, codes_of: Callable[[World], np.ndarray], sizes: Sequence[int] | None = None) -> Tokenizer:
    """Returns a tokenizer that needs no training; its IDs have a suffix if items share codes.

    `sizes` has K of each level. If it is None, K of a level is the level's largest code plus 1.
    """

    def make(world: World, folder: Path) -> Made:
        codes = codes_of(world).astype(np.int32)
        return _suffixed(world, codes, sizes or (codes.max(axis=0) + 1).tolist())

    return Tokenizer(family, make)


def _suffixed(world: World, codes: np.ndarray, sizes: Sequence[int], r2: float = float("nan")) -> Made:
    unique = len(np.unique(codes, axis=0)) == len(codes)
    return Made(codes, sizes, codes if unique else append_suffix(codes, world.item_ids), r2)


def _shuffled(world: World, folder: Path) -> Made:
    """Assigns the IDs of the default tokenizer to movies at random: the trie is the same, but IDs have no meaning."""
    made = TOKENIZERS["ste"].make(world, folder)
    order = np.random.default_rng(0).permutation(len(world.item_ids))
    return Made(made.codes[order], made.sizes, made.semantic_ids[order])


def _genre_and_year(world: World) -> np.ndarray:
    genres = np.unique(["|".join(each) for each in world.genres], return_inverse=True)[1]
    years = np.unique(world.years.astype(str), return_inverse=True)[1]
    return np.stack([genres, years], axis=1)


def _by_popularity(world: World) -> np.ndarray:
    taken = np.bincount(world.known.items, minlength=len(world.item_ids))
    rank = np.empty(len(taken), np.int64)
    rank[np.argsort(-taken, kind="stable")] = np.arange(len(taken))
    return np.stack([rank // 144, rank // 12 % 12, rank % 12], axis=1)


# The baseline of comparisons: configs/ml100k.py:text with the training settings of `_trained`.
DEFAULT = "ste"
TOKENIZERS = {
    "ste": _trained("sid_jax", "ste"),
    "random": _plain(CONTROLS, lambda world: random_ids(len(world.item_ids), 3, 128, 0), [128] * 3),
    "ste-histories": _trained(HISTORIES, "histories", data__histories__source="sequences"),
    "ste-shuffled": Tokenizer(CONTROLS, _shuffled),
    "gumbel": _trained(
        "sid_jax", "gumbel", model__quantization_method="gumbel_softmax", train__annealing_schedule="cosine"
    ),
    "rkmeans": _trained(
        "sid_jax", "rkmeans", model__encoder="identity", model__quantization_method="ema", train__num_epochs=20
    ),
    "ste-suffix": _trained("sid_jax", "ste", "suffix"),
    "ste-3x32": _trained("sid_jax", "3x32", model__codebook_size=32),
    "ste-2x64": _trained("sid_jax", "2x64", model__num_levels=2, model__codebook_size=64),
    "semantic-id-rqvae": _peer("semantic-id-rqvae"),
    "vq-pytorch": _peer("vector-quantize-pytorch"),
    "lsh": _plain("plain", lambda world: lsh_ids(world.vectors, 3, 128, 0), [128] * 3),
    "faiss": _peer("faiss"),
    "simvq": _trained("sid_jax", "simvq", model__quantization_method="simvq"),
    "rotation": _trained("sid_jax", "rotation", model__quantization_method="rotation"),
    "together": _plain(HISTORIES, lambda world: kmeans_ids(world.together, 3, 128, 0), [128] * 3),
    "ste-4x32": _trained("sid_jax", "4x32", model__num_levels=4, model__codebook_size=32),
    "ste-3x512": _trained("sid_jax", "3x512", model__codebook_size=512),
    "balanced-tree": _plain("plain", lambda world: trees.balanced(world.vectors, 12, 3), [12] * 3),
    "kmeans-tree": _plain("plain", lambda world: trees.kmeans_tree(world.vectors, 12, 3), [12] * 3),
    # This tokenizer has neither resets nor k-means initialization. Its commitment weight is 50 instead of .25, and its
    # IDs have a suffix.
    "ste-no-revival": _trained(
        "sid_jax",
        "no-revival",
        "suffix",
        model__commitment_weight=50.0,
        train__revive_every_epochs=0.0,
        train__kmeans_iterations=0,
    ),
    "ste-5-epochs": _trained("sid_jax", "early", train__num_epochs=5, train__warmup_epochs=1.0),
    # This tokenizer differs from "ste" in more than the encoder: configs/embeddings.py also has wider layers, more
    # latent features, and augmentation. The number of codes per level and the optimizer are set here, since the
    # defaults of configs/embeddings.py are 128 codes for this number of movies, and NAdamW.
    "ste-residual": _trained(
        "sid_jax",
        "residual",
        "relocate",
        "embeddings",
        train__num_epochs=300,
        train__batch_size=512,
        train__optimizer="adamw",
        train__learning_rate=5e-3,
        model__codebook_size=256,
    ),
    "diveq": _trained("sid_jax", "diveq", model__quantization_method="diveq"),
    "ema": _trained("sid_jax", "ema", model__quantization_method="ema"),
    "ste-aligned": _trained(
        HISTORIES,
        "aligned",
        data__histories__source="sequences",
        data__collaborative_weight=0.0,
        model__alignment_weight=0.1,
    ),
    "genre-year": _plain(CONTROLS, _genre_and_year),
    "popularity": _plain(CONTROLS, _by_popularity),
    "ste-shared": _trained("sid_jax", "ste", "none"),
    "ste-histories-2": _trained(
        HISTORIES, "histories2", data__histories__source="sequences", data__collaborative_weight=2.0
    ),
    "product": _plain("plain", lambda world: trees.product(world.vectors, 4, 64), [64] * 4),
    "kmeans-1x256": _plain("plain", lambda world: kmeans_ids(world.vectors, 1, 256, 0), [256]),
    "semantic-id-kmeans": _peer("semantic-id-kmeans"),
    "ste-3x16": _trained("sid_jax", "3x16", model__codebook_size=16),
    "ste-600-epochs": _trained("sid_jax", "long", train__num_epochs=600),
    "item-numbers": _plain(CONTROLS, lambda world: np.arange(len(world.item_ids))[:, None]),
}
