"""Where MovieLens-100K comes from: the user's copy, the prepared cache, the package registry, GroupLens."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

from sid_jax.cache import cache_folder
from sid_jax.data.catalogues.movielens.formats import read_grouplens, read_recbole
from sid_jax.data.catalogues.movielens.tables import MovieLens
from sid_jax.data.reason import reason
from sid_jax.errors import UserError


class Download(NamedTuple):
    """A file somewhere else, by its address or pinned package, and the digest that says it is the right one."""

    address: str
    sha256: str


RECBOLE = Download("recbole==1.2.1", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407")
GROUPLENS = Download(
    "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
)

NOTICE = (
    "MovieLens-100K is for research use and may not be redistributed; cite F. M. Harper and J. A. Konstan (2015), "
    '"The MovieLens Datasets: History and Context", ACM TiiS 5(4), 19.'
)

# The number rises when the prepared tables change.
_CACHE_NAME = "movielens-100k-1"
_COUNTS = {"films": 1682, "users": 943, "ratings": 100_000}

_ANSWER_SECONDS = 5
_REGISTRY_SECONDS = 60
_GROUPLENS_SECONDS = 120


def load_movielens(path: str = "", cache_dir: str = "") -> MovieLens:
    """Returns MovieLens-100K, from the first of these that applies.

    1. `path`, if the user names one: a folder or zip in GroupLens' layout. If it does not work, nothing else is tried.
    2. The prepared cache.
    3. The copy in the wheel of the `recbole` package, through pip; then it is prepared into the cache.
    4. GroupLens' own zip, through TensorFlow Datasets; then it is prepared into the cache.

    Args:
      path: the user's folder or zip, or "".
      cache_dir: where prepared data is kept; "" for $SID_JAX_CACHE, or else `~/.cache/sid_jax`.

    Raises:
      UserError: if the named path or the cache is damaged, the cache cannot be written, or no source can be reached.
    """
    if path:
        return _complete(read_grouplens(Path(path).expanduser()))
    folder = cache_folder(cache_dir) / _CACHE_NAME
    if not folder.exists():
        _prepare(folder)
    return _read_cache(folder)


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
    _run([sys.executable, "-m", "pip", "download", *options, wheel.address], _REGISTRY_SECONDS)
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise UserError("pip left no wheel")
    _check_sha256(found[0], wheel.sha256)
    return read_recbole(found[0])


def fetch_from_grouplens(folder: Path, archive: Download) -> MovieLens:
    """Fetches GroupLens' zip with TensorFlow Datasets' download manager and reads it.

    Args:
      folder: an empty folder for the zip.
      archive: its address and digest.

    Raises:
      UserError: if the host does not answer in a few seconds, the download fails or takes too long, or the file is not
        the expected one.
    """
    _check_answers(archive.address)
    program = Path(__file__).parents[1] / "tfds_download.py"
    # -P: or else the modules beside the program would hide others of the same name.
    printed = _run([sys.executable, "-P", str(program), archive.address, str(folder)], _GROUPLENS_SECONDS)
    path = Path(printed.strip().splitlines()[-1])
    _check_sha256(path, archive.sha256)
    return read_grouplens(path)


def _fetch(scratch: Path) -> MovieLens:
    failures = []
    for name, fetch, download in (
        ("the package registry", fetch_from_registry, RECBOLE),
        ("GroupLens", fetch_from_grouplens, GROUPLENS),
    ):
        try:
            return _complete(fetch(Path(tempfile.mkdtemp(dir=scratch)), download))
        except UserError as error:
            failures.append(f"{name} ({download.address}: {error})")
    raise UserError(
        f"MovieLens-100K is neither in the cache nor to be had from {' or '.join(failures)}; "
        "pass --config.data.path=FOLDER_OR_ZIP with a copy in GroupLens' layout"
    )


def _prepare(folder: Path) -> None:
    """Writes beside `folder` and then renames: it is complete or absent, whoever else prepares it or is killed."""
    from sid_jax.data.catalogues.movielens.prepared import write_movielens

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made before anything is fetched, so that a folder that cannot be written to is refused at once.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            unfinished = Path(scratch) / folder.name
            write_movielens(_fetch(Path(scratch)), unfinished)
            _rename_unless_there(unfinished, folder)
    except (OSError, RuntimeError) as error:  # Of the two, array_record raises the second.
        raise UserError(
            f"{folder.parent}: the data cannot be kept there ({reason(error)}); "
            "name another folder by --config.data.cache_dir or $SID_JAX_CACHE"
        ) from error
    print(NOTICE, f"MovieLens-100K: prepared in {folder}", sep="\n", file=sys.stderr)


def _read_cache(folder: Path) -> MovieLens:
    from sid_jax.data.catalogues.movielens.prepared import read_movielens

    try:
        return _complete(read_movielens(folder))
    except Exception as error:  # Whatever damaged files make the readers raise.
        raise UserError(
            f"{folder}: the prepared data is damaged ({reason(error)}); delete that folder and run again"
        ) from error


def _rename_unless_there(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():  # If it is there, another process prepared the same data first.
            raise


def _complete(catalogue: MovieLens) -> MovieLens:
    tables = (catalogue.items["item_id"], catalogue.users["user_id"], catalogue.ratings["rating"])
    counts = dict(zip(_COUNTS, map(len, tables), strict=True))
    if counts != _COUNTS:
        found, expected = (", ".join(f"{n} {name}" for name, n in each.items()) for each in (counts, _COUNTS))
        raise UserError(f"{catalogue.source}: holds {found}, where MovieLens-100K has {expected}; give a complete copy")
    return catalogue


def _check_answers(address: str) -> None:
    """Asks before the download does, which would go on trying for minutes without a network."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"no answer: {reason(error)}") from error


def _check_sha256(path: Path, expected: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise UserError(f"{path.name} has SHA-256 {found}, not {expected}")


def _run(command: list[str], seconds: int) -> str:
    """Returns what the command printed, or raises with the last line of its complaint."""
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
