"""Beam search over the levels: finds several code tuples near each vector, where greedy assignment finds one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from sid_jax.quantize.nearest import Codebooks, largest_few, sum_codewords

# Code tuples `[B, C, L]` int32, and their squared distances `[B, C]` float32.
Codes = tuple[jax.Array, jax.Array]
# On a CPU, the search for the highest scores divides the scores into groups of `_GROUP`, if at most `_MOST_BY_GROUPS`
# scores are wanted.
_GROUP, _MOST_BY_GROUPS = 32, 32
# Up to this number of codes per level, inner products of codewords are computed for all pairs of levels.
_FEW_CODES = 1024
# Number of vectors that are processed together. Their intermediate arrays must fit into a core's cache.
_ROWS_TOGETHER = 64


@functools.partial(jax.jit, static_argnames="width")
def beam_codes(latents: jax.Array, codebooks: Codebooks, width: int) -> tuple[jax.Array, jax.Array]:
    """Returns the code tuples nearest to each vector, found by beam search over the levels.

    Each level keeps the partial tuples that are nearest to the vector (Babenko and Lempitsky, Additive Quantization,
    CVPR 2014, section 3.2). Width 1 is the greedy assignment of `assign_codes`.

    Args:
      latents: `[B, Z]`.
      codebooks: L arrays `[K, Z]`, or one `[L, K, Z]`; with none, the only tuple is empty.
      width: beam width, the number of tuples that are kept at each level and returned; static.

    Returns:
      Code tuples `[B, C, L]` int32, distinct and nearest first, and the squared distances `[B, C]` float32 from each
        vector to the sum of the tuple's codewords. C is the width, or the number of possible tuples if that is smaller.
    """
    latents = latents.astype(jnp.float32)
    distances = jnp.sum(jnp.square(latents), axis=-1, keepdims=True)
    if not len(codebooks):
        return jnp.zeros((len(latents), 1, 0), jnp.int32), distances
    codebooks = [codebook.astype(jnp.float32) for codebook in codebooks]
    alone = [_alone(latents, codebook) for codebook in codebooks]
    between = [_between(codebooks[:level], codebook) for level, codebook in enumerate(codebooks)]

    def walk(given: tuple[jax.Array, ...]) -> Codes:
        distances, *alone = given
        codes = jnp.zeros((len(distances), 1, 0), jnp.int32)
        for level, codebook in enumerate(codebooks):
            longer = distances[..., None] + alone[level][:, None]
            longer = _with_cross_terms(longer, codes, codebooks[:level], codebook, between[level])
            codes, distances = _extended(codes, -longer, width)
        return codes, distances

    return _by_chunks(walk, (distances, *alone))


@functools.partial(jax.jit, static_argnames="count")
def completed_codes(
    latents: jax.Array,
    codebooks: Codebooks,
    prefixes: jax.Array,
    distances: jax.Array,
    excluded: jax.Array,
    count: int,
) -> tuple[jax.Array, jax.Array]:
    """Returns the nearest code tuples among all that complete the given prefixes; excluded tuples come last.

    Args:
      latents: `[B, Z]`.
      codebooks: L arrays `[K, Z]`, or one `[L, K, Z]`. Below, K is the number of codes of the last level.
      prefixes: `[B, C, L - 1]` int32, the first codes of the tuples, distinct within a row.
      distances: `[B, C]`, the squared distances from each vector to the sums of the prefixes' codewords.
      excluded: `[B, C, K]` bool, True if the prefix with this last code is an excluded tuple.
      count: number of tuples to return; static.

    Returns:
      Code tuples `[B, n, L]` int32, nearest first, and the squared distances `[B, n]` float32 from each vector to the
        sum of the tuple's codewords, infinite for an excluded tuple. n is `count`, or C * K if that is smaller.
    """
    latents = latents.astype(jnp.float32)
    *earlier, last = [codebook.astype(jnp.float32) for codebook in codebooks]
    between = _between(earlier, last)

    def complete(given: tuple[jax.Array, ...]) -> Codes:
        prefixes, distances, alone, excluded = given
        longer = _with_cross_terms(distances[..., None] + alone[:, None], prefixes, earlier, last, between)
        return _extended(prefixes, jnp.where(excluded, -jnp.inf, -longer), count)

    return _by_chunks(complete, (prefixes, distances, _alone(latents, last), excluded))


# The distance of a tuple is a sum of inner products: |x - c1 - c2|^2 = |x|^2 + (|c1|^2 - 2 x.c1) + (|c2|^2 - 2 x.c2)
# + 2 c1.c2. The terms of one vector and one codeword are computed once, and so are the products of codewords if there
# are few codes. The search then needs only additions.
def _alone(latents: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns `|c|^2 - 2 x.c` for vectors x `[B, Z]` and codewords c `[K, Z]`: `[B, K]`."""
    return jnp.sum(jnp.square(codebook), axis=-1)[None] - 2 * _product(latents, codebook)


