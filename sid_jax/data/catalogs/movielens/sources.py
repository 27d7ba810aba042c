"""Loads MovieLens from the user's copy, the cache, the package registry (only 100K) or GroupLens' server."""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from sid_jax.cache import cache_folder
from sid_jax.data.catalogs.movielens.formats import read_1m, read_10m, read_csv, read_grouplens, read_recbole
from sid_jax.data.catalogs.movielens.tables import MovieLens
from sid_jax.data.catalogs.store import (
    Download,
    check_digest,
    fetch,
    prepare_folder,
    read_table,
    refuse_damage,
    run_program,
    write_tables,
)
from sid_jax.errors import UserError
from sid_jax.paths import as_path

RECBOLE = Download("recbole==1.2.1", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407")

NOTICE = (
    "MovieLens-100K is for research use and may not be redistributed; cite F. M. Harper and J. A. Konstan (2015), "
    '"The MovieLens Datasets: History and Context", ACM TiiS 5(4), 19.'
)
_LARGER_NOTICE = (
    "{name} is published by GroupLens; its terms of use are in the README of its zip; cite F. M. Harper and "
    'J. A. Konstan (2015), "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 19.'
)

# The number at the end is a version, which increases when the prepared tables change.
_CACHE_NAME = "movielens-{size}-1"

_REGISTRY_SECONDS = 60
_HOST = "https://files.grouplens.org/datasets/movielens/"


class Edition(NamedTuple):
    """One size of MovieLens.

    Attributes:
      name: its name in messages.
      counts: numbers of movies, of users with ratings, and of ratings; None if GroupLens announces that they will
        change.
      download: the zip. Its digest is from TensorFlow Datasets; for 10M and 32M, which TensorFlow Datasets lacks, the
        digest is the MD5 that GroupLens publishes with the zip.
      read: function that reads a folder or zip in the layout that GroupLens uses for this size.
      seconds: time limit of the download, in seconds.
    """

    name: str
    counts: tuple[int, int, int] | None
    download: Download
    read: Callable[[Path], MovieLens]
    seconds: int


def _edition(
    size: str, counts: tuple[int, int, int] | None, digest: str, seconds: int, read: Callable[[Path], MovieLens] | None
) -> Edition:
    """Returns an edition. A `digest` of 32 characters is an MD5. If `read` is None, the zip has CSV files."""
    return Edition(
        f"MovieLens-{size if size.startswith('latest') else size.upper()}",
        counts,
        Download(f"{_HOST}ml-{size}.zip", **{"md5" if len(digest) == 32 else "sha256": digest}),
        read or functools.partial(read_csv, folder=f"ml-{size}/"),
        seconds,
    )


_DIGESTS = {
    "100k": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    "1m": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    "10m": "ce571fd55effeba0271552578f2648bd",
    "20m": "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
    "25m": "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
    "32m": "d472be332d4daa821edc399621853b57",
    "latest-small": "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
}
EDITIONS = {
    size: _edition(size, counts, _DIGESTS[size], seconds, read)
    for size, counts, seconds, read in (
        ("100k", (1682, 943, 100_000), 120, read_grouplens),
        ("1m", (3883, 6040, 1_000_209), 300, read_1m),
        ("10m", (10_681, 69_878, 10_000_054), 1800, read_10m),
        ("20m", (27_278, 138_493, 20_000_263), 3600, None),
        ("25m", (62_423, 162_541, 25_000_095), 3600, None),
        ("32m", (87_585, 200_948, 32_000_204), 3600, None),
        ("latest-small", None, 120, None),
    )
}


def load_movielens(path: str = "", cache_dir: str = "", size: str = "100k") -> MovieLens:
    """Returns MovieLens from the first of these sources that applies.

    1. `path`, if given: a folder or zip in GroupLens' layout. If it cannot be used, an error is raised.
    2. The cache, if an earlier call has written the data to it.
    3. For 100K, the copy in the wheel of the `recbole` package. It is fetched with pip and written to the cache.
    4. GroupLens' own zip. It is fetched with TensorFlow Datasets and written to the cache.

    Args:
      path: the user's folder or zip, or "".
      cache_dir: folder for prepared data; "" for $SID_JAX_CACHE, or else `~/.cache/sid_jax`.
      size: "100k", "1m", "10m", "20m", "25m", "32m" or "latest-small".

    Raises:
      UserError: if the named path or the cache is damaged, the cache cannot be written, or no source can be reached.
    """
    if path:
        return _complete(EDITIONS[size].read(as_path(path)), size)
    folder = cache_folder(cache_dir) / _CACHE_NAME.format(size=size)
    if not folder.exists():
        _prepare(folder, size)
    with refuse_damage(folder):
        return _complete(_read_prepared(folder, size), size)


def fetch_from_registry(folder: Path, wheel: Download) -> MovieLens:
    """Downloads the wheel into an empty folder with pip and the user's pip settings, and reads MovieLens-100K from it.

    Raises:
      UserError: if pip is missing, fails or takes too long, or the wheel is not the expected one.
    """
    # Only a wheel is accepted: to find the version of a source distribution, pip would run its code.
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--retries=2", "--quiet", f"--dest={folder}"]
    run_program([sys.executable, "-m", "pip", "download", *options, wheel.address], _REGISTRY_SECONDS)
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise UserError("pip downloaded no wheel")
    check_digest(found[0], wheel)
    return read_recbole(found[0])


def _fetch(scratch: Path, size: str) -> MovieLens:
    edition, failures = EDITIONS[size], []
    for name, download, read in _places(size):
        try:
            return _complete(read(Path(tempfile.mkdtemp(dir=scratch))), size)
        except UserError as error:
            failures.append(f"{name} ({download.address}: {error})")
    raise UserError(
        f"{edition.name} is not in the cache, and its download failed from {' and from '.join(failures)}; pass "
        "--config.data.path=FOLDER_OR_ZIP with a copy in GroupLens' layout"
    )


def _places(size: str) -> list[tuple[str, Download, Callable[[Path], MovieLens]]]:
    """Returns a size's sources: for each, a name, a download, and a function that fetches and reads the data."""
    edition = EDITIONS[size]
    grouplens = edition.download
    places: list[tuple[str, Download, Callable[[Path], MovieLens]]] = [
        ("GroupLens", grouplens, lambda folder: edition.read(fetch(folder, grouplens, seconds=edition.seconds)))
    ]
    if size == "100k":
        # A machine on which this package was installed can in most cases reach the registry.
        places.insert(0, ("the package registry", RECBOLE, lambda folder: fetch_from_registry(folder, RECBOLE)))
    return places


def _prepare(folder: Path, size: str) -> None:
    prepare_folder(folder, lambda scratch, unfinished: _write_prepared(_fetch(scratch, size), unfinished, size))
    name = EDITIONS[size].name
    notice = NOTICE if size == "100k" else _LARGER_NOTICE.format(name=name)
    print(notice, f"{name}: prepared in {folder}", sep="\n", file=sys.stderr)


def _write_prepared(catalog: MovieLens, folder: Path, size: str) -> None:
    """Writes 100K as a TensorFlow Datasets data set, and other sizes as Parquet files, which are fast to read."""
    if size == "100k":
        from sid_jax.data.catalogs.movielens import tfds_cache

        tfds_cache.write_movielens(catalog, folder)
        return
    tables = {"items": catalog.items, "users": catalog.users, "ratings": catalog.ratings}
    write_tables(folder, {name: pa.table(table) for name, table in tables.items()}, {"source": catalog.source})


def _read_prepared(folder: Path, size: str) -> MovieLens:
    if size == "100k":
        from sid_jax.data.catalogs.movielens import tfds_cache

        return tfds_cache.read_movielens(folder)
    tables = (read_table(folder, name) for name in ("items", "users", "ratings"))
    items, users, ratings = ({name: table[name].to_numpy() for name in table.column_names} for table in tables)
    return MovieLens(items, users, ratings, source=str(folder))


def _complete(catalog: MovieLens, size: str) -> MovieLens:
    edition = EDITIONS[size]
    if edition.counts is None:
        return catalog
    tables = (catalog.items["item_id"], catalog.users["user_id"], catalog.ratings["rating"])
    counts = tuple(map(len, tables))
    if counts != edition.counts:
        found, expected = ("{} movies, {} users, {} ratings".format(*each) for each in (counts, edition.counts))
        raise UserError(f"{catalog.source}: has {found}, but {edition.name} has {expected}; give a complete copy")
    return catalog
