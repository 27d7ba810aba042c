"""What one stage leaves for the next: Arrow tables on the disk, written whole or not at all, read without copying."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from sid_jax.bulk.job import Job


def write(path: Path, columns: Mapping[str, np.ndarray | pa.Array]) -> None:
    """Writes columns of one length."""
    table = pa.table(dict(columns))
    with whole_file(path) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read(path: Path) -> pa.Table:
    """Returns the columns, memory-mapped."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes one array as .npy."""
    with whole_file(path) as file:
        np.save(file, array)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Gives a file to write, which has its name when the block has ended well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two workers may be at the same piece at once, where one is taken for dead and is not.
    partial = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
    with partial.open("wb") as file:
        yield file
    partial.rename(path)


def encoded(job: Job, part: int) -> Path:
    """A part's ids and codes, sorted by first code, with the rows they stand in."""
    return job.scratch / "encoded" / f"{part:06}.arrow"


def id_hashes(job: Job, part: int) -> Path:
    """A hash of each id of a part, sorted."""
    return job.scratch / "id_hashes" / f"{part:06}.npy"


def crowded(job: Job, group: int) -> Path:
    """The rows of a group of first codes whose code tuple has more items than it may have."""
    return job.scratch / "crowded" / f"{group:06}.arrow"


def crowded_rows(job: Job, part: int) -> Path:
    """Such rows of a part, sorted."""
    return job.scratch / "crowded_rows" / f"{part:06}.npy"


def crowded_vectors(job: Job, part: int) -> Path:
    """Their vectors, in the same order: float32 and nothing else."""
    return job.scratch / "crowded_vectors" / f"{part:06}.f32"


def placed(job: Job, group: int) -> Path:
    """What rows of a group have instead of their codes, sorted by part."""
    return job.scratch / "placed" / f"{group:06}.arrow"


def leaving(job: Job, group: int) -> Path:
    """The rows of a group whose first code has no place left."""
    return job.scratch / "leaving" / f"{group:06}.arrow"


def of_part(table: pa.Table, part: int) -> pa.Table:
    """Returns the rows of one part, from a table that is sorted by `part`."""
    first, end = np.searchsorted(table["part"].to_numpy(), [part, part + 1])
    return table.slice(first, end - first)
