"""Baseline Semantic IDs made without training: random, LSH and residual k-means."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.data.scaling import apply_scaling, fit_scaling
from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.ids.unique import number_items
from sid_jax.quantize.kmeans import residual_kmeans
from sid_jax.quantize.nearest import assign_codes
from sid_jax.streams import stream_key

KINDS = ("random", "lsh", "kmeans")

_KMEANS_ITERATIONS = 25
# Maximum number of items to which k-means is fitted; codes are assigned to all items.
_KMEANS_SAMPLE_ITEMS = 65_536


def make_ids(
    kind: str,
    item_ids: np.ndarray,
    vectors: np.ndarray | None,
    *,
    num_levels: int,
    num_codes: int,
    seed: int,
    cold: np.ndarray | None = None,
) -> IdTable:
    """Returns a table of unique IDs with L codes and a suffix. The name of the table is the kind of IDs.

    Args:
      kind: "random", "lsh" or "kmeans".
      item_ids: `[N]`, all integers or all str.
      vectors: `[N, D]` float32, finite; random IDs need none.
      num_levels: L, the number of codes before the suffix.
      num_codes: K of each level.
      seed: seed of all random draws.
      cold: `[N]` bool, the cold items, which are excluded when the mean vector and the centroids are computed; None if
        there are none.

    Raises:
      ValueError: if the shapes do not match.
      UserError: if the kind is unknown; if it needs vectors and there are none; if two items have the same id; or if K
        is invalid.
    """
    if kind not in KINDS:
        raise UserError(f"there are no IDs of the kind {kind!r}; choose one of {', '.join(KINDS)}")
    if kind == "random":
        codes = random_ids(len(item_ids), num_levels, num_codes, seed)
    elif vectors is None:
        raise UserError(f"{kind} IDs need item vectors, and there are none; give vectors, or choose random")
    elif kind == "lsh":
        codes = lsh_ids(vectors, num_levels, num_codes, seed, cold)
    else:
        codes = kmeans_ids(vectors, num_levels, num_codes, seed, cold)
    return IdTable(item_ids, _with_suffix(codes, item_ids, cold), name=kind)


def random_ids(num_items: int, num_levels: int, num_codes: int, seed: int) -> np.ndarray:
    """Returns random codes, uniform over the K codes of a level: `[N, L]` int32."""
    key = stream_key(seed, "random_ids")
    return np.array(jax.random.randint(key, (num_items, num_levels), 0, num_codes, jnp.int32))


def lsh_ids(
    vectors: np.ndarray, num_levels: int, num_codes: int, seed: int, cold: np.ndarray | None = None
) -> np.ndarray:
    """Returns codes by locality-sensitive hashing (Rajput et al., 2305.05065, section 4.2): `[N, L]` int32.

    Each level has log2(K) random hyperplanes through the mean vector of the catalog. Each bit of an item's code tells
    on which side of a hyperplane the item lies. The first hyperplane gives the lowest bit.

    Args:
      vectors: `[N, D]` float32.
      num_levels: L.
      num_codes: K, a power of two.
      seed: seed of the hyperplanes.
      cold: see `make_ids`.

    Raises:
      UserError: if K is not a power of two.
    """
    if num_codes < 1 or num_codes & (num_codes - 1):
        raise UserError(f"LSH IDs cannot have {num_codes} codes per level; choose a power of two, such as 256")
    points = _points(vectors, cold)
    num_bits = num_codes.bit_length() - 1
    normals = jax.random.normal(stream_key(seed, "lsh_ids"), (points.shape[1], num_levels * num_bits))
    above = jnp.matmul(points, normals, precision=jax.lax.Precision.HIGHEST) > 0
    bits = np.asarray(above).reshape(len(points), num_levels, num_bits)
    return (bits @ (1 << np.arange(num_bits))).astype(np.int32)


def kmeans_ids(
    vectors: np.ndarray, num_levels: int, num_codes: int, seed: int, cold: np.ndarray | None = None
) -> np.ndarray:
    """Returns codes by residual k-means, level by level on the residuals of the earlier levels: `[N, L]` int32.

    Args:
      vectors: `[N, D]` float32.
      num_levels: L.
      num_codes: K.
      seed: seed of the sample and of the starting centroids.
      cold: see `make_ids`.
    """
    points = _points(vectors, cold)
    sample = points if cold is None else points[~cold]
    if len(sample) > _KMEANS_SAMPLE_ITEMS:
        key = stream_key(seed, "kmeans_ids_sample")
        sample = sample[jax.random.choice(key, len(sample), (_KMEANS_SAMPLE_ITEMS,), replace=False)]
    sizes = [num_codes] * num_levels
    return np.array(
        assign_codes(points, residual_kmeans(sample, sizes, _KMEANS_ITERATIONS, stream_key(seed, "kmeans_ids")))
    )


def _with_suffix(codes: np.ndarray, item_ids: np.ndarray, cold: np.ndarray | None) -> np.ndarray:
    """Appends suffixes to codes. Cold items get higher suffixes than warm items, as if they were added later."""
    new = np.zeros(len(codes), bool) if cold is None else cold
    suffixes = np.empty(len(codes), np.int32)
    for kind in (~new, new):
        suffixes[kind] = number_items(codes[kind], item_ids[kind])
    _, bucket = np.unique(codes, axis=0, return_inverse=True)
    bucket = bucket.reshape(-1)
    suffixes[new] += np.bincount(bucket[~new], minlength=len(codes))[bucket[new]].astype(np.int32)
    return np.column_stack([codes, suffixes])


def _points(vectors: np.ndarray, cold: np.ndarray | None) -> jax.Array:
    """Scales vectors `[N, D]` to length 1, and then subtracts the mean over the warm items."""
    vectors = np.asarray(vectors, np.float32)
    fitted = vectors if cold is None else vectors[~cold]
    return apply_scaling(fit_scaling(fitted, unit_norm=True, center=True, standardize="none"), vectors)
