"""Converts values of item parts (vectors, categories, numbers) to vectors.

The conversion is fitted to the items of the catalog, and stored, so that it also applies to new items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sid_jax.data.arrays import as_vectors
from sid_jax.data.layout import ItemPart
from sid_jax.errors import UserError

# A label gets no feature if only one item has it, since it then carries no information about other items. Of the other
# labels, the 1024 most common ones get a feature each.
_LEAST_ITEMS_OF_A_LABEL = 2
_MOST_LABELS = 1024
_QUANTILES = 101

# The description of a part in a manifest: the fields of `ItemPart`, "kind", and values that depend on the kind.
About = dict[str, Any]


def fit_part(name: str, values: Any, weight: float, *, unit_norm: bool) -> tuple[About, np.ndarray]:
    """Returns a part's description and its vectors `[N, D_p]` float32, NaN where an item lacks the part.

    The description contains the conversion of the part's values to vectors, which is fitted to the given values.

    Args:
      name: the part's name.
      values: one of the following:
        - vectors, see `arrays.as_vectors`. A row of NaN, or None in a list, marks an item that lacks the part;
        - a column of N labels or lists of labels. None or an empty list marks an item that lacks the part;
        - a column of N numbers. None or NaN marks an item that lacks the part.
      weight: the part's weight, above 0.
      unit_norm: whether vectors are scaled to length 1. Vectors of labels are always scaled, and numbers are never
        scaled.

    Raises:
      UserError: if the values have an unsupported form, or the weight is not above 0.
    """
    where = f"part {name!r}"
    if not (isinstance(weight, (int, float)) and 0 < weight < float("inf")):
        raise UserError(f"{where} has the weight {weight!r}; give a number above 0")
    kind = _kind(values)
    about: About = {"kind": kind}
    if kind == "categories":
        about |= _fit_categories(label_lists(values), where)
    elif kind == "number":
        about |= _fit_number(_numbers(values, where), where)
    vectors = part_vectors(about, values, where)
    unit_norm = kind == "categories" or (kind == "vectors" and unit_norm)
    part = ItemPart(name, vectors.shape[1], float(weight), unit_norm)
    return {**vars(part), **about}, vectors


def part_vectors(about: About, values: Any, where: str) -> np.ndarray:
    """Returns the vectors `[n, D_p]` float32 of a part for any items, NaN where an item lacks the part.

    Args:
      about: from `fit_part`.
      values: see `fit_part`; a part of categories or numbers also accepts the vectors that this function returns.
      where: name of the part in error messages.

    Raises:
      UserError: if the values are not of the part's kind.
    """
    kind = _kind(values)
    if kind == "vectors":
        return as_vectors(_with_missing_rows(values, where), where)
    if kind != about["kind"]:
        raise UserError(
            f"{where}: the model was trained with values of the kind {about['kind']!r}, but values of the kind "
            f"{kind!r} are given; give values of the kind {about['kind']!r}"
        )
    if kind == "number":
        numbers = _numbers(values, where)
        ranks = np.interp(numbers, about["quantiles"], np.linspace(0, 1, len(about["quantiles"])))
        return np.where(np.isnan(numbers), np.nan, ranks)[:, None].astype(np.float32)
    column = {label: number for number, label in enumerate(about["labels"])}
    vectors = np.zeros((len(values), len(column)), np.float32)
    for row, labels in enumerate(label_lists(values)):
        for place in (column[label] for label in labels if label in column):
            vectors[row, place] = about["label_weights"][place]
    return np.where(vectors.any(axis=1, keepdims=True), vectors, np.float32(np.nan))


def label_lists(values: Any) -> list[Sequence[str]]:
    """Returns N lists of labels from texts (with "|" between labels), lists of texts, or None."""
    return [labels_of(value) for value in _listed(values)]


def labels_of(value: Any) -> Sequence[str]:
    """Returns the distinct labels of an item: the elements of a list, or a text split at its vertical bars.

    A missing value or label, None or NaN, is ignored. Pandas writes NaN for a missing text.
    """
    if _is_missing(value):
        return ()
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return list(dict.fromkeys(str(each) for each in value if not _is_missing(each)))
    return list(dict.fromkeys(label.strip() for label in str(value).split("|") if label.strip()))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def _fit_categories(lists: Sequence[Sequence[str]], where: str) -> About:
    """Returns the labels and their weights: sqrt(log(1 + N / n)) for a label that n of the N labeled items have.

    A rare label has a large weight, since it is more informative than a common one.
    """
    counts = Counter(label for labels in lists for label in labels)
    common = [(label, n) for label, n in counts.most_common(_MOST_LABELS) if n >= _LEAST_ITEMS_OF_A_LABEL]
    if not common:
        raise UserError(f"{where}: no two items share a label; remove this part, or use another column")
    known = sum(1 for labels in lists if labels)
    weights = {label: float(np.sqrt(np.log1p(known / n))) for label, n in common}
    labels = sorted(weights)
    return {"labels": labels, "label_weights": [weights[label] for label in labels]}


def _fit_number(numbers: np.ndarray, where: str) -> About:
    known = numbers[np.isfinite(numbers)]
    if not len(known) or known.min() == known.max():
        raise UserError(f"{where}: has fewer than two different numbers; remove this part, or use another column")
    # Several quantiles are equal if many items have the same number. For this number, `np.interp` returns the rank of
    # the last of these quantiles.
    quantiles = np.quantile(known, np.linspace(0, 1, _QUANTILES))
    return {"quantiles": quantiles.tolist()}


def _numbers(values: Any, where: str) -> np.ndarray:
    try:
        numbers = np.array([np.nan if value is None else float(value) for value in _listed(values)])
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}; give numbers, or None for a missing number") from error
    if np.isinf(numbers).any():
        raise UserError(
            f"{where}: row {int(np.isinf(numbers).argmax())} (counted from 0) is infinite; give a finite number, or "
            "None"
        )
    return numbers


def _listed(values: Any) -> list[Any]:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return list(values.to_pylist())
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _kind(values: Any) -> str:
    """Returns the kind of the values: "vectors", "categories" or "number".

    The kind depends on the type of the values and, if needed, on the first values.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        inner = values.type.value_type if pa.types.is_nested(values.type) else values.type
        if pa.types.is_string(inner) or pa.types.is_large_string(inner):
            return "categories"
        return "vectors" if pa.types.is_nested(values.type) else "number"
    if getattr(values, "ndim", 1) > 1:
        return "vectors"
    if getattr(getattr(values, "dtype", None), "kind", "O") in "iufb":
        return "number"
    for value in values if hasattr(values, "__iter__") and not isinstance(values, Mapping) else ():
        if isinstance(value, str):
            return "categories"
        if isinstance(value, (set, frozenset)):
            return "categories"
        if isinstance(value, (list, tuple, np.ndarray)) or hasattr(value, "__array__"):
            if not getattr(value, "ndim", 1):
                return "number"
            first = next((each for each in value if each is not None), None)
            if isinstance(first, str):
                return "categories"
            if first is not None:
                return "vectors"
        elif value is not None:
            return "number" if isinstance(value, (int, float, np.number)) else "vectors"
    return "vectors"


def _with_missing_rows(vectors: Any, where: str) -> Any:
    """Returns the vectors; if they are a list, each None is replaced by a row of NaN."""
    if not isinstance(vectors, list) or all(row is not None for row in vectors):
        return vectors
    length = next((len(row) for row in vectors if row is not None), 0)
    if not length:
        raise UserError(f"{where}: all vectors are None; give at least one vector, or omit the part")
    return [[np.nan] * length if row is None else row for row in vectors]
