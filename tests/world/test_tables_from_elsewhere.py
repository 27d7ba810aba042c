"""Tables of vectors as pandas, polars, Spark, BigQuery and databases write them."""

import decimal
import gzip
import io
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from sid_jax.data.histories import Histories
from sid_jax.data.history_files import read_histories, read_interactions
from sid_jax.data.load import load_vectors
from sid_jax.data.part_columns import columns_of_part
from sid_jax.data.parts.vector_parts import list_parts
from sid_jax.data.tables import read_own_tables
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError
from sid_jax.export.id_tables import read_id_table
from sid_jax.features.run import read_impressions
from sid_jax.messages import Messages
from sid_jax.presets import preset
from sid_jax.training.quantizer import _warn_of_zeros

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
LISTS = pa.array(list(VECTORS))
TEXTS = ["007", "7", "ä", "b"]


def save(path, **columns):
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        pyarrow.feather.write_feather(table, path)
    return path


def read(path, **settings):
    config = preset("embeddings")
    config.data.path = str(path)
    for name, value in settings.items():
        config.data[name] = value
    return load_vectors(config.data)


def decimals(values):
    return [decimal.Decimal(str(value)) for value in values]


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array(TEXTS).cast(pa.string_view()), TEXTS),
        (pa.array(TEXTS).cast(pa.binary_view()), TEXTS),
        (pa.array(TEXTS).cast(pa.large_binary()), TEXTS),
        (pa.array([b"ab", b"cd", b"ef", b"gh"], pa.binary(2)), ["ab", "cd", "ef", "gh"]),
        (pa.array(TEXTS).dictionary_encode(), TEXTS),
        (pa.array(decimals([7, 8, 9, 10]), pa.decimal128(20, 0)), [7, 8, 9, 10]),
        (pa.array([uuid.UUID(int=n).bytes for n in range(4)], pa.uuid()), [str(uuid.UUID(int=n)) for n in range(4)]),
    ],
    ids=["string_view", "binary_view", "large_binary", "fixed_size_binary", "categories", "decimal", "uuid"],
)
def test_ids_are_of_any_type_of_text_or_whole_numbers(tmp_path, ids, expected, suffix):
    found = read(save(tmp_path / f"items{suffix}", item_id=ids, vector=LISTS))
    assert found.ids.tolist() == expected
    np.testing.assert_array_equal(found.vectors, VECTORS)


def test_histories_take_ids_of_the_same_types(tmp_path):
    items = pa.array([uuid.UUID(int=n).bytes for n in (2, 0)], pa.uuid())
    path = save(tmp_path / "i.parquet", user=pa.array([b"u", b"u"]), item=items, time=[1, 2])
    histories = read_interactions(
        path, np.array([str(uuid.UUID(int=n)) for n in range(4)], object), "user", "item", "time"
    )
    assert isinstance(histories, Histories) and histories.of(0).tolist() == [2, 0]


def test_ids_that_are_no_text_are_refused(tmp_path):
    path = save(tmp_path / "items.parquet", item_id=pa.array([b"\xff", b"b", b"c", b"d"]), vector=LISTS)
    with pytest.raises(UserError, match="ids of the type binary are not all UTF-8 text"):
        read(path)


@pytest.mark.parametrize(
    "vectors",
    [
        pa.FixedShapeTensorArray.from_numpy_ndarray(VECTORS),
        pa.array([decimals(row) for row in VECTORS], pa.list_(pa.decimal128(10, 3))),
        LISTS.cast(pa.large_list(pa.float64())),
        LISTS.cast(pa.list_(pa.float16(), 3)),
    ],
    ids=["tensor", "decimal", "large_list", "fixed_size_list"],
)
def test_vectors_are_lists_of_any_type_of_real_numbers(tmp_path, vectors):
    found = read(save(tmp_path / "items.feather", item_id=[1, 2, 3, 4], vector=vectors))
    np.testing.assert_allclose(found.vectors, VECTORS, atol=1e-3)


