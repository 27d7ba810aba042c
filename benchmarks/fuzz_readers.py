"""Fuzz test of the readers: damages files at random, and checks that each is read, or rejected with a one-line message.

python benchmarks/fuzz_readers.py --minutes=10 --seed=0
python benchmarks/fuzz_readers.py --reader=histories --minutes=10

Each damaged file is read in its own process; a file of vectors is read as a whole and then in pieces. A reader must
either succeed or raise a one-line `UserError`. Any other outcome is a finding: another exception, a crash, more than 20
seconds, or more than half a GiB of memory. The damaged file of each finding is copied to --keep with a description. If
there are findings, the exit status is 1. The same seed damages the same files in the same way.
"""

from __future__ import annotations

import collections
import gzip
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather
import pyarrow.parquet as pq
from absl import app, flags
from array_record.python.array_record_module import ArrayRecordWriter
from safetensors.numpy import save_file

from sid_jax.data.history_files import read_histories
from sid_jax.data.id_lists import read_item_list
from sid_jax.data.parts.vector_parts import list_parts
from sid_jax.data.tfrecord import write_tfrecords
from sid_jax.data.vector_files import read_vector_files
from sid_jax.errors import UserError
from sid_jax.export.artifact import write_table
from sid_jax.export.id_tables import read_id_table
from sid_jax.export.torch_file import write_torch_file
from sid_jax.formats.convert import FORMATS, convert
from sid_jax.ids.table import IdTable
from sid_jax.messages import LOGGER

_MINUTES = flags.DEFINE_float("minutes", 10.0, "Duration of the test in minutes.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of all random choices.")
_READER = flags.DEFINE_enum(
    "reader", "vectors", ("vectors", "histories", "ids", "lists"), "Kind of files to damage and read."
)
_KIND = flags.DEFINE_string("kind", "", "Damage only files with this ending, such as .pt.")
_KEEP = flags.DEFINE_string("keep", "fuzz_findings", "Folder for the damaged files of findings; created if needed.")

_SECONDS = 20
_MEMORY = 2**29
# Limit of the address space. Allocations beyond it fail, and readers must report the failure.
_ADDRESS_SPACE = 2**33
_NUMBERS = (
    0,
    1,
    2,
    127,
    128,
    255,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


def write_seeds(folder: Path, write: Callable[[Path], None]) -> list[Path]:
    """Writes valid files of every kind, and returns their paths.

    A child process writes them. If libraries started threads in this process instead, the processes that are later
    forked from it to read files would lack these threads.
    """
    folder.mkdir()
    child = os.fork()
    if not child:
        try:
            write(folder)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the files to damage cannot be written")
    return sorted(folder.iterdir())


def _write_vectors(folder: Path) -> None:
    """Writes files of 60 vectors of 4 features."""
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    names = [f"naïve {number}" for number in range(60)]
    for dtype in ("<f2", "<f4", ">f8", ml_dtypes.bfloat16):
        name = np.dtype(dtype).name
        np.save(folder / f"{name}.npy", vectors.astype(dtype))
        np.savez(folder / f"{name}.npz", vectors=vectors.astype(dtype), ids=np.array(names))
        np.savez_compressed(folder / f"{name}-packed.npz", vectors=vectors.astype(dtype), ids=np.arange(60))
        if dtype != ">f8":
            save_file({"vectors": vectors.astype(dtype), "ids": np.arange(60)}, folder / f"{name}.safetensors")
    np.save(folder / "columns.npy", np.asfortranarray(vectors))
    write_torch_file(folder / "alone.pt", vectors)
    write_torch_file(folder / "named.pt", {"vectors": vectors, "about": ["text", 1, None, True]})
    for name, ids, kind in (
        ("list", pa.array(names), pa.list_(pa.float32())),
        ("fixed", pa.array(np.arange(60)), pa.list_(pa.float64(), 4)),
        ("large", pa.array(names, pa.large_string()), pa.large_list(pa.float16())),
        ("categories", pa.array(names).dictionary_encode(), pa.list_(pa.float32())),
    ):
        values = vectors.astype(kind.value_type.to_pandas_dtype())
        table = pa.table({"item_id": ids, "vector": pa.array(list(values), kind), "other": np.arange(60)})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=25, write_page_checksum=name == "list")
        pq.write_table(table, folder / f"{name}-2.parquet", compression="zstd", data_page_version="2.0")
        pa.feather.write_feather(table, folder / f"{name}.feather", compression="lz4", chunksize=25)
        with pa.ipc.new_stream(folder / f"{name}-stream.arrow", table.schema) as stream:
            stream.write_table(table, max_chunksize=25)
        with pa.ipc.new_file(folder / f"{name}-file.arrow", table.schema) as file:
            file.write_table(table, max_chunksize=25)
    writer = ArrayRecordWriter(str(folder / "plain.array_record"), "group_size:4")
    for vector in vectors:
        writer.write(vector.tobytes())
    writer.close()


