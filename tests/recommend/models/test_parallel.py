from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sid_jax.ids.trie import build_trie
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.models.catalog import build_catalog
from sid_jax.recommend.models.parallel import Parallel
from tests.recommend.models.test_models import FLOAT32, IDS, SIZES, catalog, encoder, histories, loss, rows, stirred


def parallel(temperature=0.5):
    return stirred(Parallel(SIZES, encoder(), temperature=temperature, dtype=FLOAT32, rngs=nnx.Rngs(1)))


def by_hand(model, history):
    """Returns the score of every item after one history, code by code."""
    tables = [np.asarray(table[...], np.float64) for table in model.codes]
    embeddings = [
        np.sum([table[code] for table, code in zip(tables, IDS[item], strict=True)], axis=0) for item in history
    ]
    encode = nnx.jit(lambda encoder, *inputs: encoder(*inputs))
    known = encode(
        model.encoder, jnp.asarray(np.array([embeddings]), jnp.float32), jnp.ones((1, len(history)), jnp.int32)
    )
    known = np.asarray(known, np.float64)[0, -1]
    totals = np.zeros(len(IDS))
    for level, table in enumerate(tables):
        inner = known @ np.asarray(model.heads[...], np.float64)[level]
        expected = known + inner / (1 + np.exp(-inner))
        cosines = table @ expected / np.linalg.norm(expected) / np.linalg.norm(table, axis=1)
        chances = np.exp(cosines / model.temperature)
        totals += np.log(chances / chances.sum())[IDS[:, level]]
    return totals


def scores(model, batch, known):
    vectors = model.item_vectors(known)
    return model.scores(model.read(batch, vectors), vectors)


def test_a_score_is_the_sum_of_the_log_probabilities_of_the_codes():
    model = parallel()
    found = np.asarray(jax.jit(scores)(model, histories(), catalog()))
    for row, history in ((0, [1, 4, 7, 2]), (1, [5]), (2, [9, 8, 7, 6, 5, 4])):
        np.testing.assert_allclose(found[row], by_hand(model, history), atol=2e-4)
    few = build_catalog(IDS, build_trie(IDS, SIZES, rows=np.array([2, 8])))
    of_few = np.asarray(jax.jit(scores)(model, HistoryBatch(*(each[:1] for each in leaves(histories()))), few))
    np.testing.assert_allclose(of_few[0], by_hand(model, [1, 4, 7, 2]), atol=2e-4)


def test_the_loss_is_minus_the_score_per_level():
    model = parallel()
    total, weight = loss(model, rows([1, 4, 7, 2], [0, 0, 3, 6], [1] * 4, [0, 0, 1, 1]), catalog(), None)
    expected = by_hand(model, [1, 4, 7])[3] + by_hand(model, [1, 4, 7, 2])[6]
    assert weight == 2
    assert float(total[0]) == pytest.approx(-expected / 3, abs=1e-4)


def leaves(batch):
    return batch.items, batch.lengths, batch.users
