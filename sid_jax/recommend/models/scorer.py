"""The scorer: a causal transformer that scores all items. With item embeddings alone it is SASRec."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.data.packing import PackedRows
from sid_jax.recommend.models.catalog import Catalog
from sid_jax.recommend.models.history_encoder import HistoryEncoder, last_hidden, padded_segments
from sid_jax.recommend.models.item_softmax import full_cross_entropy, sampled_cross_entropy
from sid_jax.recommend.models.item_vectors import ItemVectors
from sid_jax.recommend.models.layers import split_key


class Scorer(nnx.Module):
    """A transformer over sums of components, which are also its output layer (SASRec, Kang and McAuley, 1808.09781).

    Its loss is the cross-entropy over the whole catalog, or over a sample of it. The loss of the paper has only one
    negative item per target, and leads to much worse recommendations (Klenitskiy and Vasilev, 2309.07602).

    Args:
      items: the sums of components, one per item.
      encoder: transformer over items.
      num_negatives: S, number of items sampled per step; 0 uses all items.
      label_smoothing: share of a target's probability that is spread over all items, or over the sample.
      dtype: dtype of activations.
    """

    def __init__(
        self,
        items: ItemVectors,
        encoder: HistoryEncoder,
        *,
        num_negatives: int,
        label_smoothing: float,
        dtype: jnp.dtype,
    ):
        self.items, self.encoder = items, encoder
        self.num_negatives, self.label_smoothing = num_negatives, label_smoothing
        self.dtype = dtype

    def loss(self, batch: PackedRows, catalog: Catalog, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Returns the cross-entropy over items (`[1]`, the sum over the targets), and the total weight of the targets.

        Args:
          batch: packed rows of histories, with a target at every position.
          catalog: the catalog of the batch's items.
          key: PRNG key of dropout and the sample; None disables dropout and samples with a fixed key.
        """
        loss = self._sampled_loss if self.num_negatives else self._full_loss
        return loss(batch, catalog, key)[None], jnp.sum(batch.weights)

    def item_vectors(self, catalog: Catalog) -> jax.Array:
        """Returns the vectors `[N, F]` of all items, computed once for many requests."""
        return self.items(catalog).astype(self.dtype)

    def read(self, histories: HistoryBatch, vectors: jax.Array) -> jax.Array:
        """Returns the hidden state after each history, `[B, F]`; scores are its inner products with the vectors."""
        segments = padded_segments(histories.lengths, histories.items.shape[1])
        return last_hidden(self.encoder(vectors[histories.items], segments), histories.lengths)

    def scores(self, known: jax.Array, vectors: jax.Array) -> jax.Array:
        """Returns the scores `[B, n]` float32 of the n items with the given vectors `[n, F]`."""
        return jnp.matmul(known, vectors.T, preferred_element_type=jnp.float32)

    def by_part(self, histories: HistoryBatch, catalog: Catalog, vectors: jax.Array) -> dict[str, jax.Array]:
        """Returns, by name, the contribution `[B, N]` float32 of each component to all scores."""
        known = self.read(histories, vectors).astype(jnp.float32)
        return {part: known @ own.T for part, own in self.items.by_part(catalog).items()}

    def _full_loss(self, batch: PackedRows, catalog: Catalog, key: jax.Array | None) -> jax.Array:
        items_key, encoder_key = split_key(key, 2)
        vectors = self.items(catalog, key=items_key)
        hidden = self.encoder(vectors.astype(self.dtype)[batch.inputs], batch.segments, encoder_key)
        targets = batch.targets
        if catalog.cold is not None:
            # Cold items are excluded from the softmax, so that training does not lower their scores.
            known = catalog.trie.items
            targets = jnp.zeros(len(vectors), jnp.int32).at[known].set(jnp.arange(len(known), dtype=jnp.int32))[targets]
            vectors = vectors[known]
        return full_cross_entropy(hidden, vectors, targets, batch.weights, self.label_smoothing)

    def _sampled_loss(self, batch: PackedRows, catalog: Catalog, key: jax.Array | None) -> jax.Array:
        items_key, encoder_key, sample_key = split_key(jax.random.key(0) if key is None else key, 3)
        known = catalog.trie.items
        assert sample_key is not None
        drawn = known[jax.random.randint(sample_key, (self.num_negatives,), 0, len(known))]
        rows = jnp.concatenate([batch.inputs.ravel(), batch.targets.ravel(), drawn])
        # Only the vectors of items that occur in the step are computed.
        vectors = self.items(catalog, rows, items_key if key is not None else None).astype(self.dtype)
        places = batch.inputs.size
        shape = (*batch.inputs.shape, self.items.features)
        read, positives = vectors[:places].reshape(shape), vectors[places : 2 * places].reshape(shape)
        hidden = self.encoder(read, batch.segments, encoder_key if key is not None else None)
        return sampled_cross_entropy(
            hidden,
            positives,
            vectors[2 * places :],
            batch.targets[..., None] == drawn[None, None],
            jnp.full(len(drawn), jnp.log(self.num_negatives / len(known))),
            batch.weights,
            self.label_smoothing,
        )
