"""Computes the features of an ID table: for each item, the indices of its rows in an embedding table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.arrow_columns import ids_as_array, ids_from_arrow, refuse_nulls
from sid_jax.data.id_lists import known_items, likely_cause
from sid_jax.data.tables import read_whole_tables
from sid_jax.errors import UserError
from sid_jax.export.atomic import partial_folder, publish_once, refuse_taken
from sid_jax.export.id_tables import is_export, parse_id_source, read_id_table
from sid_jax.export.manifest import read_manifest, write_manifest
from sid_jax.features.item_rows import ItemRows
from sid_jax.features.kinds import IDENTITIES, KINDS, Features, fit_features, load_features
from sid_jax.ids.convert import common_rows, comparable, places
from sid_jax.ids.table import IdTable
from sid_jax.messages import LOGGER, Messages
from sid_jax.paths import as_path, typed
from sid_jax.wording import counted

FEATURES_FILE = "features.parquet"
_COUNTS = "impressions"
# Fitted features may be applied to another ID table. A check then compares the rows of the items that are in both ID
# tables. If more than this share of these items have different rows, the IDs of the other table seem to come from
# another quantizer, and are rejected.
_MOST_MOVED = 0.1


def make_features(
    ids: str,
    out: Path,
    *,
    kind: str = "sentencepiece",
    num_rows: int = 0,
    impressions: str | Path | None = None,
    fitted: Path | None = None,
    window: int = 2,
    hashed: bool = False,
    seed: int = 0,
    messages: Messages | None = None,
) -> None:
    """Writes the features of all items of an ID table, atomically.

    Args:
      ids: the source of the IDs, see `parse_id_source`.
      out: the output folder: a path that does not exist, an empty folder, or a folder with the same files.
      kind: one of `kinds.KINDS`.
      num_rows: R, the number of rows of the embedding table.
      impressions: a table of how often items are seen; None weights all items equally.
      fitted: a folder that this function wrote for another ID table, such as an earlier version. The fit of that folder
        is reused, so that every row keeps its meaning. `num_rows` and `impressions` must then not be given, and `kind`,
        `window`, `hashed` and `seed` are ignored.
      window, hashed, seed: see `fit_features`.
      messages: where to print; standard output if None.

    Raises:
      UserError: if a file cannot be used, there are too few rows, or `out` cannot be written.
    """
    refuse_taken(out, unless=FEATURES_FILE)
    table, id_column = read_id_table(*parse_id_source(ids)), _id_column(ids)
    if fitted is not None:
        if impressions is not None or num_rows:
            raise UserError(
                f"--rows and --impressions cannot be combined with --fitted: the number of rows and the impressions of "
                f"{fitted} are used; omit --rows and --impressions"
            )
        kind, features, about = _read_fitted(fitted)
    else:
        if kind not in KINDS:
            raise UserError(f"--kind is {kind!r}; choose one of {', '.join(KINDS)}")
        seen = None if impressions is None else read_impressions(impressions, table.item_ids, id_column)
        features = fit_features(kind, table, num_rows, impressions=seen, window=window, hashed=hashed, seed=seed)
        fitted_to = {**_described(table), "num_impressions": None if seen is None else int(seen.sum())}
        fitted_to |= {"codebooks": codebooks} if (codebooks := _codebooks_of(ids)) else {}
        about = {"kind": kind, "num_rows": num_rows, "fitted_to": fitted_to}
    rows = features.rows_of(table.item_ids, table.semantic_ids)
    if fitted is not None and kind not in IDENTITIES:
        _refuse_other_training(table.item_ids, rows, ids, fitted, about)
    with partial_folder(out) as folder:
        lists = pa.ListArray.from_arrays(pa.array(rows.offsets.astype(np.int32)), pa.array(rows.rows))
        pq.write_table(pa.table({id_column: pa.array(table.item_ids), "rows": lists}), folder / FEATURES_FILE)
        features.save(folder)
        in_use = len(np.unique(rows.rows))
        figures = {"rows_in_use": in_use, "rows_an_item": float(rows.lengths.mean()), "most": int(rows.lengths.max())}
        write_manifest(folder, {"features": {**about, "made_of": _described(table), **figures}})
        publish_once(folder, out)
    messages = messages or Messages.to_console()
    per_item = f"{figures['rows_an_item']:.2f}", f"at most {figures['most']}"
    table_rows = [("items", f"{len(rows):,}", ""), ("rows per item", *per_item)]
    messages.closing(f"Features, {kind}", [*table_rows, ("rows in use", f"{in_use:,}", f"of {features.num_rows:,}")])
    messages.line(f"The features are in {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    messages.line(f"Next, when the IDs have a new version: sid-jax features --ids=IDS --fitted={typed(out)} --out=DIR")


def read_features(folder: str | Path) -> Features:
    """Loads the features that `make_features` fitted; they map any item with a Semantic ID to its rows.

    Raises:
      UserError: if the folder does not match its manifest.
    """
    return _read_fitted(as_path(folder))[1]


def read_item_rows(folder: str | Path) -> tuple[np.ndarray, ItemRows]:
    """Loads the items `[N]` of a folder that `make_features` wrote, and their rows.

    Raises:
      UserError: if the folder does not match its manifest.
    """
    read_manifest(folder, verify=True)
    table = pq.read_table(as_path(folder) / FEATURES_FILE)
    lists = table["rows"].combine_chunks()
    # The arrays are copied, since PyTorch warns about read-only arrays of Arrow.
    return ids_as_array(table.column(0)), ItemRows(np.array(lists.offsets, np.int64), np.array(lists.values, np.int32))


def _read_fitted(folder: Path) -> tuple[str, Features, dict[str, Any]]:
    """Returns the kind of a folder's features, the features, and the manifest's entries on how they were fitted."""
    about = read_manifest(folder, verify=True).get("features")
    if not isinstance(about, dict) or about.get("kind") not in KINDS:
        raise UserError(f"{folder} has no features; make them with sid-jax features")
    fit = {name: about[name] for name in ("kind", "num_rows", "fitted_to") if name in about}
    return about["kind"], load_features(about["kind"], folder), fit


def _codebooks_of(ids: str) -> str | None:
    """Returns the SHA-256 of an export's codebooks, which are the same in all versions; None for other ID tables."""
    path = as_path(parse_id_source(ids)[0])
    files = read_manifest(path).get("files", {}) if is_export(path) else {}
    return files.get("codebooks.safetensors", {}).get("sha256")


