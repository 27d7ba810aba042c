from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.errors import UserError
from sid_jax.ids.convert import parse_sid, sid_text
from sid_jax.ids.table import IdTable, joined

IDS = np.array(["b", "a", "c"], dtype=object)
SEMANTIC_IDS = np.array([[12, 4, 0], [12, 4, 1], [3, 200, 0]], np.int32)
NAMED = np.array([[12, 4, 0], [12, 4, 1], [255, 0, 0]], np.int32)
TITLES = np.array(["Alien", "Brazil", None], dtype=object)

distinct_tuples = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 300)), min_size=1, max_size=40, unique=True
)


def test_look_ups_by_number_and_by_text():
    table = IdTable(IDS, SEMANTIC_IDS)
    assert len(table) == 3
    assert table.semantic_id("a") == (12, 4, 1)
    assert table.item((12, 4, 1)) == table.item("12-4-1") == table.item(np.array([12, 4, 1])) == "a"
    assert table.items("12-4").tolist() == table.items((12,)).tolist() == ["b", "a"]
    assert table.items("").tolist() == table.items(()).tolist() == ["c", "b", "a"]
    assert table.items("12-5").tolist() == []


def test_plain_python_comes_back():
    table = IdTable(np.array([5, 6]), np.array([[0, 1], [0, 2]], np.int32))
    assert type(table.item("0-2")) is int
    assert {type(code) for code in table.semantic_id(6)} == {int}


@given(distinct_tuples, st.booleans(), st.randoms())
def test_round_trip_of_every_item(tuples, as_text, random):
    numbers = random.sample(range(1000), len(tuples))
    ids = np.array([f"item {n}" for n in numbers], dtype=object) if as_text else np.array(numbers)
    table = IdTable(ids, np.array(tuples, np.int32))
    texts = sid_text(table.semantic_ids)
    for item, text, semantic_id in zip(ids.tolist(), texts, tuples, strict=True):
        assert table.semantic_id(item) == semantic_id == parse_sid(text)
        assert table.item(semantic_id) == table.item(text) == item


@given(distinct_tuples, st.lists(st.integers(0, 300), max_size=3), st.integers(0, 3), st.data())
def test_a_prefix_gives_what_a_scan_gives(tuples, unlikely, length, data):
    table = IdTable(np.arange(len(tuples)), np.array(tuples, np.int32))
    for prefix in (tuple(unlikely), data.draw(st.sampled_from(tuples))[:length]):
        scan = [row for row in range(len(tuples)) if tuples[row][: len(prefix)] == prefix]
        assert table.items(prefix).tolist() == sorted(scan, key=lambda row: tuples[row])


def test_what_is_not_there_is_a_key_error_with_a_helpful_text():
    table = IdTable(IDS, SEMANTIC_IDS)
    with pytest.raises(KeyError, match="no item has the id 7.*like 'b'"):
        table.semantic_id(7)
    with pytest.raises(KeyError, match="no item has the Semantic ID 12-4-2"):
        table.item("12-4-2")
    with pytest.raises(KeyError):
        table.item((2**40, 0, -1))


@pytest.mark.parametrize("text", ["12-x-1", "12--1", "-1-2-3", "12 4 1", "1.0-2-3", "²-1-1"])
def test_what_is_not_an_id_is_refused(text):
    with pytest.raises(UserError, match="is not a Semantic ID"):
        IdTable(IDS, SEMANTIC_IDS).item(text)


def test_an_id_of_another_length_is_refused():
    table = IdTable(IDS, SEMANTIC_IDS)
    with pytest.raises(UserError, match="has 2 codes, but a Semantic ID of this table has 3"):
        table.item("12-4")
    with pytest.raises(UserError, match="has 4 codes"):
        table.items((1, 2, 3, 4))


def test_a_table_that_is_not_one_to_one_is_refused():
    with pytest.raises(UserError, match="id 7 is in row 1 and again in row 2"):
        IdTable(np.array([1, 7, 7]), np.array([[0], [1], [2]], np.int32))
    with pytest.raises(UserError, match="'a' and 'c' have the same Semantic ID 4-1"):
        IdTable(IDS, np.array([[3, 1], [4, 1], [4, 1]], np.int32))
    with pytest.raises(ValueError, match="must have shape"):
        IdTable(IDS, SEMANTIC_IDS[:2])


def test_text_is_never_cut_short():
    assert sid_text(np.array([[1, 2], [255, 100000]])).tolist() == ["1-2", "255-100000"]
    assert sid_text(np.zeros((0, 3), np.int32)).tolist() == []


