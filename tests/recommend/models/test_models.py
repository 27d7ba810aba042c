from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sid_jax.ids.trie import build_trie
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.data.packing import PackedRows, PrefixExamples
from sid_jax.recommend.models import item_softmax
from sid_jax.recommend.models.beam_search import beam_search, generated_items, score_leaves
from sid_jax.recommend.models.catalog import build_catalog
from sid_jax.recommend.models.decoder import Decoder
from sid_jax.recommend.models.encoder_decoder import EncoderDecoder
from sid_jax.recommend.models.ensemble import Ensemble
from sid_jax.recommend.models.history_encoder import HistoryEncoder
from sid_jax.recommend.models.item_vectors import PARTS, ItemVectors
from sid_jax.recommend.models.scorer import Scorer
from sid_jax.recommend.ranker import ModelRanker
from sid_jax.training.sharding import all_devices

# Nine of the 4 x 3 x 2 = 24 possible IDs. Items 3 and 9 have the same ID.
IDS = np.array(
    [[0, 0, 0], [0, 0, 1], [0, 2, 1], [1, 1, 0], [3, 0, 0], [3, 1, 1], [3, 2, 0], [3, 2, 1], [1, 0, 1], [1, 1, 0]],
    np.int32,
)
SIZES = (4, 3, 2)
SHAPE = {"features": 16, "num_layers": 2, "num_heads": 2, "hidden": 32, "window": 6}
FLOAT32 = jnp.dtype("float32")
CONTENT = np.random.default_rng(5).normal(size=(len(IDS), 3)).astype(np.float32)


search = jax.jit(beam_search, static_argnums=3, static_argnames="constrained")


@jax.jit
def loss(model, batch, known, key):
    return model.loss(batch, known, key)


def catalog():
    return build_catalog(IDS, build_trie(IDS, SIZES))


def with_content(cold=None):
    return build_catalog(IDS, build_trie(IDS, SIZES), CONTENT, cold)


def encoder(dropout=0.0):
    return HistoryEncoder(dropout=dropout, rngs=nnx.Rngs(0), **SHAPE)


def decoder(dropout=0.0, dtype=FLOAT32):
    return stirred(Decoder(SIZES, encoder(dropout), code_hidden=32, dropout=dropout, dtype=dtype, rngs=nnx.Rngs(1)))


def encoder_decoder(dropout=0.0):
    sizes = {"head_features": 8, "num_user_tokens": 5, "dropout": dropout, "dtype": FLOAT32, **SHAPE}
    return stirred(EncoderDecoder(SIZES, rngs=nnx.Rngs(0), **sizes))


def scorer(parts, dtype=FLOAT32, num_negatives=0, smoothing=0.0, dropout=0.0, num_pairs=5):
    items = ItemVectors(
        parts,
        len(IDS),
        SIZES,
        SHAPE["features"],
        content_features=CONTENT.shape[1],
        content_hidden=8,
        num_pairs=num_pairs,
        item_dropout=dropout,
        dropout=dropout,
        rngs=nnx.Rngs(1),
    )
    settings = {"num_negatives": num_negatives, "label_smoothing": smoothing, "dtype": dtype}
    return stirred(Scorer(items, encoder(dropout), **settings))


def stirred(model):
    """Returns the model with random changes to its parameters, since parameters that are 0 could hide an error."""
    graphdef, params = nnx.split(model)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return nnx.merge(graphdef, jax.tree.unflatten(structure, moved))


def all_scores(model, batch, known):
    vectors = model.item_vectors(known)
    return model.scores(model.read(batch, vectors), vectors)


def histories():
    items = np.array([[1, 4, 7, 2, 0, 0], [5, 0, 0, 0, 0, 0], [9, 8, 7, 6, 5, 4]], np.int32)
    return HistoryBatch(jnp.asarray(items), jnp.array([4, 1, 6]), jnp.array([0, 1, 2]))


def rows(inputs, targets, segments, weights=None):
    inputs, targets, segments = (jnp.asarray(each, jnp.int32)[None] for each in (inputs, targets, segments))
    weights = jnp.ones(inputs.shape) if weights is None else jnp.asarray(weights, jnp.float32)[None]
    return PackedRows(inputs, targets, segments, weights)


def prefix(history, target, user=0):
    padded = jnp.zeros((1, 6), jnp.int32).at[0, : len(history)].set(jnp.array(history))
    return PrefixExamples(padded, jnp.array([len(history)]), jnp.array([user]), jnp.array([target]))


def log_probability(model, history, item, user=0):
    """Returns the log-probability of an item after a history, computed by the model's loss."""
    if isinstance(model, EncoderDecoder):
        total, weight = loss(model, prefix(history, item, user), catalog(), None)
    else:
        last, empty = len(history) - 1, [0] * (6 - len(history))
        places = [0] * last + [1] + empty
        row = rows([*history, *empty], [item * each for each in places], [1] * len(history) + empty, places)
        total, weight = loss(model, row, catalog(), None)
    assert weight == 1
    return -float(total.sum())


