from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.ids.trie import allowed_codes, build_trie, children, leaf_places

IDS = np.array([[1, 0], [0, 2], [1, 0], [0, 0], [1, 1]], np.int32)


# Each function is compiled as a whole, once per shape, instead of operation by operation.
jit_children, jit_allowed_codes = (jax.jit(each, static_argnames="level") for each in (children, allowed_codes))
jit_leaf_places = jax.jit(leaf_places, static_argnames="count")


@st.composite
def tables(draw):
    num_levels = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 4), min_size=num_levels, max_size=num_levels))
    row = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    semantic_ids = np.array(draw(st.lists(row, min_size=1, max_size=30)), np.int32)
    priority = draw(st.none() | st.lists(st.integers(0, 3), min_size=len(semantic_ids), max_size=len(semantic_ids)))
    return semantic_ids, sizes, None if priority is None else np.array(priority, np.uint32)


def prefixes(semantic_ids, length):
    return sorted({tuple(row[:length]) for row in semantic_ids.tolist()})


def listed(semantic_ids, priority, prefix):
    rows = [row for row, codes in enumerate(semantic_ids.tolist()) if tuple(codes) == prefix]
    return sorted(rows, key=lambda row: (0 if priority is None else -int(priority[row]), row))


def test_the_arrays_of_a_small_table():
    trie = build_trie(IDS)
    assert [first.tolist() for first in trie.first_child] == [[0, 2], [0, 2, 4]]
    assert [codes.tolist() for codes in trie.codes] == [[0, 1], [0, 2, 0, 1]]
    assert trie.first_item.tolist() == [0, 1, 2, 4, 5]
    assert trie.items.tolist() == [3, 1, 0, 2, 4]
    assert (trie.max_children, trie.sizes) == ((2, 2), (2, 3))
    assert {array.dtype for array in jax.tree.leaves(trie)} == {jnp.dtype(jnp.int32)}


