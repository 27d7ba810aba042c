"""Tensors of `.pt` files: files of PyTorch are read, and malicious files have no effect."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sid_jax.data.parts.torch_tensors import open_tensor
from sid_jax.data.vector_files import read_vector_files
from sid_jax.errors import UserError
from sid_jax.export.torch_file import write_torch_file

# The dtypes of the tensors that are saved.
_DTYPES = ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "|u1", "|b1"]


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def opened(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return open_tensor(path)[1]


def refusal(path: Path, content: bytes) -> str:
    with pytest.raises(UserError) as error:
        opened(path, content)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


@given(array=hnp.arrays(st.sampled_from(_DTYPES), hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))
@settings(max_examples=50)
def test_what_torch_saves_is_read(tmp_path_factory, array: np.ndarray):
    path = tmp_path_factory.getbasetemp() / "a.pt"
    tensor = torch.from_numpy(array.copy())
    for value in (
        tensor,
        tensor.T if array.ndim == 2 else tensor[1:],
        {"x": tensor},
        torch.nn.Parameter(tensor, False),
    ):
        found = opened(path, saved(value))
        wanted = (value["x"] if isinstance(value, dict) else value).numpy()
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        assert np.array_equal(found, wanted, equal_nan=array.dtype.kind == "f")
        assert not found.flags.writeable or not found.size


def test_bfloat16_and_names_are_read(tmp_path: Path):
    found = opened(tmp_path / "a.pt", saved(torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16)))
    assert found.dtype == ml_dtypes.bfloat16 and found.astype(np.float32).tolist() == [[1.5, -2.0]]
    (tmp_path / "a.pt").write_bytes(saved(OrderedDict(codes=torch.arange(3), about="text", size=3)))
    name, tensor = open_tensor(tmp_path / "a.pt")
    assert (name, tensor.tolist()) == ("codes", [0, 1, 2])
    assert "contains 2 tensors (a, b)" in refusal(tmp_path / "a.pt", saved({"a": torch.ones(1), "b": torch.ones(1)}))
    assert "contains 0 tensors" in refusal(tmp_path / "a.pt", saved({"a": [torch.ones(1)]}))


def test_vectors_are_read_where_they_lie(tmp_path: Path):
    vectors = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    write_torch_file(tmp_path / "a.pt", vectors)
    (tmp_path / "b.pt").write_bytes(saved(torch.from_numpy(vectors.astype(np.float64).T.copy()).T))
    for name in ("a.pt", "b.pt"):
        data = read_vector_files(str(tmp_path / name))
        assert np.array_equal(data.vectors, vectors) and data.ids.tolist() == list(range(50))
    (tmp_path / "c.pt").write_bytes(saved(torch.tensor([[-128, 3], [127, 0]], dtype=torch.int8)))
    assert read_vector_files(str(tmp_path / "c.pt")).vectors.tolist() == [[-128, 3], [127, 0]]
    (tmp_path / "d.pt").write_bytes(saved(torch.ones((2, 2), dtype=torch.bool)))
    with pytest.raises(UserError, match="expected bfloat16, integers, float16, float32 or float64, found bool"):
        read_vector_files(str(tmp_path / "d.pt"))


def test_objects_are_not_unpickled(tmp_path: Path):
    path, sprung = tmp_path / "a.pt", tmp_path / "sprung"
    for value in (Trap(sprung), {"x": Trap(sprung)}, [torch.ones(1), Trap(sprung)]):
        assert "contains a Python object" in refusal(path, saved(value))
    assert "not a zip archive" in refusal(path, pickle.dumps(Trap(sprung)))
    assert "a Python object, 'torch._utils _rebuild_sparse_tensor'" in refusal(path, saved(torch.eye(2).to_sparse()))
    assert not sprung.exists()


def with_pickle(pickled: bytes, storage: bytes = bytes(64)) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", storage)
    return buffer.getvalue()


def tensor_pickle(count: int = 16, offset: int = 0, shape: tuple[int, ...] = (4, 4), strides: Any = (4, 1)) -> bytes:
    """Returns the pickle of a float32 tensor with this storage size, offset, shape and strides."""
    content = pickle.dumps(("storage", "CLASS", "0", "cpu", count), 2)[2:-1]
    storage = content.replace(pickle.BINUNICODE + b"\x05\0\0\0CLASS", b"ctorch\nFloatStorage\n") + pickle.BINPERSID
    rest = b"".join(pickle.dumps(each, 2)[2:-1] for each in (offset, shape, strides, False))
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"ccollections\nOrderedDict\n)RtR."
    return b"\x80\x02" + call


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"count": 10**15}, "compressed or too short"),
        ({"offset": 13}, "extends beyond its storage"),
        ({"shape": (2**40, 2**40)}, "larger than its storage"),
        ({"strides": (10**9, 1)}, "extends beyond its storage"),
        ({"shape": (16,), "strides": (0,)}, None),
        ({"shape": (10**12,), "strides": (0,)}, "larger than its storage"),
        ({"shape": (-4, 4)}, "invalid shape"),
        ({"shape": (4.0, 4)}, "invalid shape"),
        ({"strides": (4,)}, "larger than its storage"),
        ({"count": -1}, "a storage in an unknown format"),
        ({"shape": "44"}, "invalid shape"),
        ({"strides": None}, "not a readable"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(tmp_path: Path, numbers: dict[str, Any], words: str | None):
    content = with_pickle(tensor_pickle(**numbers), np.arange(16, dtype="<f4").tobytes())
    if words is None:
        assert opened(tmp_path / "a.pt", content).tolist() == [0.0] * 16
    else:
        assert words in refusal(tmp_path / "a.pt", content)


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02)R.",
        b"\x80\x02ttt.",
        b"\x80\x02h\x07.",
        b"\x80\x02K\x01K\x02\x86}u.",
        b"cos\nsystem\n(X\x02\x00\x00\x00idtR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"ios\nsystem\n(.",
        b"\x80\x02X\xff\xff\xff\xff.",
        b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        b"\x80\x02ctorch\nFloatStorage\n).",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R.",
        b"\x80\x02Kq\x85Q.",
    ],
)
def test_a_pickle_of_anything_else_is_refused(tmp_path: Path, pickled: bytes):
    refusal(tmp_path / "a.pt", with_pickle(pickled))


GOOD = saved({"codes": torch.arange(12).reshape(3, 4), "about": ("text", 1, None, True)})


@given(data=st.data())
@settings(max_examples=300)
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path_factory, data: st.DataObject):
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        place, length = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 9))
        content[place : place + length] = data.draw(st.binary(max_size=9))
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(bytes(content))
    try:
        open_tensor(path)[1].sum()
    except UserError as error:
        assert "\n" not in str(error)


@given(pickled=st.lists(st.sampled_from([bytes([code]) for code in range(256)]) | st.binary(max_size=6), max_size=20))
@settings(max_examples=300)
def test_pickles_of_any_opcodes_are_read_or_refused_in_one_line(tmp_path_factory, pickled: list[bytes]):
    path = tmp_path_factory.getbasetemp() / "opcodes.pt"
    path.write_bytes(with_pickle(b"\x80\x02" + b"".join(pickled) + b"."))
    with pytest.raises(UserError, match="opcodes.pt"):
        open_tensor(path)
