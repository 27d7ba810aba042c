from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.errors import UserError
from sid_jax.ids.table import Table, parse_sid, sid_text

IDS = np.array(["b", "a", "c"], dtype=object)
SEMANTIC_IDS = np.array([[12, 4, 0], [12, 4, 1], [3, 200, 0]], np.int32)

distinct_tuples = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 300)), min_size=1, max_size=40, unique=True
)


def test_look_ups_by_number_and_by_text():
    table = Table(IDS, SEMANTIC_IDS)
    assert len(table) == 3
    assert table.semantic_id("a") == (12, 4, 1)
    assert table.item((12, 4, 1)) == table.item("12-4-1") == table.item(np.array([12, 4, 1])) == "a"
    assert table.items("12-4").tolist() == table.items((12,)).tolist() == ["b", "a"]
    assert table.items("").tolist() == table.items(()).tolist() == ["c", "b", "a"]
    assert table.items("12-5").tolist() == []


def test_plain_python_comes_back():
    table = Table(np.array([5, 6]), np.array([[0, 1], [0, 2]], np.int32))
    assert type(table.item("0-2")) is int
    assert {type(code) for code in table.semantic_id(6)} == {int}


@given(distinct_tuples, st.booleans(), st.randoms())
def test_round_trip_of_every_item(tuples, as_text, random):
    numbers = random.sample(range(1000), len(tuples))
    ids = np.array([f"item {n}" for n in numbers], dtype=object) if as_text else np.array(numbers)
    table = Table(ids, np.array(tuples, np.int32))
    texts = sid_text(table.semantic_ids)
    for item, text, semantic_id in zip(ids.tolist(), texts, tuples, strict=True):
        assert table.semantic_id(item) == semantic_id == parse_sid(text)
        assert table.item(semantic_id) == table.item(text) == item


@given(distinct_tuples, st.lists(st.integers(0, 300), max_size=3), st.integers(0, 3), st.data())
def test_a_prefix_gives_what_a_scan_gives(tuples, unlikely, length, data):
    table = Table(np.arange(len(tuples)), np.array(tuples, np.int32))
    for prefix in (tuple(unlikely), data.draw(st.sampled_from(tuples))[:length]):
        scan = [row for row in range(len(tuples)) if tuples[row][: len(prefix)] == prefix]
        assert table.items(prefix).tolist() == sorted(scan, key=lambda row: tuples[row])


def test_what_is_not_there_is_a_key_error_with_a_helpful_text():
    table = Table(IDS, SEMANTIC_IDS)
    with pytest.raises(KeyError, match="no item has the id 7 .*like 'b'"):
        table.semantic_id(7)
    with pytest.raises(KeyError, match="no item has the Semantic ID 12-4-2"):
        table.item("12-4-2")
    with pytest.raises(KeyError):
        table.item((2**40, 0, -1))


@pytest.mark.parametrize("text", ["12-x-1", "12--1", "-1-2-3", "12 4 1", "1.0-2-3", "²-1-1"])
def test_what_is_not_an_id_is_refused(text):
    with pytest.raises(UserError, match="is not a Semantic ID"):
        Table(IDS, SEMANTIC_IDS).item(text)


def test_an_id_of_another_length_is_refused():
    table = Table(IDS, SEMANTIC_IDS)
    with pytest.raises(UserError, match="has 2 codes; a Semantic ID of this table has 3"):
        table.item("12-4")
    with pytest.raises(UserError, match="has 4 codes"):
        table.items((1, 2, 3, 4))


def test_a_table_that_is_not_one_to_one_is_refused():
    with pytest.raises(UserError, match="rows 1 and 2 have the same id 7"):
        Table(np.array([1, 7, 7]), np.array([[0], [1], [2]], np.int32))
    with pytest.raises(UserError, match="'a' and 'c' have the same Semantic ID 4-1"):
        Table(IDS, np.array([[3, 1], [4, 1], [4, 1]], np.int32))
    with pytest.raises(ValueError, match="must be"):
        Table(IDS, SEMANTIC_IDS[:2])


def test_text_is_never_cut_short():
    assert sid_text(np.array([[1, 2], [255, 100000]])).tolist() == ["1-2", "255-100000"]
    assert sid_text(np.zeros((0, 3), np.int32)).tolist() == []


def test_neighbors_share_the_longest_prefixes():
    rows = [[1, 2, 3], [1, 2, 9], [1, 0, 3], [2, 2, 3], [1, 2, 3], [1, 2, 1]]
    table = Table(np.array(list("abcdef"), dtype=object), np.array(rows, np.int32), shared=True)
    assert [each.tolist() for each in table.neighbors("a")] == [["e", "f", "b", "c"], [3, 2, 2, 1]]
    assert [each.tolist() for each in table.neighbors("a", 2)] == [["e", "f"], [3, 2]]
    assert [each.tolist() for each in table.neighbors("d")] == [[], []]
    assert [each.tolist() for each in table.neighbors("a", 0)] == [[], []]
    with pytest.raises(KeyError, match="no item has the id 'z'"):
        table.neighbors("z")


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=40),
    st.integers(0, 45),
    st.data(),
)
def test_neighbors_are_those_of_a_scan(tuples, count, data):
    table = Table(np.arange(len(tuples)), np.array(tuples, np.int32), shared=True)
    item = data.draw(st.integers(0, len(tuples) - 1))

    def shared(row):
        equal = [one == other for one, other in zip(tuples[row], tuples[item], strict=True)]
        return (*equal, False).index(False)

    scan = sorted(
        (row for row in range(len(tuples)) if row != item and shared(row)),
        key=lambda row: (-shared(row), tuples[row], row),
    )
    ids, lengths = table.neighbors(item, count)
    assert ids.tolist() == scan[:count] and lengths.tolist() == [shared(row) for row in scan[:count]]


def test_the_table_is_importable_by_its_short_name():
    import sid_jax

    assert sid_jax.ids.Table is Table
