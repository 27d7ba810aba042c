"""A trained model as something that recommends: histories in, lists of items out."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.models.beam_search import beam_search, generated_items
from sid_jax.recommend.models.catalog import Catalog
from sid_jax.recommend.models.sasrec import SASRec
from sid_jax.training.processes import gathered
from sid_jax.training.sharding import share_out


class ModelRanker:
    """Lists of items by beam search, or by the scores of all items where the model has those.

    Args:
      name: for tables.
      graphdef: the model's structure.
      params: its parameters, on every device of the mesh.
      catalog: the same.
      num_beams: IDs followed at once.
      mesh: of the devices that share a batch.

    Attributes:
      name, graphdef, params, catalog, num_beams, mesh: as given.
      num_generated: IDs generated so far.
      num_invalid: how many of them no item has.
    """

    def __init__(
        self,
        name: str,
        graphdef: nnx.GraphDef[Any],
        params: nnx.State,
        catalog: Catalog,
        *,
        num_beams: int,
        mesh: Mesh,
    ):
        self.name = name
        self.graphdef, self.params = graphdef, params
        self.catalog = catalog
        self.num_beams, self.mesh = num_beams, mesh
        self._known = np.unique(_as_numbers(np.asarray(catalog.semantic_ids), catalog.trie.sizes))
        self.num_generated = self.num_invalid = 0

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the best items for each history.

        Args:
          batch: B histories.
          count: k, at most as many as there are beams.
          exclude: `[B, S]` int32 items that no list may have, -1 for none.

        Returns:
          `[B, k]` int32 rows of the catalog, the best first; -1 where there are no more.
        """
        size = len(batch.lengths)
        found, codes = _find(
            self.graphdef,
            self.params,
            self.shared_out(batch),
            self.catalog,
            num_beams=self.num_beams,
        )
        if codes is not None:
            self._count_invalid(gathered(codes)[:size])
        return first_allowed(gathered(found)[:size], exclude, count)

    def over(self, catalog: Catalog) -> ModelRanker:
        """Returns the same model as what recommends from another catalog, which has items of the same table."""
        return ModelRanker(self.name, self.graphdef, self.params, catalog, num_beams=self.num_beams, mesh=self.mesh)

    def shared_out(self, batch: HistoryBatch) -> HistoryBatch:
        """Returns the batch in equal shares on all devices, padded to what they can share."""
        padding = -len(batch.lengths) % self.mesh.size
        padded = jax.tree.map(lambda leaf: np.pad(leaf, ((0, padding),) + ((0, 0),) * (leaf.ndim - 1), "edge"), batch)
        return jax.tree.map(lambda leaf: share_out(leaf.shape, self.mesh, leaf.__getitem__), padded)

    def _count_invalid(self, codes: np.ndarray) -> None:
        generated = codes.reshape(-1, codes.shape[-1])
        # Where there are fewer IDs than beams, the beams left over have none.
        generated = generated[generated[:, 0] >= 0]
        self.num_generated += len(generated)
        self.num_invalid += int((~np.isin(_as_numbers(generated, self.catalog.trie.sizes), self._known)).sum())


@functools.partial(jax.jit, static_argnames=("graphdef", "num_beams"))
def _find(
    graphdef: nnx.GraphDef[Any],
    params: nnx.State,
    histories: HistoryBatch,
    catalog: Catalog,
    *,
    num_beams: int,
) -> tuple[jax.Array, jax.Array | None]:
    model: Any = nnx.merge(graphdef, params)
    if isinstance(model, SASRec):
        return jax.lax.top_k(model.scores(histories), min(num_beams, catalog.trie.items.shape[0]))[1], None
    generated = beam_search(model, histories, catalog, num_beams)
    codes = jnp.where(generated.leaves[..., None] >= 0, generated.semantic_ids, -1)
    return generated_items(generated, catalog.trie, num_beams), codes


def first_allowed(lists: np.ndarray, exclude: np.ndarray | None, count: int) -> np.ndarray:
    """Returns the first `count` of each list that are not excluded, `[B, count]` int32; -1 where there are no more.

    Args:
      lists: `[B, M]` item rows, the best first, -1 for none.
      exclude: `[B, S]` item rows, -1 for none; None excludes nothing.
      count: k.
    """
    if exclude is not None:
        excluded = (lists[:, :, None] == exclude[:, None, :]).any(axis=-1)
        lists = np.where(excluded, -1, lists)
        lists = np.take_along_axis(lists, np.argsort(lists < 0, axis=1, kind="stable"), axis=1)
    lists = lists[:, :count].astype(np.int32)
    return np.pad(lists, ((0, 0), (0, count - lists.shape[1])), constant_values=-1)


def _as_numbers(codes: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Returns a number for each ID `[n, L]`, equal for equal IDs alone: Python's integers, which do not overflow."""
    numbers = np.zeros(len(codes), object if np.prod([float(size) for size in sizes]) > 2**62 else np.int64)
    for level, size in enumerate(sizes):
        numbers = numbers * size + codes[:, level]
    return numbers
