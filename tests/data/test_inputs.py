"""Conversion of data in memory to items, vectors and histories for training."""

import subprocess
import sys
import uuid

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sid_jax import SemanticIdTokenizer
from sid_jax.config import default_config
from sid_jax.data.inputs import as_histories, vector_set
from sid_jax.data.load import load_vectors
from sid_jax.errors import UserError

VECTORS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
LISTS = pa.array(VECTORS.tolist(), pa.list_(pa.float32()))
IDS = [f"sku-{row}" for row in range(30)]


@pytest.fixture
def settings():
    return default_config().data


@pytest.mark.parametrize(
    "given_as",
    [
        VECTORS.astype(np.float64),
        np.asfortranarray(VECTORS),
        VECTORS.tolist(),
        list(VECTORS),
        jnp.asarray(VECTORS),
        torch.tensor(VECTORS, requires_grad=True),
        LISTS,
        pa.chunked_array([LISTS[:7], LISTS[7:]]),
        pa.array(VECTORS.tolist(), pa.list_(pa.float32(), 4)),
        pa.FixedShapeTensorArray.from_numpy_ndarray(VECTORS),
        pd.Series(list(VECTORS)),
        pd.Series(VECTORS.tolist()),
        pd.DataFrame(VECTORS),
        pd.DataFrame(VECTORS, columns=list("abcd")),
    ],
    ids=lambda value: f"{type(value).__module__.split('.')[0]}.{type(value).__name__}",
)
def test_vectors_of_any_library_are_the_same(given_as, settings):
    found = vector_set(given_as, settings=settings)
    assert found.vectors.dtype == np.float32 and found.vectors.flags.c_contiguous
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert found.ids.tolist() == list(range(30))
    assert found.fingerprint() == vector_set(VECTORS, settings=settings).fingerprint()


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.int8, np.float64])
def test_numbers_of_other_types_become_float32(kind, settings):
    rounded = (10 * VECTORS).astype(kind)
    np.testing.assert_array_equal(vector_set(rounded, settings=settings).vectors, rounded.astype(np.float32))
    if kind is ml_dtypes.bfloat16:
        tensor = torch.tensor(rounded.astype(np.float32)).bfloat16()
        np.testing.assert_array_equal(vector_set(tensor, settings=settings).vectors, rounded.astype(np.float32))


def test_an_array_of_float32_is_not_copied_and_a_memory_map_stays_mapped(settings, tmp_path):
    assert np.shares_memory(vector_set(VECTORS, settings=settings).vectors, VECTORS)
    np.save(tmp_path / "items.npy", VECTORS)
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    assert np.shares_memory(vector_set(mapped, settings=settings).vectors, mapped)
    # Changed pages of a private memory map must not be released, since the changes would be lost.
    private = np.load(tmp_path / "items.npy", mmap_mode="c")
    private[0] = 7
    found = vector_set(private, settings=settings)
    found.fingerprint()
    assert (found.vectors[0] == 7).all()


@pytest.mark.parametrize(
    ("given_as", "expected"),
    [
        (IDS, IDS),
        (np.array(IDS), IDS),
        (pa.array(IDS), IDS),
        (pd.Series(IDS, dtype="category"), IDS),
        (pd.Index(IDS), IDS),
        ([str(uuid.UUID(int=row)) for row in range(30)], [str(uuid.UUID(int=row)) for row in range(30)]),
        ([uuid.UUID(int=row) for row in range(30)], [str(uuid.UUID(int=row)) for row in range(30)]),
        (np.arange(100, 130, dtype=np.uint16), list(range(100, 130))),
        (range(100, 130), list(range(100, 130))),
        (torch.arange(100, 130), list(range(100, 130))),
        (jnp.arange(100, 130), list(range(100, 130))),
        (["007", *IDS[1:]], ["007", *IDS[1:]]),
    ],
)
def test_ids_are_kept_as_they_are(given_as, expected, settings):
    ids = vector_set(VECTORS, given_as, settings=settings).ids
    assert ids.tolist() == expected
    assert ids.dtype == (np.int64 if isinstance(expected[0], int) else object)


