"""Items that the catalog does not have, but might: what training sees beside those that it has."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def displaced(vectors: jax.Array, share: jax.Array | float) -> jax.Array:
    """Returns vectors `[B, D]` with a share of the difference between two others of them added to each.

    As extrapolation in feature space does (DeVries and Taylor, 1702.05538, section 3.3), but along the difference of
    two other items: what is added varies as items do, most where they differ most. A network that has only seen the
    items themselves learns them by heart, and serves a new one worse than k-means would.

    Args:
      vectors: `[B, D]`, in random order: which two others it is follows from the place. Of fewer than three, one is the
        vector itself.
      share: 0 or more, may be traced.
    """
    return vectors + share * (jnp.roll(vectors, 1, axis=0) - jnp.roll(vectors, 2, axis=0))
