from __future__ import annotations

import numpy as np
import pytest
from metric_study.correlation import rank_correlations, reliability
from scipy.stats import kendalltau, spearmanr


def outcomes_of(worth: np.ndarray, noise: float, *, seeds: int = 2, users: int = 50, seed: int = 0) -> list[np.ndarray]:
    """Returns outcomes `[seeds, users]` of each table: the table's true value, from `worth`, plus random noise."""
    random = np.random.default_rng(seed)
    return [each + noise * random.normal(size=(seeds, users)) for each in worth]


def test_correlations_by_hand():
    outcomes = [np.full((1, 4), mean) for mean in (0.1, 0.2, 0.3, 0.4)]
    figures = np.array([[1, 2, 3, 4], [4, 3, 2, 1], [1, 3, 2, 4], [5, 5, 5, 5]])
    found = rank_correlations(figures, outcomes, samples=10)
    # In the third row of `figures`, two adjacent ranks are exchanged. So rho is 1 - 6 * 2 / (4 * 15), and five of the
    # six pairs are in order.
    assert found.spearman == pytest.approx([1, -1, 0.8, 0])
    assert found.kendall == pytest.approx([1, -1, (5 - 1) / 6, 0])


def test_ties_are_dealt_with_as_scipy_does():
    random = np.random.default_rng(0)
    figures = random.integers(0, 4, (5, 20))
    means = random.integers(0, 5, 20) / 8
    found = rank_correlations(figures, [np.full((1, 3), mean) for mean in means], samples=1)
    assert found.spearman == pytest.approx([spearmanr(each, means).statistic for each in figures])
    assert found.kendall == pytest.approx([kendalltau(each, means).statistic for each in figures])


def test_the_interval_holds_the_true_correlation_about_as_often_as_it_says():
    random, correlation = np.random.default_rng(0), 0.6
    # For two normal variables with the correlation r, Spearman's rho is 6 / pi asin(r / 2), and Kendall's tau is
    # 2 / pi asin(r) (Kruskal, 1958).
    spearman, kendall = 6 / np.pi * np.arcsin(correlation / 2), 2 / np.pi * np.arcsin(correlation)
    held = []
    for repetition in range(80):
        worth = random.normal(size=40)
        figure = correlation * worth + np.sqrt(1 - correlation**2) * random.normal(size=40)
        outcomes = outcomes_of(worth, 0.5, seed=repetition)
        found = rank_correlations(figure[None], outcomes, seed=repetition, samples=100)
        for draws, truth in ((found.spearman_draws, spearman), (found.kendall_draws, kendall)):
            low, high = np.quantile(draws[:, 0], [0.05, 0.95])
            held.append(low <= truth <= high)
    assert 0.82 <= np.mean(held) <= 0.97


def test_users_and_seeds_widen_the_interval():
    worth = np.linspace(0, 1, 30)
    still, loud = (rank_correlations(worth[None], outcomes_of(worth, noise)) for noise in (0.0, 2.0))
    assert still.spearman_draws.min() > 0.99
    assert np.quantile(loud.spearman_draws, 0.025) < 0.8 < loud.spearman[0] < 0.9


def test_all_figures_are_of_the_same_draws():
    random = np.random.default_rng(0)
    outcomes = outcomes_of(random.normal(size=12), 1.0)
    figures = random.normal(size=(2, 12))
    both = rank_correlations(figures, outcomes, samples=20)
    for row in (0, 1):
        alone = rank_correlations(figures[row : row + 1], outcomes, samples=20)
        np.testing.assert_allclose(alone.spearman_draws[:, 0], both.spearman_draws[:, row])
    assert not np.allclose(both.kendall_draws, rank_correlations(figures, outcomes, samples=20, seed=1).kendall_draws)


def test_what_does_not_fit_is_refused():
    outcomes = outcomes_of(np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="the 3 outcomes"):
        rank_correlations(np.zeros((1, 4)), outcomes)
    with pytest.raises(ValueError, match=r"have \[49, 50\] users"):
        rank_correlations(np.zeros((1, 3)), [*outcomes[:2], outcomes[2][:, :49]])


@pytest.mark.parametrize("seeds", [1, 2])
def test_reliability_is_the_share_of_the_spread_that_is_no_noise(seeds):
    random = np.random.default_rng(0)
    worth = random.normal(size=300)
    # The true values have the variance 1, and the noise of a mean over seeds x 50 users has the variance 1 / 3. So the
    # true values have 3 / 4 of the total variance.
    noise = np.sqrt(50 * seeds / 3)
    found = reliability(outcomes_of(worth, noise, seeds=seeds), samples=20)
    # The outcomes are split into two halves. With two seeds, each half has one seed and half of the users: a quarter of
    # the data, in which the noise has the variance 4 / 3. The Spearman-Brown correction gives the value for twice as
    # much data, in which the noise has half of this variance, 2 / 3.
    assert found == pytest.approx({1: 1 / (1 + 1 / 3), 2: 1 / (1 + 2 / 3)}[seeds], abs=0.06)
    assert reliability(outcomes_of(worth, 0.0), samples=2) == pytest.approx(1)