def test_a_set_from_memory_is_the_one_that_is_read_from_files(settings, tmp_path):
    np.save(tmp_path / "items.npy", VECTORS)
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    pq.write_table(pa.table({"item_id": IDS, "vector": LISTS}), tmp_path / "items.parquet")
    in_memory = vector_set(VECTORS, IDS, settings=settings)
    settings.path, settings.ids_path = str(tmp_path / "items.npy"), str(tmp_path / "ids.txt")
    of_npy = load_vectors(settings)
    settings.path, settings.ids_path = str(tmp_path / "items.parquet"), ""
    of_parquet = load_vectors(settings)
    by_path = vector_set(tmp_path / "items.npy", IDS, settings=default_config().data)
    of_table = vector_set(pa.table({"item_id": IDS, "vector": LISTS}), settings=default_config().data)
    for other in (of_npy, of_parquet, by_path, of_table):
        assert other.fingerprint() == in_memory.fingerprint()
        np.testing.assert_array_equal(other.vectors, in_memory.vectors)
        assert other.ids.tolist() == in_memory.ids.tolist()


@pytest.mark.parametrize("histories", ["list", "dict", "table", "path"])
def test_histories_give_what_the_config_s_give(histories, settings, tmp_path):
    random = np.random.default_rng(1)
    lists = [[IDS[item] for item in random.integers(0, 30, 9)] for _ in range(40)]
    (tmp_path / "sequences.txt").write_text("\n".join(" ".join([str(user), *each]) for user, each in enumerate(lists)))
    rows = [(user, item, time) for user, each in enumerate(lists) for time, item in enumerate(each)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).sample(frac=1, random_state=0)
    given_as = {"list": lists, "dict": dict(enumerate(lists)), "table": table, "path": tmp_path / "sequences.txt"}
    settings.collaborative_dimension = 4
    found = vector_set(VECTORS, IDS, histories=given_as[histories], settings=settings)
    np.save(tmp_path / "items.npy", VECTORS)
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    settings.path, settings.ids_path = str(tmp_path / "items.npy"), str(tmp_path / "ids.txt")
    settings.histories.source, settings.histories.path = "sequences", str(tmp_path / "sequences.txt")
    of_files = load_vectors(settings)
    assert found.vectors.shape == (30, 8)
    np.testing.assert_array_equal(found.vectors, of_files.vectors)


def test_columns_of_a_file_are_named(settings, tmp_path):
    table = pa.table({"item_id": IDS, "vector": list(VECTORS), "title": [f"title {each}" for each in IDS], "year": IDS})
    pq.write_table(table, tmp_path / "items.parquet")
    for names in (["title"], ("title", "year"), "title,year"):
        found = vector_set(str(tmp_path / "items.parquet"), columns=names, settings=settings)
        assert list(found.columns) == (["title"] if names == ["title"] else ["title", "year"])
        assert found.columns["title"].to_pylist() == table["title"].to_pylist()
    assert settings.columns == ""
    with pytest.raises(UserError, match="columns can be names only if vectors is a single path"):
        vector_set(VECTORS, IDS, columns=["title"], settings=settings)


def test_columns_come_in_the_items_order_or_by_their_ids(settings):
    titles = [f"title of {item}" for item in IDS]
    shuffled = np.random.default_rng(0).permutation(30)
    for columns in (
        {"title": titles},
        pa.table({"title": titles}),
        pd.DataFrame({"title": titles}),
        pd.DataFrame({"item_id": IDS, "title": titles}).iloc[shuffled],
    ):
        found = vector_set(VECTORS, IDS, columns=columns, settings=settings)
        assert found.columns["title"].to_pylist() == titles
    with pytest.raises(UserError, match="29 rows"):
        vector_set(VECTORS, IDS, columns={"title": titles[1:]}, settings=settings)
    with pytest.raises(UserError, match="sku-0"):
        vector_set(VECTORS, IDS, columns={"item_id": IDS[1:], "title": titles[1:]}, settings=settings)


