"""Layout of the map of codes: each code of level 1 is an island in the plane, with the items that have this code.

Islands are placed by t-SNE of the first level's codewords (van der Maaten and Hinton, Visualizing Data using t-SNE,
JMLR 9, 2008), so neighbors on the map are neighbors among codewords. Within an island, an item is placed by the sum of
its codewords at the other levels, projected onto the first two principal axes of all codewords of these levels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy

from sid_jax.one_thread import one_blas_thread

# These colors are readable on white and on black. Nearby islands of the map have different colors.
COLORS = ("#4c8df6", "#f28e2b", "#2ca25f", "#e15759", "#9467bd", "#17a2b8", "#d4a017", "#e377c2", "#8c6d4f")
# Maximum number K of codes of level 1 for t-SNE, whose cost grows with K squared. If there are more codes, or fewer
# than 8, the islands are placed by principal axes.
_MOST_ISLANDS = 1024
_PERPLEXITY = 20.0
# An island's radius (two standard deviations of its items), relative to the distance to the nearest island.
_RADIUS = 0.55
_NEIGHBORS = 6


@dataclasses.dataclass(frozen=True)
class Layout:
    """Positions of codes on the map.

    Attributes:
      islands: `[K, 2]`, position of the island of each first code.
      colors: `[K]` int, a color number from 0 for each first code; nearby islands have different colors.
      radii: `[K]`, radius of each island.
      further: for each further level, the codewords projected onto the plane, `[K, 2]`.
    """

    islands: np.ndarray
    colors: np.ndarray
    radii: np.ndarray
    further: list[np.ndarray]

    def places(self, semantic_ids: np.ndarray) -> np.ndarray:
        """Returns the map positions `[N, 2]` of Semantic IDs `[N, L]`, or `[N, L + 1]` with an ignored suffix."""
        first = semantic_ids[:, 0]
        if not self.further:
            return self.islands[first]
        offsets = sum(words[semantic_ids[:, level]] for level, words in enumerate(self.further, start=1))
        size = np.sqrt(np.mean(np.square(offsets))) or 1.0
        # tanh limits the offset smoothly, so that no item reaches the next island.
        return self.islands[first] + np.tanh(offsets / (2 * size)) * self.radii[first][:, None]


def lay_out(codebooks: Sequence[np.ndarray], num_colors: int = len(COLORS)) -> Layout:
    """Returns the layout of L codebooks `[K, Z]`."""
    islands = _spread(_embed(np.asarray(codebooks[0], np.float64)))
    tree = scipy.spatial.cKDTree(islands)
    distances, near = tree.query(islands, k=min(_NEIGHBORS + 1, len(islands)))
    distances, near = distances.reshape(len(islands), -1), near.reshape(len(islands), -1)
    spacing = distances[:, 1] if distances.shape[1] > 1 else np.ones(1)
    usual = float(np.median(spacing)) or 0.1
    radii = np.clip(spacing, 0.6 * usual, 1.6 * usual) * _RADIUS
    return Layout(islands, _colors(near, num_colors), radii, _further(codebooks[1:]))


def _embed(points: np.ndarray) -> np.ndarray:
    """Embeds points `[K, Z]` in the plane, `[K, 2]`."""
    start = _principal(points)
    if not 8 <= len(points) <= _MOST_ISLANDS:
        return start
    near = _joint_probabilities(points, min(_PERPLEXITY, (len(points) - 1) / 3))
    places = start / (start.std() or 1.0) * 1e-2
    with one_blas_thread():
        # The first iterations use early exaggeration, so that clusters form before they spread.
        for exaggeration, iterations in ((4.0, 60), (1.0, 200)):
            options = {"maxiter": iterations}
            found = scipy.optimize.minimize(
                _divergence, places.ravel(), (near * exaggeration,), "L-BFGS-B", jac=True, options=options
            )
            places = found.x.reshape(-1, 2)
    return places


def _spread(places: np.ndarray) -> np.ndarray:
    """Returns positions from -1 to 1 on each axis: the mean of the scaled positions and the scaled ranks.

    This keeps the order on each axis, and reduces the empty space between groups of islands.
    """
    ranks = np.stack([_ranks(axis) for axis in places.T], axis=1) / len(places) * 2 - 1
    low, high = places.min(axis=0), places.max(axis=0)
    return ((places - low) / np.where(high > low, high - low, 1.0) * 2 - 1 + ranks) / 2


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns the rank of each value, `[K]`, from 1. Equal values get their mean rank, as in scipy.stats.rankdata.

    Importing scipy.stats would take longer than computing the layout.
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _principal(points: np.ndarray) -> np.ndarray:
    centered = points - points.mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:2]
    return centered @ np.pad(axes, ((0, 2 - len(axes)), (0, 0))).T


def _joint_probabilities(points: np.ndarray, perplexity: float) -> np.ndarray:
    """Returns t-SNE's p `[K, K]`: symmetrized Gaussians around each point, with widths that give this perplexity."""
    squares = np.square(points).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0)
    np.fill_diagonal(distances, np.inf)
    distances -= distances.min(axis=1, keepdims=True)
    low, high = np.full(len(points), -30.0), np.full(len(points), 30.0)
    for _ in range(50):
        precision = (low + high) / 2
        weights = np.exp(-distances * np.exp(precision)[:, None])
        shares = weights / weights.sum(axis=1, keepdims=True)
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
    return (shares + shares.T) / (2 * len(points))


def _divergence(flat: np.ndarray, near: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns t-SNE's loss, KL(p || q) up to a constant, and its gradient.

    p is `near`. q follows from the distances between the positions `flat`, by Student's t with one degree of freedom.
    """
    places = flat.reshape(-1, 2)
    squares = np.square(places).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * places @ places.T, 0)
    kernel = 1 / (1 + distances)
    np.fill_diagonal(kernel, 0)
    total, mass = kernel.sum(), near.sum()
    pull = (near - (mass / total) * kernel) * kernel
    gradient = 4 * (pull.sum(axis=1)[:, None] * places - pull @ places)
    # p is `near`, whose diagonal is 0. q is `kernel / total`, so -log(q) is log(1 + distance) + log(total).
    return float(np.vdot(near, np.log1p(distances)) + mass * np.log(total)), gradient.ravel()


def _colors(near: np.ndarray, num_colors: int) -> np.ndarray:
    """Returns colors `[K]`, which differ between neighboring islands if there are enough colors."""
    colors = np.full(len(near), -1)
    for island, beside in enumerate(near):
        taken = np.bincount(colors[beside][colors[beside] >= 0], minlength=num_colors)
        # Rotate among the colors that are least frequent among the neighbors, so that all colors are used.
        fewest = np.flatnonzero(taken == taken.min())
        colors[island] = fewest[island % len(fewest)]
    return colors


def _further(codebooks: Sequence[np.ndarray]) -> list[np.ndarray]:
    if not codebooks:
        return []
    words = np.concatenate([codebook - codebook.mean(axis=0) for codebook in codebooks]).astype(np.float64)
    axes = np.linalg.svd(words, full_matrices=False)[2][:2]
    axes = np.pad(axes, ((0, 2 - len(axes)), (0, 0)))
    return [(codebook - codebook.mean(axis=0)) @ axes.T for codebook in codebooks]