def test_records_around_vectors_are_refused_with_what_to_do(tmp_path):
    records = pa.array([{"type": 1, "values": row.tolist()} for row in VECTORS])
    with pytest.raises(UserError, match=r"records with type, values; .* \(in Spark: vector_to_array\)"):
        read(save(tmp_path / "items.parquet", item_id=[1, 2, 3, 4], vector=records))


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_a_row_that_is_no_vector_is_a_bad_row(tmp_path, suffix, capsys):
    rows = [None, [1.0, 2.0], [], [1.0, None, 3.0], [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]] + [
        [0.0] * 3
    ] * 9000
    path = save(tmp_path / f"items{suffix}", item_id=range(len(rows)), vector=pa.array(rows, pa.list_(pa.float32())))
    with pytest.raises(UserError, match=r"row 0 .* has no vector: it is null.*; 4 of 9,007 rows"):
        read(path)
    with pytest.raises(UserError, match="4 of 9,007 rows .* .listed on standard output"):
        read(path, on_bad_rows="report")
    assert [line.split(",")[1] for line in capsys.readouterr().out.splitlines()] == ["row", "0", "1", "2", "3"]
    kept = read(path, on_bad_rows="drop")
    assert kept.ids.tolist() == list(range(4, 9007)) and kept.vectors[1].tolist() == [4, 5, 6]
    assert kept.left_out.num_rows == 4


def test_a_column_without_any_vector_is_refused(tmp_path):
    with pytest.raises(UserError, match="none of the 4 rows has a vector"):
        read(
            save(tmp_path / "items.parquet", item_id=[1, 2, 3, 4], vector=pa.array([None] * 4, pa.list_(pa.float32())))
        )


def test_a_table_of_vectors_alone_has_row_numbers_or_a_file_of_ids(tmp_path):
    path = save(tmp_path / "items.parquet", vector=LISTS)
    assert read(path).ids.tolist() == [0, 1, 2, 3]
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd")
    assert read(path, ids_path=str(tmp_path / "ids.txt")).ids.tolist() == ["a", "b", "c", "d"]
    # If there is another column, it may have the ids, so row numbers are not used.
    with pytest.raises(UserError, match="set --config.data.id_column to one of sku, vector"):
        read(save(tmp_path / "named.parquet", sku=[1, 2, 3, 4], vector=LISTS))


def test_other_columns_keep_their_type_in_files_of_every_kind(tmp_path):
    columns = {
        "price": pa.array([1.5, None, 2.0, 4.0]),
        "sold": pa.array([True, None, False, True]),
        "cost": pa.array(decimals(["1.25", "2.50"]) + [None, None], pa.decimal128(8, 2)),
        "since": pa.array([0, 1, None, 3], pa.timestamp("ms")),
    }
    for suffix in (".parquet", ".feather"):
        path = save(tmp_path / f"items{suffix}", item_id=[1, 2, 3, 4], vector=LISTS, **columns)
        found = read(path, columns=",".join(columns)).columns
        assert {name: column.combine_chunks() for name, column in found.items()} == columns
        # An append reads only the columns that the published items have.
        schema = pa.schema([("since", pa.timestamp("ms")), ("price", pa.float64()), ("title", pa.string())])
        table = columns_of_part(list_parts([str(path)]), 0, schema)
        assert table["price"].to_pylist() == [1.5, None, 2.0, 4.0] and table["title"].null_count == 4
        assert table["since"].combine_chunks() == columns["since"]


def test_files_without_columns_or_vectors_are_told_from_unknown_ones(tmp_path):
    np.save(tmp_path / "items.npy", VECTORS)
    with pytest.raises(UserError, match=r"items.npy: config.data.columns needs a table"):
        read(tmp_path / "items.npy", columns="title")
    (tmp_path / "items.jsonl").write_text('{"item_id": 1, "title": "a"}')
    with pytest.raises(UserError, match="set --config.data.text_column to the columns of text"):
        read(tmp_path / "items.jsonl")


def test_ids_that_pandas_saved_as_objects_are_refused_with_what_to_do(tmp_path):
    np.save(tmp_path / "items.npy", VECTORS)
    np.save(tmp_path / "ids.npy", np.array(TEXTS, object), allow_pickle=True)
    with pytest.raises(UserError, match=r"save text with np.save\(path, array.astype\(str\)\)"):
        read(tmp_path / "items.npy", ids_path=str(tmp_path / "ids.npy"))