def test_neighbors_share_the_longest_prefixes():
    rows = [[1, 2, 3], [1, 2, 9], [1, 0, 3], [2, 2, 3], [1, 2, 3], [1, 2, 1]]
    table = IdTable(np.array(list("abcdef"), dtype=object), np.array(rows, np.int32), shared=True)
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
    table = IdTable(np.arange(len(tuples)), np.array(tuples, np.int32), shared=True)
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

    assert sid_jax.ids.IdTable is IdTable


def table_of(item_ids, **others):
    return IdTable(np.array(item_ids), NAMED, columns={"title": TITLES}, name="films", **others)


def test_aligned_rows_are_in_the_catalogs_order_and_others_are_dropped():
    table = table_of([30, 10, 20]).align(np.array([20, 30]))
    assert (table.name, table.item_ids.tolist()) == ("films", [20, 30])
    assert table.titles is not None
    assert table.titles.tolist() == [None, "Alien"]
    assert table.semantic_ids.tolist() == [[255, 0, 0], [12, 4, 0]]


@pytest.mark.parametrize(
    ("have", "wanted"),
    [
        (np.array([30, 10, 20]), np.array(["20", "30"], dtype=object)),
        (np.array(["30", "10", "20"], dtype=object), np.array([20, 30], np.int32)),
        (np.array(["30", "10", "20"], dtype=object), np.array(["20", "30"])),
        (np.array([30, 10, 20]), np.array([20, 30], np.uint8)),
    ],
)
def test_numbers_and_text_are_matched_as_text_and_the_catalogs_ids_stay(have, wanted):
    table = IdTable(have, NAMED, name="films").align(wanted)
    assert table.item_ids is wanted
    assert (table.semantic_ids.tolist(), table.titles) == ([[255, 0, 0], [12, 4, 0]], None)


def test_catalog_items_without_an_id_are_refused():
    with pytest.raises(UserError, match="IDs 'films': 2 of 3 items have no.*first one is 7") as caught:
        table_of([30, 10, 20]).align(np.array([10, 7, 8]))
    assert "\n" not in str(caught.value) and "make IDs for them; if the IDs number items from 0" in str(caught.value)


def test_the_fingerprint_is_of_items_and_ids_alone():
    table = table_of([30, 10, 20])
    same = table.replace(name="other", columns=None, semantic_ids=NAMED.astype(np.int64))
    assert same.fingerprint() == table.fingerprint()
    changed = NAMED.copy()
    changed[2, 1] = 1
    assert table.replace(semantic_ids=changed).fingerprint() != table.fingerprint()
    assert table_of([30, 10, 21]).fingerprint() != table.fingerprint()
    assert table.replace(semantic_ids=NAMED.reshape(3, 3).T).fingerprint() != table.fingerprint()
    joined, split = (np.array(ids, dtype=object) for ids in (["a\nb", "c"], ["a", "b\nc"]))
    assert IdTable(joined, NAMED[:2]).fingerprint() != IdTable(split, NAMED[:2]).fingerprint()


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_many_look_ups_are_those_one_by_one(text, shared):
    random = np.random.default_rng(0)
    semantic_ids = np.unique(random.integers(0, 40, (3000, 3)), axis=0).astype(np.int32)
    random.shuffle(semantic_ids)
    numbers = random.permutation(10**6)[: len(semantic_ids)]
    ids = np.array([f"sku-{number}" for number in numbers], object) if text else numbers
    table = IdTable(ids, semantic_ids, shared=shared)
    rows = random.integers(0, len(table), 500)
    wanted = ids[rows].tolist()
    for items in (wanted, ids[rows], pa.array(wanted), tuple(wanted)):
        found = table.semantic_id(items)
        assert found.dtype == np.int32 and np.array_equal(found, semantic_ids[rows])
    assert found.tolist() == [list(table.semantic_id(item)) for item in wanted]
    texts = sid_text(semantic_ids[rows])
    for codes in (semantic_ids[rows], list(map(tuple, semantic_ids[rows].tolist())), texts, texts.tolist()):
        assert table.item(codes).tolist() == wanted
    assert table.rows_of([*wanted, "nobody" if text else -5]).tolist() == [*rows, -1]
    assert table.semantic_id([]).shape == (0, 3) and table.item(semantic_ids[:0]).shape == (0,)


