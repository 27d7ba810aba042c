from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sid_jax.export.torch_file import write_torch_file

CONTENT: dict[str, Any] = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "nested": {"ints": np.array([1, -2], np.int32), "longs": np.array([2**40], np.int64), "": {}},
    "plain": [1, -1, 2**31 - 1, -(2**31), 2**31, -(2**200), 0.1, float("inf"), True, False, None, "naïve – 日本", []],
    "pair": (1, ("a",), (), [np.zeros(3, np.float32)]),
}

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=10,
)
dtypes: st.SearchStrategy[np.dtype] = st.sampled_from([np.dtype(name) for name in ("<f4", "<i4", "<i8", ">i4")])
arrays: st.SearchStrategy[np.ndarray] = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, min_side=0))


def load(path, **options):
    return torch.load(path, weights_only=True, **options)


@pytest.mark.parametrize("options", [{}, {"mmap": True}])
def test_torch_reads_what_was_written(tmp_path, options):
    path = tmp_path / "content.pt"
    write_torch_file(path, CONTENT)
    loaded = load(path, **options)
    assert list(loaded) == list(CONTENT)
    assert loaded["matrix"].dtype == torch.float32
    assert loaded["matrix"].is_contiguous()
    assert not loaded["matrix"].requires_grad
    assert np.array_equal(loaded["matrix"].numpy(), CONTENT["matrix"])
    assert loaded["nested"]["ints"].dtype == torch.int32
    assert loaded["nested"]["longs"].tolist() == [2**40]
    assert loaded["plain"] == CONTENT["plain"]
    assert [type(value) for value in loaded["plain"]] == [type(value) for value in CONTENT["plain"]]
    assert loaded["pair"][:3] == (1, ("a",), ())


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), plain_values, max_size=4))
def test_plain_values_round_trip(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("plain") / "content.pt"
    write_torch_file(path, content)
    assert load(path) == content


@given(arrays)
def test_arrays_of_any_shape_round_trip(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("arrays") / "content.pt"
    write_torch_file(path, {"array": array, "transposed": array.T, "after": np.ones(1, np.float32)})
    loaded = load(path)
    for name, wanted in (("array", array), ("transposed", array.T)):
        assert loaded[name].numpy().dtype == array.dtype.newbyteorder("=")
        assert loaded[name].shape == wanted.shape
        assert np.array_equal(loaded[name].numpy(), wanted, equal_nan=True)
    assert loaded["after"].tolist() == [1.0]


def test_arrays_that_are_not_contiguous_keep_their_values(tmp_path):
    matrix = np.arange(24, dtype=np.float32).reshape(4, 6)
    views = {"transposed": matrix.T, "stepped": matrix[::2, ::-3], "fortran": np.asfortranarray(matrix)}
    write_torch_file(tmp_path / "views.pt", views)
    loaded = load(tmp_path / "views.pt")
    for name, view in views.items():
        assert np.array_equal(loaded[name].numpy(), view)


def test_the_archive_is_laid_out_as_torch_lays_it_out(tmp_path):
    write_torch_file(tmp_path / "content.pt", CONTENT)
    with zipfile.ZipFile(tmp_path / "content.pt") as archive, (tmp_path / "content.pt").open("rb") as file:
        names = archive.namelist()
        assert names == [
            f"archive/{name}" for name in ("data.pkl", "byteorder", *(f"data/{n}" for n in range(4)), "version")
        ]
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            file.seek(entry.header_offset + 26)
            name_length, extra_length = np.frombuffer(file.read(4), "<u2").tolist()
            assert (entry.header_offset + 30 + name_length + extra_length) % 64 == 0
        assert archive.testzip() is None


def test_the_same_content_gives_the_same_bytes(tmp_path):
    write_torch_file(tmp_path / "one.pt", CONTENT)
    write_torch_file(tmp_path / "other.pt", CONTENT)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


def test_more_than_256_tensors_keep_their_order(tmp_path):
    write_torch_file(tmp_path / "many.pt", {"all": [np.array([n], np.int32) for n in range(300)]})
    assert [tensor.item() for tensor in load(tmp_path / "many.pt")["all"]] == list(range(300))


@pytest.mark.parametrize(
    "value",
    [np.float64(1), np.float32(1), np.int64(1), np.str_("a"), np.bool_(True), np.zeros(2), {1}, b"a", 1j, 2**3000],
)
def test_what_torch_would_refuse_is_refused_by_its_key(tmp_path, value):
    with pytest.raises(TypeError, match=r"^content\['info'\]\['sizes'\]\[1\] is a"):
        write_torch_file(tmp_path / "content.pt", {"info": {"sizes": [0, value]}})
    assert not (tmp_path / "content.pt").exists()


def test_keys_must_be_text(tmp_path):
    with pytest.raises(TypeError, match=r"content\['info'\] has the key 3"):
        write_torch_file(tmp_path / "content.pt", {"info": {3: 1}})