@pytest.mark.parametrize("make", [decoder, encoder_decoder])
def test_probabilities_of_the_ids_that_exist_sum_to_1(make):
    model = make()
    total = sum(np.exp(log_probability(model, [1, 4, 7], item)) for item in range(9))
    assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("make", [decoder, encoder_decoder])
def test_a_beam_that_holds_all_finds_every_id_in_the_order_of_its_loss(make):
    model = make()
    found = search(model, histories(), catalog(), 12)
    for row, history in ((0, [1, 4, 7, 2]), (1, [5]), (2, [9, 8, 7, 6, 5, 4])):
        expected = {tuple(IDS[item]): log_probability(model, history, item, user=row) for item in range(9)}
        there = np.asarray(found.leaves[row]) >= 0
        ids = [tuple(codes) for codes in np.asarray(found.semantic_ids[row])[there].tolist()]
        assert sorted(ids) == sorted(expected)
        scores = np.asarray(found.scores[row])[there]
        assert (np.diff(scores) <= 0).all()
        np.testing.assert_allclose(scores, [expected[each] for each in ids], atol=2e-4)


@pytest.mark.parametrize("make", [decoder, encoder_decoder])
def test_a_narrow_beam_finds_only_ids_that_exist_and_an_unconstrained_one_does_not(make):
    model, known = make(), set(map(tuple, IDS.tolist()))
    held, free = (search(model, histories(), catalog(), 4, constrained=each) for each in (True, False))
    assert all(tuple(codes) in known for codes in np.asarray(held.semantic_ids).reshape(-1, 3).tolist())
    assert not all(tuple(codes) in known for codes in np.asarray(free.semantic_ids).reshape(-1, 3).tolist())