def test_of_many_the_first_that_is_not_there_is_named():
    table = IdTable(IDS, SEMANTIC_IDS)
    with pytest.raises(KeyError, match="no item has the id 'x' .2 items are missing in total.*like 'b'"):
        table.semantic_id(["a", "x", "y"])
    for items in ([1, 2], ["a", 5]):
        with pytest.raises(KeyError, match=r"no item has the id [15]\b"):
            table.semantic_id(items)
    with pytest.raises(KeyError, match="no item has the Semantic ID 12-4-9"):
        table.item([(12, 4, 0), (12, 4, 9)])
    for codes in (2**40, -1, 2**31):
        with pytest.raises(KeyError, match=f"no item has the Semantic ID 12-4-{codes}"):
            table.item([(12, 4, 0), (12, 4, codes)])
    for texts, words in ((["12-4-0", "1 2"], "'1 2' is not a"), (["1-2-3", "1-2"], "1-2 has 2 codes, but 1-2-3 has 3")):
        with pytest.raises(UserError, match=words):
            table.item(texts)
    with pytest.raises(UserError, match="not whole numbers, or differ in length"):
        table.item([(1, 2, 3), (1, 2)])
    with pytest.raises(UserError, match="'12-4' has 2 codes, but a Semantic ID of this table has 3"):
        table.item([(12, 4), (12, 5)])
    shared = IdTable(IDS, SEMANTIC_IDS[[0, 0, 2]], shared=True)
    with pytest.raises(UserError, match=r"2 items share the Semantic ID 12-4-0; call items\(\) to get all"):
        shared.item([(3, 200, 0), (12, 4, 0)])


def test_a_table_that_is_read_builds_no_index_and_many_look_ups_no_dict():
    table = IdTable(np.arange(3), SEMANTIC_IDS, check=False)
    assert not vars(table).keys() & {"_row_of", "_order", "_sorted", "_sorted_bytes"}
    assert table.semantic_id([2, 0]).tolist() == [[3, 200, 0], [12, 4, 0]] and table.item(SEMANTIC_IDS).tolist() == [
        0,
        1,
        2,
    ]
    assert "_row_of" not in vars(table)


def test_what_was_not_checked_is_refused_by_the_first_look_up():
    with pytest.raises(UserError, match="id 7 is in row 1 and again in row 2"):
        IdTable(np.array([1, 7, 7]), SEMANTIC_IDS, check=False).semantic_id(7)
    with pytest.raises(UserError, match="'b' and 'a' have the same Semantic ID 12-4-0"):
        IdTable(IDS, SEMANTIC_IDS[[0, 0, 2]], check=False).items("12")


def test_item_ids_are_all_whole_numbers_or_all_text():
    assert IdTable(["b", "a", "c"], SEMANTIC_IDS).item_ids.tolist() == ["b", "a", "c"]
    assert IdTable(pa.array([5, 6, 7], pa.uint8()), SEMANTIC_IDS).semantic_id(6) == (12, 4, 1)
    for ids in ([1, "a", "b"], [1.5, 2.5, 3.5]):
        with pytest.raises(UserError, match="all be whole numbers or all be text"):
            IdTable(ids, SEMANTIC_IDS)


def test_rows_are_taken_and_joined():
    codes = SEMANTIC_IDS[:, :2]
    table = IdTable(IDS, SEMANTIC_IDS, codes=codes, columns={"title": TITLES}, name="films", sizes=(300, 300, 2))
    one, other = table.take(np.array([2])), table.take(np.array([True, True, False]))
    both = joined([one, other])
    assert both.item_ids.tolist() == ["c", "b", "a"] and both.titles.tolist() == [None, "Alien", "Brazil"]
    assert (
        both.semantic_ids.tolist() == SEMANTIC_IDS[[2, 0, 1]].tolist()
        and both.codes.tolist() == codes[[2, 0, 1]].tolist()
    )
    assert (both.name, both.sizes) == ("films", (300, 300, 2))
    arrow = both.to_arrow()
    assert arrow.column_names == ["item_id", "codes", "semantic_id", "sid", "title"]
    assert arrow["sid"].to_pylist() == ["3-200-0", "12-4-0", "12-4-1"]
    assert str(arrow["codes"].type) == "list<item: int32>"
    assert joined([IdTable(IDS[:1], SEMANTIC_IDS[:1]), IdTable(IDS[1:], SEMANTIC_IDS[1:])]).semantic_id("c") == (
        3,
        200,
        0,
    )


@pytest.mark.parametrize(
    "columns",
    [
        pa.table({"item_id": ["c", "z", "b"], "year": [3, 9, 1], "title": ["C", "Z", "B"]}),
        pd.DataFrame({"year": [3, 9, 1], "title": ["C", "Z", "B"], "item_id": ["c", "z", "b"]}),
        pd.DataFrame({"year": [3, 9, 1], "title": ["C", "Z", "B"]}, index=pd.Index(["c", "z", "b"], name="item_id")),
        {"sku": ["c", "z", "b"], "year": [3, 9, 1], "title": ["C", "Z", "B"]},
        {"year": {"c": 3, "z": 9, "b": 1}, "title": {"c": "C", "b": "B"}},
    ],
)
def test_columns_are_matched_by_item_id(columns):
    table = IdTable(IDS, SEMANTIC_IDS, columns={"title": np.array(["x", "y", "z"], object), "kept": [1, 2, 3]})
    found = table.with_columns(columns)
    assert found.columns.to_pydict() == {"kept": [1, 2, 3], "year": [1, None, 3], "title": ["B", None, "C"]}
    assert found.titles.tolist() == ["B", None, "C"] and found.semantic_id("a") == (12, 4, 1)
    assert table.titles.tolist() == ["x", "y", "z"]


