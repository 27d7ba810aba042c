import numpy as np

from sid_jax.ids import neighbors
from sid_jax.ids.neighbors import nearest_items, neighbors_share_prefix


def test_neighbors_are_by_cosine_and_never_the_item_itself(monkeypatch):
    monkeypatch.setattr(neighbors, "_ITEMS_A_CALL", 16)
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    vectors[7] = 100 * vectors[3]
    asked = np.array([3, 7, *range(10, 40)])
    found = nearest_items(vectors, asked, 5)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -2)
    # By their cosines: 3 and 7 are as near to everybody.
    nearest = np.sort(cosines[asked], axis=1)[:, :-6:-1]
    np.testing.assert_allclose(np.take_along_axis(cosines[asked], found, axis=1), nearest, rtol=1e-5)
    assert all(len(set(row)) == 5 for row in found.tolist())
    assert found[0, 0] == 7 and found[1, 0] == 3


def test_shares_of_prefixes_by_hand():
    ids = np.array([[0, 0], [0, 1], [0, 0], [1, 0]])
    shared = neighbors_share_prefix(ids, np.array([[1, 2], [0, 1]]), np.array([0, 3]))
    # Of 0's neighbors both begin with 0 and one has its whole ID; 3's share its second code, and so no prefix.
    assert shared == [2 / 4, 1 / 4]
