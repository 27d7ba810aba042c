"""Data augmentation for the quantizer's training, and its strength if `train.augmentation` is "auto"."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from sid_jax.settings import AUTO

# The strength with "auto" for up to 50,000 items; docs/scale.md has the measurements for larger catalogs.
_SHARE, _SMALL_CATALOG = 0.25, 50_000
# With Gumbel-softmax, the augmentation is weaker, since the Gumbel noise already has a similar effect.
_SHARE_WITH_NOISE = 0.15


def with_augmentation(config: ConfigDict, num_items: int) -> ConfigDict:
    """Returns a config in which `train.augmentation` is a number; "auto" is replaced by its value for N items.

    The more items there are, the less the network memorizes them. Above 50,000 items, the strength is therefore
    proportional to N^(-1/2). Without a network, there is no augmentation.
    """
    if config.train.augmentation != AUTO:
        return config
    share = _SHARE_WITH_NOISE if config.model.quantization_method == "gumbel_softmax" else _SHARE
    if config.model.encoder == "identity":
        share = 0.0
    config = config.copy_and_resolve_references()
    with config.ignore_type():
        config.train.augmentation = round(share * min(1.0, (_SMALL_CATALOG / num_items) ** 0.5), 4)
    return config


def displaced(vectors: jax.Array, share: jax.Array | float) -> jax.Array:
    """Augments vectors `[B, D]`: adds to each vector a multiple of the difference between two other vectors.

    This resembles extrapolation in feature space (DeVries and Taylor, 1702.05538, section 3.3), but the offset is the
    difference between the vectors of two other items. It therefore varies most in the directions in which items differ
    most. A network that is trained only on the items themselves overfits, and reconstructs new items worse than k-means
    does.

    Args:
      vectors: `[B, D]`, in random order, since the two other vectors are chosen by position. With fewer than three
        vectors, at least one of these two is the vector itself. NaN features stay NaN. Features whose difference is NaN
        do not change.
      share: the factor of the difference, 0 or more; may be traced.
    """
    difference = jnp.roll(vectors, 1, axis=0) - jnp.roll(vectors, 2, axis=0)
    return vectors + share * jnp.where(jnp.isnan(difference), 0.0, difference)