def test_cold_items_are_a_mask_or_ids(settings, tmp_path):
    (tmp_path / "cold.txt").write_text("sku-3\nsku-5\n")
    expected = np.isin(np.arange(30), [3, 5])
    for cold in (expected, ["sku-3", "sku-5"], tmp_path / "cold.txt", np.array(["sku-5", "sku-3"])):
        np.testing.assert_array_equal(vector_set(VECTORS, IDS, cold=cold, settings=settings).cold, expected)
    assert vector_set(VECTORS, IDS, cold=[], settings=settings).cold is None
    for cold, words in [(["sku-99"], "sku-99"), (np.ones(30, bool), "every item"), (np.ones(29, bool), "29")]:
        with pytest.raises(UserError, match=words):
            vector_set(VECTORS, IDS, cold=cold, settings=settings)


def with_value(row, value):
    changed = VECTORS.copy()
    changed[row, 1] = value
    return changed


@pytest.mark.parametrize(
    ("vectors", "ids", "words"),
    [
        (with_value(3, np.nan), None, "row 3"),
        (with_value(3, np.inf), IDS, "sku-3"),
        (VECTORS[0], None, r"shape \[4\]"),
        (VECTORS[:0], None, "shape"),
        (VECTORS, IDS[1:], "29 ids"),
        (VECTORS, [*IDS[:-1], "sku-0"], "sku-0"),
        (VECTORS, [*IDS[:-1], None], "None"),
        (VECTORS, [*IDS[:-1], 3], "row 29"),
        (VECTORS, [0.5] * 30, "row 0"),
        ([[1.0, 2.0], [1.0]], None, "row 1"),
        ([[1.0, 2.0], None], None, "row 1"),
        ([["a", "b"]], None, "row 0"),
        (pa.array([[1.0, 2.0], None]), None, "null"),
        (pa.array([[1.0, 2.0], [1.0]]), None, "row 1"),
        (pd.DataFrame({"a": ["x"]}), None, "'a'"),
        ("no/such/file.npy", None, "no such file"),
        ({"a": [1.0]}, ["b"], "omit item_ids"),
        (object(), None, "object"),
        (np.array(["a"]), None, "expected numbers"),
    ],
)
def test_a_mistake_is_refused_in_one_line_that_names_the_place(vectors, ids, words, settings):
    with pytest.raises(UserError, match=words) as error:
        vector_set(vectors, ids, settings=settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cold", [["sku-4"], np.arange(30) == 4])
@pytest.mark.parametrize("of_file", [False, True])
def test_rows_that_are_not_finite_may_be_left_out(of_file, cold, settings, tmp_path):
    vectors = with_value(3, np.nan)
    if of_file:
        np.save(tmp_path / "items.npy", vectors)
        vectors = tmp_path / "items.npy"
    settings.on_bad_rows = "drop"
    found = vector_set(vectors, IDS, columns={"title": IDS}, cold=cold, settings=settings)
    assert found.ids.tolist() == found.columns["title"].to_pylist() == IDS[:3] + IDS[4:]
    assert found.left_out.num_rows == 1 and found.cold.sum() == 1 and found.cold[3]
    np.testing.assert_array_equal(found.vectors, np.delete(VECTORS, 3, axis=0))
    for arguments, words in (
        ({"item_ids": IDS[1:]}, "29 ids, but 30 vectors"),
        ({"columns": {"title": IDS[1:]}}, "29 rows, but 30 items"),
        ({"cold": np.arange(29) == 4}, r"shape \[29\], but there are 30 items"),
    ):
        with pytest.raises(UserError, match=words):
            vector_set(vectors, **arguments, settings=settings)


def test_fit_names_the_setting_that_drops_rows_that_are_not_finite(tmp_path):
    with pytest.raises(UserError, match=r'drop them \(the setting on_bad_rows="drop"\)$'):
        SemanticIdTokenizer().fit(with_value(3, np.nan), IDS)
    np.save(tmp_path / "items.npy", with_value(3, np.nan))
    with pytest.raises(UserError, match=r'drop them \(the setting on_bad_rows="drop"\)'):
        SemanticIdTokenizer().fit(tmp_path / "items.npy", IDS)
    with pytest.raises(UserError, match="correct them$"):
        vector_set(tmp_path / "items.npy", IDS, settings=default_config().data)
    assert SemanticIdTokenizer(on_bad_rows="drop").config.data.on_bad_rows == "drop"


lists_of_items = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=8)


