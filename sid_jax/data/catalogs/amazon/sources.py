"""Loads Amazon products from the user's copy, from the cache, or by download from the authors' addresses."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sid_jax.cache import cache_folder
from sid_jax.data.catalogs.amazon.files import read_metadata, read_reviews
from sid_jax.data.catalogs.names import AMAZON_CATEGORIES, AmazonName
from sid_jax.data.catalogs.store import Download, fetch, prepare_folder, read_table, refuse_damage, write_tables
from sid_jax.data.histories import Histories, offsets_of
from sid_jax.data.history_files import read_sequences
from sid_jax.data.json_records import read_records
from sid_jax.data.tables import read_own_tables
from sid_jax.errors import UserError, reason
from sid_jax.paths import as_path

# Default columns of a product's text.
TEXT_COLUMNS = ("title", "brand", "categories")
# Names of the files in a prepared folder, and possible names of the id field, see `_read_prepared`.
_ITEMS, _SEQUENCES, _IDS = "items.jsonl", "sequences.txt", ("item_id", "item")

# Addresses of reviews and metadata, by edition. The authors publish no digests, so downloads cannot be verified.
ADDRESSES = {
    "2014": (
        "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/reviews_{}_5.json.gz",
        "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/meta_{}.json.gz",
    ),
    "2018": (
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall/{}_5.json.gz",
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/metaFiles2/meta_{}.json.gz",
    ),
    "2023": (
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/{}.jsonl.gz",
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/meta_categories/meta_{}.jsonl.gz",
    ),
}
CITATIONS = {
    "2014": (
        'R. He and J. McAuley (2016), "Ups and Downs: Modeling the Visual Evolution of Fashion Trends with One-Class '
        'Collaborative Filtering", WWW, and J. McAuley, C. Targett, J. Shi and A. van den Hengel (2015), "Image-based '
        'Recommendations on Styles and Substitutes", SIGIR'
    ),
    "2018": (
        'J. Ni, J. Li and J. McAuley (2019), "Justifying Recommendations using Distantly-Labeled Reviews and '
        'Fine-Grained Aspects", EMNLP'
    ),
    "2023": (
        'Y. Hou, J. Li, Z. He, A. Yan, X. Chen and J. McAuley (2024), "Bridging Language and Items for Retrieval and '
        'Recommendation", arXiv:2403.03952'
    ),
}

# Version of the prepared tables; it increases when their content or format changes.
_VERSION = 1
_DOWNLOAD_SECONDS = 4 * 3600
_LOOKED_AT = 2**16


@dataclasses.dataclass(frozen=True, eq=False)
class Products:
    """N products and the histories of U users.

    Attributes:
      items: one row per product, in the order of `histories.item_ids`: `item_id` and descriptive columns.
      histories: users in the order of the file from which the histories were read, each user's items in time order.
      source: one line that says where the data came from.
    """

    items: pa.Table
    histories: Histories
    source: str

    @property
    def item_ids(self) -> np.ndarray:
        """Ids of the products, `[N]` object (str)."""
        return self.histories.item_ids


class _Files(NamedTuple):
    reviews: Path
    metadata: Path


def load_amazon(source: str, path: str = "", cache_dir: str = "", *, core: int = 5) -> Products:
    """Returns products and interaction histories from the first of these sources that applies.

    1. `path`, if given. It is a prepared folder as `_read_prepared` reads it, or a folder with the files of reviews and
       metadata under their original names. These files may have the layout of any edition, and may be gzipped. If the
       folder cannot be used, an error is raised. Data from original files is cached, and prepared again if one of the
       files changes.
    2. The prepared cache.
    3. The addresses of the data's authors, fetched with TensorFlow Datasets and prepared into the cache.

    Args:
      source: one of `names.AMAZON`, such as "amazon-2014-beauty".
      path: the user's folder, or "".
      cache_dir: folder for prepared data, see `cache_folder`.
      core: users and items with fewer interactions are removed, see `read_reviews`.

    Raises:
      UserError: if the given folder or the cache is damaged, the cache cannot be written, or no source can be reached.
    """
    name = AmazonName.of(source)
    if path and _is_prepared(as_path(path)):
        return _read_prepared(as_path(path))
    files = _find(as_path(path), name) if path else None
    folder = cache_folder(cache_dir) / f"{source}-core{core}-{_VERSION}"
    if files:
        folder = folder.with_name(f"{folder.name}-{_digest(files)}")
    if not folder.exists():
        prepare_folder(
            folder, lambda scratch, unfinished: _write(files or _download(scratch, name), unfinished, source, core)
        )
        print(
            f"The Amazon review data is for research use; cite {CITATIONS[name.edition]}.",
            f"{source}: prepared in {folder}",
            sep="\n",
            file=sys.stderr,
        )
    with refuse_damage(folder):
        return _read(folder, path)


def _is_prepared(folder: Path) -> bool:
    """Returns whether the folder has both files of a prepared data set."""
    return (folder / _ITEMS).is_file() and (folder / _SEQUENCES).is_file()


def _read_prepared(folder: Path) -> Products:
    """Reads a prepared folder; users and items are in the order of the folder's files.

    Args:
      folder: has `items.jsonl` and `sequences.txt`. `items.jsonl` has one object per item: the field `item_id` (or
        `item`), and descriptive fields (`title`, `brand`, `categories`, …; optionally `text`). `sequences.txt` has one
        line per user: the user, then items in time order.

    Raises:
      UserError: if a file is damaged or empty, or a sequence names an unknown item.
    """
    path = folder / _ITEMS
    first = next(read_records(path), (0, {}))[1]
    id_column = next((name for name in _IDS if name in first), _IDS[0])
    ids, columns = read_own_tables(str(path), id_column, [name for name in first if name != id_column])
    try:
        items = pa.table({"item_id": ids, **columns})
    except (pa.ArrowException, UnicodeError) as error:
        raise UserError(
            f"{path}: a field has values of several types ({reason(error)}); give values of one type"
        ) from error
    return Products(items, read_sequences(folder / _SEQUENCES, ids), source=str(folder))


def _find(folder: Path, name: AmazonName) -> _Files:
    """Finds the category's files in a folder, under the file names of the given edition or else of another edition."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder that has the review file and the metadata file")
    names = dict.fromkeys((name.files, *AMAZON_CATEGORIES[name.category]))
    patterns = [
        (reviews.format(each), metadata.format(each))
        for each in names
        for reviews, metadata in (
            ("reviews_{}_5.json", "meta_{}.json"),
            ("reviews_{}.json", "meta_{}.json"),
            ("{}_5.json", "meta_{}.json"),
            ("{}.json", "meta_{}.json"),
            ("{}.jsonl", "meta_{}.jsonl"),
        )
    ]
    for pair in patterns:
        found = [_existing(folder / each) for each in pair]
        if all(found):
            return _Files(*found)  # type: ignore[arg-type]
    expected = " and ".join(Path(address).name.format(name.files) for address in ADDRESSES[name.edition])
    raise UserError(
        f"{folder}: the review file or metadata file of {name.category} is missing; the folder must have {expected}"
    )


def _existing(path: Path) -> Path | None:
    return next((each for each in (path, path.with_name(f"{path.name}.gz")) if each.is_file()), None)


def _digest(files: _Files) -> str:
    """Returns a digest of the files' names, sizes and modification times, and of their first and last 64 KiB."""
    digest = hashlib.sha256()
    for path in files:
        about = path.stat()
        digest.update(json.dumps([path.name, about.st_size, about.st_mtime_ns]).encode())
        with path.open("rb") as file:
            digest.update(file.read(_LOOKED_AT))
            # The end of the file is hashed too, since a .gz file ends with a checksum of its content.
            file.seek(max(0, about.st_size - _LOOKED_AT))
            digest.update(file.read(_LOOKED_AT))
    return digest.hexdigest()[:16]


def _download(scratch: Path, name: AmazonName) -> _Files:
    found = []
    for address in ADDRESSES[name.edition]:
        download = Download(address.format(name.files))
        try:
            print(f"downloading {download.address}", file=sys.stderr)
            found.append(fetch(Path(tempfile.mkdtemp(dir=scratch)), download, seconds=_DOWNLOAD_SECONDS))
        except UserError as error:
            raise UserError(
                f"amazon-{name.edition}-{name.category} is not in the cache, and its download from {download.address} "
                f"failed ({error}); pass --config.data.path=FOLDER with its review file and metadata file"
            ) from error
    return _Files(*found)


def _write(files: _Files, folder: Path, source: str, core: int) -> None:
    histories = read_reviews(files.reviews, core=core)
    items, num_described = read_metadata(files.metadata, histories.item_ids)
    users = pa.table(
        {
            "user_id": pa.array(histories.user_ids, pa.string()),
            "items": pa.LargeListArray.from_arrays(pa.array(histories.offsets), pa.array(histories.items)),
        }
    )
    about = {
        "source": source,
        "core": core,
        "files": [path.name for path in files],
        "interactions": len(histories.items),
        "items_described": num_described,
    }
    write_tables(folder, {"items": items, "users": users}, about)


def _read(folder: Path, path: str) -> Products:
    items, users = (read_table(folder, name) for name in ("items", "users"))
    lists = users["items"].combine_chunks()
    histories = Histories(
        user_ids=np.array(users["user_id"].to_pylist(), dtype=object),
        offsets=offsets_of(lists.value_lengths().to_numpy()),
        items=lists.flatten().to_numpy(),
        item_ids=np.array(items["item_id"].to_pylist(), dtype=object),
    )
    return Products(items, histories, source=path or str(folder))