def test_some_rows_of_a_table_keep_their_numbers_and_their_sizes():
    rows = np.array([4, 0, 3])
    some, alone = build_trie(IDS, rows=rows), build_trie(IDS[rows], (2, 3))
    assert some.sizes == alone.sizes
    np.testing.assert_array_equal(some.items, rows[alone.items])
    for one, other in zip(
        jax.tree.leaves((some.first_child, some.codes)), jax.tree.leaves((alone.first_child, alone.codes)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="no row of the table"):
        build_trie(IDS, rows=rows[:0])


def test_a_single_item():
    trie = build_trie(np.array([[3]], np.int32), sizes=[5])
    child, codes, valid = jit_children(trie, 0, jnp.array([0]))
    assert (child.tolist(), codes.tolist(), valid.tolist()) == ([[0]], [[3]], [[True]])
    assert jit_allowed_codes(trie, 0, jnp.array(0)).tolist() == [False, False, False, True, False]
    assert jit_leaf_places(trie, jnp.array([[0]]), 3)[0].tolist() == [[0, -1, -1]]


@settings(max_examples=40)
@given(tables())
def test_every_node_has_the_children_of_its_prefix(table):
    semantic_ids, sizes, priority = table
    trie = build_trie(semantic_ids, sizes, priority)
    for level in range(len(sizes)):
        parents, nodes = prefixes(semantic_ids, level), prefixes(semantic_ids, level + 1)
        first, codes = trie.first_child[level].tolist(), trie.codes[level].tolist()
        assert len(first) == len(parents) + 1
        assert codes == [prefix[-1] for prefix in nodes]
        for node, parent in enumerate(parents):
            below = [prefix for prefix in nodes if prefix[:-1] == parent]
            assert nodes[first[node] : first[node + 1]] == below
        assert trie.max_children[level] == max(np.diff(first))
    bounds = trie.first_item.tolist()
    for leaf, prefix in enumerate(prefixes(semantic_ids, len(sizes))):
        assert trie.items[bounds[leaf] : bounds[leaf + 1]].tolist() == listed(semantic_ids, priority, prefix)
    assert bounds[-1] == len(semantic_ids)


@settings(max_examples=5)
@given(tables())
def test_look_ups_of_a_beam_agree_with_brute_force(table):
    semantic_ids, sizes, priority = table
    trie = build_trie(semantic_ids, sizes, priority)
    for level, size in enumerate(sizes):
        parents, below = prefixes(semantic_ids, level), prefixes(semantic_ids, level + 1)
        # The beams of two users, each with all nodes and with -1 for no node.
        nodes = np.stack([np.arange(-1, len(parents)), np.arange(-1, len(parents))[::-1]])
        child, codes, valid = map(np.asarray, jit_children(trie, level, nodes))
        mask = np.asarray(jit_allowed_codes(trie, level, nodes))
        assert child.shape == codes.shape == valid.shape == (*nodes.shape, trie.max_children[level])
        assert (mask.shape, mask.dtype) == ((*nodes.shape, size), bool)
        for place in np.ndindex(nodes.shape):
            parent = None if nodes[place] < 0 else parents[nodes[place]]
            expected = [node for node, prefix in enumerate(below) if prefix[:-1] == parent]
            assert child[place][valid[place]].tolist() == expected
            assert codes[place][valid[place]].tolist() == [below[node][-1] for node in expected]
            assert set(child[place][~valid[place]]) <= {-1}
            assert set(codes[place][~valid[place]]) <= {0}
            assert np.flatnonzero(mask[place]).tolist() == [below[node][-1] for node in expected]


@settings(max_examples=5)
@given(tables(), st.integers(1, 12), st.randoms(use_true_random=False))
def test_items_under_leaves_come_leaf_by_leaf_until_there_are_no_more(table, count, random):
    semantic_ids, sizes, priority = table
    trie = build_trie(semantic_ids, sizes, priority)
    ids = prefixes(semantic_ids, len(sizes))
    leaves = [[random.randrange(-1, len(ids)) for _ in range(4)] for _ in range(20)]
    found = jit_leaf_places(trie, np.array(leaves), count)[0]
    assert (found.shape, found.dtype) == ((20, count), jnp.int32)
    for row, beam in zip(found.tolist(), leaves, strict=True):
        items = [item for leaf in beam if leaf >= 0 for item in listed(semantic_ids, priority, ids[leaf])]
        assert row == (items + [-1] * count)[:count]


def test_a_walk_inside_jit_over_all_beams_meets_every_item():
    @jax.jit
    def walk(trie):
        nodes = jnp.zeros((1, 1), jnp.int32)
        for level in range(len(trie.sizes)):
            nodes = children(trie, level, nodes)[0].reshape(1, -1)
        return leaf_places(trie, nodes, 5)[0]

    assert walk(build_trie(IDS)).tolist() == [[3, 1, 0, 2, 4]]


def test_items_that_share_an_id_are_listed_by_falling_priority_and_then_by_row():
    shared = np.zeros((5, 2), np.int32)
    assert build_trie(shared).items.tolist() == [0, 1, 2, 3, 4]
    assert build_trie(shared, priority=np.array([0.5, 2.0, -1.0, 2.0, 0.5])).items.tolist() == [1, 3, 0, 4, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3, np.int32),), r"\(3,\)"),
        ((np.zeros((0, 3), np.int32),), r"\(0, 3\)"),
        ((np.zeros((3, 0), np.int32),), r"\(3, 0\)"),
        ((np.array([[0, -2]]),), "-2"),
        ((IDS, [2, 2]), "level 2 has the code 2, but its size is 2"),
        ((IDS, [2, 3, 4]), "3 sizes are given for 2 levels"),
        ((IDS, None, np.zeros(4)), "N = 5"),
    ],
)
def test_what_is_no_id_table_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_trie(*arguments)