@given(lists_of_items)
def test_lists_a_dict_and_a_table_are_the_same_histories(lists):
    catalog = np.arange(10)
    users = [f"u{user}" for user in range(len(lists))]
    of_lists = as_histories(lists, catalog)
    of_dict = as_histories(dict(zip(users, lists, strict=True)), catalog)
    assert [of_lists.of(user).tolist() for user in range(len(lists))] == lists
    assert [of_dict.of(user).tolist() for user in range(len(lists))] == lists
    assert of_dict.user_ids.tolist() == users
    rows = [(user, item, time) for user, each in enumerate(lists) for time, item in enumerate(each)]
    if rows:
        table = pa.table(dict(zip(("user_id", "item_id", "timestamp"), zip(*rows, strict=True), strict=True)))
        of_table = as_histories(table.take(pa.array(np.random.default_rng(0).permutation(len(rows)))), catalog)
        assert [of_table.of(user).tolist() for user in range(len(of_table))] == [each for each in lists if each]
        in_order = as_histories(table.drop_columns(["timestamp"]), catalog)
        assert in_order.items.tolist() == of_table.items.tolist()


def test_unknown_items_are_refused_or_skipped_and_counted():
    catalog = np.array(["a", "b", "c"], object)
    with pytest.raises(UserError, match="user 0: item 'x'"):
        as_histories([["a", "x"], ["b"]], catalog)
    found = as_histories([["a", "x", "b", "y"], ["z"], ["c"]], catalog, on_unknown="skip")
    assert [found.of(user).tolist() for user in range(len(found))] == [[0, 1], [], [2]]
    assert found.num_unknown == 3
    table = pa.table({"user_id": [1, 1, 2], "item_id": ["a", "x", "c"], "timestamp": [1, 2, 3]})
    with pytest.raises(UserError, match="'x'"):
        as_histories(table, catalog)
    assert as_histories(table, catalog, on_unknown="skip").num_unknown == 1


@pytest.mark.parametrize(
    ("histories", "words"),
    [
        ("no/such/file.txt", "No such file"),
        (7, "int"),
        ([["a"], "b"], "user 1"),
        ([["a"], 3], "user 1"),
        (pa.table({"user": [1], "item_id": ["a"]}), "user_id"),
        (pa.table({"user_id": [1], "item_id": ["a"], "when": pa.array([0], pa.timestamp("s"))}), "'when'"),
        (pa.table({"user_id": [None], "item_id": ["a"]}), "null|NULL|strings or integers"),
    ],
)
def test_histories_that_are_none_are_refused_in_one_line(histories, words):
    with pytest.raises(UserError, match=words) as error:
        as_histories(histories, np.array(["a", "b"], object))
    assert "\n" not in str(error.value)


def test_the_module_imports_no_jax():
    script = "import sys, sid_jax.data.inputs; print({'jax', 'pandas', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"


def test_a_table_with_vectors_under_another_name_says_which_settings_name_them():
    table = pa.table({"emb": VECTORS.tolist(), "sku": IDS})
    with pytest.raises(
        UserError, match="column 'emb' of the table holds list.*set vector_column to its name, and id_column"
    ):
        vector_set(table, settings=default_config().data)
