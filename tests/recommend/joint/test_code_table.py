from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.ids import trie
from sid_jax.recommend.joint.code_table import allowed_codes, build_code_table, code_loss
from sid_jax.recommend.models import catalog

SIZES = (3, 40, 2)


# `distinct` is the number of distinct IDs of the 12 items.
@pytest.mark.parametrize("distinct", [12, 4, 1])
def test_what_may_follow_and_the_loss_are_those_of_the_trie(distinct):
    numbers = np.random.default_rng(0).integers(0, 10**6, (distinct, 3))[np.arange(12) % distinct]
    codes = (numbers % np.array(SIZES)).astype(np.int32)
    table = build_code_table(codes, SIZES)
    known = catalog.build_catalog(codes, trie.build_trie(codes, SIZES))
    items = jnp.arange(12).reshape(3, 4)
    compiled = jax.jit(allowed_codes, static_argnums=(2, 3))
    for level, size in enumerate(SIZES):
        allowed = compiled(table, items, level, size)
        nodes = known.prefixes[items, level] if level else jnp.zeros((1, 1), jnp.int32)
        np.testing.assert_array_equal(allowed, trie.allowed_codes(known.trie, level, nodes))
        logits = jax.random.normal(jax.random.key(level), (3, 4, size))
        expected = catalog.code_loss(logits, known, items, level)
        np.testing.assert_allclose(code_loss(logits, table, items, level), expected, rtol=1e-6)


def test_its_shape_says_nothing_of_the_codes():
    one, other = (
        build_code_table(codes, SIZES) for codes in (np.zeros((12, 3), np.int32), np.eye(12, 3, dtype=np.int32))
    )
    assert jax.tree.map(np.shape, one) == jax.tree.map(np.shape, other)
    assert [each.shape for each in one.followers] == [(1, 1), (3, 2), (12, 1)]
