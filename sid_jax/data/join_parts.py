"""Joins item parts from different sources by id; a part that an item lacks is NaN."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sid_jax.data.arrays import as_ids, is_table
from sid_jax.data.id_lists import catalog_rows, check_unique
from sid_jax.data.layout import Layout
from sid_jax.data.part_sources import About, fit_part, part_vectors
from sid_jax.data.vector_files import read_vector_files
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError
from sid_jax.messages import LOGGER


def are_parts(vectors: Any) -> bool:
    """Returns whether `vectors` is a mapping of names to parts, rather than of item ids to vectors `[D]`."""
    if not isinstance(vectors, Mapping) or not vectors or not all(isinstance(name, str) for name in vectors):
        return False
    first = next(iter(vectors.values()))
    if isinstance(first, (str, Path, Mapping)) or is_table(first):
        return True
    if isinstance(first, tuple) and len(first) == 2 and all(hasattr(each, "__len__") for each in first):
        return True
    if getattr(first, "ndim", None) is not None:
        return bool(first.ndim > 1)
    inner = first[0] if isinstance(first, Sequence) and len(first) else None
    return isinstance(inner, (str, list, tuple)) or bool(getattr(inner, "ndim", 0))


def set_of_parts(
    parts: Mapping[str, Any],
    item_ids: Any,
    weights: Mapping[str, float] | None,
    settings: ConfigDict,
    option: str = "",
) -> VectorSet:
    """Returns N items with named parts that are in memory or in files.

    Args:
      parts: the parts by name. A part without ids has one row per item, in the order of the items; see
        `part_sources.fit_part`. A part with ids is joined by its ids. Such a part is a pair of values and ids, a
        mapping of ids to values, a table, or the path of a file of vectors with ids.
      item_ids: `[N]`; None for the union of the parts' ids, or the row numbers if no part has ids.
      weights: weights of parts by name; a part that is not named has the weight 1.
      settings: the `data` section of a config.
      option: the option that drops bad rows of files, for error messages.

    Raises:
      UserError: if a part cannot be used, or ids and rows do not fit together.
    """
    weights = dict(weights or {})
    unknown = [name for name in weights if name not in parts]
    if unknown:
        raise UserError(f"weights: there is no part {unknown[0]!r}; the parts are {', '.join(parts)}")
    given = {name: _values_and_ids(name, part, settings, option) for name, part in parts.items()}
    ids = _ids_of(given, item_ids)
    fitted = {}
    for name, (values, own_ids) in given.items():
        about, vectors = fit_part(name, values, weights.get(name, 1.0), unit_norm=settings.unit_norm)
        fitted[name] = about, vectors if own_ids is None else at_ids(vectors, own_ids, ids, name)
    return with_parts(VectorSet(ids=ids, vectors=np.empty((len(ids), 0)), source="parts in memory"), fitted)


def read_part(name: str, path: str, settings: ConfigDict, option: str, ids_path: str = "") -> VectorSet:
    """Reads the vectors of an item part from files; a row of only NaN marks an item that lacks the part.

    If `settings.on_bad_rows` is "drop", the items of dropped rows lack the part, and a warning states their number.

    Args:
      name: the part's name, for the warning.
      path, ids_path: see `read_vector_files`.
      settings: the `data` section of a config.
      option: the option that drops bad rows, for error messages.

    Raises:
      UserError: if a file cannot be read, or has bad rows that are not dropped.
    """
    data = read_vector_files(
        path,
        id_column=settings.id_column,
        vector_column=settings.vector_column,
        ids_paths=[ids_path],
        on_bad_rows=settings.on_bad_rows,
        nan_rows=True,
        option=option,
    )
    if data.left_out.num_rows:
        LOGGER.warning("the items of bad rows lack the part %r: %s", name, data.left_out)
    return data


def with_parts(data: VectorSet, fitted: Mapping[str, tuple[About, np.ndarray]]) -> VectorSet:
    """Returns the data with the parts' vectors `[N, D_p]` concatenated, and with each part's description."""
    about = tuple(each for each, _ in fitted.values())
    layout = Layout.of_dicts(about)
    vectors = layout.join({name: part for name, (_, part) in fitted.items()}, len(data.ids))
    return dataclasses.replace(data, vectors=_silent_parts_missing(layout, vectors), layout=layout, about_parts=about)


def vectors_of_parts(about: Sequence[About], given: Mapping[str, Any]) -> np.ndarray:
    """Returns vectors `[n, D]` float32 of new items from some of the parts; the other parts are missing (NaN).

    Raises:
      UserError: if a name is not a part, a part's values are not of its kind, or numbers of rows differ.
    """
    layout = Layout.of_dicts(about)
    known = {each["name"]: each for each in about}
    vectors = {
        name: part_vectors(known[name], values, f"part {name!r}") if name in known else np.empty((0, 0))
        for name, values in given.items()
    }
    counts = {name: len(each) for name, each in vectors.items() if name in known}
    if len(set(counts.values())) > 1:
        raise UserError(f"the parts have different numbers of rows ({counts}); give each part one row per item")
    return _silent_parts_missing(layout, layout.join(vectors, next(iter(counts.values()), 0)))


def at_ids(vectors: np.ndarray, own_ids: np.ndarray, ids: np.ndarray, name: str) -> np.ndarray:
    """Reorders vectors `[n, D_p]` from the order of `own_ids` to the order of `ids` `[N]`; a missing vector is NaN.

    Raises:
      UserError: if no item has a vector.
    """
    places = catalog_rows(map(str, ids.tolist()), own_ids)
    if (places < 0).all():
        raise UserError(
            f"part {name!r}: none of its {len(own_ids)} ids is the id of an item; use the same ids in all parts"
        )
    found = np.full((len(ids), vectors.shape[1]), np.nan, np.float32)
    found[places >= 0] = vectors[places[places >= 0]]
    return found


def _silent_parts_missing(layout: Layout, vectors: np.ndarray) -> np.ndarray:
    """Marks zero vectors of unit-norm parts as missing, unless the item would then have no part.

    A zero vector has no direction. It is, for example, the vector of a text without words.
    """
    lacking = layout.lacking(vectors)
    silent = np.stack(
        [
            ~vectors[:, each].any(axis=1) & part.unit_norm
            for part, each in zip(layout.parts, layout.slices, strict=True)
        ],
        axis=1,
    )
    silent &= ~(lacking | silent).all(axis=1, keepdims=True)
    vectors[silent[:, layout.part_of_feature]] = np.nan
    return vectors


def _values_and_ids(name: str, part: Any, settings: ConfigDict, option: str) -> tuple[Any, np.ndarray | None]:
    where = f"part {name!r}"
    if isinstance(part, (str, Path)):
        data = read_part(name, str(part), settings, option)
        return data.vectors, data.ids
    if is_table(part):
        for column in (settings.id_column, settings.vector_column):
            if column not in list(getattr(part, "column_names", None) or part.columns):
                raise UserError(
                    f"{where}: the table has no column {column!r}; it needs a column of ids and a column of vectors"
                )
        part = part[settings.vector_column], part[settings.id_column]
    elif isinstance(part, Mapping):
        part = list(part.values()), list(part)
    if not (isinstance(part, tuple) and len(part) == 2):
        return part, None
    values, ids = part[0], as_ids(part[1], f"{where}: ids")
    check_unique(ids, f"{where}: ids")
    if len(values) != len(ids):
        raise UserError(f"{where}: {len(values)} values, but {len(ids)} ids; give one id per row")
    return values, ids


def _ids_of(given: Mapping[str, tuple[Any, np.ndarray | None]], item_ids: Any) -> np.ndarray:
    """Returns the ids of all items, after checking the number of rows of parts without ids."""
    with_ids = [ids for _, ids in given.values() if ids is not None]
    counts = {name: len(values) for name, (values, ids) in given.items() if ids is None}
    if item_ids is not None:
        ids = as_ids(item_ids, "item_ids")
        check_unique(ids, "item_ids")
    elif with_ids and not counts:
        if len({each.dtype for each in with_ids}) > 1:
            raise UserError("ids are text in some parts and numbers in others; give ids of one type")
        ids = np.array(list(dict.fromkeys(chain.from_iterable(each.tolist() for each in with_ids))), with_ids[0].dtype)
    elif with_ids:
        raise UserError(
            f"part {next(iter(counts))!r} has no ids, but other parts have ids; give item_ids, or ids for each part"
        )
    else:
        ids = np.arange(next(iter(counts.values())))
    for name, count in counts.items():
        if count != len(ids):
            raise UserError(f"part {name!r} has {count} rows, but there are {len(ids)} items; give one row per item")
    return ids
