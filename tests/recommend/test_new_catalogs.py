"""A newer catalog in a running service: nothing is compiled, and the lists are those of a catalog without padding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from flax import nnx

from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.recommend.artifact import TrainedRecommender, named_params
from sid_jax.recommend.config import default_config
from sid_jax.recommend.data.blend import Blend
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.data.room import Room
from sid_jax.recommend.models import build_model
from sid_jax.recommender import Recommender
from tests.compilations import counting_compilations

OLD, NEW, SIZES = 3_000, 50, (16, 16, 16)
KINDS = ("scorer", "parallel", "decoder")


def made_table(number: int) -> IdTable:
    """Returns the first `number` items of a fixed catalog, whose IDs are neither distinct nor uniformly distributed."""
    codes = (np.random.default_rng(0).beta(1, 2, size=(OLD + NEW, 3)) * SIZES).astype(np.int32)
    return IdTable(np.arange(number), codes[:number], shared=True)


def made_recommender(kind: str) -> Recommender:
    """Returns a recommender with random parameters."""
    random = np.random.default_rng(1)
    config = default_config()
    config.model.kind = kind
    for name in ("features", "hidden", "code_hidden", "head_features"):
        config.model[name] = 16
    config.model.update({"num_layers": 1, "num_heads": 2, "window": 8, "content_hidden": 8})
    config.eval.num_beams = 20
    candidates = Candidates.of(made_table(OLD), random.integers(9, size=OLD), np.zeros(OLD, bool), SIZES)
    if kind == "scorer":
        followers = random.integers(OLD, size=(OLD, 4)).astype(np.int32)
        strengths = random.random((OLD, 4)).astype(np.float32)
        blend = Blend(np.array([1, 0.5, 0.5, 0.1], np.float32), followers, strengths, np.eye(6, 4, dtype="f"), True)
        content = random.normal(size=(OLD, 6)).astype(np.float32)
        candidates = dataclasses.replace(candidates, content=content, blend=blend)
    params = named_params(nnx.split(build_model(config, candidates))[1])
    # The parameters are larger than at the start of training, so that scores differ.
    params = {name: 4 * np.asarray(array) for name, array in params.items()}
    return Recommender.from_trained(TrainedRecommender(config, candidates, params, 1))


def asked(recommender: Recommender) -> list:
    """Returns lists of 10 items for many histories, and, for one history, lists of 10 and of 30 (with more beams)."""
    random = np.random.default_rng(2)
    histories = [random.integers(OLD, size=length).tolist() for length in random.integers(3, 9, size=12)]
    return [
        *recommender.recommend_batch(histories, 10),
        recommender.recommend(histories[0], 10),
        recommender.recommend(histories[0], 30),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_swap_compiles_nothing_and_padding_changes_no_list(kind, monkeypatch):
    recommender = made_recommender(kind)
    before = asked(recommender)
    with counting_compilations() as compilations:
        swapped = recommender.with_catalog(made_table(OLD + NEW))
        after = asked(swapped)
    assert compilations.count == 0
    assert asked(recommender) == before
    recommended = {each.item_id for found in after for each in found}
    assert max(recommended) < OLD + NEW
    monkeypatch.setattr("sid_jax.recommend.models.padding.padded", lambda catalog, room: catalog)
    expected = asked(made_recommender(kind).with_catalog(swapped.table))
    ids, scores = (
        [[getattr(each, name) for rows in lists for each in rows] for lists in (expected, after)]
        for name in ("item_id", "score")
    )
    assert ids[0] == ids[1]
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-5)


def test_sizes_stay_as_long_as_they_suffice():
    room = Room()
    assert room.size("items", 3_000) == 3_200
    assert [room.size("items", number) for number in (3_050, 10, 3_200)] == [3_200] * 3
    assert room.size("items", 3_201) == 3_456
    assert room.size("children 0", 3) == 4
    for number in (10, 100, 12_101, 999_999):
        assert number * 17 / 16 <= Room().size("", number) <= max(number + 2, number * 9 / 8 + 1)


def test_bad_rows_of_newer_vectors_are_dropped_on_request(tmp_path):
    recommender, newer = made_recommender("scorer"), made_table(OLD + 1)
    vectors = np.random.default_rng(3).normal(size=(OLD + 2, 6)).astype(np.float32)
    np.save(tmp_path / "good.npy", vectors)
    # The table has no item for the last vector, as after an append that dropped the row with this vector.
    vectors[OLD + 1] = np.nan
    np.save(tmp_path / "bad.npy", vectors)
    with pytest.raises(UserError, match=r'drop them \(on_bad_rows="drop"\)$'):
        recommender.with_catalog(newer, vectors=tmp_path / "bad.npy")
    found, wanted = (
        recommender.with_catalog(newer, vectors=tmp_path / f"{name}.npy", on_bad_rows="drop").trained.candidates.content
        for name in ("bad", "good")
    )
    np.testing.assert_array_equal(found, wanted)
    vectors[3] = np.nan
    np.save(tmp_path / "bad.npy", vectors)
    with pytest.raises(UserError, match=r"no vectors for 1 of 3001 items; the first one is 3 \(2 of 3,002 rows"):
        recommender.with_catalog(newer, vectors=tmp_path / "bad.npy", on_bad_rows="drop")


def test_newer_vectors_in_memory_and_in_files_give_the_same_content(tmp_path):
    recommender, newer = made_recommender("scorer"), made_table(OLD + 2)
    vectors = np.random.default_rng(3).normal(size=(OLD + 2, 6)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    wanted = recommender.with_catalog(newer, vectors=tmp_path / "vectors.npy").trained.candidates.content
    reversed_by_id = {item: vectors[item] for item in reversed(newer.item_ids.tolist())}
    for given in (vectors, vectors.tolist(), reversed_by_id):
        found = recommender.with_catalog(newer, vectors=given).trained.candidates.content
        np.testing.assert_array_equal(found, wanted)
    for wrong, words in (
        (vectors[1:], "3,001 rows.*3,002 ids|3002"),
        (dict(list(reversed_by_id.items())[1:]), "no vectors for 1 of 3002 items"),
        (np.where(np.arange(OLD + 2)[:, None] == 4, np.nan, vectors), r'on_bad_rows="drop"'),
    ):
        with pytest.raises(UserError, match=words):
            recommender.with_catalog(newer, vectors=wrong)
    with pytest.raises(UserError, match="vector_ids is 'ids.txt', but the vectors are in memory"):
        recommender.with_catalog(newer, vectors=vectors, vector_ids="ids.txt")
