import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.features.item_rows import ItemRows, embed_items


def test_rows_are_summed_or_averaged_and_learned_from():
    table = jnp.arange(8.0).reshape(4, 2)
    rows = ItemRows.of_lists([[1, 3], [2], []]).padded()
    assert rows.tolist() == [[1, 3], [2, -1], [-1, -1]]
    np.testing.assert_array_equal(jax.jit(embed_items)(table, rows), [[8, 10], [4, 5], [0, 0]])
    np.testing.assert_array_equal(embed_items(table, rows, mean=True), [[4, 5], [4, 5], [0, 0]])
    grads = jax.grad(lambda table: embed_items(table, rows).sum())(table)
    np.testing.assert_array_equal(grads, [[0, 0], [1, 1], [1, 1], [1, 1]])


def test_padded_and_back():
    lists = [[1, 3], [2], [0, 0, 7]]
    found = ItemRows.of_lists(lists)
    again = ItemRows.of_padded(found.padded(5))
    assert [again.of(item).tolist() for item in range(3)] == lists and len(again) == 3
    with pytest.raises(ValueError, match="more than the width 2"):
        found.padded(2)
