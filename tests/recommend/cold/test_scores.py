from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from sid_jax.ids.trie import build_trie
from sid_jax.recommend.batch import HistoryBatch, history_shares
from sid_jax.recommend.cold.scores import BackOff, cold_scores, cold_scores_of_items, prefix_scores, spread
from sid_jax.recommend.models.catalog import build_catalog

# Items 0 to 3 are warm, and items 4 to 6 are cold. Items 4 and 5 have the same first code. Item 6 is the only
# cold item whose last code is also the last code of a warm item.
IDS = np.array([[0, 0], [0, 1], [1, 0], [2, 1], [1, 2], [1, 3], [2, 0]])
# The log-probabilities of the first code, and those of the second code after each first code.
FIRST = np.log([0.2, 0.5, 0.3])
SECOND = np.log([[0.4, 0.4, 0.1, 0.1], [0.5, 0.1, 0.3, 0.1], [0.25, 0.6, 0.1, 0.05]])
ANGLES = np.array([0.0, 0.3, 1.0, 1.5, 0.9, 0.1, 1.4])
CONTENT = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)


class Told:
    """A model with the log-probabilities `FIRST` and `SECOND` after any history."""

    def begin(self, histories, catalog):
        return None, jnp.zeros((len(histories.lengths), 1), jnp.int32)

    def score(self, shared, beams, level):
        table = jnp.asarray(SECOND if level else FIRST[None], jnp.float32)
        return table[beams], beams

    def extend(self, beams, level, parents, codes):
        return codes


def worlds():
    known = build_catalog(IDS, build_trie(IDS, rows=np.arange(4)))
    cold = build_trie(IDS, known.trie.sizes, rows=np.arange(4, 7))
    assert cold.items.tolist() == [4, 5, 6]
    histories = HistoryBatch(np.array([[3, 0, 0], [0, 2, 0]], np.int32), np.array([1, 2], np.int32), np.zeros(2))
    return Told(), histories, known, cold


def likeness(known: int, cold: int, sharpness: float) -> float:
    each = {item: math.exp(sharpness * math.cos(ANGLES[known] - ANGLES[item])) for item in (4, 5, 6)}
    return each[cold] / sum(each.values())


def test_a_history_says_less_the_older_it_is():
    shares = np.asarray(history_shares(np.array([1, 3], np.int32), 3, 0.5))
    np.testing.assert_allclose(shares, [[1, 0, 0], [1 / 7, 2 / 7, 4 / 7]], rtol=1e-6)
    np.testing.assert_allclose(history_shares(np.array([2], np.int32), 3, 1.0), [[0.5, 0.5, 0]], rtol=1e-6)


def test_prefixes_and_exact_ids_have_the_model_s_probability():
    two, one, none = (prefix_scores(*worlds(), levels) for levels in (2, 1, 0))
    np.testing.assert_allclose(np.exp(two), [[0.5 * 0.3, 0.5 * 0.1, 0.3 * 0.25]] * 2, rtol=1e-5)
    np.testing.assert_allclose(np.exp(one), [[0.5, 0.5, 0.3]] * 2, rtol=1e-5)
    np.testing.assert_array_equal(none, np.zeros((2, 3)))


def test_what_known_items_say_of_cold_ones_by_hand():
    items, weights = np.array([[0, 3], [2, 0]], np.int32), np.array([[0.25, 0.75], [1, 0]], np.float32)
    found = np.exp(spread(items, weights, jnp.asarray(CONTENT), jnp.array([4, 5, 6]), 3.0))
    wanted = [[0.25 * likeness(0, item, 3) + 0.75 * likeness(3, item, 3) for item in (4, 5, 6)]]
    wanted += [[likeness(2, item, 3) for item in (4, 5, 6)]]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


class Scored:
    """A model that gives items 0 to 6 the probabilities `CHANCES` after any history."""

    CHANCES = np.array([0.3, 0.1, 0.15, 0.05, 0.2, 0.12, 0.08], np.float32)

    def loss(self, batch, catalog, key):
        raise NotImplementedError

    def item_vectors(self, catalog):
        return jnp.log(self.CHANCES)

    def read(self, histories, vectors):
        return jnp.zeros(len(histories.lengths))

    def scores(self, known, vectors):
        return known[:, None] + vectors[None]


def test_the_score_of_a_model_that_scores_items_by_hand():
    _, histories, known, cold = worlds()
    back_off = BackOff(sharpness=3.0, history_share=0.4, decay=0.5, prefix_weight=0.25, prefix_levels=1)
    vectors = Scored().item_vectors(known)
    given = (Scored(), histories, known, vectors, cold, jnp.asarray(CONTENT), back_off)
    scores = cold_scores_of_items(*given, num_best=3)
    # The model's distribution is truncated to the three most likely of the warm items 0 to 3.
    expected = {item: Scored.CHANCES[item] / 0.55 for item in (0, 1, 2)}
    for row, had in enumerate(({3: 1.0}, {0: 1 / 3, 2: 2 / 3})):
        for column, item in enumerate((4, 5, 6)):
            said = sum(
                (0.6 * expected.get(known, 0) + 0.4 * had.get(known, 0)) * likeness(known, item, 3)
                for known in range(4)
            )
            wanted = 0.25 * math.log(Scored.CHANCES[item] / 0.4) + math.log(said)
            assert abs(scores[row, column] - wanted) < 1e-5


def test_the_score_by_hand():
    model, histories, known, cold = worlds()
    back_off = BackOff(sharpness=3.0, history_share=0.4, decay=0.5, prefix_weight=0.25, prefix_levels=1)
    scores = cold_scores(model, histories, known, cold, jnp.asarray(CONTENT), back_off, num_beams=10)
    # In the IDs of warm items, two second codes follow the first code 0, and one second code follows each of the first
    # codes 1 and 2.
    model_says = {0: 0.2 * 0.5, 1: 0.2 * 0.5, 2: 0.5, 3: 0.3}
    for row, had in enumerate(({3: 1.0}, {0: 1 / 3, 2: 2 / 3})):
        for column, item in enumerate((4, 5, 6)):
            said = sum(
                (0.6 * share + 0.4 * had.get(known, 0)) * likeness(known, item, 3)
                for known, share in model_says.items()
            )
            wanted = 0.25 * FIRST[IDS[item, 0]] + math.log(said)
            assert abs(scores[row, column] - wanted) < 1e-5
