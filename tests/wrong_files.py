"""Writers of invalid files. A writer gets a folder, and returns the settings with which a run reads the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

VECTORS = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)

Files = Callable[[Path], dict[str, object]]


def file(name: str, write: Callable[[Path], object], **settings: object) -> Files:
    def make(folder: Path) -> dict[str, object]:
        write(folder / name)
        return {"path": str(folder / name), **settings}

    return make


def both(*makers: Files, **settings: object) -> Files:
    """Returns a writer that calls several writers for one folder. The run reads this folder."""

    def make(folder: Path) -> dict[str, object]:
        (folder / "all").mkdir()
        for each in makers:
            each(folder / "all")
        return {"path": str(folder / "all"), **{name: str(folder / str(value)) for name, value in settings.items()}}

    return make


def npy(array: np.ndarray, name: str = "a.npy") -> Files:
    return file(name, lambda path: np.save(path, array))


def npy_with_lines(array: np.ndarray, lines: bytes) -> Files:
    def make(folder: Path) -> dict[str, object]:
        (folder / "ids.txt").write_bytes(lines)
        return {**npy(array)(folder), "ids_path": str(folder / "ids.txt")}

    return make


def parquet(ids: object, vectors: object, name: str = "a.parquet", **options: object) -> Files:
    def write(path: Path) -> None:
        content = pa.table({"item_id": pa.array(ids), "vector": pa.array(vectors)})
        pq.write_table(content, path, **options)

    return file(name, write)


def cut(make: Files, size: int) -> Files:
    def cut_file(folder: Path) -> dict[str, object]:
        settings = make(folder)
        path = Path(str(settings["path"]))
        path.write_bytes(path.read_bytes()[:size])
        return settings

    return cut_file


def spoilt(*rows: int, dtype: str = "f4", value: float = np.nan) -> np.ndarray:
    vectors = VECTORS.astype(dtype)
    vectors[list(rows), 7] = value
    return vectors


def archive(name: str, **arrays: np.ndarray) -> Files:
    return file(name, lambda path: np.savez(path, **arrays))


def dataset_of_two_splits(folder: Path) -> dict[str, object]:
    (folder / "set" / "train").mkdir(parents=True)
    (folder / "set" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    (folder / "set" / "train" / "state.json").write_text("{}")
    return {"path": str(folder / "set")}


def two_columns_of_one_name(folder: Path) -> dict[str, object]:
    columns = [pa.array([1]), pa.array([[1.0]]), pa.array([[2.0]])]
    pq.write_table(pa.Table.from_arrays(columns, ["ids", "vector", "vector"]), folder / "a.parquet")
    return {"path": str(folder / "a.parquet")}
