"""Recommendation lists from a trained model: by beam search over Semantic IDs, or from the scores of all items."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from sid_jax.distinct import distinct
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.data.room import Room
from sid_jax.recommend.models.beam_search import Generated, beam_search, generated_items, score_leaves
from sid_jax.recommend.models.catalog import Catalog, candidate_mask
from sid_jax.recommend.models.evidence import blended, hear, terms
from sid_jax.recommend.models.item_model import ItemModel
from sid_jax.recommend.models.layers import MASKED
from sid_jax.recommend.models.padding import padded
from sid_jax.recommend.models.shortlist import MOST_LISTED, Shortlist, best_of_shortlist, make_shortlist
from sid_jax.training.processes import gathered
from sid_jax.training.sharding import on_every_device, share_out

# Factor on the number of beams for a second search, which runs if the first one found too few items.
_WIDER = 8
# From this number of beams on, scoring all IDs takes less time than a beam search.
_MOST_BEAMS = 2048
# Number of IDs scored together, which limits memory.
_LEAVES_AT_ONCE = 4096
# Number of items scored together. Their scores must fit into a CPU's cache. Without this limit, memory would grow with
# the catalog.
_ITEMS_AT_ONCE = 16_384
# From this number of items on, only a shortlist of items gets exact scores on a CPU, unless the caller requests exact
# scores of all items.
_SHORTLIST_FROM = 100_000


class ModelRanker:
    """Recommends with a trained model: by beam search, or by the scores of all items if the model scores items.

    Args:
      name: name of the model in tables.
      graphdef: the model's structure.
      params: the model's parameters, on every device of the mesh.
      catalog: the catalog, on every device of the mesh.
      num_beams: number of beams of the search.
      mesh: the devices that share a batch.
      room: the sizes to which the catalog is padded; None if it is not padded.

    Attributes:
      name, graphdef, params, catalog, num_beams, mesh: as given.
      num_generated: number of IDs generated so far.
      num_invalid: number of generated IDs that belong to no item.
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
        room: Room | None = None,
    ):
        self.name = name
        self.graphdef, self.params = graphdef, params
        self.catalog = catalog
        self.num_beams, self.mesh, self._room = num_beams, mesh, room
        self._known = distinct(_as_numbers(np.asarray(catalog.semantic_ids), catalog.trie.sizes))
        self.num_generated = self.num_invalid = 0

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the best items for each history, from one search. A beam search may find fewer than `count`.

        Args:
          batch: B histories.
          count: k; a list of a model that generates IDs has at most as many items as there are beams.
          exclude: `[B, S]` int32 items that no list may contain, padded with -1.

        Returns:
          `[B, k]` int32 row numbers in the catalog, the best first; -1 where there are no more.
        """
        return self.scored(batch, count, exclude)[0]

    def full_lists(
        self, batch: HistoryBatch, count: int, exclude: np.ndarray | None, window: int, *, exact: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns lists that are as long as possible: if a search finds too few items, a second search uses more beams.

        With `exact=False`, only a shortlist of the items of a large catalog gets exact scores on a CPU: see
        `models.shortlist`.

        Args:
          batch, count, exclude: see `recommend`.
          window: W, the length to which histories are padded for the second search, so that it is compiled once.

        Returns:
          `[B, k]` int32 row numbers in the catalog, the best first, -1 where there are no more items; and `[B, k]`
          float32, the log-probability of each item's Semantic ID, or of the item itself if the model scores items. With
          a shortlist, it is an estimate.
        """
        size = len(batch.lengths)
        if count <= self.num_beams or self.scores_items:
            found, scores = self._found(batch, count, exclude, self.num_beams, exact=exact)
        else:
            found, scores = np.full((size, count), -1, np.int32), np.full((size, count), -np.inf, np.float32)
        left_out = self._num_excluded(exclude, np.flatnonzero((found < 0).any(axis=1)), size)
        short = np.flatnonzero((found >= 0).sum(axis=1) < np.minimum(count, self._in_trie.sum() - left_out))
        for start in range(0, len(short), self.mesh.size):
            # Each device processes one history at a time, to limit memory.
            rows = np.resize(short[start : start + self.mesh.size], self.mesh.size)
            items = np.pad(batch.items[rows], ((0, 0), (0, window - batch.items.shape[1])))
            some = HistoryBatch(items, batch.lengths[rows], batch.users[rows])
            num_beams = _WIDER * self.num_beams
            if count + left_out[rows].max() > num_beams:
                num_beams = self.catalog.trie.items.shape[0]
            without = None if exclude is None else exclude[rows]
            found[rows], scores[rows] = self._found(some, count, without, num_beams)
        return found, scores

    @functools.cached_property
    def _in_trie(self) -> np.ndarray:
        """Mask `[N]` bool of the items that may be recommended."""
        mask = np.zeros(len(self.catalog.semantic_ids), bool)
        mask[np.asarray(self.catalog.trie.items)] = True
        return mask

    def _num_excluded(self, exclude: np.ndarray | None, rows: np.ndarray, size: int) -> np.ndarray:
        """Returns the number of excluded items that are in the trie, for the given histories; 0 for other histories.

        `rows` are the row numbers of the given histories in the batch. The result is `[size]`, for the whole batch.
        """
        counts = np.zeros(size, np.int64)
        for row in rows if exclude is not None else ():
            assert exclude is not None
            counts[row] = self._in_trie[np.unique(exclude[row][exclude[row] >= 0])].sum()
        return counts

    def _found(
        self, batch: HistoryBatch, count: int, exclude: np.ndarray | None, num_beams: int, *, exact: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        size, histories = len(batch.lengths), self.shared_out(batch)
        rank_all = False
        if self.scores_items:
            # Excluded items are removed from the retrieved items, and at least `count` items must remain. The number of
            # retrieved items is rounded up to a power of two, so that few shapes are compiled.
            num_beams = 1 << (count + (0 if exclude is None else exclude.shape[1]) - 1).bit_length()
        elif num_beams > self.num_beams:
            rank_all = num_beams >= min(_MOST_BEAMS, self.catalog.trie.first_item.shape[0] - 1)
        if not exact and num_beams <= MOST_LISTED and self.shortlist is not None:
            found, scores = _find_in_shortlist(
                self.graphdef, self.params, histories, self.catalog, self.vectors, self.shortlist, num_items=num_beams
            )
        elif rank_all:
            found, scores = _rank_all(self.graphdef, self.params, histories, self.catalog)
        else:
            found, scores, codes = _find(
                self.graphdef, self.params, histories, self.catalog, self.vectors, num_beams=num_beams
            )
            if codes is not None:
                self._count_invalid(gathered(codes)[:size])
        return first_allowed(gathered(found)[:size], gathered(scores)[:size], exclude, count)

    @property
    def scores_items(self) -> bool:
        """Whether the model scores items instead of generating IDs."""
        return self.vectors is not None

    def scored(
        self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lists of `recommend` and their scores `[B, k]` float32."""
        return self._found(batch, count, exclude, self.num_beams)

    @functools.cached_property
    def vectors(self) -> Any:
        """The items' vectors of a model that scores items; None for a model that generates IDs."""
        return _item_vectors(self.graphdef, self.params, self.catalog)

    @functools.cached_property
    def shortlist(self) -> Shortlist | None:
        """The shortlist; None unless the catalog is large, the only device is a CPU and scores are inner products."""
        one_cpu = self.mesh.size == 1 and self.mesh.devices.flat[0].platform == "cpu"
        if not one_cpu or self._in_trie.sum() < _SHORTLIST_FROM or not isinstance(self.vectors, jax.Array):
            return None
        return make_shortlist(self.catalog, self.vectors)

    def explain(self, batch: HistoryBatch, item: int) -> tuple[float, dict[str, float]]:
        """Returns an item's log-probability after the first history of a batch, and the contributions to its logit.

        Args:
          batch: only its first history is used.
          item: a row of the catalog; the item must be one that may be recommended.

        Returns:
          The log-probability; and the contributions to the item's logit by name. The names are those of the item
          vector's components and the blend's terms. Each contribution is relative to its mean over all items that may
          be recommended.
        """
        score, shares = _explain(self.graphdef, self.params, self.shared_out(batch), self.catalog, self.vectors, item)
        return float(score), {part: float(share) for part, share in shares.items()}

    def over(self, catalog: Catalog) -> ModelRanker:
        """Returns a ranker of the same model for another `Catalog` object of the same ID table.

        The other catalog may allow other items to be recommended, such as only cold items.
        """
        there = on_every_device(catalog if self._room is None else padded(catalog, self._room), self.mesh)
        return ModelRanker(
            self.name,
            self.graphdef,
            self.params,
            there,
            num_beams=self.num_beams,
            mesh=self.mesh,
            room=self._room,
        )

    def shared_out(self, batch: Any) -> Any:
        """Pads the leading axis B of arrays to a multiple of the number of devices, and shards it over all devices."""
        padding = -len(jax.tree.leaves(batch)[0]) % self.mesh.size
        padded = jax.tree.map(lambda leaf: np.pad(leaf, ((0, padding),) + ((0, 0),) * (leaf.ndim - 1), "edge"), batch)
        return jax.tree.map(lambda leaf: share_out(leaf.shape, self.mesh, leaf.__getitem__), padded)

    def _count_invalid(self, codes: np.ndarray) -> None:
        generated = codes.reshape(-1, codes.shape[-1])
        # If there are fewer IDs than beams, the remaining beams hold no ID.
        generated = generated[generated[:, 0] >= 0]
        self.num_generated += len(generated)
        numbers = _as_numbers(generated, self.catalog.trie.sizes)
        places = np.searchsorted(self._known, numbers).clip(max=len(self._known) - 1)
        self.num_invalid += int((self._known[places] != numbers).sum())


@functools.partial(jax.jit, static_argnames="graphdef")
def _item_vectors(graphdef: nnx.GraphDef[Any], params: nnx.State, catalog: Catalog) -> Any:
    model: Any = nnx.merge(graphdef, params)
    return model.item_vectors(catalog) if isinstance(model, ItemModel) else None


@functools.partial(jax.jit, static_argnames=("graphdef", "num_beams"))
def _find(
    graphdef: nnx.GraphDef[Any],
    params: nnx.State,
    histories: HistoryBatch,
    catalog: Catalog,
    vectors: Any,
    *,
    num_beams: int,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Returns items `[B, M]`, the best first, their scores, and generated codes (None if the model scores items)."""
    model: Any = nnx.merge(graphdef, params)
    if isinstance(model, ItemModel):
        return *best_items(model, histories, catalog, vectors, min(num_beams, len(catalog.semantic_ids))), None
    generated = beam_search(model, histories, catalog, num_beams)
    codes = jnp.where(generated.leaves[..., None] >= 0, generated.semantic_ids, -1)
    return *generated_items(generated, catalog.trie, num_beams), codes


@functools.partial(jax.jit, static_argnames=("graphdef", "num_items"))
def _find_in_shortlist(
    graphdef: nnx.GraphDef[Any],
    params: nnx.State,
    histories: HistoryBatch,
    catalog: Catalog,
    vectors: jax.Array,
    shortlist: Shortlist,
    *,
    num_items: int,
) -> tuple[jax.Array, jax.Array]:
    """Returns items `[B, M]`, the best first, and their scores."""
    model: Any = nnx.merge(graphdef, params)
    return best_of_shortlist(model, histories, catalog, vectors, shortlist, num_items)


@functools.partial(jax.jit, static_argnames="graphdef")
def _rank_all(
    graphdef: nnx.GraphDef[Any], params: nnx.State, histories: HistoryBatch, catalog: Catalog
) -> tuple[jax.Array, jax.Array]:
    """Returns all items `[B, n]`, the best first, and their scores."""
    model: Any = nnx.merge(graphdef, params)
    trie = catalog.trie
    scores = score_leaves(model, histories, catalog, _LEAVES_AT_ONCE)
    best, leaves = jax.lax.top_k(scores, scores.shape[1])
    return generated_items(Generated(leaves, best, leaves), trie, trie.items.shape[0])


@functools.partial(jax.jit, static_argnames="graphdef")
def _explain(
    graphdef: nnx.GraphDef[Any],
    params: nnx.State,
    histories: HistoryBatch,
    catalog: Catalog,
    vectors: Any,
    item: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    model: Any = nnx.merge(graphdef, params)
    evidence = catalog.evidence
    # A mean over the trie's items would count the last item several times, since padding repeats this item.
    candidates = (candidate_mask(catalog) == 0).astype(jnp.float32)
    candidates = candidates / jnp.sum(candidates)
    added = model.by_part(histories, catalog, vectors)
    if evidence is not None:
        added = {part: evidence.weights[0] * logits for part, logits in added.items()}
        every = terms(hear(histories, evidence), evidence, 0, len(catalog.semantic_ids)).items()
        for weight, (name, term) in zip(evidence.weights[1:], every, strict=True):
            # "content" is the name of both a component and a term of the blend; the two are added.
            added[name] = added.get(name, 0.0) + weight * term
    shares = {name: logits[0, item] - jnp.sum(candidates * logits[0]) for name, logits in added.items()}
    scores = scores_of_items(model, histories, catalog, vectors)(0, len(catalog.semantic_ids))[0]
    return scores[item] - jax.nn.logsumexp(scores), shares


def best_items(
    model: ItemModel, histories: HistoryBatch, catalog: Catalog, vectors: Any, count: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the items with the highest scores, `[B, count]`, and their log-probabilities among the trie's items.

    If fewer items may be recommended, the lists are padded with -1.
    """
    scores_of, num_items = scores_of_items(model, histories, catalog, vectors), len(catalog.semantic_ids)
    if num_items <= _ITEMS_AT_ONCE or count > _ITEMS_AT_ONCE // 4:
        scores = scores_of(0, num_items)
        best, items = jax.lax.top_k(scores, count)
        return _real(items, best), best - jax.nn.logsumexp(scores, axis=-1, keepdims=True)

    def best_of_block(first: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        # The last block starts earlier so that it is full; its items that are also in the previous block are masked.
        start = jnp.minimum(first, num_items - _ITEMS_AT_ONCE)
        new = (start + jnp.arange(_ITEMS_AT_ONCE) >= first)[None]
        scores = jnp.where(new, scores_of(start, _ITEMS_AT_ONCE), MASKED)
        best, places = jax.lax.top_k(scores, count)
        return best, start + places, jax.nn.logsumexp(scores, axis=-1, keepdims=True)

    found = jax.lax.map(best_of_block, jnp.arange(0, num_items, _ITEMS_AT_ONCE))
    scores, items, totals = (jnp.moveaxis(each, 0, 1).reshape(each.shape[1], -1) for each in found)
    best, places = jax.lax.top_k(scores, count)
    items = _real(jnp.take_along_axis(items, places, axis=1), best)
    return items, best - jax.nn.logsumexp(totals, axis=-1, keepdims=True)


def _real(items: jax.Array, scores: jax.Array) -> jax.Array:
    return jnp.where(scores > MASKED / 2, items, -1)


def scores_of_items(
    model: ItemModel, histories: HistoryBatch, catalog: Catalog, vectors: Any
) -> Callable[[jax.Array | int, int], jax.Array]:
    """Returns a function (first, n) that computes the scores `[B, n]` of n items, starting at item `first`.

    The scores are the model's scores. If the catalog has `evidence`, the data of a blend, they are the blended scores.
    Items that may not be recommended get a score so low that a softmax gives them probability 0.
    """
    known, mask = model.read(histories, vectors), candidate_mask(catalog)
    heard = None if catalog.evidence is None else hear(histories, catalog.evidence)

    def scores_of(first: jax.Array | int, count: int) -> jax.Array:
        scores = model.scores(known, jax.tree.map(lambda all_: _part(all_, first, count), vectors))
        if catalog.evidence is not None and heard is not None:
            scores = blended(scores, heard, catalog.evidence, first)
        return scores + _part(mask, first, count)[None]

    return scores_of


def _part(rows: jax.Array, first: jax.Array | int, count: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(rows, first, count)


def first_allowed(
    lists: np.ndarray, scores: np.ndarray, exclude: np.ndarray | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for each list, the first `count` items that are not excluded, and their scores.

    Args:
      lists: `[B, M]` row numbers of items, the best first, padded with -1.
      scores: `[B, M]`.
      exclude: `[B, S]` row numbers of items, padded with -1; None excludes nothing.
      count: k.

    Returns:
      `[B, count]` int32, -1 where there are no more; and `[B, count]` float32.
    """
    if exclude is not None:
        lists = lists.copy()
        for row, unwanted in enumerate(exclude):
            lists[row, np.isin(lists[row], unwanted)] = -1
        order = np.argsort(lists < 0, axis=1, kind="stable")
        lists, scores = (np.take_along_axis(each, order, axis=1) for each in (lists, scores))
    room = ((0, 0), (0, max(0, count - lists.shape[1])))
    return (
        np.pad(lists[:, :count].astype(np.int32), room, constant_values=-1),
        np.pad(scores[:, :count].astype(np.float32), room, constant_values=-np.inf),
    )


def _as_numbers(codes: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Returns a unique number for each ID `[n, L]`, as Python integers if 64 bits could overflow."""
    numbers = np.zeros(len(codes), object if np.prod([float(size) for size in sizes]) > 2**62 else np.int64)
    for level, size in enumerate(sizes):
        numbers = numbers * size + codes[:, level]
    return numbers