def test_rows_of_padding_are_told_of():
    vectors = np.concatenate([np.zeros((1, 3), np.float32), VECTORS + 1, np.zeros((1, 3), np.float32)])
    told = Console(file=io.StringIO(), width=200)
    _warn_of_zeros(VectorSet(np.arange(6) + 7, vectors), Messages.to_console(told))
    assert "2 of 6 vectors are all zeros, the first one in row 0 (counted from 0, id 7)" in told.file.getvalue()
    silent = Console(file=io.StringIO())
    _warn_of_zeros(VectorSet(np.arange(4), VECTORS + 1), Messages.to_console(silent))
    assert not silent.file.getvalue()


@pytest.mark.parametrize("kind", [pa.list_view, pa.large_list_view])
def test_views_and_runs_in_arrow_files(tmp_path, kind):
    ids, price = pc.run_end_encode(pa.array(["a", "b", "c", "d"])), pc.run_end_encode(pa.array([1.5, 1.5, None, 2.0]))
    lists = pa.array([list(map(float, row)) for row in VECTORS], kind(pa.float32()))
    table = pa.table({"item_id": ids, "vector": lists, "price": price})
    with pa.ipc.new_file(tmp_path / "a.ARROW", table.schema) as file:  # Upper case, as some systems write names.
        file.write_table(table)
    found = read(tmp_path / "a.ARROW", columns="price")
    assert found.ids.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert found.columns["price"].to_pylist() == [1.5, 1.5, None, 2.0]


@pytest.mark.parametrize("name", ["A.PARQUET", "a.Npy"])
def test_endings_in_upper_case(tmp_path, name):
    plain = tmp_path / name.lower()
    save(plain, item_id=[0, 1, 2, 3], vector=LISTS) if plain.suffix == ".parquet" else np.save(plain, VECTORS)
    plain.rename(tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name).vectors, VECTORS)


@pytest.mark.parametrize(
    "times",
    [
        ["10", "9", "8"],
        pa.array(["3.5", "2.5", "-1"]).cast(pa.string_view()),
        ["2026-01-03", "2026-01-02T10:00:00", "2026-01-02 09:00:00"],
        ["2026-01-01T12:00:00-05:00", "2026-01-01T16:30:00Z", "2026-01-01T23:00:00+08:00"],
        decimals([3, 2, 1]),
        pa.array([3, 2, 1], pa.duration("s")),
        pa.array(["3", "2", "1"]).dictionary_encode(),
    ],
)
def test_times_as_text_decimals_or_durations(tmp_path, times):
    path = save(tmp_path / "a.parquet", user_id=["u"] * 3, item_id=["c", "b", "a"], timestamp=times)
    found = read_interactions(path, np.array(["a", "b", "c"], object), "user_id", "item_id", "timestamp")
    assert found.items.tolist() == [0, 1, 2]


@pytest.mark.parametrize("times", [["soon", "2"], ["1/2/2026", "3/4/2026"], ["2026-01-01T00:00:00Z", "2026-01-01"]])
def test_times_that_cannot_be_ordered_are_refused(tmp_path, times):
    path = save(tmp_path / "a.parquet", user_id=["u"] * 2, item_id=["a", "b"], timestamp=times)
    words = "found string; write numbers, or times such as 2026-01-31T12:00:00, either all with"
    with pytest.raises(UserError, match=words):
        read_interactions(path, np.array(["a", "b"], object), "user_id", "item_id", "timestamp")


def test_a_time_that_is_infinite_is_refused(tmp_path):
    path = save(tmp_path / "a.parquet", user_id=["u"] * 2, item_id=["a", "b"], timestamp=[1.0, np.inf])
    with pytest.raises(UserError, match="row 1 .* is inf"):
        read_interactions(path, np.array(["a", "b"], object), "user_id", "item_id", "timestamp")


