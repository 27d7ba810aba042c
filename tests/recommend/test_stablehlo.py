"""A recommender as StableHLO gives the lists of `recommend`, for any number of histories."""

from __future__ import annotations

import re

import jax
import numpy as np
import pytest

from sid_jax.errors import UserError
from sid_jax.export.manifest import read_manifest
from sid_jax.export.stablehlo import PLATFORMS
from sid_jax.loading import load
from sid_jax.recommend.stablehlo import load_lists
from tests.recommend.test_new_catalogs import OLD, made_recommender

K, WINDOW = 7, 8


@pytest.mark.parametrize("kind", ["scorer", "decoder", "encoder_decoder"])
def test_lists_are_those_of_recommend_for_any_batch_size(kind, tmp_path):
    recommender, random = made_recommender(kind), np.random.default_rng(3)
    folder = recommender.save(tmp_path / "saved", stablehlo=True, k=K)
    listed = read_manifest(folder, verify=True)["files"]["recommender.stablehlo"]
    content = (folder / "recommender.stablehlo").read_bytes()
    assert listed["bytes"] == len(content) and not re.search(rb"\w\.py\b", content)
    assert jax.export.deserialize(bytearray(content)).platforms == PLATFORMS
    # The last history contains `best`, so its list excludes these items. The list of the empty history has the most
    # popular items.
    best = [each.item_id for each in recommender.recommend([5, 6, 7], 2)]
    lengths = np.array([3, 0, WINDOW, 1, 5], np.int32)
    items = random.integers(OLD, size=(5, WINDOW)).astype(np.int32)
    items[0, :3], items[4, :5] = [5, 6, 7], [*best, 5, 6, 7]
    find = load_lists(folder)
    found, scores = map(np.asarray, find(items, lengths))
    histories = [row[:length].tolist() for row, length in zip(items, lengths, strict=True)]
    expected = load(folder).recommend_batch(histories, K, exact=True)
    assert found.tolist() == [[each.item_id for each in rows] for rows in expected]
    assert found.dtype == np.int32 and not set(best) & set(found[4].tolist())
    np.testing.assert_allclose(scores, [[each.score for each in rows] for rows in expected], rtol=1e-4, atol=1e-4)
    for row in (0, 1):
        assert np.asarray(find(items[row : row + 1], lengths[row : row + 1])[0]).tolist() == [found[row].tolist()]


def test_what_cannot_be_written_or_read_is_said(tmp_path, monkeypatch):
    recommender = made_recommender("decoder")
    with pytest.raises(UserError, match=r"k is 21; .* must be from 1 to 20, because eval.num_beams is 20$"):
        recommender.save(tmp_path / "no", stablehlo=True, k=21)
    monkeypatch.setattr("sid_jax.recommend.stablehlo._MOST_BYTES", 1_000)
    with pytest.raises(UserError, match=r"can have at most 2 GiB; save without it$"):
        recommender.save(tmp_path / "no", stablehlo=True)
    assert not (tmp_path / "no").exists()
    with pytest.raises(UserError, match=r"has no recommender.stablehlo; save the recommender with stablehlo=True$"):
        load_lists(recommender.save(tmp_path / "plain"))
