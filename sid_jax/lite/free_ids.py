"""Finds a free Semantic ID for one new item: the ID that an append of this item alone would assign."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from .model import Model

# The rounds of search of an append (`sid_jax.ids.relocate`). Each is a pair: the number of prefixes of L - 1 codes with
# the same first code, and how many of the nearest free tuples under them are decoded and compared with the item's
# vector.
_SEARCHES = ((16, 4), (32, 1))


def free_tuple(model: Model, vector: np.ndarray, taken: Counter[tuple[int, ...]], capacity: int) -> tuple[int, ...]:
    """Returns the item's own codes if they are free, or else a nearby code tuple that is free.

    Tuples under the item's own first code are tried first, in rounds (`_SEARCHES`). A round takes the free tuples that
    are nearest to the latent vector. Of these, the one whose decoded vector is nearest to `vector` is returned. If no
    round finds a free tuple, all tuples under the first code are tried in numerical order, starting at the item's own
    later codes. If the first code has no free tuple, the other first codes are tried, the nearest first.

    Args:
      model: the export's model.
      vector: `[D]` float32.
      taken: the number of items with each tuple.
      capacity: the maximum number of items per tuple.

    Raises:
      ValueError: if no tuple is free.
    """
    latent = model.latents(vector[None])
    own = tuple(model.assign(latent)[0].tolist())
    if taken[own] < capacity:
        return own
    for first in _first_codes(model, latent, own[0]):
        found = _near(model, vector, latent[0] - model.codebooks[0][first], first, taken, capacity)
        found = found or next((each for each in _following(own, first, model.sizes) if taken[each] < capacity), None)
        if found:
            return found
    raise ValueError(
        f"all IDs are taken (codes per level: {', '.join(map(str, model.sizes))}); train with more codes or levels"
    )


def _near(
    model: Model, vector: np.ndarray, left_over: np.ndarray, first: int, taken: Counter[tuple[int, ...]], capacity: int
) -> tuple[int, ...] | None:
    for num_prefixes, num_judged in _SEARCHES:
        near = ((first, *each) for each in _nearest(left_over, model.codebooks[1:], num_prefixes))
        free = list(itertools.islice((each for each in near if taken[each] < capacity), num_judged))
        if free:
            return free[int(np.argmin(_errors(model, vector, np.array(free))))]
    return None


def _errors(model: Model, vector: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Returns the squared errors `[n]` of decoded codes `[n, L]`, over the parts that the item has."""
    wanted = model.scaled(vector[None])
    difference = model.decoded(codes) - wanted
    if not model.has_parts:
        difference = difference * model.scale
    return np.nansum(np.square(difference), axis=1)


def _first_codes(model: Model, latent: np.ndarray, own: int) -> Iterator[int]:
    """Yields the item's own first code, then the other first codes by ascending error.

    The error of a first code is the error of its greedy code tuple, which has the nearest codeword at each later level.
    """
    yield own
    left_over = latent - model.codebooks[0]
    for codebook in model.codebooks[1:]:
        left_over = left_over - codebook[np.argmin(_distances(left_over, codebook), axis=1)]
    order = np.argsort(np.square(left_over).sum(axis=1), kind="stable").tolist()
    yield from (code for code in order if code != own)


def _nearest(latent: np.ndarray, codebooks: list[np.ndarray], num_prefixes: int) -> Iterator[tuple[int, ...]]:
    """Yields the code tuples that begin with the prefixes nearest to a latent vector `[Z]`, the nearest first.

    The prefixes have one code for each codebook except the last, and are found by beam search.
    """
    if not codebooks:
        yield ()
        return
    prefixes: list[tuple[int, ...]] = [()]
    left_over = latent[None]
    for codebook in codebooks[:-1]:
        distances = _distances(left_over, codebook)
        best = np.argsort(distances, axis=None, kind="stable")[:num_prefixes]
        parents, codes = np.unravel_index(best, distances.shape)
        prefixes = [(*prefixes[parent], code) for parent, code in zip(parents.tolist(), codes.tolist(), strict=True)]
        left_over = left_over[parents] - codebook[codes]
    distances = _distances(left_over, codebooks[-1])
    for place in np.argsort(distances, axis=None, kind="stable").tolist():
        parent, code = divmod(place, distances.shape[1])
        yield (*prefixes[parent], code)


def _distances(left_over: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Returns the squared distances `[n, K]` of vectors `[n, Z]` to the codewords `[K, Z]`."""
    own = np.square(left_over).sum(axis=1, keepdims=True)
    return own - 2 * (left_over @ codebook.T) + np.square(codebook).sum(axis=1)


def _following(own: tuple[int, ...], first: int, sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yields all tuples with the first code `first` in cyclic order, starting at the later codes of `own`."""
    total, start = math.prod(sizes[1:]), 0
    for code, size in zip(own[1:], sizes[1:], strict=True):
        start = start * size + code
    for step in range(total):
        number, codes = (start + step) % total, []
        for size in reversed(sizes[1:]):
            number, code = divmod(number, size)
            codes.append(code)
        yield (first, *reversed(codes))