def test_a_table_with_the_ending_of_a_text_is_not_read_as_one_user_per_line(tmp_path):
    (tmp_path / "a.tsv").write_text("user_id\titem_id\ttimestamp\nu\ta\t1\nv\tb\t2\n")
    with pytest.raises(UserError, match="the first line names columns, so this is a table"):
        read_histories(tmp_path / "a.tsv", np.array(["a", "b"], object), ("user_id", "item_id", "timestamp"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("u;a;b\n", "line 1 has no item, since ';' separates its ids; write a user id and then item ids, separated by"),
        ("u a b\nv,a,b\n", "line 2 has no item, since ',' separates its ids"),
        ("u a b\nv\n", "line 2 has no item; write"),
        ("u a b\n\nv,a c\n", "line 2 has no item; write"),
        ('"user_id";"item_id";"timestamp"\n"u";"a";1\n', "the first line names columns, so this is a table"),
        ("user_id, item_id\nu, a\n", "the first line names columns, so this is a table"),
        ('{"user_id": "u", "item_id": "a"}\n', "its content is JSON; .* save records as a .csv or .parquet table"),
        ('{"u": ["a", "b"]}', "its content is JSON; if it is an object .* give the file the ending .json"),
        ("{\n", "its content is JSON"),
        ("\n \n", "empty; give a file with one line per user"),
    ],
)
def test_a_text_that_is_not_one_user_per_line_is_refused_by_what_it_is(tmp_path, text, words):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UserError, match=words):
        read_histories(tmp_path / "a.txt", np.array(["a", "b"], object), ("user_id", "item_id", "timestamp"))


def test_ids_in_a_text_of_histories_may_have_the_separators_of_other_files(tmp_path):
    (tmp_path / "a.txt").write_text("u;1 a,b [b]\n{v} [b] a,b\n")
    found = read_histories(tmp_path / "a.txt", np.array(["a,b", "[b]"], object), ("user_id", "item_id", "timestamp"))
    assert found.user_ids.tolist() == ["u;1", "{v}"] and found.items.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "plain.csv.gz"])
def test_csv_files_have_any_usual_separator_and_may_be_unpacked(tmp_path, separator, name):
    def write(text):
        content = text.replace("|", separator).encode("utf-8-sig")
        path.write_bytes(gzip.compress(content) if name == "a.csv.gz" else content)

    path, catalog = tmp_path / name, np.array(["007", "7"], object)
    write('item_id|title|vector\n007|"Heat, 4; and\tmore"|\n7|"two\nlines"|\n')
    ids, columns = read_own_tables(str(path), "item_id", ["title"])
    assert ids.tolist() == ["007", "7"] and columns["title"].to_pylist() == ["Heat, 4; and\tmore", "two\nlines"]
    write("user_id|item_id|timestamp\nu|7|2\nu|007|1\n")
    assert read_histories(path, catalog, ("user_id", "item_id", "timestamp")).of(0).tolist() == [0, 1]
    write("item_id|impressions\n7|5\n7|1\n")
    assert read_impressions(path, catalog).tolist() == [0, 6]
    write("item_id|semantic_id\n007|1 2\n7|3 4\n")
    if name == "a.csv":
        assert read_id_table(path).semantic_ids.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(UserError, match="no column 'title'; its columns are item_id, semantic_id"):
        read_own_tables(str(path), "item_id", ["title"])


def test_a_comma_in_the_first_line_of_a_csv_file_decides(tmp_path):
    (tmp_path / "a.csv").write_text("item_id,name; maker\na,x; y\n")
    assert read_own_tables(str(tmp_path / "a.csv"), "item_id", ["name; maker"])[1]["name; maker"].to_pylist() == [
        "x; y"
    ]
    (tmp_path / "a.csv").write_text("item_id\na;b\n")
    assert read_own_tables(str(tmp_path / "a.csv"), "item_id", [])[0].tolist() == ["a;b"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_titles_in_bytes_are_texts_and_other_bytes_are_kept(tmp_path, kind):
    columns = {"title": pa.array([b"Heat \xc3\xbc", None], kind), "image": pa.array([b"\xff\xd8", None], kind)}
    pq.write_table(pa.table({"item_id": [1, 2], **columns}), tmp_path / "a.parquet")
    _, found = read_own_tables(str(tmp_path / "a.parquet"), "item_id", ["title", "image"])
    assert found["title"].to_pylist() == ["Heat ü", None] and found["image"].to_pylist() == [b"\xff\xd8", None]
