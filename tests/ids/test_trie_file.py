from __future__ import annotations

import pickle
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.errors import UserError
from sid_jax.ids.trie import build_trie, read_trie, write_trie

IDS = np.array([[1, 0], [0, 2], [1, 0], [0, 0], [1, 1]], np.uint8)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=4), st.integers(1, 40), st.integers(0, 2**16))
def test_round_trip_of_any_table(tmp_path_factory, sizes, num_items, seed):
    random = np.random.default_rng(seed)
    semantic_ids = np.stack([random.integers(0, size, num_items) for size in sizes], axis=1)
    folder = tmp_path_factory.mktemp("trie")
    write_trie(folder, semantic_ids, sizes)
    trie, built = read_trie(folder / "trie.npz"), build_trie(semantic_ids, sizes)
    assert (trie.sizes, trie.max_children) == (built.sizes, built.max_children)
    for one, other in zip(jax.tree.leaves(trie), jax.tree.leaves(built), strict=True):
        assert one.dtype == other.dtype == np.int32
        np.testing.assert_array_equal(one, other)
    with np.load(folder / "trie.npz", allow_pickle=False) as file:
        # The trie is traversed in plain NumPy, as another framework would do it. Each item is found under its own
        # codes.
        found = {}
        stack = [(0, 0, ())]
        while stack:
            depth, node, codes = stack.pop()
            if depth == len(sizes):
                for item in file["items"][file["first_item"][node] : file["first_item"][node + 1]].tolist():
                    found[item] = codes
                continue
            for child in range(*file[f"first_child_{depth}"][node : node + 2].tolist()):
                stack.append((depth + 1, child, (*codes, int(file[f"codes_{depth}"][child]))))
    assert found == {row: tuple(codes) for row, codes in enumerate(semantic_ids.tolist())}


def test_codes_take_the_bytes_they_need_and_the_same_ids_give_the_same_bytes(tmp_path):
    for name, sizes in (("one", (2, 256)), ("same", (2, 256)), ("wide", (2, 257))):
        (tmp_path / name).mkdir()
        write_trie(tmp_path / name, IDS, sizes)
    one, same, wide = ((tmp_path / name / "trie.npz").read_bytes() for name in ("one", "same", "wide"))
    assert one == same != wide
    types = {}
    for name in ("one", "wide"):
        with np.load(tmp_path / name / "trie.npz") as file:
            types[name] = {key: file[key].dtype for key in file.files}
    assert (types["one"]["codes_1"], types["wide"]["codes_1"]) == (np.uint8, np.uint16)
    assert types["one"]["items"] == types["one"]["first_item"] == types["one"]["first_child_1"] == np.int32


class Hostile:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_a_file_with_something_pickled_in_it_is_refused_and_nothing_runs(tmp_path, capsys):
    write_trie(tmp_path, IDS, (2, 3))
    with np.load(tmp_path / "trie.npz") as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(tmp_path / "trie.npz", **arrays | {"items": np.array([Hostile()], object)})
    with pytest.raises(UserError, match=r"trie.npz: not a readable trie") as caught:
        read_trie(tmp_path / "trie.npz")
    assert "\n" not in str(caught.value)
    (tmp_path / "trie.npz").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(UserError, match="not a readable trie"):
        read_trie(tmp_path / "trie.npz")
    assert "unpickled" not in capsys.readouterr().out


def test_a_member_that_is_no_array_is_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "trie.npz", "w") as archive:
        archive.writestr("sizes.npy", b"no array")
    with pytest.raises(UserError, match="sizes is not an array"):
        read_trie(tmp_path / "trie.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"items": None}, "not a readable trie.*items"),
        ({"sizes": np.zeros(0, np.int32)}, "no levels"),
        ({"sizes": np.zeros((2, 2), np.int32)}, "sizes has dtype int32"),
        ({"codes_0": np.zeros(2)}, "codes_0 has dtype float64"),
        ({"codes_1": np.array([0, 2, 0, 9])}, "codes_1 has a code that is not from 0 to 2"),
        ({"first_child_1": np.array([0, 2, 3])}, "first_child_1 does not partition 4 positions into 2 nodes"),
        ({"first_child_1": np.array([0, 0, 4])}, "first_child_1"),
        ({"first_item": np.array([0, 1, 2, 5])}, "first_item"),
        ({"items": np.array([3, 1, 0, 0, 4])}, "each row of the table exactly once"),
        ({"items": np.array([3, 1, 0, -2, 99])}, "each row of the table exactly once"),
    ],
)  # fmt: skip
def test_what_is_not_a_trie_is_refused(tmp_path, changes, words):
    write_trie(tmp_path, IDS, (2, 3))
    with np.load(tmp_path / "trie.npz") as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(tmp_path / "trie.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=words) as caught:
        read_trie(tmp_path / "trie.npz")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_cut_short_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_trie(tmp_path / "trie.npz")
    write_trie(tmp_path, IDS, (2, 3))
    whole = (tmp_path / "trie.npz").read_bytes()
    for length in (0, 10, len(whole) // 2):
        (tmp_path / "trie.npz").write_bytes(whole[:length])
        with pytest.raises(UserError, match="not a readable trie"):
            read_trie(tmp_path / "trie.npz")