def test_columns_of_numbered_items_are_matched_as_text_too():
    table = IdTable(np.array([10, 20, 30]), SEMANTIC_IDS)
    assert table.with_columns({"title": {"20": "B"}}).titles.tolist() == [None, "B", None]
    assert table.with_columns(pa.table({"n": [1], "key": [30]}), id_column="key").columns["n"].to_pylist() == [
        None,
        None,
        1,
    ]


def test_columns_that_do_not_fit_are_refused():
    table = IdTable(IDS, SEMANTIC_IDS)
    for columns, id_column, words in (
        ({"item_id": ["a", "a"], "year": [1, 2]}, None, "have item 'a' more than once"),
        ({"item_id": ["x", "y"], "year": [1, 2]}, None, "such as 'x', is in the ID table, which has items such as 'b'"),
        ({"item_id": ["a"], "sid": ["1-2"]}, None, "already has a column 'sid'"),
        ({"year": [1], "title": ["A"]}, "sku", "no column 'sku' with item ids; the columns are year, title"),
        ({"year": [1.5], "title": ["A"]}, None, "must all be whole numbers or all be text, not double"),
        ({"year": {"a": 1, "b": "x"}}, None, "column 'year' cannot be written to a table"),
        ({"year": {}}, None, "the column 'year' has no values; give a value for at least one item"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            table.with_columns(columns, id_column=id_column)
        assert "\n" not in str(caught.value)


def test_a_table_is_shown_in_one_line_and_in_a_notebook_with_ten_items():
    semantic_ids = np.arange(60, dtype=np.int32).reshape(20, 3)
    columns = {"title": np.array([f"<{row}>" for row in range(20)], object)}
    table = IdTable(
        np.arange(20), semantic_ids, sizes=(256,) * 3, columns=columns, name="a&b", figures={"r2": 0.71234567}
    )
    assert repr(table) == "IdTable('a&b': 20 items, Semantic IDs of 3 x 256 codes, columns title)"
    page = table._repr_html_()
    assert page.count("<tr>") == 11 and "&lt;9&gt;" in page and "&lt;10&gt;" not in page and "<9>" not in page
    for words in (
        "a&amp;b",
        "20 items",
        "3 x 256",
        "r2 0.7123",
        "27-28-29",
        "<th>title</th>",
        "distinct Semantic IDs 20",
    ):
        assert words in page
    assert "256 x 4" in repr(IdTable(np.arange(20), semantic_ids[:, :2] % 4, sizes=(256, 4), shared=True))


@pytest.mark.parametrize("wrong", [None, 1.0, True, [1], b"1", "1"])
def test_what_is_no_id_of_the_table_has_no_semantic_id(wrong):
    table = IdTable(np.array([1, 2]), np.array([[0, 1], [1, 0]], np.int32))
    assert wrong not in table
    assert table.rows_of([wrong]).tolist() == [-1]
    if not isinstance(wrong, list):
        with pytest.raises(KeyError):
            table.semantic_id(wrong)
        with pytest.raises(KeyError):
            table.semantic_id([wrong])
    assert 1 in table and np.int32(2) in table and 3 not in table
    assert list(table) == [1, 2]


@pytest.mark.parametrize(
    "use",
    [
        lambda table: table.item((1.5, 2)),
        lambda table: table.items(4),
        lambda table: table.item(None),
        lambda table: table.semantic_id(np.array([[1, 2]])),
        lambda table: table.neighbors(1, -1),
        lambda table: table.neighbors(1, 2.5),
        lambda table: table.with_columns({"item_id": [1, 2], "price": [1.0]}),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(use):
    table = IdTable(np.array([1, 2]), np.array([[0, 1], [1, 0]], np.int32))
    with pytest.raises(UserError) as error:
        use(table)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary(), pa.large_string()])
def test_items_are_named_by_text_of_any_of_arrows_types(kind):
    ids = pa.array(["a", "b", "c"]).cast(kind)
    for named in (ids, pa.DictionaryArray.from_arrays(pa.array([2, 0, 1]), pa.array(["b", "c", "a"]).cast(kind))):
        table = IdTable(named, SEMANTIC_IDS)
        assert table.item_ids.tolist() == ["a", "b", "c"]
        assert table.semantic_id(pa.array(["c"]).cast(kind)).tolist() == [SEMANTIC_IDS[2].tolist()]
