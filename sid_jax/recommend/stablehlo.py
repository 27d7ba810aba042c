"""Writes a recommender as a StableHLO program, which JAX runs on CPU, CUDA or TPU without this package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sid_jax.errors import UserError
from sid_jax.export.stablehlo import load_program, program_bytes
from sid_jax.paths import as_path
from sid_jax.precision import in_32_bits
from sid_jax.recommend.artifact import STABLEHLO, TrainedRecommender
from sid_jax.recommend.batch import HistoryBatch, user_numbers
from sid_jax.recommend.models.beam_search import beam_search, generated_items
from sid_jax.recommend.ranker import best_items

# Maximum size of a serialized program in bytes.
_MOST_BYTES = 2**31


@in_32_bits
def stablehlo_bytes(trained: TrainedRecommender, count: int) -> bytes:
    """Returns the content of `recommender.stablehlo`, a program that recommends items for any number n of histories.

    The program has two arguments. The histories are `[n, W]` int32 row numbers of the ID table, left-aligned and with
    the oldest item first, where W is `config.model.window`. The lengths of the histories are `[n]` int32, from 0 to W.

    The program returns the lists and their scores. The lists are `[n, k]` int32 row numbers, the best first, without
    the items of the history. Shorter lists are padded with -1. The scores are `[n, k]` float32, as in `Recommendation`.
    The lists are those of `Recommender.recommend(exact=True)` without a user id, with one difference: if a beam search
    finds too few items, the program does not search again with more beams.

    The program contains the weights, and runs on CPU, CUDA and TPU, independent of the machine that wrote it.

    Args:
      trained: the recommender.
      count: k, the length of a list.

    Raises:
      UserError: if k is out of range, or the model is too large for a file.
    """
    ranker, candidates, window = trained.ranker, trained.candidates, trained.config.model.window
    most = len(candidates.available) if ranker.scores_items else min(len(candidates.available), ranker.num_beams)
    if not 1 <= count <= most:
        everything = most == len(candidates.available)
        limit = f"only {most} items can be recommended" if everything else f"eval.num_beams is {most}"
        raise UserError(f"k is {count}; for {STABLEHLO} it must be from 1 to {most}, because {limit}")
    used = (ranker.vectors, ranker.catalog.evidence) if ranker.scores_items else (ranker.params, ranker.catalog)
    if (size := sum(leaf.nbytes for leaf in jax.tree.leaves(used))) >= _MOST_BYTES:
        raise UserError(f"the recommender has {size:,} bytes, but {STABLEHLO} can have at most 2 GiB; save without it")
    # The arrays are copied to the host: a program with arrays on several devices would only run on the same number of
    # devices.
    arrays = jax.tree.map(np.asarray, (ranker.params, ranker.catalog, ranker.vectors))
    popular, nobody = candidates.most_popular(count), int(user_numbers(np.array([""]))[0])

    def lists(items: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        params, catalog, vectors = jax.tree.map(jnp.asarray, arrays)
        model: Any = nnx.merge(ranker.graphdef, params)
        histories = HistoryBatch(items, jnp.maximum(lengths, 1), jnp.full_like(lengths, nobody))
        if ranker.scores_items:
            enough = min(count + window, len(catalog.semantic_ids))
            found, scores = best_items(model, histories, catalog, vectors, enough)
        else:
            generated = beam_search(model, histories, catalog, ranker.num_beams)
            found, scores = generated_items(generated, catalog.trie, ranker.num_beams)
        found, scores = _without(found, scores, items, lengths, count)
        empty = (lengths == 0)[:, None]
        return jnp.where(empty, popular[0][None], found), jnp.where(empty, popular[1][None], scores)

    (number,) = jax.export.symbolic_shape("n")
    shapes = [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((number, window), (number,))]
    return program_bytes(lists, *shapes)


def _without(
    found: jax.Array, scores: jax.Array, items: jax.Array, lengths: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """Returns, for each list, the first `count` items that are not in its history, and their scores.

    `found` has the items of the lists, and `scores` has their scores, `[B, M]` each.
    """
    there = jnp.arange(items.shape[1])[None] < lengths[:, None]
    seen = jnp.any((found[:, :, None] == items[:, None, :]) & there[:, None, :], axis=2) | (found < 0)
    order = jnp.argsort(seen.astype(jnp.int32), axis=1, stable=True)[:, :count]
    kept = ~jnp.take_along_axis(seen, order, axis=1)
    found, scores = (jnp.take_along_axis(each, order, axis=1) for each in (found, scores))
    return jnp.where(kept, found, -1), jnp.where(kept, scores, -jnp.inf)


def load_lists(folder: str | Path) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Loads the program in `recommender.stablehlo` as a function from histories and lengths to lists and scores.

    `stablehlo_bytes` describes its arguments and results. The function may be called inside `jit`; outside of `jit`, it
    is compiled once per batch size. Argument values are not checked.

    Args:
      folder: a folder that `Recommender.save(folder, stablehlo=True)` wrote.

    Raises:
      UserError: if the folder has no such file, the file has changed, or the installed JAX cannot read it.
    """
    return load_program(as_path(folder) / STABLEHLO, "save the recommender with stablehlo=True")
