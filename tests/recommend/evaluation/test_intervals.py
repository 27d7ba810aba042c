from __future__ import annotations

import numpy as np
import pytest

from sid_jax.recommend.evaluation import metrics
from sid_jax.recommend.evaluation.metrics import bootstrap_interval, mean_interval, paired_difference


def test_the_interval_is_as_wide_as_the_normal_law_says():
    values = (np.arange(2000) % 5 == 0).astype(float)
    low, high = bootstrap_interval(values, samples=2000)
    error = 1.96 * np.sqrt(0.2 * 0.8 / 2000)
    assert low == pytest.approx(0.2 - error, abs=0.1 * error)
    assert high == pytest.approx(0.2 + error, abs=0.1 * error)


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(0)
    intervals_found = [
        bootstrap_interval(random.random(100) ** 2, seed=seed, samples=200, level=0.8) for seed in range(200)
    ]
    held = np.mean([low <= 1 / 3 <= high for low, high in intervals_found])
    assert 0.7 <= held <= 0.9


def test_a_higher_level_is_wider():
    values = np.random.default_rng(0).random(50)
    narrow, wide = (bootstrap_interval(values, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random((2, 40))
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)
    assert paired_difference(values, values[:1], seed=1) == paired_difference(values, values[:1], seed=1)


def test_what_is_drawn_in_blocks_covers_every_sample(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(0).random(40)
    whole = bootstrap_interval(values, samples=1000)
    monkeypatch.setattr(metrics, "_DRAWS", 40 * 7)
    np.testing.assert_allclose(bootstrap_interval(values, samples=1000), whole, atol=0.02)


def test_constant_values_have_no_interval():
    assert bootstrap_interval(np.full(30, 0.25)) == (0.25, 0.25)
    assert mean_interval(np.full((3, 30), 0.25)) == (0.25, 0.25, 0.25)


def test_seeds_that_differ_widen_the_interval():
    users = np.random.default_rng(0).random(400)
    mean, low, high = mean_interval(np.stack([users, users]))
    alone = bootstrap_interval(users)
    assert mean == users.mean()
    assert (high - low) == pytest.approx(alone[1] - alone[0], rel=0.1)
    _, low, high = mean_interval(np.stack([users - 0.3, users, users + 0.3]))
    assert low < users.mean() - 0.2
    assert high > users.mean() + 0.2


def test_one_seed_is_the_interval_over_users():
    users = np.random.default_rng(0).random(400)
    mean, low, high = mean_interval(users[None])
    assert (low, high) == bootstrap_interval(users)
    assert mean == users.mean()


def test_pairing_takes_out_what_the_users_have_in_common():
    random = np.random.default_rng(0)
    hard = random.normal(size=(1, 500))
    a, b = hard + 0.01 * random.normal(size=(3, 500)), hard - 0.05 + 0.01 * random.normal(size=(3, 500))
    mean, low, high = paired_difference(a, b)
    assert mean == pytest.approx(a.mean() - b.mean())
    assert 0.045 < low < mean < high < 0.055
    assert mean_interval(a)[2] - mean_interval(a)[1] > 0.1


def test_a_difference_within_the_noise_of_seeds_is_not_called_one():
    users = np.random.default_rng(0).random(2000)
    a = np.stack([users, users + 0.2, users - 0.1])
    b = np.stack([users - 0.1, users + 0.15, users])
    _, low, high = paired_difference(a, b)
    assert low < 0 < high


def test_the_numbers_of_seeds_may_differ_but_not_of_users():
    values = np.random.default_rng(0).random((3, 30))
    assert paired_difference(values, values[:2])[0] == pytest.approx(values.mean() - values[:2].mean())
    with pytest.raises(ValueError, match="same users"):
        paired_difference(values, values[:, :20])
