"""Downloads files with a time limit, checks their digests, and maintains the cache of prepared catalogs."""

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
# This program runs in its own process, because TensorFlow Datasets' download has no time limit: only ending its process
# ends a stalled download. Any error is printed as one line, which the caller reports.
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
    """A file to download: its address, and the digests of its content; "" for a digest that is not known.

    For a file in a package registry, the address is the name and version of the package, as in "recbole==1.2.1".
    """

    address: str
    sha256: str = ""
    md5: str = ""


def fetch(folder: Path, download: Download, *, seconds: int) -> Path:
    """Downloads a file into an empty folder with TensorFlow Datasets' download manager, and returns its path.

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
    """Raises UserError if a known digest of the download differs from the file's digest."""
    for name, expected in (("sha256", download.sha256), ("md5", download.md5)):
        if not expected:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, name).hexdigest()
        if found != expected:
            raise UserError(f"{path.name} has {name.upper().replace('SHA256', 'SHA-256')} {found}, not {expected}")


def run_program(command: list[str], seconds: int) -> str:
    """Runs a command and returns its standard output; raises UserError with its last error line if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"not finished after {seconds} s") from error
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {reason(error)}") from error
    if done.returncode:
        raise UserError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return done.stdout


def _check_answers(address: str) -> None:
    """Raises UserError if the host does not answer; without a network, the download itself would retry for minutes."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"no answer: {reason(error)}") from error


def prepare_folder(folder: Path, write: Callable[[Path, Path], None]) -> None:
    """Prepares a folder under a temporary name and renames it, so that it is complete or absent at any moment.

    Args:
      folder: the folder to prepare; if another process finishes first, its folder stays.
      write: called with an empty scratch folder and the path of the folder to make; both are in the cache.

    Raises:
      UserError: if the cache cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The scratch folder is created before anything is fetched, so that a missing write permission is found at once.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            unfinished = Path(scratch) / folder.name
            write(Path(scratch), unfinished)
            _rename_unless_there(unfinished, folder)
    except (OSError, RuntimeError) as error:  # If a write fails, array_record raises RuntimeError.
        raise UserError(
            f"{folder.parent}: cannot write the prepared data ({reason(error)}); set another folder with "
            "--config.data.cache_dir or $SID_JAX_CACHE"
        ) from error


def write_tables(folder: Path, tables: Mapping[str, pa.Table], about: Mapping[str, Any]) -> None:
    """Creates the folder with `NAME.parquet` for each table, and then a manifest with the row counts and `about`."""
    folder.mkdir()
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", write_page_checksum=True)
    rows = {name: table.num_rows for name, table in tables.items()}
    write_json(folder / _MANIFEST, {"rows": rows, **about})


def read_table(folder: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns a table of a prepared folder, or some of the table's columns.

    Call this function within `refuse_damage`, since a damaged file may raise any error.
    """
    rows = json.loads((folder / _MANIFEST).read_text())["rows"][name]
    path = folder / f"{name}.parquet"
    table = pq.read_table(path, columns=None if columns is None else list(columns), page_checksum_verification=True)
    if table.num_rows != rows:
        raise ValueError(f"{name}.parquet has {table.num_rows} rows, not {rows}")
    return table


@contextlib.contextmanager
def refuse_damage(folder: Path) -> Iterator[None]:
    """Turns any error from reading damaged files into a UserError that says what to do."""
    try:
        yield
    except Exception as error:
        raise UserError(
            f"{folder}: the prepared data is damaged ({reason(error)}); delete this folder and run the command again"
        ) from error


def _rename_unless_there(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():  # If the folder exists, another process prepared the same data first.
            raise
