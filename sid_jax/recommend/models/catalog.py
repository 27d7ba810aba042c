"""The catalog as an input of the models: each item's Semantic ID, and the codes that may follow each prefix."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.ids.trie import Trie, allowed_codes
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.models.evidence import Evidence
from sid_jax.recommend.models.layers import MASKED


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Catalog:
    """A catalog of N items, as a pytree.

    Attributes:
      semantic_ids: `[N, L]` int32.
      prefixes: `[N, L]` int32, the trie node of an item's first l codes, for l from 0 to L - 1; 0 for an item that is
        not in the trie.
      trie: the trie of the IDs that may be recommended: the IDs of all items, or of a subset of the items.
      content: `[N, D]` float32 content vectors of length sqrt(D), zeros for an item without content; None if the model
        does not use them.
      cold: `[N]` float32, 1 for an item on which the model was not trained; None if there are none.
      evidence: the data of the blend's terms, which are added to a model's scores; None if there is no blend.
    """

    semantic_ids: jax.Array
    prefixes: jax.Array
    trie: Trie
    content: jax.Array | None = None
    cold: jax.Array | None = None
    evidence: Evidence | None = None


def build_catalog(
    semantic_ids: np.ndarray, trie: Trie, content: np.ndarray | None = None, cold: np.ndarray | None = None
) -> Catalog:
    """Builds a catalog from Semantic IDs and the trie of the items that may be recommended.

    Args:
      semantic_ids: `[N, L]` int32.
      trie: the trie of the items that may be recommended.
      content: `[N, D]` float32 vectors of length 1, NaN for an item without a vector.
      cold: `[N]` bool, the items on which the model was not trained.
    """
    # The loop goes from each item's leaf up to the root. The children of a node have consecutive numbers, so np.repeat
    # gives the parent of each child.
    node = np.repeat(np.arange(len(trie.first_item) - 1), np.diff(trie.first_item))
    prefixes = np.zeros(semantic_ids.shape, np.int32)
    for level in reversed(range(semantic_ids.shape[1])):
        first_child = np.asarray(trie.first_child[level])
        node = np.repeat(np.arange(len(first_child) - 1), np.diff(first_child))[node]
        prefixes[np.asarray(trie.items), level] = node
    # `device_put` is used, since `jnp.asarray` would compile a conversion for each shape.
    return Catalog(
        jax.device_put(semantic_ids),
        jax.device_put(prefixes),
        trie,
        None if content is None else jax.device_put(np.nan_to_num(content) * np.float32(content.shape[1] ** 0.5)),
        jax.device_put(cold.astype(np.float32)) if cold is not None and cold.any() else None,
    )


def catalog_of(candidates: Candidates, trie: Trie) -> Catalog:
    """Builds the catalog of candidates; only the items in the trie may be recommended."""
    catalog = build_catalog(candidates.table.semantic_ids, trie, candidates.content, candidates.cold)
    if candidates.blend is None:
        return catalog
    evidence = Evidence.of(candidates.blend, candidates.content, candidates.popularity)
    return dataclasses.replace(catalog, evidence=evidence)


def candidate_mask(catalog: Catalog) -> jax.Array:
    """Returns `[N]` float32 to add to scores: 0 for items that may be recommended, `MASKED` for all others."""
    return jnp.full(len(catalog.semantic_ids), MASKED).at[catalog.trie.items].set(0.0)


def code_loss(logits: jax.Array, catalog: Catalog, items: jax.Array, level: int) -> jax.Array:
    """Returns the cross-entropy of each item's code at one level, over the codes that may follow the item's prefix.

    The sum over levels is the negative log-probability of an item's ID among existing IDs. IDs without an item have
    probability 0.

    Args:
      logits: `[..., K]`.
      catalog: the catalog of the items.
      items: `[...]` int32.
      level: the level of the codes; static.

    Returns:
      `[...]` float32.
    """
    # At level 0, all items have the empty prefix, so one row of the mask is enough.
    nodes = catalog.prefixes[items, level] if level else jnp.zeros((1,) * items.ndim, jnp.int32)
    allowed = allowed_codes(catalog.trie, level, nodes)
    logits = jnp.where(allowed, logits.astype(jnp.float32), MASKED)
    return cross_entropy(logits, catalog.semantic_ids[items, level])


def cross_entropy(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """Returns the cross-entropy `-log softmax(logits)[class]`, `[...]` float32; logits `[..., K]`, classes `[...]`."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, classes[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen
