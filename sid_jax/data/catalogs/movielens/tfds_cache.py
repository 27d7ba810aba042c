"""The cache of MovieLens-100K: array_record files of a TensorFlow Datasets builder that needs no TensorFlow.

Importing this module imports tensorflow_datasets, so other modules import this one only where they use it.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from sid_jax.data.catalogs.movielens.tables import MovieLens, Table, build_movielens, text_column

CITATION = """@article{harper2015movielens,
  author = {F. Maxwell Harper and Joseph A. Konstan},
  title = {The {MovieLens} Datasets: History and Context},
  journal = {ACM Transactions on Interactive Intelligent Systems},
  volume = {5},
  number = {4},
  pages = {19:1--19:19},
  year = {2015},
}"""

_SPLIT = "rows"
_INTEGERS = {"item_id", "user_id", "age"}
_COLUMNS = {
    "items": ("item_id", "title", "year", "genres"),
    "users": ("user_id", "age", "gender", "occupation", "zip_code"),
    "ratings": ("user_id", "item_id", "rating", "timestamp"),
}


class MovieLens100K(tfds.core.GeneratorBasedBuilder):
    """MovieLens-100K in three builder configs: items, users and ratings.

    An example of the config "ratings" has all ratings of a user, because 100,000 examples of one rating each would take
    seconds to read.
    """

    name = "movielens_100k"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in _COLUMNS]

    def __init__(self, *, rows: list[dict[str, Any]] | None = None, **kwargs: Any):
        self._rows = rows or []
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config.name
        return tfds.core.DatasetInfo(
            builder=self,
            description="MovieLens-100K: 100,000 ratings of 1,682 movies by 943 users.",
            features=tfds.features.FeaturesDict({name: _feature(config, name) for name in _COLUMNS[config]}),
            homepage="https://grouplens.org/datasets/movielens/100k/",
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded, since the rows to write are already in memory.
        return {_SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(self._rows)


def write_movielens(catalog: MovieLens, folder: Path) -> None:
    """Writes the catalog into an empty folder."""
    rows = {
        "items": _table_to_rows(catalog.items),
        "users": _table_to_rows(catalog.users),
        "ratings": _ratings_to_rows(catalog.ratings),
    }
    with _quietly():
        for config in _COLUMNS:
            _builder(config, folder, rows[config]).download_and_prepare()


def read_movielens(folder: Path) -> MovieLens:
    """Reads the catalog that `write_movielens` wrote into the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    catalog = _read(folder, tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files))
    tables = (catalog.items, catalog.users, catalog.ratings)
    items, users, ratings = ({name: column.copy() for name, column in table.items()} for table in tables)
    return MovieLens(items, users, ratings, catalog.source)


@functools.lru_cache(maxsize=1)
def _read(folder: Path, files: tuple[tuple[str, int, int], ...]) -> MovieLens:
    """Reads the catalog, and keeps it in memory until its files change, since a command needs it several times."""
    del files  # This argument is used only in the key of `lru_cache`.
    with _quietly():
        rows = {config: _read_rows(config, folder) for config in _COLUMNS}
    return build_movielens(
        _rows_to_table("items", rows["items"]),
        _rows_to_table("users", rows["users"]),
        _rows_to_ratings(rows["ratings"]),
        source=str(folder),
    )


def _builder(config: str, folder: Path, rows: list[dict[str, Any]] | None = None) -> MovieLens100K:
    return MovieLens100K(rows=rows, config=config, data_dir=folder, file_format="array_record")


def _feature(config: str, column: str) -> tfds.features.FeatureConnector:
    if config == "ratings" and column != "user_id":
        return tfds.features.Tensor(shape=(None,), dtype=np.int64)
    return tfds.features.Scalar(np.int64) if column in _INTEGERS else tfds.features.Text()


def _table_to_rows(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def _ratings_to_rows(ratings: Table) -> list[dict[str, Any]]:
    users, starts = np.unique(ratings["user_id"], return_index=True)
    parts = {name: np.split(column, starts[1:]) for name, column in ratings.items()}
    return [
        {"user_id": user} | {name: parts[name][row] for name in parts if name != "user_id"}
        for row, user in enumerate(users)
    ]


def _read_rows(config: str, folder: Path) -> list[dict[str, Any]]:
    source = _builder(config, folder).as_data_source(split=_SPLIT)
    return source.__getitems__(range(len(source)))  # One call for all rows is much faster than one call per row.


def _rows_to_table(config: str, rows: list[dict[str, Any]]) -> Table:
    return {name: _column(name, [row[name] for row in rows]) for name in _COLUMNS[config]}


def _column(name: str, values: list[Any]) -> np.ndarray:
    if name in _INTEGERS:
        return np.array(values, dtype=np.int64)
    return text_column([value.decode() for value in values])


def _rows_to_ratings(rows: list[dict[str, Any]]) -> Table:
    lengths = [len(row["item_id"]) for row in rows]
    users = np.repeat(np.array([row["user_id"] for row in rows], dtype=np.int64), lengths)
    return {"user_id": users} | {
        name: np.concatenate([row[name] for row in rows]) for name in _COLUMNS["ratings"] if name != "user_id"
    }


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silences TensorFlow Datasets' progress bars, prints and log lines."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