def _refuse_other_training(
    item_ids: np.ndarray, rows: ItemRows, ids: str, fitted: Path, about: Mapping[str, Any]
) -> None:
    """Raises a UserError if the IDs and the fitted features come from different quantizers.

    The check compares the rows of the items that are in both ID tables. If only a few of them have different rows, a
    warning is logged. If no item is in both tables, the check compares the codebooks, provided that both tables come
    from exports.
    """
    before_ids, before = read_item_rows(fitted)
    new, old = common_rows(item_ids, before_ids)
    pairs = zip(new.tolist(), old.tolist(), strict=True)
    num_other = sum(not np.array_equal(rows.of(mine), before.of(theirs)) for mine, theirs in pairs)
    here, there = _codebooks_of(ids), about.get("fitted_to", {}).get("codebooks")
    remedy = "codes of different quantizers have different meanings; make new features, without --fitted"
    if not len(new) and here and there and here != there:
        raise UserError(
            f"--fitted={fitted}: {ids} has other codebooks (SHA-256 {here[:12]}) than the export that the features "
            f"were fitted to; {remedy}"
        )
    words = (
        f"--fitted={fitted}: {num_other:,} of the {len(new):,} items in both ID tables have new IDs, and therefore "
        "other rows of the embedding table than before"
    )
    if num_other > _MOST_MOVED * len(new):
        raise UserError(f"{words}; {remedy}")
    if num_other:
        LOGGER.warning("%s", words)


def _id_column(ids: str) -> str:
    """Returns the name of an export's column of item ids; "item_id" for other sources."""
    path = as_path(parse_id_source(ids)[0])
    return read_manifest(path)["schema"]["id_column"] if is_export(path) else "item_id"


def _described(table: IdTable) -> dict[str, Any]:
    return {"name": table.name, "fingerprint": table.fingerprint(), "num_items": len(table.item_ids)}


def read_impressions(path: str | Path, item_ids: np.ndarray, id_column: str = "item_id") -> np.ndarray:
    """Reads the number of impressions of each of N items, `[N]` int64: 0 for an item that is not in the file.

    Args:
      path: .parquet, .csv, .feather or .jsonl files, see `find_files`. With a column `impressions` of integers, a row
        gives how often an item was seen, and several rows of an item are summed; without that column, each row is one
        impression. Items that are not among the N items are dropped, with a warning that counts them. The ids of a
        .csv file are read as text.
      item_ids: `[N]`. If either the file or `item_ids` has integer ids, and the other has text, ids are compared as
        text.
      id_column: the column of item ids in the file; the first column if there is none of this name.

    Raises:
      UserError: if the file cannot be read, a count is negative or missing, the sum of all counts is above 2^62, or
        none of the N items has an impression.
    """
    table = read_whole_tables(path, guessed=(_COUNTS,))
    ids_name = _ids_name(table.column_names, id_column)
    ids = table[ids_name]
    if ids.null_count:
        nulls = counted(ids.null_count, "id is", "ids are")
        raise UserError(f"{path}: column {ids_name!r}: {nulls} null; remove such rows")
    have = ids_from_arrow(ids, f"{path}: column {ids_name!r}")
    rows = places(*comparable(have, item_ids))
    if not (rows >= 0).any():
        unknown = list(dict.fromkeys(map(str, have.tolist())))
        cause = likely_cause(unknown, rows[:0], item_ids) or "give the impressions of the items that have IDs"
        raise UserError(
            f"{path}: no id in the column {ids_name!r} is an id of the {len(item_ids):,} items with Semantic IDs, such "
            f"as {str(item_ids[0])!r}; {cause}"
        )
    known = known_items(rows, item_ids, "drop", lambda row: f"{path}: {str(have[row])!r}", have)
    counts = _counts(table, path)
    # The sum of all counts must fit into int64.
    if counts[known].sum(dtype=np.float64) >= 2.0**62:
        raise UserError(f"{path}: column {_COUNTS!r}: the sum of all impressions is above 2^62; give smaller numbers")
    total = np.zeros(len(item_ids), np.int64)
    # `bincount` with weights is not used, since it would add the counts as 64-bit floats.
    np.add.at(total, rows[known], counts[known].astype(np.int64))
    if not total.any():
        raise UserError(f"{path}: no item has an impression, so there is nothing to fit; omit --impressions")
    return total


def _ids_name(names: Sequence[str], id_column: str) -> str:
    return id_column if id_column in names else names[0]


def _counts(table: pa.Table, path: str | Path) -> np.ndarray:
    if _COUNTS not in table.column_names:
        return np.ones(len(table), np.int64)
    column, where = table[_COUNTS], f"{path}: column {_COUNTS!r}"
    if not pa.types.is_integer(column.type):
        raise UserError(f"{where}: expected whole numbers, found {column.type}; give the impressions as integers")
    refuse_nulls(column, where)
    counts = column.to_numpy()
    if counts.min() < 0:
        row = int(np.argmin(counts))
        raise UserError(f"{where}: row {row} (counted from 0) has {counts[row]}; give 0 or more")
    return counts