def _between(earlier: Sequence[jax.Array], codebook: jax.Array) -> list[jax.Array] | None:
    """Returns `2 c.c'` for codewords c of each earlier level and c' of a codebook; None if there are many codes."""
    if max([len(codebook), *map(len, earlier)]) > _FEW_CODES:
        return None
    return [2 * _product(each, codebook) for each in earlier]


def _with_cross_terms(
    distances: jax.Array,
    codes: jax.Array,
    earlier: Sequence[jax.Array],
    codebook: jax.Array,
    between: list[jax.Array] | None,
) -> jax.Array:
    """Returns distances `[B, C, K]` plus `2 s.c`, for the sums s of the codewords of prefixes `[B, C, l]`."""
    if between is None and earlier:
        return distances + 2 * _product(sum_codewords(codes, earlier), codebook)
    for level, products in enumerate(between or ()):
        distances += products[codes[..., level]]
    return distances


def _extended(codes: jax.Array, scores: jax.Array, width: int) -> Codes:
    """Extends prefixes `[B, C, l]` by one code, and returns the `width` nearest results.

    `scores` `[B, C, K]` are negative squared distances.
    """
    scores, parents, code = _best(scores, width)
    codes = jnp.take_along_axis(codes, parents[..., None], axis=1)
    return jnp.concatenate([codes, code[..., None]], axis=-1), jnp.maximum(-scores, 0.0)


def _by_chunks(function: Callable[[tuple[jax.Array, ...]], Codes], arrays: tuple[jax.Array, ...]) -> Codes:
    """Calls a function on a few rows of arrays `[B, ...]` at a time, so that its intermediate arrays fit a cache."""
    rows = len(arrays[0])
    chunks = -(-rows // _ROWS_TOGETHER)
    if chunks < 2:
        return function(arrays)
    padding = chunks * _ROWS_TOGETHER - rows
    given = [
        jnp.pad(each, [(0, padding), *[(0, 0)] * (each.ndim - 1)]).reshape(chunks, _ROWS_TOGETHER, *each.shape[1:])
        for each in arrays
    ]
    codes, distances = jax.lax.map(function, tuple(given))
    return codes.reshape(-1, *codes.shape[2:])[:rows], distances.reshape(-1, distances.shape[-1])[:rows]


def _best(scores: jax.Array, width: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the `width` highest of each row's scores `[B, C, K]`, and their indices along C and along K.

    The three results are `[B, C']`. C' is the width, or C * K if that is smaller.
    """
    rows, parents, size = scores.shape
    width = min(width, parents * size)
    of_groups = _top_k if width > _MOST_BY_GROUPS else _top_k_by_groups
    best, place = jax.lax.platform_dependent(
        scores.reshape(rows, -1),
        cpu=functools.partial(of_groups, count=width),
        default=functools.partial(_top_k, count=width),
    )
    return best, place // size, place % size


def _top_k(scores: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    best, place = jax.lax.top_k(scores, count)
    return best, place


def _top_k_by_groups(scores: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns the same as `jax.lax.top_k` for scores `[B, M]`, and takes less time on a CPU if `count` is small.

    Each of the highest scores is in one of the `count` groups with the highest maxima, so only these groups are sorted.
    """
    scores = jnp.pad(scores, ((0, 0), (0, -scores.shape[1] % _GROUP)), constant_values=-jnp.inf)
    # Without the barrier, XLA would compute the scores twice.
    groups = jax.lax.optimization_barrier(scores.reshape(len(scores), -1, _GROUP))
    # In ascending order of groups, equal scores stay in the order of their indices.
    chosen = jnp.sort(largest_few(groups.max(axis=-1), min(count, groups.shape[1]))[1], axis=1)
    best, place = largest_few(jnp.take_along_axis(groups, chosen[..., None], axis=1).reshape(len(scores), -1), count)
    return best, jnp.take_along_axis(chosen, place // _GROUP, axis=1) * _GROUP + place % _GROUP


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
