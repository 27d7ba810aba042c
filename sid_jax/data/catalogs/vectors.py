"""Computes vectors of items or users from texts or ratings, for MovieLens, Amazon, or the user's own table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sid_jax.data.blocks import check_finite
from sid_jax.data.catalogs.amazon.sources import TEXT_COLUMNS, load_amazon
from sid_jax.data.catalogs.movielens.sources import EDITIONS, load_movielens
from sid_jax.data.catalogs.movielens.tables import MovieLens, item_texts, user_texts
from sid_jax.data.catalogs.names import MOVIELENS, movielens_size
from sid_jax.data.collaborative import collaborative_vectors, join_side_by_side
from sid_jax.data.tables import Values, exported_column, python_values, read_own_tables
from sid_jax.data.text import template
from sid_jax.data.text.encode import encode_texts
from sid_jax.data.vector_set import VectorSet, digest_of
from sid_jax.errors import UserError

VIEWS = ("item", "user")
MOVIELENS_VECTORS = ("text", "collaborative", "text+collaborative")

_MOVIELENS_COLUMNS = {"item": ("title", "year", "genres"), "user": ("age", "gender", "occupation")}
_AMAZON_COLUMNS = ("title", "brand", "categories")


def catalog_vectors(settings: ConfigDict) -> VectorSet:
    """Returns the items of the named catalog `settings.source`, with their vectors.

    Raises:
      UserError: if the catalog cannot be read or fetched, or lacks a requested column.
    """
    if settings.source in MOVIELENS:
        return _movielens_vectors(settings)
    return _amazon_vectors(settings)


def catalog_column(settings: ConfigDict, name: str) -> tuple[Any, np.ndarray]:
    """Returns a column `[N]` of the named catalog `settings.source`, and the ids `[N]` of its rows.

    Raises:
      UserError: if the catalog cannot be read or fetched, or has no such column.
    """
    columns: Mapping[str, Any]
    if settings.source in MOVIELENS:
        catalog = load_movielens(settings.path, settings.cache_dir, movielens_size(settings.source))
        columns = catalog.items if settings.view == "item" else catalog.users
        ids, there = columns[f"{settings.view}_id"], list(columns)
    else:
        products = load_amazon(settings.source, settings.path, settings.cache_dir, core=settings.core)
        ids, there = products.item_ids, products.items.column_names
        columns = {each: products.items[each] for each in there if each == name}
    if name not in columns:
        raise UserError(f"{settings.source}: no column {name!r}; its columns are {', '.join(there)}")
    return columns[name], ids


def own_text_vectors(settings: ConfigDict) -> VectorSet:
    """Returns the items of the table `settings.path`, with vectors encoded from the columns `settings.text_column`.

    Raises:
      UserError: if the table cannot be read, or all texts are empty.
    """
    if not settings.path:
        raise UserError("config.data.path is empty; pass --config.data.path=FILE with your items and their texts")
    text_columns, exported = column_names(settings.text_column), column_names(settings.columns)
    wanted = list(dict.fromkeys([*text_columns, *exported]))
    ids, columns = read_own_tables(settings.path, settings.id_column, wanted)
    texts = template.item_texts(text_columns, [python_values(columns[name]) for name in text_columns])
    return _described(ids, texts, text_columns, {name: columns[name] for name in exported}, settings, settings.path)


def column_names(setting: str) -> list[str]:
    """Returns the names in a setting such as "title,brand"."""
    return [name.strip() for name in setting.split(",") if name.strip()]


def _amazon_vectors(settings: ConfigDict) -> VectorSet:
    if settings.view != "item" or settings.vectors != "text":
        raise UserError(
            f"config.data.source={settings.source} has only texts of items, so config.data.view={settings.view} with "
            f"config.data.vectors={settings.vectors} is not possible; to use interaction histories, set "
            "config.data.histories.source"
        )
    products = load_amazon(settings.source, settings.path, settings.cache_dir, core=settings.core)
    there = products.items.column_names
    text_columns = column_names(settings.text_column) or (["text"] if "text" in there else list(TEXT_COLUMNS))
    exported = column_names(settings.columns) or [name for name in _AMAZON_COLUMNS if name in there]
    for name in (*text_columns, *exported):
        if name not in there:
            raise UserError(f"{products.source}: no column {name!r}; its columns are {', '.join(there)}")
    texts = template.item_texts(text_columns, [products.items[name].to_pylist() for name in text_columns])
    shown = {name: products.items[name] for name in exported}
    source = f"{settings.source} from {products.source}"
    return _described(products.item_ids, texts, text_columns, shown, settings, source)


def _described(
    ids: np.ndarray,
    texts: list[str],
    text_columns: list[str],
    columns: Mapping[str, Values],
    settings: ConfigDict,
    source: str,
) -> VectorSet:
    if not any(texts):
        raise UserError(
            f"{source}: no item has text in {', '.join(text_columns)}; set other columns with --config.data.text_column"
        )
    vectors = encode_texts(texts, settings.text_encoder, cache_dir=settings.cache_dir)
    return VectorSet(
        ids=ids,
        vectors=vectors,
        columns={name: exported_column(values) for name, values in columns.items()},
        source=f"{source} (texts, encoded by {settings.text_encoder})",
    )


def _movielens_vectors(settings: ConfigDict) -> VectorSet:
    view, size = settings.view, movielens_size(settings.source)
    if settings.text_column:
        raise UserError(f"config.data.source={settings.source} has its own texts; leave config.data.text_column empty")
    catalog = load_movielens(settings.path, settings.cache_dir, size)
    table, id_name = (catalog.items, "item_id") if view == "item" else (catalog.users, "user_id")
    exported = column_names(settings.columns) or [name for name in _MOVIELENS_COLUMNS[view] if name in table]
    for name in exported:
        if name not in table:
            raise UserError(f"{catalog.source}: no column {name!r}; the columns of its {view}s are {', '.join(table)}")
    makers = {"text": _movielens_texts, "collaborative": _movielens_ratings}
    parts = {part: makers[part](catalog, settings) for part in settings.vectors.split("+")}
    vectors = join_side_by_side(list(parts.values())) if len(parts) > 1 else next(iter(parts.values()))
    name = EDITIONS[size].name
    check_finite(vectors, table[id_name], f"{name}, {settings.vectors} vectors")
    return VectorSet(
        ids=table[id_name],
        vectors=vectors,
        id_name=id_name,
        columns={name: exported_column(table[name]) for name in exported},
        made_of=_made_of(parts, catalog, settings) if "collaborative" in parts else "",
        source=f"{name} ({settings.vectors} vectors of its {view}s) from {catalog.source}",
    )


def _made_of(parts: dict[str, np.ndarray], catalog: MovieLens, settings: ConfigDict) -> str:
    """Returns the SHA-256 of text vectors, ratings and the settings of the collaborative vectors."""
    texts = [parts["text"]] if "text" in parts else []
    how = settings.view, settings.collaborative_dimension, settings.collaborative_holdout
    return digest_of(*how, *catalog.ratings.values(), *texts)


def _movielens_texts(catalog: MovieLens, settings: ConfigDict) -> np.ndarray:
    texts = item_texts(catalog.items) if settings.view == "item" else user_texts(catalog.users)
    return encode_texts(texts, settings.text_encoder, cache_dir=settings.cache_dir)


def _movielens_ratings(catalog: MovieLens, settings: ConfigDict) -> np.ndarray:
    return collaborative_vectors(
        catalog,
        view=settings.view,
        dimension=settings.collaborative_dimension,
        holdout=settings.collaborative_holdout,
    )
