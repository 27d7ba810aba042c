"""Malicious or damaged files give a one-line error: nothing is unpickled, and no header is trusted."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_jax.data.vector_files import read_vector_files
from sid_jax.errors import UserError
from tests.data.formats import table, write_arrow_file, write_lines, write_parquet

VECTORS = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


class Trap:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, path: Path):
        self._path = str(path)

    def __reduce__(self):
        return os.mkdir, (self._path,)


def refusal(path: Path, **settings) -> str:
    """Returns the error message for a file, after checking that reading took little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as caught:
        read_vector_files(str(path), **settings)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    return message


def test_the_trap_works(tmp_path: Path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["vectors", "ids"])
def test_objects_in_an_npz_are_not_unpickled(tmp_path: Path, name: str):
    arrays = {"vectors": VECTORS[:2], "ids": np.arange(2), name: np.array([Trap(tmp_path / "sprung")] * 2, object)}
    np.savez(tmp_path / "a.npz", **arrays)
    assert "contains Python objects, which are never unpickled" in refusal(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_objects_in_an_npy_are_not_unpickled(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.array([[Trap(tmp_path / "sprung")]] * 2, object))
    assert "Python objects" in refusal(tmp_path / "a.npy")
    np.save(tmp_path / "v.npy", VECTORS[:2])
    np.save(tmp_path / "ids.npy", np.array([Trap(tmp_path / "sprung")] * 2, object))
    assert "Python objects" in refusal(tmp_path / "v.npy", ids_paths=[str(tmp_path / "ids.npy")])
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("ending", [".pt", ".pkl", ".npy", ".npz", ".parquet", ".arrow", ".feather", ".safetensors"])
def test_a_pickle_under_any_name_is_not_unpickled(tmp_path: Path, ending: str):
    path = tmp_path / f"a{ending}"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert ("unknown kind of file" if ending == ".pkl" else "not a readable") in refusal(path)
    assert not (tmp_path / "sprung").exists()


def npy(shape: str, descr: str = "'<f4'", content: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy("(1000000000000, 384)"), "not a readable"),
        (npy("(4611686018427387904, 8)"), "not a readable"),
        (npy("(-1, 4)", content=bytes(64)), "not a readable"),
        (npy("(2, -4)", content=bytes(64)), "not a readable"),
        (npy("(2, 0)"), "found shape [2, 0]"),
        (npy("(2, 4)", "'<f4', 'more': 1"), "not a readable"),
        (npy("(2, 4)", "'O'", b"x" * 64), "Python objects"),
        (npy("(2, 2)", "[('a', '<f2')]", bytes(64)), "found [('a', '<f2')]"),
        (npy("(" * 2000 + ")" * 2000), "not a readable"),
        (npy("[__import__('os').mkdir('sprung')]"), "not a readable"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "not a readable"),
    ],
)
def test_headers_of_npy(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "a.npy").write_bytes(content)
    assert words in refusal(tmp_path / "a.npy")


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_what_would_unpack_to_much_more_is_not_unpacked(tmp_path: Path):
    content = npy("(2500000, 4)", content=bytes(40_000_000))
    bomb = write_zip(tmp_path / "a.npz", {"vectors.npy": content}, zipfile.ZIP_DEFLATED)
    del content
    assert bomb.stat().st_size < 10**5
    assert "vectors would decompress from" in refusal(bomb)


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (npy("(3, 4)", content=bytes(32)), "but its header says"),
        (npy("(2, 4)", content=bytes(33)), "but its header says"),
        (npy("(1000000000000, 4)", content=bytes(32)), "but its header says"),
        (npy("(-2, 4)", content=bytes(32)), "but its header says"),
        (npy("()", content=bytes(4)), "vectors is a single number"),
        (npy("(8,)", content=bytes(32)), "found shape [8]"),
        (npy("(2, 4)", "'<c8'", bytes(64)), "found complex64"),
        (b"no array", "not a readable .npz file"),
        (b"", "not a readable .npz file"),
    ],
)
def test_headers_in_an_npz(tmp_path: Path, vectors: bytes, words: str):
    assert words in refusal(write_zip(tmp_path / "a.npz", {"vectors.npy": vectors}))


def test_an_npz_with_a_flipped_bit_or_without_vectors(tmp_path: Path):
    path = tmp_path / "a.npz"
    np.savez(path, vectors=VECTORS)
    content = bytearray(path.read_bytes())
    content[content.index(VECTORS.tobytes()) + 100] ^= 1
    path.write_bytes(content)
    assert "Bad CRC-32" in refusal(path)
    np.savez(path, embeddings=VECTORS)
    assert "has no 'vector'; set --config.data.vector_column to one of embeddings" in refusal(path)
    np.savez(path, vectors=np.asfortranarray(VECTORS))
    assert "vectors is in column-major (Fortran) order" in refusal(path)


