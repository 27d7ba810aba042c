"""Where histories come from: files, or a catalog that has them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from sid_jax.data.catalogs.amazon.products import Products
from sid_jax.data.catalogs.amazon.sources import load_amazon
from sid_jax.data.catalogs.movielens.sources import load_movielens
from sid_jax.data.catalogs.movielens.tables import MovieLens
from sid_jax.data.catalogs.names import AMAZON, MOVIELENS, movielens_size
from sid_jax.data.histories import Histories, offsets_of
from sid_jax.data.history_files import read_interactions, read_sequences
from sid_jax.data.id_lists import catalog_rows, refuse_strangers
from sid_jax.errors import UserError


def load_histories(
    settings: ConfigDict, item_ids: np.ndarray, *, where: str, cache_dir: str, core: int, path: str = ""
) -> Histories:
    """Returns the histories that settings name: `source`, `path`, and the columns of an interactions' table.

    Args:
      settings: the section of the config that has them.
      item_ids: `[N]` ids of the catalog.
      where: the section's name, for messages.
      cache_dir: where prepared data sets are kept.
      core: of Amazon, as `load_amazon` takes it.
      path: where a named catalog is, if `settings.path` does not say it.

    Raises:
      UserError: if there is no such data, or it cannot be used.
    """
    path = settings.path or path
    if settings.source in MOVIELENS:
        return movielens_histories(load_movielens(path, cache_dir, movielens_size(settings.source)), item_ids)
    if settings.source in AMAZON:
        return amazon_histories(load_amazon(settings.source, path, cache_dir, core=core), item_ids)
    if not settings.path:
        raise UserError(f"{where}.path is empty: pass --{where}.path=FILE with the users' histories")
    file = Path(settings.path).expanduser()
    if settings.source == "sequences":
        return read_sequences(file, item_ids)
    return read_interactions(file, item_ids, settings.user_column, settings.item_column, settings.time_column)


def movielens_histories(movielens: MovieLens, item_ids: np.ndarray) -> Histories:
    """Returns the histories of MovieLens' users: every rating counts as an interaction, whatever its stars.

    Args:
      movielens: its ratings by user and time.
      item_ids: `[N]` ids of the catalog, in any order; matched against the films' numbers as text.

    Raises:
      UserError: if a film that somebody rated is not in the catalog.
    """
    ratings = movielens.ratings
    user_ids, counts = np.unique(ratings["user_id"], return_counts=True)
    films, film_of_rating = np.unique(ratings["item_id"], return_inverse=True)
    film_rows = catalog_rows(map(str, films.tolist()), item_ids)
    refuse_strangers(film_rows, item_ids, lambda place: f"{movielens.source}: film {films[place]}")
    rows = film_rows[film_of_rating]
    return Histories(user_ids, offsets_of(counts), rows, item_ids)


def amazon_histories(products: Products, item_ids: np.ndarray) -> Histories:
    """Returns the histories of Amazon's users: every review counts as an interaction, whatever its stars.

    Args:
      products: with their histories.
      item_ids: `[N]` ids of the catalog, in any order; matched against the products' as text.

    Raises:
      UserError: if a product that somebody took is not in the catalog.
    """
    histories = products.histories
    rows = catalog_rows(map(str, histories.item_ids.tolist()), item_ids)[histories.items]
    refuse_strangers(
        rows, item_ids, lambda place: f"{products.source}: item {histories.item_ids[histories.items[place]]}"
    )
    return dataclasses.replace(histories, items=rows, item_ids=item_ids)
