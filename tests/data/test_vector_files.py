"""Written vectors are read unchanged, from every file format, whole and in pieces, in memory and mapped."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.data.arrays import as_vectors
from sid_jax.data.parts.vector_parts import list_parts
from sid_jax.data.vector_files import read_vector_files
from sid_jax.errors import UserError
from tests.data.formats import (
    BFLOAT16,
    WITH_IDS,
    WITH_NUMBERS,
    WITHOUT_IDS,
    table,
    types_of,
    write_dataset,
    write_lines,
    write_parquet,
)

VECTORS = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
KINDS = [*WITH_IDS, *WITH_NUMBERS, *WITHOUT_IDS]


@st.composite
def texts(draw, kind: str, count: int) -> list[str]:
    # Some formats do not keep all characters: in a file of lines, a line break ends an id. NumPy drops null characters
    # at the end of a string. A byte order mark is not part of an id.
    forbidden = "\n\r\0\ufeff" if kind in WITHOUT_IDS or kind.startswith("npz") else ""
    letters = st.characters(exclude_categories=["Cs"], exclude_characters=forbidden)
    names = st.text(letters, max_size=12)
    if kind in WITHOUT_IDS:  # Lines are read without surrounding spaces.
        names = names.filter(lambda name: name and name == name.strip())
    return draw(st.lists(names, min_size=count, max_size=count, unique=True))


@st.composite
def catalogs(draw, kind: str):
    """Draws vectors of a supported dtype, ids, and the number of rows of each file."""
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    count, features = sum(sizes), draw(st.integers(1, 5))
    dtype = draw(st.sampled_from(types_of(kind)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        vectors = random.integers(limits.min, limits.max, (count, features), dtype.newbyteorder("="), endpoint=True)
        vectors = vectors.astype(dtype)
    else:
        with np.errstate(over="ignore"):
            vectors = (random.normal(size=(count, features)) * 10.0 ** random.integers(-8, 5, (count, 1))).astype(dtype)
    if kind in WITH_NUMBERS or draw(st.booleans()):
        ids = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=count, max_size=count, unique=True))
    else:
        ids = draw(texts(kind, count))
    return vectors, ids, sizes


def write_files(folder: Path, kind: str, vectors: np.ndarray, ids: list, sizes: list[int]) -> list[str]:
    """Writes files, named in the order of the rows, and returns the paths of separate files of ids, if any."""
    id_files, row = [], 0
    for number, size in enumerate(sizes):
        rows, name = slice(row, row + size), folder / str(number)
        if kind not in WITHOUT_IDS:
            (WITH_IDS | WITH_NUMBERS)[kind](name, ids[rows], vectors[rows])
        else:
            WITHOUT_IDS[kind](name, vectors[rows])
            id_files.append(_write_ids(folder / f"ids-{number}", ids[rows]))
        row += size
    return id_files


def _write_ids(name: Path, ids: list) -> str:
    if isinstance(ids[0], str):
        return str(write_lines(name, ids))
    np.save(name, np.array(ids))
    return f"{name}.npy"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_was_written_is_read(kind: str, data: st.DataObject):
    vectors, ids, sizes = data.draw(catalogs(kind))
    rows, rows_a_part, in_memory = (data.draw(each) for each in (st.integers(1, 9), st.integers(1, 30), st.booleans()))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "many"
        folder.mkdir()
        id_files = write_files(folder, kind, vectors, ids, sizes)
        path = ",".join(str(each) for each in sorted(folder.iterdir()) if "ids" not in each.name)
        limit = None if in_memory else 4
        found = read_vector_files(path, ids_paths=id_files, resident_bytes=limit, cache_dir=scratch)
        assert found.vectors.dtype == np.float32
        np.testing.assert_array_equal(found.vectors, vectors.astype(np.float32))
        assert found.ids.tolist() == ids and found.ids.dtype == (object if isinstance(ids[0], str) else np.int64)
        parts = list_parts([path], ids_paths=id_files, rows=rows_a_part)
        assert parts.num_items == len(ids) and not parts.ids_are_row_numbers
        for number, part in enumerate(parts.parts):
            blocks = list(parts.blocks(number, rows))
            assert all(0 < len(block) <= rows for _, block in blocks)
            mine = slice(part.first_item, part.first_item + part.num_rows)
            assert [each for some, _ in blocks for each in some.to_pylist()] == ids[mine]
            np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), found.vectors[mine])
            wanted = np.arange(part.num_rows)[:: rows + 1]
            chosen = np.concatenate(list(parts.rows(number, wanted, rows)))
            np.testing.assert_array_equal(chosen, found.vectors[mine][wanted])


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i4", "<i8"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "records"])
def test_vectors_of_integers_are_read_as_in_memory(tmp_path: Path, kind: str, dtype: str):
    vectors = np.array([[0, 127], [1, 5], [100, 7]], dtype)
    id_files = write_files(tmp_path, kind, vectors, [1, 2, 3], [3])
    path = ",".join(str(each) for each in sorted(tmp_path.iterdir()) if "ids" not in each.name)
    found = read_vector_files(path, ids_paths=id_files)
    np.testing.assert_array_equal(found.vectors, as_vectors(vectors, "vectors"))


def test_a_null_among_integers_is_a_bad_row(tmp_path: Path):
    rows = pa.array([[1, 2], [3, None], None, [5, 6]], pa.list_(pa.int8()))
    pq.write_table(pa.table({"item_id": [1, 2, 3, 4], "vector": rows}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="2 of 4 rows have no vector"):
        read_vector_files(str(tmp_path / "a.parquet"))
    kept = read_vector_files(str(tmp_path / "a.parquet"), on_bad_rows="drop")
    assert kept.ids.tolist() == [1, 4] and kept.vectors.tolist() == [[1, 2], [5, 6]]


@pytest.mark.parametrize("kind", WITHOUT_IDS)
def test_without_ids_they_are_row_numbers_counted_over_all_files(tmp_path: Path, kind: str):
    for number in range(2):
        WITHOUT_IDS[kind](tmp_path / str(number), VECTORS + number)
    found = read_vector_files(str(tmp_path))
    assert found.ids.tolist() == [0, 1, 2, 3] and found.ids.dtype == np.int64
    np.testing.assert_array_equal(found.vectors, np.concatenate([VECTORS, VECTORS + 1]))


def test_one_npy_of_float32_stays_in_its_file_and_nothing_else_does(tmp_path: Path):
    paths = [WITHOUT_IDS["npy"](tmp_path / name, VECTORS.astype(dtype)) for name, dtype in (("a", "<f4"), ("b", "<f8"))]
    mapped, read = (read_vector_files(str(path)).vectors for path in paths)
    assert isinstance(mapped.base, np.memmap) and not isinstance(read.base, np.memmap)


def test_numpy_bfloat16_is_known_by_its_two_byte_voids(tmp_path: Path):
    path = WITHOUT_IDS["npy"](tmp_path / "a", VECTORS.astype(BFLOAT16))
    assert np.load(path).dtype == np.dtype("V2")
    np.testing.assert_array_equal(read_vector_files(str(path)).vectors, VECTORS)


def test_lines_of_ids_are_kept_without_surrounding_spaces(tmp_path: Path):
    path = WITHOUT_IDS["npy"](tmp_path / "a", VECTORS)
    (tmp_path / "ids.txt").write_bytes("\ufeff007\r\nnaïve id \r\n".encode())
    assert read_vector_files(str(path), ids_paths=[str(tmp_path / "ids.txt")]).ids.tolist() == ["007", "naïve id"]


def test_an_id_of_a_megabyte_and_two_that_only_look_alike(tmp_path: Path):
    ids = ["x" * 10**6, "caf\u00e9", "cafe\u0301", "🎬\n"]
    path = write_parquet(tmp_path / "a.parquet", ids, np.eye(4, dtype=np.float32))
    assert read_vector_files(str(path)).ids.tolist() == ids


def test_other_names_of_columns(tmp_path: Path):
    ids, vectors = pa.array([3, 255], pa.uint8()), pa.array(VECTORS.tolist())
    pq.write_table(pa.table({"film": ids, "embedding": vectors, "vector": [0, 0]}), tmp_path / "a.parquet")
    found = read_vector_files(str(tmp_path / "a.parquet"), id_column="film", vector_column="embedding")
    assert found.ids.tolist() == [3, 255]
    np.testing.assert_array_equal(found.vectors, VECTORS)


def test_a_data_set_is_read_in_its_own_order_and_of_several_splits_one_is_to_be_named(tmp_path: Path):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    content = table([f"i{n}" for n in range(30)], np.arange(60, dtype=np.float32).reshape(30, 2))
    for split in ("train", "test"):
        write_dataset(folder / split, content, num_files=3)
    (folder / "train" / "cache-123.arrow").write_bytes(b"not of the data set")
    assert read_vector_files(f"{folder}/train").ids.tolist() == content["item_id"].to_pylist()
    with pytest.raises(
        UserError, match="several splits; give the folder of one split, .*/saved/SPLIT; the splits are: test, train"
    ):
        read_vector_files(str(folder))
    (folder / "test" / "state.json").write_text('{"_data_files": [{"filename": "../../secret.arrow"}]}')
    with pytest.raises(UserError, match="it refers to files outside its folder"):
        read_vector_files(f"{folder}/test")


def test_a_name_with_a_comma_and_two_names_with_one_between(tmp_path: Path):
    one = write_parquet(tmp_path / "a,b.parquet", [1, 2], VECTORS)
    other = write_parquet(tmp_path / "c.parquet", [3, 4], VECTORS)
    assert read_vector_files(str(one)).ids.tolist() == [1, 2]
    other.rename(tmp_path / "d.parquet")
    one.rename(other)
    assert read_vector_files(f"{tmp_path}/d.parquet, {other}").ids.tolist() == [3, 4, 1, 2]


def test_files_of_ids_by_a_pattern(tmp_path: Path):
    for number in range(2):
        WITHOUT_IDS["npy"](tmp_path / str(number), VECTORS)
        write_lines(tmp_path / f"{number}.txt", [f"{number}a", f"{number}b"])
    found = read_vector_files(f"{tmp_path}/*.npy", ids_paths=[f"{tmp_path}/*.txt"])
    assert found.ids.tolist() == ["0a", "0b", "1a", "1b"]