def test_an_unconstrained_beam_searches_all_codes():
    model = decoder()
    found = search(model, histories(), catalog(), 24, constrained=False)
    for row in np.asarray(found.semantic_ids).tolist():
        assert sorted(map(tuple, row)) == sorted(itertools.product(*map(range, SIZES)))
    np.testing.assert_allclose(np.exp(np.asarray(found.scores)).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("make", [decoder, encoder_decoder])
def test_all_ids_have_the_score_that_a_beam_search_gives_them(make):
    model = make()
    found = search(model, histories(), catalog(), 9)
    # The IDs are scored in chunks of 4, the last of which is not full.
    scores = jax.jit(score_leaves, static_argnums=3)(model, histories(), catalog(), 4)
    leaves = np.asarray(found.leaves)
    assert sorted(leaves[0].tolist()) == list(range(9))
    np.testing.assert_allclose(np.take_along_axis(np.asarray(scores), leaves, axis=1), found.scores, atol=1e-5)


def test_items_that_share_an_id_take_a_place_each():
    found = search(decoder(), histories(), catalog(), 12)
    items = np.asarray(generated_items(found, catalog().trie, 12)[0])
    for row in items.tolist():
        assert sorted(row) == [-1, -1, *range(10)]
        assert row.index(9) == row.index(3) + 1


def test_histories_packed_into_one_row_do_not_see_each_other():
    model = decoder()
    first, second = rows([1, 2, 3], [2, 3, 4], [1, 1, 1]), rows([5, 6], [6, 7], [1, 1])
    both = rows([1, 2, 3, 5, 6, 0], [2, 3, 4, 6, 7, 0], [1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 1, 0])
    apart = loss(model, first, catalog(), None)[0] + loss(model, second, catalog(), None)[0]
    together, weight = loss(model, both, catalog(), None)
    assert weight == 5
    np.testing.assert_allclose(together, apart, rtol=1e-5)


def test_a_position_sees_nothing_of_what_comes_after():
    model = decoder()
    only_first = [1.0, 0.0, 0.0]
    losses = [
        loss(model, rows([1, *later], [2, 3, 4], [1, 1, 1], only_first), catalog(), None)[0]
        for later in ([2, 3], [8, 7])
    ]
    np.testing.assert_array_equal(*losses)


def test_padding_and_batch_change_nothing():
    model = encoder_decoder()
    wide = PrefixExamples(*(jnp.concatenate(pair) for pair in zip(*map(leaves, (prefix([1, 4], 7), prefix([5], 3))))))  # noqa: B905
    alone = sum(loss(model, each, catalog(), None)[0] for each in (prefix([1, 4], 7), prefix([5], 3)))
    np.testing.assert_allclose(loss(model, wide, catalog(), None)[0], alone, rtol=1e-5)


def leaves(example):
    return (example.histories, example.lengths, example.users, example.targets)


def test_the_user_token_counts_and_is_shared_beyond_its_number():
    model = encoder_decoder()
    one, same, other = (loss(model, prefix([1, 4], 7, user), catalog(), None)[0] for user in (1, 6, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


@pytest.mark.parametrize("make", [decoder, encoder_decoder])
def test_dropout_is_a_function_of_its_key_and_none_without(make):
    model = make(dropout=0.5)
    example = prefix([1, 4], 7) if make is encoder_decoder else rows([1, 4], [4, 7], [1, 1])
    losses = [
        loss(model, example, catalog(), key)[0] for key in (jax.random.key(0), jax.random.key(0), jax.random.key(1))
    ]
    np.testing.assert_array_equal(losses[0], losses[1])
    assert not np.allclose(losses[0], losses[2])
    still = make(dropout=0.0)
    np.testing.assert_array_equal(
        loss(model, example, catalog(), None)[0], loss(still, example, catalog(), jax.random.key(0))[0]
    )


def test_bfloat16_activations_give_nearly_the_same_loss():
    example = rows([1, 4, 7], [4, 7, 2], [1, 1, 1])
    wide, narrow = (
        loss(decoder(dtype=jnp.dtype(name)), example, catalog(), None)[0] for name in ("float32", "bfloat16")
    )
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, wide, rtol=0.05)


def test_sasrec_scores_all_items_with_the_loss_it_learns_from():
    model = scorer(["item"])
    scores = jax.nn.log_softmax(all_scores(model, histories(), catalog()))
    total, weight = loss(model, rows([1, 4, 7, 2], [0, 0, 0, 6], [1] * 4, [0, 0, 0, 1]), catalog(), None)
    assert weight == 1
    assert float(total[0]) == pytest.approx(-float(scores[0, 6]), abs=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(FLOAT32, 1e-5), (jnp.dtype("bfloat16"), 0.03)])
def test_the_loss_over_all_items_and_its_gradients_are_those_of_a_plain_cross_entropy(monkeypatch, dtype, tolerance):
    # This block size gives three blocks of two positions per row.
    monkeypatch.setattr(item_softmax, "_BLOCK_BYTES", {"cpu": 4 * 2 * 2 * len(IDS)})
    random = np.random.default_rng(0)
    hidden, items = (jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((2, 6, 5), (len(IDS), 5)))
    targets, weights = random.integers(0, len(IDS), (2, 6)), random.uniform(0, 2, (2, 6)).astype(np.float32)

    def blocks(hidden, items):
        return item_softmax.full_cross_entropy(hidden.astype(dtype), items, targets, weights, 0.1)

    def plain(hidden, items):
        wanted = optax.smooth_labels(jax.nn.one_hot(targets, len(IDS)), 0.1)
        return jnp.sum(weights * optax.softmax_cross_entropy(hidden @ items.T, wanted))

    (ours, grads), (theirs, expected) = (jax.value_and_grad(f, (0, 1))(hidden, items) for f in (blocks, plain))
    assert float(ours) == pytest.approx(float(theirs), rel=tolerance)
    for mine, other in zip(grads, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=tolerance * np.abs(other).max())


def test_a_sample_of_all_items_has_the_loss_over_all_items():
    # The sample has each item once. The expected number of times that an item is drawn is also 1, so the estimate is
    # exact. A target that is also in the sample counts only once.
    random = np.random.default_rng(0)
    hidden, items = (jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((2, 3, 5), (len(IDS), 5)))
    targets, weights = random.integers(0, len(IDS), (2, 3)), np.ones((2, 3), np.float32)
    same = targets[..., None] == np.arange(len(IDS))
    sampled = item_softmax.sampled_cross_entropy(
        hidden, items[targets], items, same, jnp.zeros(len(IDS)), weights, smoothing=0.1
    )
    full = item_softmax.full_cross_entropy(hidden, items, targets, weights, 0.1)
    assert float(sampled) == pytest.approx(float(full), rel=1e-5)


def test_a_large_sample_comes_near_the_loss_over_all_items():
    example = rows([1, 4, 7, 2], [4, 7, 2, 6], [1] * 4)
    known = with_content()
    full = loss(scorer(PARTS), example, known, None)[0]
    sampled = [loss(scorer(PARTS, num_negatives=512), example, known, jax.random.key(seed))[0] for seed in range(8)]
    np.testing.assert_allclose(np.mean(sampled, axis=0), full, rtol=0.05)


def test_an_items_vector_is_the_sum_of_its_parts_and_a_cold_item_has_no_embedding_of_its_own():
    known = with_content(cold=np.arange(len(IDS)) == 3)
    model = scorer(PARTS).items
    by_part = model.by_part(known)
    np.testing.assert_allclose(model(known), sum(by_part.values()), rtol=1e-5)
    np.testing.assert_array_equal(np.abs(by_part["item"]).sum(axis=1) == 0, np.arange(len(IDS)) == 3)
    # Items 3 and 9 share an ID.
    np.testing.assert_array_equal(by_part["codes"][3], by_part["codes"][9])
    codes = [table[...] for table in model.codes]
    # The component "codes" is the sum of four embeddings: one per code, and one for the pair of the first two codes.
    assert float(np.abs(by_part["codes"][4] - codes[0][3] - codes[1][0] - codes[2][0]).max()) > 0.01
    some = np.array([4, 4, 9])
    for part, vectors in model.by_part(known, some).items():
        np.testing.assert_allclose(vectors, by_part[part][some], rtol=1e-6)


def test_pairs_have_a_row_each_where_there_are_enough():
    model = scorer(["codes"], num_pairs=100).items
    assert len(model.pairs[...]) == SIZES[0] * SIZES[1]
    single = sum(table[...][IDS[:, level]] for level, table in enumerate(model.codes))
    of_pairs = model(catalog()) - single
    np.testing.assert_allclose(of_pairs, model.pairs[...][IDS[:, 0] * SIZES[1] + IDS[:, 1]], rtol=1e-4, atol=1e-6)


def test_an_item_of_a_newer_table_is_scored_by_its_codes_and_content():
    ids = np.concatenate([IDS, [[2, 1, 1]]]).astype(np.int32)
    content = np.concatenate([CONTENT, [[0.5, 0.5, 0.5]]]).astype(np.float32)
    newer = build_catalog(ids, build_trie(ids, SIZES), content, np.arange(11) == 10)
    model = scorer(PARTS)
    by_part = model.items.by_part(newer)
    assert not np.any(by_part["item"][10])
    np.testing.assert_allclose(model.item_vectors(newer)[10], by_part["codes"][10] + by_part["content"][10], rtol=1e-5)
    assert all_scores(model, histories(), newer).shape == (3, 11)


def test_nothing_is_learned_against_a_cold_item():
    cold, example = np.arange(len(IDS)) == 3, rows([1, 4, 7, 2], [4, 7, 2, 6], [1] * 4)
    ids, content = IDS.copy(), CONTENT.copy()
    ids[3], content[3] = [3, 0, 1], 9.0
    losses = [
        loss(
            scorer(PARTS, smoothing=0.1),
            example,
            build_catalog(codes, build_trie(codes, SIZES, rows=np.flatnonzero(~cold)), of, cold),
            None,
        )[0]
        for codes, of in ((IDS, CONTENT), (ids, content))
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    everything = loss(scorer(PARTS, smoothing=0.1), example, with_content(), None)[0]
    assert float(everything[0]) > float(losses[0][0])


def test_what_scores_all_items_recommends_those_of_the_trie_alone():
    model = scorer(["item"])
    of_all = np.asarray(all_scores(model, histories(), catalog()))
    few = [1, 4, 5, 8]
    catalog_of_few = build_catalog(IDS, build_trie(IDS, SIZES, rows=np.array(few)))
    graphdef, params = nnx.split(model)
    ranker = ModelRanker("few", graphdef, params, catalog_of_few, num_beams=9, mesh=all_devices())
    batch = jax.tree.map(np.asarray, histories())
    lists, scores = ranker.full_lists(batch, 9, None, 6)
    for row in range(3):
        expected = sorted(few, key=lambda item: -of_all[row, item])  # noqa: B023
        assert lists[row].tolist() == [*expected, *[-1] * 5]
        assert np.exp(scores[row, :4]).sum() == pytest.approx(1, abs=1e-5)


def test_an_ensemble_averages_its_members():
    members = [scorer(PARTS), scorer(["codes"])]
    model, asked, known = Ensemble(members), histories(), with_content()
    vectors = model.item_vectors(known)
    assert vectors.shape == (len(IDS), 2 * SHAPE["features"])
    each = [all_scores(member, asked, known) for member in members]
    np.testing.assert_allclose(all_scores(model, asked, known), (each[0] + each[1]) / 2, atol=1e-4)
    example = rows([1, 4, 7], [4, 7, 2], [1, 1, 1])
    losses = [loss(member, example, known, None)[0] for member in members]
    np.testing.assert_allclose(loss(model, example, known, None)[0], (losses[0] + losses[1]) / 2, rtol=1e-5)
    # Dropout differs between members.
    dropping = Ensemble([scorer(PARTS, dropout=0.5), scorer(PARTS, dropout=0.5)])
    twice = [member.loss(example, known, jax.random.key(0))[0] for member in dropping.members]
    np.testing.assert_array_equal(*twice)
    assert abs(dropping.loss(example, known, jax.random.key(0))[0] - twice[0]) > 1e-4
