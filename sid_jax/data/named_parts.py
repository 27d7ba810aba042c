"""Adds the item parts of the setting `data.parts` to the vectors of `data.source`."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from sid_jax.data.catalogs.vectors import catalog_column
from sid_jax.data.join_parts import at_ids, read_part, with_parts
from sid_jax.data.part_sources import About, fit_part
from sid_jax.data.parts.vector_parts import list_parts
from sid_jax.data.tables import python_values, read_own_tables
from sid_jax.data.text import template
from sid_jax.data.text.encode import encode_texts
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError

_EXAMPLE = "image=image.npy*0.5,genres=categories:genres*0.3,price=number:price*0.1"
_PART = re.compile(
    r"^(?P<name>\w+)=(?:(?P<kind>categories|number|text|raw):)?(?P<source>.+?)(?:\*(?P<weight>[0-9.]+))?$"
)
# Name of the part that consists of co-occurrence vectors.
BEHAVIOR = "behavior"


class NamedPart(NamedTuple):
    """One entry of the setting `data.parts`: a part's name, kind, source and weight."""

    name: str
    kind: str
    source: str
    weight: float


def parse_parts(setting: str) -> list[NamedPart]:
    """Returns the parts of a setting such as "image=image.npy*0.5,genres=categories:genres*0.3".

    Raises:
      UserError: if the setting does not have this form, a weight is not above 0, two parts have the same name, or a
        name is reserved.
    """
    parts: list[NamedPart] = []
    for text in filter(None, map(str.strip, setting.split(","))):
        found = _PART.match(text)
        if not found:
            raise UserError(f"config.data.parts has {text!r}; write NAME=SOURCE*WEIGHT, for example {_EXAMPLE}")
        try:
            weight = float(found["weight"] or 1)
        except ValueError:
            weight = 0.0
        if weight <= 0:
            raise UserError(f"config.data.parts: the weight of {found['name']!r} must be a number above 0")
        if found["name"] == BEHAVIOR:
            raise UserError(
                f"config.data.parts: the name {BEHAVIOR!r} is reserved for the vectors from config.data.histories; "
                "choose another name"
            )
        if any(part.name == found["name"] for part in parts):
            raise UserError(
                f"config.data.parts: two parts have the name {found['name']!r}; give each part its own name"
            )
        parts.append(NamedPart(found["name"], found["kind"] or "vectors", found["source"], weight))
    return parts


def main_part(settings: ConfigDict) -> str:
    """Returns the name of the part that `data.source` gives.

    For the user's own data, it is "text" if the vectors are computed from columns of text, else "vectors". For a named
    catalog, it is the value of `data.vectors`.
    """
    if settings.source == "vectors":
        return "text" if settings.text_column else "vectors"
    return str(settings.vectors)


def add_parts(data: VectorSet, settings: ConfigDict, option: str) -> VectorSet:
    """Adds the parts of `settings.parts` to the items; the items' own vectors become the first part.

    For `option`, see `join_parts.read_part`.

    Raises:
      UserError: if a part cannot be read, or has no values for these items.
    """
    named = parse_parts(settings.parts)
    if not named:
        return data
    if data.id_name == "user_id":
        raise UserError(
            "config.data.parts describes items, but config.data.view=user encodes users; leave config.data.parts "
            "empty, as the preset ml100k:text does"
        )
    first = main_part(settings)
    fitted = {first: fit_part(first, data.vectors, 1.0, unit_norm=settings.unit_norm)}
    for part in named:
        if part.name == first:
            raise UserError(
                f"config.data.parts: the name {first!r} is reserved for the vectors of config.data.source; choose "
                "another name"
            )
        fitted[part.name] = _read(part, data, settings, option)
    joined = with_parts(data, fitted)
    return dataclasses.replace(joined, source=f"{data.source} with {', '.join(part.name for part in named)}")


def add_behavior(data: VectorSet, cooccurrences: np.ndarray, settings: ConfigDict) -> VectorSet:
    """Adds co-occurrence vectors `[N, C]` as another part of the items. An item whose vector is 0 lacks this part."""
    known = cooccurrences.any(axis=1, keepdims=True)
    about, vectors = fit_part(
        BEHAVIOR, np.where(known, cooccurrences, np.float32(np.nan)), settings.collaborative_weight, unit_norm=True
    )
    if data.layout is None:
        first = main_part(settings)
        fitted = {first: fit_part(first, data.vectors, 1.0, unit_norm=settings.unit_norm)}
    else:
        names, slices = data.layout.names, data.layout.slices
        columns = (data.vectors[:, each] for each in slices)
        fitted = dict(zip(names, zip(data.about_parts, columns, strict=True), strict=True))
    return with_parts(data, {**fitted, BEHAVIOR: (about, vectors)})


def _read(part: NamedPart, data: VectorSet, settings: ConfigDict, option: str) -> tuple[About, np.ndarray]:
    where = f"config.data.parts: {part.name}"
    of_vectors = part.kind in ("vectors", "raw")
    values, own_ids = _vectors(part, settings, option) if of_vectors else _column(part, settings)
    if part.kind == "text":
        texts = template.item_texts([part.source], [python_values(values)])
        values = encode_texts(texts, settings.text_encoder, cache_dir=settings.cache_dir)
    if part.kind == "number":
        values = [None if value is None or value == "" else _number(value, where) for value in python_values(values)]
    if part.kind == "categories":
        values = [value if value is None or isinstance(value, list) else str(value) for value in python_values(values)]
    about, vectors = fit_part(
        part.name, values, part.weight, unit_norm=part.kind == "text" or (part.kind == "vectors" and settings.unit_norm)
    )
    if own_ids is None:
        count = len(data.ids) + data.left_out.num_rows
        if len(vectors) != count:
            raise UserError(
                f"{where}: {len(vectors)} rows without ids, but {count} items were read; give one row per item, or a "
                "file with ids"
            )
        return about, np.delete(vectors, data.left_out.rows, axis=0)
    return about, at_ids(vectors, own_ids, data.ids, part.name)


def _vectors(part: NamedPart, settings: ConfigDict, option: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the vectors of a part's files, and their ids. The ids are None if the files have none.

    If the files have no ids, each dropped row is replaced by a row of NaN, so that the other rows keep their positions.
    """
    path, _, ids_path = part.source.partition("@")
    found = read_part(part.name, path, settings, option, ids_path)
    names = {"id_column": settings.id_column, "vector_column": settings.vector_column, "ids_paths": [ids_path]}
    if not list_parts([path], **names).ids_are_row_numbers:
        return found.vectors, found.ids
    if not found.left_out.num_rows:
        return found.vectors, None
    vectors = np.full((found.left_out.out_of, found.vectors.shape[1]), np.nan, np.float32)
    vectors[found.ids] = found.vectors
    return vectors, None


def _column(part: NamedPart, settings: ConfigDict) -> tuple[Any, np.ndarray]:
    """Returns a column and the ids of its rows.

    If the part's source is FILE:COLUMN, the column is read from FILE. If it is only COLUMN, the column is read from the
    named catalog or, for the user's own data, from the files of `data.path`.
    """
    path, _, column = part.source.rpartition(":")
    if not path and settings.source != "vectors":
        return catalog_column(settings, column)
    ids, columns = read_own_tables(path or settings.path, settings.id_column, [column])
    return columns[column], ids


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {value!r} is not a number; give a column of numbers") from error
