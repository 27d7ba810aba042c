"""Writers of the supported file formats of vectors, except `.pt`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from array_record.python.array_record_module import ArrayRecordWriter
from safetensors.numpy import save_file

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
Ids = Sequence[int] | Sequence[str]


def write_lines(path: Path, ids: Ids) -> Path:
    path.write_bytes("".join(f"{each}\n" for each in ids).encode())
    return path


def table(ids: Ids | pa.Array, vectors: np.ndarray, kind: str = "list") -> pa.Table:
    """Returns a table with the columns `item_id` and `vector`; the lists in `vector` have the dtype of the vectors."""
    value = pa.from_numpy_dtype(vectors.dtype)
    kinds = {"list": pa.list_(value), "large": pa.large_list(value), "fixed": pa.list_(value, vectors.shape[1])}
    return pa.table({"item_id": ids, "vector": pa.array(list(vectors), kinds[kind])})


def write_parquet(path: Path, ids: Ids | pa.Array, vectors: np.ndarray, kind: str = "list", **options) -> Path:
    pq.write_table(table(ids, vectors, kind), path, **options)
    return path


def write_stream(path: Path, content: pa.Table, rows: int = 7) -> Path:
    with pa.ipc.new_stream(path, content.schema) as stream:
        stream.write_table(content, max_chunksize=rows)
    return path


def write_arrow_file(path: Path, content: pa.Table, rows: int = 7, **options) -> Path:
    with pa.ipc.new_file(path, content.schema, options=pa.ipc.IpcWriteOptions(**options)) as file:
        file.write_table(content, max_chunksize=rows)
    return path


def write_dataset(folder: Path, content: pa.Table, num_files: int = 2) -> Path:
    """Writes a data set as `datasets.Dataset.save_to_disk` does."""
    folder.mkdir()
    names = [f"data-{number:05}-of-{num_files:05}.arrow" for number in range(num_files)]
    size = -(-len(content) // num_files)
    for number, name in enumerate(names):
        write_stream(folder / name, content.slice(number * size, size))
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "f", "_format_columns": None}
    (folder / "state.json").write_text(json.dumps({**state, "_format_type": None, "_split": "train"}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))
    return folder


def write_records(path: Path, vectors: np.ndarray) -> Path:
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for vector in vectors:
        writer.write(vector.astype("<f4").tobytes())
    writer.close()
    return path


def _write_safetensors(path: Path, **tensors: np.ndarray) -> Path:
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return path


def _save(save: Callable, path: Path, *arrays: np.ndarray, **named: np.ndarray) -> Path:
    save(path, *arrays, **named)
    return path


# Writers of the formats that contain ids, by format. A writer gets the path of a file or folder without the ending.
WITH_IDS: dict[str, Callable[[Path, Ids, np.ndarray], Path]] = {
    "npz": lambda name, ids, x: _save(np.savez, name.with_suffix(".npz"), vectors=x, ids=np.array(ids)),
    "npz packed": lambda name, ids, x: _save(
        np.savez_compressed, name.with_suffix(".npz"), vector=x, item_id=np.array(ids)
    ),
    "parquet": lambda name, ids, x: write_parquet(name.with_suffix(".parquet"), ids, x, row_group_size=5),
    "parquet fixed": lambda name, ids, x: write_parquet(name.with_suffix(".parquet"), ids, x, "fixed"),
    "parquet large": lambda name, ids, x: write_parquet(
        name.with_suffix(".parquet"), pa.array(ids).dictionary_encode(), x, "large", compression="zstd"
    ),
    "stream": lambda name, ids, x: write_stream(name.with_suffix(".arrow"), table(ids, x)),
    "arrow": lambda name, ids, x: write_arrow_file(name.with_suffix(".arrow"), table(ids, x, "fixed")),
    "feather": lambda name, ids, x: write_arrow_file(
        name.with_suffix(".feather"), table(ids, x, "large"), compression="lz4"
    ),
    "dataset": lambda name, ids, x: write_dataset(name, table(ids, x)),
}
# In these formats, ids must be integers.
WITH_NUMBERS: dict[str, Callable[[Path, Ids, np.ndarray], Path]] = {
    "safetensors": lambda name, ids, x: _write_safetensors(
        name.with_suffix(".safetensors"), vectors=x, ids=np.array(ids)
    ),
}
WITHOUT_IDS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "npy": lambda name, x: _save(np.save, name.with_suffix(".npy"), x),
    "npy by columns": lambda name, x: _save(np.save, name.with_suffix(".npy"), np.asfortranarray(x)),
    "npz without": lambda name, x: _save(np.savez, name.with_suffix(".npz"), vector=x),
    "safetensors without": lambda name, x: _write_safetensors(name.with_suffix(".safetensors"), vector=x),
    "records": lambda name, x: write_records(name.with_suffix(".array_record"), x),
}


def types_of(kind: str) -> list[np.dtype]:
    """Returns the dtypes that a file format supports."""
    if kind == "records":
        return [np.dtype("<f4")]
    types = [np.dtype(name) for name in ("<f2", "<f4", "<f8", "i1", "u1", "<i4", "<i8")]
    if kind.startswith("np"):
        return [*types, BFLOAT16, np.dtype(">f4"), np.dtype(">i2")]
    return [*types, BFLOAT16] if kind.startswith("safetensors") else types