def _write_histories(folder: Path) -> None:
    """Writes the histories of 20 users: each has 6 of 60 items, in three pairs with equal times."""
    rng = np.random.default_rng(0)
    users = [f"user é{number}" for number in range(20)]
    items = [rng.choice(60, 6, replace=False).tolist() for _ in users]
    lines = [" ".join(map(str, (user.replace(" ", "_"), *each))) for user, each in zip(users, items, strict=True)]
    (folder / "sequences.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "inter.json").write_text(json.dumps(dict(zip(users, items, strict=True))))
    columns = {"user_id": np.repeat(users, 6), "item_id": np.concatenate(items), "timestamp": np.arange(120) // 2}
    table = pa.table(columns)
    pq.write_table(table, folder / "rows.parquet", row_group_size=25)
    pq.write_table(
        table.cast(pa.schema([("user_id", pa.large_string()), *list(table.schema)[1:]])), folder / "b.parquet"
    )
    pa.feather.write_feather(table, folder / "rows.feather")
    pa_csv.write_csv(table, folder / "rows.csv")
    times = table.set_column(2, "timestamp", pa.array(np.arange(120) * 10**6, pa.timestamp("us")))
    pq.write_table(times, folder / "times.parquet")
    pa_csv.write_csv(times, folder / "times.csv")
    atomic = table.rename_columns(["user_id:token", "item_id:token", "timestamp:float"])
    pa_csv.write_csv(atomic, folder / "rows.inter", pa_csv.WriteOptions(delimiter="\t", quoting_style="none"))
    lists = pa.table({"user_id": users, "sequence_data": pa.array(items, pa.list_(pa.int32()))})
    pq.write_table(lists, folder / "lists.parquet")
    examples = [{"user_id": [number], "sequence_data": each} for number, each in enumerate(items)]
    write_tfrecords(folder / "packed.tfrecord.gz", examples)
    (folder / "plain.tfrecord").write_bytes(gzip.decompress((folder / "packed.tfrecord.gz").read_bytes()))


def _write_ids(folder: Path) -> None:
    """Writes the IDs of 60 items in this project's format and in the format of each tool that `convert` supports."""
    codes = np.stack([np.arange(60) // 16, np.arange(60) // 4 % 4, np.arange(60) % 4], axis=1).astype(np.int32)
    table = IdTable(np.arange(60), codes, columns={"title": [f'naïve "{number}"' for number in range(60)]})
    np.save(folder / "codes.npy", codes)
    write_table(folder, table.to_arrow())
    for tool in FORMATS:
        convert(table, tool, folder / f"{tool}.d")
        for number, path in enumerate(sorted((folder / f"{tool}.d").rglob("*"))):
            # `convert` also writes files without IDs, such as histories, titles or lists of item ids.
            if path.is_file() and _is_read(path):
                path.rename(folder / f"{tool}-{number}{path.suffix}")
        shutil.rmtree(folder / f"{tool}.d")


def _is_read(path: Path) -> bool:
    try:
        read_id_table(path)
    except UserError:
        return False
    return True


def _write_lists(folder: Path) -> None:
    """Writes lists of item ids, one id per line."""
    (folder / "ids.txt").write_text("\n".join(map(str, range(0, 60, 7))))
    (folder / "blanks.txt").write_bytes("\r\n".join(f" {number}\t" for number in range(40)).encode("utf-8-sig"))


def damage(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Returns a file's content with a few random changes, such as flipped bits or bytes of another file."""
    ways: list[Callable[[bytearray, bytes, random.Random], None]] = [
        _flip,
        _flip,
        _number,
        _number,
        _cut,
        _move,
        _splice,
    ]
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if changed:
            rng.choice(ways)(changed, other, rng)
    return bytes(changed)


def _place(content: bytearray, rng: random.Random) -> int:
    """Returns a random position, more often near the beginning or the end, where formats have headers and footers."""
    reach = min(len(content), rng.choice((64, 600, len(content))))
    place = rng.randrange(reach)
    return place if rng.random() < 0.5 else len(content) - 1 - place


def _flip(content: bytearray, other: bytes, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 3, 20))):
        content[_place(content, rng)] ^= 1 << rng.randrange(8)


def _number(content: bytearray, other: bytes, rng: random.Random) -> None:
    size, place = rng.choice((1, 2, 4, 8)), _place(content, rng)
    if rng.random() < 0.3:
        # Replaces a digit in the first 400 bytes, where a format may have a header of text.
        digits = [at for at, byte in enumerate(content[:400]) if chr(byte).isdigit()]
        if digits:
            at = rng.choice(digits)
            content[at : at + 1] = str(rng.choice(_NUMBERS)).encode() if rng.random() < 0.5 else b"-1"
            return
    content[place : place + size] = (rng.choice(_NUMBERS) % 2 ** (8 * size)).to_bytes(size, "little")


def _cut(content: bytearray, other: bytes, rng: random.Random) -> None:
    del content[_place(content, rng) :]


def _move(content: bytearray, other: bytes, rng: random.Random) -> None:
    start, size = _place(content, rng), rng.choice((1, 8, 64, 500))
    piece = bytes(content[start : start + size])
    if rng.random() < 0.5:
        del content[start : start + size]
    to = _place(content, rng) if content else 0
    content[to:to] = piece


def _splice(content: bytearray, other: bytes, rng: random.Random) -> None:
    start = rng.randrange(len(other))
    size, to = rng.choice((8, 64, 500, len(other))), _place(content, rng)
    content[to : to + size] = other[start : start + size]


def read_vectors(path: Path) -> None:
    """Reads vectors as the commands do: the whole file at once, and in pieces."""
    whole = read_vector_files(str(path))
    parts = list_parts([str(path)], rows=16)
    pieces = [vectors for number in range(len(parts.parts)) for _, vectors in parts.blocks(number, 7)]
    if not np.array_equal(np.concatenate(pieces), whole.vectors):
        raise AssertionError("reading the file in pieces gives other vectors than reading it at once")
    list(parts.rows(0, np.arange(0, parts.parts[0].num_rows, 3), 2))


def _read_histories(path: Path) -> None:
    histories = read_histories(path, np.arange(60), ("user_id", "item_id", "timestamp"), on_unknown="drop")
    if histories.items.min() < 0 or histories.items.max() >= 60 or histories.lengths.sum() != len(histories.items):
        raise AssertionError(
            "the histories have items outside the catalog, or lengths whose sum is not the number of items"
        )


def _read_ids(path: Path) -> None:
    table = read_id_table(path)
    if table.semantic_ids.min() < 0 or len(table.semantic_ids) != len(table.item_ids):
        raise AssertionError("a code is negative, or the numbers of IDs and item ids differ")


def _read_list(path: Path) -> None:
    read_item_list(path, np.arange(60), "drop")


_READERS: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "vectors": (_write_vectors, read_vectors),
    "histories": (_write_histories, _read_histories),
    "ids": (_write_ids, _read_ids),
    "lists": (_write_lists, _read_list),
}


def watched(path: Path, words: Path) -> str | None:
    """Reads a file in a child process; returns a description of the finding, or None."""
    child = os.fork()
    if not child:
        _read_and_exit(path, words)
    started = time.monotonic()
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - started > _SECONDS:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"was not read in {_SECONDS} s"
        time.sleep(0.001)
    if os.WIFSIGNALED(status):
        return f"crashed with {signal.Signals(os.WTERMSIG(status)).name}"
    if os.WEXITSTATUS(status):
        return words.read_text()
    grown = usage.ru_maxrss * 1024 - _memory_here()
    return f"took {grown / 2**20:.0f} MiB of memory" if grown > _MEMORY else None


def _read_and_exit(path: Path, words: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Discard output that libraries print themselves.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    status = 0
    try:
        _READERS[_READER.value][1](path)
        words.write_text("read")
    except UserError as error:
        status = int(len(str(error).splitlines()) != 1)
        words.write_text(str(error))
    except BaseException:
        status = 1
        words.write_text(traceback.format_exc())
    os._exit(status)


def _memory_here() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main(_: list[str]) -> None:
    """Runs the fuzz test and prints the findings."""
    LOGGER.setLevel("ERROR")
    rng, end = random.Random(_SEED.value), time.monotonic() + 60 * _MINUTES.value
    tried: collections.Counter[str] = collections.Counter()
    read: collections.Counter[str] = collections.Counter()
    findings: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        write, read_one = _READERS[_READER.value]
        seeds, words = write_seeds(Path(scratch, "seeds"), write), Path(scratch, "words")
        seeds = [seed for seed in seeds if _KIND.value in ("", seed.suffix)]
        for seed in seeds:
            # Each valid file is read here, so that modules are imported once, before the child processes are forked.
            # An .array_record file is not read here, since its library starts threads, which the child processes would
            # lack.
            if seed.suffix != ".array_record":
                read_one(seed)
        while time.monotonic() < end:
            seed = rng.choice(seeds)
            other = rng.choice([each for each in seeds if each.suffix == seed.suffix])
            path = Path(scratch, f"{sum(tried.values()):06}{seed.suffix}")
            path.write_bytes(damage(seed.read_bytes(), other.read_bytes(), rng))
            tried[seed.suffix] += 1
            fault = watched(path, words)
            if fault is None:
                read[seed.suffix] += words.read_text() == "read"
            else:
                keep = Path(_KEEP.value)
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, keep / path.name)
                (keep / f"{path.name}.txt").write_text(f"{seed.name}\n{fault}\n")
                findings.append((path.name, fault.strip().splitlines()[-1]))
                print(*findings[-1], sep=": ", flush=True)
            path.unlink()
    print(json.dumps({kind: {"damaged": count, "read": read[kind]} for kind, count in sorted(tried.items())}, indent=2))
    print(f"{sum(tried.values())} files, {len(findings)} findings")
    sys.exit(bool(findings))


if __name__ == "__main__":
    app.run(main)
