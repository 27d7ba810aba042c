"""A synthetic catalog and histories of users, in which an item's successors depend on a few features of its vector."""

from __future__ import annotations

import numpy as np


def make_data(
    num_items: int, num_users: int, *, length: int = 7, num_features: int = 32, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns vectors `[N, num_features]` float32, item ids `[N]`, and each user's items in order `[U, length]` int32.

    The last four features, together with a random popularity of each item, determine which items follow each other. The
    other features have more variance and form 40 clusters.
    """
    random = np.random.default_rng(seed)
    topics = random.normal(size=(40, num_features - 4))
    content = topics[random.integers(0, 40, num_items)] + 0.5 * random.normal(size=(num_items, num_features - 4))
    taste = random.normal(size=(num_items, 4))
    turned = taste @ np.linalg.qr(random.normal(size=(4, 4)))[0]
    # Each item has eight possible successors, the most likely first. An item's popularity is added to its score.
    popularity = 0.5 * random.normal(size=num_items)
    scores = 2 * turned @ taste.T - np.square(taste).sum(axis=1) + popularity
    successors = np.argsort(-scores, axis=1)[:, :8]
    chances = 1 / np.arange(1, 9)
    sequences = np.empty((num_users, length), np.int32)
    sequences[:, 0] = random.integers(0, num_items, num_users)
    for place in range(1, length):
        chosen = random.choice(8, num_users, p=chances / chances.sum())
        sequences[:, place] = successors[sequences[:, place - 1], chosen]
    vectors = np.concatenate([content, taste], axis=1).astype(np.float32)
    return vectors, np.array([f"item-{number}" for number in range(num_items)]), sequences
