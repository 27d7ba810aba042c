"""Makes recommenders with random parameters. They are as fast as trained recommenders."""

from __future__ import annotations

import dataclasses

import numpy as np
from flax import nnx

from sid_jax.ids.table import IdTable
from sid_jax.presets import preset
from sid_jax.recommend.artifact import TrainedRecommender, named_params
from sid_jax.recommend.data.blend import Blend
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.models import build_model
from sid_jax.recommender import Recommender

_CONTENT_FEATURES, _FOLLOWERS = 384, 20


def random_table(num_items: int, sizes: tuple[int, ...]) -> IdTable:
    """Returns an ID table whose items have random codes; low codes are more frequent. Several items may share an ID."""
    drawn = np.random.default_rng(0).beta(1, 2, size=(num_items, len(sizes)))
    return IdTable(np.arange(num_items), (drawn * sizes).astype(np.int32), shared=True)


def random_recommender(kind: str, table: IdTable, sizes: tuple[int, ...]) -> Recommender:
    """Returns a recommender with the settings of `recommend:beauty`; a scorer's blend has all terms.

    Args:
      kind: "scorer" or "decoder".
      table: the ID table, whose item ids are 0, 1, 2, ...
      sizes: number of codes of each level.
    """
    random, rows = np.random.default_rng(1), len(table)
    config = preset(f"recommend:beauty,{kind}")
    candidates = Candidates.of(table, random.integers(9, size=rows), np.zeros(rows, bool), sizes)
    if kind == "scorer":
        followers = random.integers(rows, size=(rows, _FOLLOWERS)).astype(np.int32)
        strengths = random.random((rows, _FOLLOWERS)).astype(np.float32)
        projection = np.eye(_CONTENT_FEATURES, 64, dtype=np.float32)
        blend = Blend(np.array([1, 0.5, 0.5, 0.1], np.float32), followers, strengths, projection, True)
        content = random.normal(size=(rows, _CONTENT_FEATURES)).astype(np.float32)
        candidates = dataclasses.replace(candidates, content=content, blend=blend)
    params = named_params(nnx.split(build_model(config, candidates))[1])
    return Recommender.from_trained(TrainedRecommender(config, candidates, params, 1))
