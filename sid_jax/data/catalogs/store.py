"""What is fetched from elsewhere, in limited time and checked; and prepared catalogs in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.errors import UserError, reason
from sid_jax.whole_file import write_json

_ANSWER_SECONDS = 5
_MANIFEST = "manifest.json"
# A program of its own, because TensorFlow Datasets' download has no time limit: only the end of its process stops a
# stalled one. Whatever it raises, the caller goes on without this source and says why.
_FETCHING = """
import sys
import tensorflow_datasets as tfds
tfds.disable_progress_bar()
try:
    print(tfds.download.DownloadManager(download_dir=sys.argv[2]).download(sys.argv[1]))
except Exception as error:
    sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
"""


class Download(NamedTuple):
    """A file somewhere else, by its address or pinned package, and the digest that says it is the right one.

    A digest that is not known is "".
    """

    address: str
    sha256: str = ""
    md5: str = ""


def fetch(folder: Path, download: Download, *, seconds: int) -> Path:
    """Fetches a file into an empty folder, with TensorFlow Datasets' download manager, and returns its path.

    Raises:
      UserError: if the host does not answer in a few seconds, the download fails or takes longer than `seconds`, or the
        file is not the expected one.
    """
    _check_answers(download.address)
    printed = run_program([sys.executable, "-P", "-c", _FETCHING, download.address, str(folder)], seconds)
    path = Path(printed.strip().splitlines()[-1])
    check_digest(path, download)
    return path


def check_digest(path: Path, download: Download) -> None:
    """Raises UserError unless the file has the digest of the download, where one is known."""
    for name, expected in (("sha256", download.sha256), ("md5", download.md5)):
        if not expected:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, name).hexdigest()
        if found != expected:
            raise UserError(f"{path.name} has {name.upper().replace('SHA256', 'SHA-256')} {found}, not {expected}")


def run_program(command: list[str], seconds: int) -> str:
    """Returns what the command printed, or raises UserError with the last line of its complaint."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"not done after {seconds} s") from error
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {reason(error)}") from error
    if done.returncode:
        raise UserError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return done.stdout


def _check_answers(address: str) -> None:
    """Asks before the download does, which would go on trying for minutes without a network."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"no answer: {reason(error)}") from error


def prepare_folder(folder: Path, write: Callable[[Path, Path], None]) -> None:
    """Writes beside `folder` and then renames: it is complete or absent, whoever else prepares it or is killed.

    Args:
      folder: what is prepared; if another process is the first, its folder stays.
      write: given an empty scratch folder and the folder, not there yet, that it is to make; both are in the cache.

    Raises:
      UserError: if the cache cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made before anything is fetched, so that a folder that cannot be written to is refused at once.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            unfinished = Path(scratch) / folder.name
            write(Path(scratch), unfinished)
            _rename_unless_there(unfinished, folder)
    except (OSError, RuntimeError) as error:  # Of the two, array_record raises the second.
        raise UserError(
            f"{folder.parent}: the data cannot be kept there ({reason(error)}); "
            "name another folder by --config.data.cache_dir or $SID_JAX_CACHE"
        ) from error


def write_tables(folder: Path, tables: Mapping[str, pa.Table], about: Mapping[str, Any]) -> None:
    """Makes the folder with `NAME.parquet` for each table, and last a manifest of their rows and what else is known."""
    folder.mkdir()
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", write_page_checksum=True)
    rows = {name: table.num_rows for name, table in tables.items()}
    write_json(folder / _MANIFEST, {"rows": rows, **about})


def read_table(folder: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns a table, or some of its columns; for use within `refuse_damage`, since a damaged file raises anything."""
    rows = json.loads((folder / _MANIFEST).read_text())["rows"][name]
    path = folder / f"{name}.parquet"
    table = pq.read_table(path, columns=None if columns is None else list(columns), page_checksum_verification=True)
    if table.num_rows != rows:
        raise ValueError(f"{name}.parquet holds {table.num_rows} rows, not {rows}")
    return table


@contextlib.contextmanager
def refuse_damage(folder: Path) -> Iterator[None]:
    """Turns whatever damaged files make their readers raise into one line that says what to do."""
    try:
        yield
    except Exception as error:
        raise UserError(
            f"{folder}: the prepared data is damaged ({reason(error)}); delete that folder and run again"
        ) from error


def _rename_unless_there(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():  # If it is there, another process prepared the same data first.
            raise