def safetensors(header: object, content: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


def tensor(shape: list[int], *offsets: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (safetensors({}, length=2**63), "header of 9223372036854775808 bytes is too long"),
        (safetensors({}, length=10**8), "header of 100000000 bytes is too long"),
        (safetensors({}, length=10**6), "not a readable .safetensors file"),
        (safetensors(b"[" * 10**5), "not a readable .safetensors file"),
        (safetensors({"vectors": tensor([2, 4], 0, 32)}), "not a readable .safetensors file"),
        (safetensors({"vectors": tensor([-2, -4], 0, 32)}, bytes(32)), "not a readable .safetensors file"),
        (safetensors({"vectors": tensor([2**62, 4], 0, 32)}, bytes(32)), "not a readable .safetensors file"),
        (safetensors({"vectors": tensor([2, 4], 32, 0)}, bytes(32)), "not a readable .safetensors file"),
        (
            safetensors({"vectors": tensor([2, 4], 0, 32), "ids": tensor([2], 16, 32, dtype="I64")}, bytes(32)),
            "not a readable .safetensors file",
        ),
        (safetensors({"vectors": tensor([8], 0, 32)}, bytes(32)), "found F32 [8]"),
        (safetensors({"vectors": tensor([2, 4], 0, 8, dtype="BOOL")}, bytes(8)), "found BOOL [2, 4]"),
        (safetensors({"other": tensor([2, 4], 0, 32)}, bytes(32)), "has no 'vector'"),
        (safetensors({"vectors": tensor([0, 4], 0, 0)}), "has no rows"),
        (
            safetensors({"vectors": tensor([2, 4], 0, 32), "ids": tensor([1], 32, 40, dtype="I64")}, bytes(40)),
            "ids of shape [1], but 2 vectors",
        ),
        (
            safetensors({"vectors": tensor([2, 4], 0, 32), "ids": tensor([2], 32, 40, dtype="F32")}, bytes(40)),
            "expected ids that are strings or integers, found float32",
        ),
    ],
)
def test_headers_of_safetensors(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "a.safetensors").write_bytes(content)
    assert words in refusal(tmp_path / "a.safetensors")


def varint(number: int) -> bytes:
    """Returns an integer in the encoding of a Parquet footer."""
    number, found = number << 1, b""
    while number > 127:
        number, found = number >> 7, found + bytes([number & 127 | 128])
    return found + bytes([number])


@pytest.mark.parametrize("rows", [2**60, 2**40, 2**31, 61])
def test_a_parquet_file_that_says_it_has_more_rows(tmp_path: Path, rows: int):
    path = write_parquet(tmp_path / "a.parquet", list(range(60)), VECTORS, store_schema=False)
    content = path.read_bytes()
    size = struct.unpack("<I", content[-8:-4])[0]
    body, footer = content[: -8 - size], content[-8 - size : -8]
    # The footer has the number of rows as a 64-bit field, once for the file and once for its row group.
    changed = footer.replace(b"\x16" + varint(60), b"\x16" + varint(rows))
    assert changed.count(b"\x16" + varint(rows)) >= 2
    path.write_bytes(body + changed + struct.pack("<I", len(changed)) + b"PAR1")
    assert str(path) in refusal(path)


@pytest.mark.parametrize("place", ["pages", "footer"])
def test_parquet_of_zeros_and_ones(tmp_path: Path, place: str):
    path = write_parquet(tmp_path / "a.parquet", list(range(60)), VECTORS, write_page_checksum=True)
    content = path.read_bytes()
    middle = slice(len(content) // 3, len(content) // 3 + 40) if place == "pages" else slice(-100, -8)
    for byte in (0, 255):
        changed = bytearray(content)
        changed[middle] = bytes([byte]) * len(changed[middle])
        path.write_bytes(changed)
        assert "not a readable .parquet file" in refusal(path)


@pytest.mark.parametrize(
    ("categories", "sought", "number"),
    [
        (False, [0, 6, 12], 2**31 - 1),
        (False, [0, 4, 8], 2**31 - 1),
        (True, [0, 6, 12], 2**23),
        (True, [0, 1, 2], 327_697),
        (True, [0, 1, 2], -5),
    ],
)
def test_arrow_numbers_that_lead_out_of_their_buffers(tmp_path: Path, categories: bool, sought: list[int], number: int):
    """Damaged offsets of strings or lists, and damaged indices of categories, could crash a reader without checks."""
    ids = pa.array([f"item {n % 10}" for n in range(60)])
    content = table(ids.dictionary_encode() if categories else ids, VECTORS)
    changed = bytearray(write_arrow_file(tmp_path / "a.arrow", content, rows=60).read_bytes())
    at = changed.index(np.array(sought, "<i4").tobytes())
    changed[at + 4 : at + 8] = struct.pack("<i", number)
    (tmp_path / "b.arrow").write_bytes(changed)
    assert "b.arrow: not a readable Arrow file (" in refusal(tmp_path / "b.arrow")


def test_text_that_is_not_utf_8(tmp_path: Path):
    spoiled = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 2, 4], "<i4")), pa.py_buffer(b"ab\xff\xfe"))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"item_id": spoiled, "vector": pa.array(VECTORS[:2].tolist())}), path)
    assert "an id in row 0 or later is not UTF-8 text" in refusal(path)
    stream = io.BytesIO()
    np.save(stream, np.array(["ab", "cd"]))
    text = stream.getvalue().replace("b".encode("utf-32-le"), b"\x00\xd8\x00\x00")
    path = write_zip(tmp_path / "a.npz", {"vectors.npy": npy("(2, 4)", content=bytes(32)), "ids.npy": text})
    assert "an id in row 0 or later is not text" in refusal(path)


def test_a_file_of_ids_without_an_end_of_line(tmp_path: Path):
    np.save(tmp_path / "a.npy", VECTORS)
    lines = write_lines(tmp_path / "ids.txt", ["x" * 10**6])
    assert ": 1 ids, but" in refusal(tmp_path / "a.npy", ids_paths=[str(lines)])
