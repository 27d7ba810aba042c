"""Loads the ids and vectors that `config.data` specifies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
from ml_collections import ConfigDict

from sid_jax.data.bad_rows import finite_items
from sid_jax.data.catalogs.amazon.sources import load_amazon
from sid_jax.data.catalogs.movielens.sources import load_movielens
from sid_jax.data.catalogs.names import AMAZON, CATALOGS, MOVIELENS, movielens_size
from sid_jax.data.catalogs.vectors import (
    MOVIELENS_VECTORS,
    VIEWS,
    catalog_vectors,
    column_names,
    own_text_vectors,
)
from sid_jax.data.collaborative import cooccurrence_vectors, pair_counts
from sid_jax.data.histories import Histories
from sid_jax.data.history_files import is_json, read_histories, read_interactions, read_sequences, tfrecord_files
from sid_jax.data.id_lists import UNKNOWN_OPTION, check_cold, read_item_list
from sid_jax.data.listing import ending, find_remote_files
from sid_jax.data.make_histories import in_catalog
from sid_jax.data.named_parts import add_behavior, add_parts
from sid_jax.data.parts.vector_parts import VECTOR_ENDINGS
from sid_jax.data.relations import Partners, Relations
from sid_jax.data.tables import TABLE_ENDINGS, exported_column, read_own_tables
from sid_jax.data.vector_files import BAD_ROWS_OPTION, read_vector_files
from sid_jax.data.vector_set import VectorSet, digest_of
from sid_jax.errors import UserError
from sid_jax.paths import as_path

_CHOICES = {"source": ("vectors", *CATALOGS), "view": VIEWS, "vectors": MOVIELENS_VECTORS}


def load_corpus(config: ConfigDict, option: str = BAD_ROWS_OPTION) -> VectorSet:
    """Returns the items of `load_vectors`, with the co-occurrence data (`Relations`) that the config's losses need.

    For `option`, see `vector_files.treat_bad_rows`.
    """
    model = config.model
    return load_vectors(
        config.data,
        with_partners=model.contrastive_weight > 0,
        with_collaborative=model.alignment_weight > 0,
        resident_bytes=config.train.resident_bytes,
        option=option,
    )


def load_vectors(
    data_config: ConfigDict,
    *,
    with_partners: bool = False,
    with_collaborative: bool = False,
    resident_bytes: int | None = None,
    option: str = BAD_ROWS_OPTION,
) -> VectorSet:
    """Returns the N items that get Semantic IDs, with float32 vectors `[N, D]`.

    The vectors are finite, except that NaN marks a part that an item lacks.

    Args:
      data_config: the `data` section of the config.
      with_partners: whether to add each item's partners to the relations. Its partners are the items that co-occur
        with it in `data.histories`.
      with_collaborative: whether to add co-occurrence vectors, computed from `data.histories`, to the relations.
      resident_bytes: maximum size in bytes of vectors from files (`data.source=vectors`) in memory; larger vectors stay
        in a memory-mapped file. None: no limit. A single .npy or .pt file of float32 stays memory-mapped in any case,
        see `read_vector_files`.
      option: see `vector_files.treat_bad_rows`.

    Raises:
      UserError: if a setting has an invalid value, or the data is missing, damaged or not finite.
    """
    for setting, choices in _CHOICES.items():
        _check_choice(setting, data_config[setting], choices)
    data = add_parts(load_items(data_config, resident_bytes, option), data_config, option)
    if data.layout is not None:
        data = finite_items(data, data_config.on_bad_rows, option, data.source)
    if data_config.cold_items:
        path = as_path(data_config.cold_items)
        named = read_item_list(path, data.ids, data_config.on_unknown, UNKNOWN_OPTION)
        data = dataclasses.replace(data, cold=check_cold(named, str(path)))
    if data_config.histories.source == "none":
        return data
    return with_histories(data, None, data_config, with_partners=with_partners, with_collaborative=with_collaborative)


def with_histories(
    data: VectorSet,
    histories: Histories | None,
    data_config: ConfigDict,
    *,
    source: str = "",
    with_partners: bool = False,
    with_collaborative: bool = False,
) -> VectorSet:
    """Returns the items with co-occurrence data from interaction histories.

    With `with_partners` or `with_collaborative`, the items get `Relations`. If `collaborative_weight` > 0, the items
    also get co-occurrence vectors as an item part.

    Args:
      data: the items.
      histories: histories over these items; None for the histories that `data_config.histories` names.
      data_config: the `data` section of the config.
      source: where the given histories come from, for the description of the data.
      with_partners, with_collaborative: see `load_vectors`.

    Raises:
      UserError: if `data` encodes users instead of items, or the histories cannot be read or have no co-occurrences.
    """
    if data.id_name == "user_id":
        raise UserError(
            "config.data.histories.source adds co-occurrences of items, but config.data.view=user encodes users; set "
            "config.data.histories.source=none, as the preset ml100k:text does"
        )
    settings = data_config.histories
    if histories is None:
        source = settings.path or settings.source
        histories = load_histories(
            settings,
            data.ids,
            where="config.data.histories",
            cache_dir=data_config.cache_dir,
            core=data_config.core,
            on_unknown=data_config.on_unknown,
            path=data_config.path if settings.source == data_config.source else "",
        )
    weight, dimension = data_config.collaborative_weight, data_config.collaborative_dimension
    holdout = data_config.collaborative_holdout
    histories = histories.without_last(holdout)
    if data.cold is not None:
        histories = histories.keep_interactions(~data.cold[histories.items])
    made_of = digest_of(data.fingerprint(), histories.fingerprint(), weight, dimension)
    counts = pair_counts(
        histories,
        f", if the last {holdout} items of each history are removed (config.data.collaborative_holdout={holdout})",
    )
    collaborative = None
    if weight or with_collaborative:
        collaborative = cooccurrence_vectors(counts, dimension)
    if with_partners or with_collaborative:
        partners = Partners.of(counts) if with_partners else None
        data = dataclasses.replace(data, relations=Relations(partners, collaborative if with_collaborative else None))
    data = dataclasses.replace(data, source=f"{data.source} and co-occurrences from {source}", made_of=made_of)
    if collaborative is None or not weight:
        return data
    return add_behavior(data, collaborative, data_config)


def load_histories(
    settings: ConfigDict,
    item_ids: np.ndarray,
    *,
    where: str,
    cache_dir: str,
    core: int,
    on_unknown: str = "error",
    path: str = "",
) -> Histories:
    """Returns the interaction histories that a section of the config specifies.

    Args:
      settings: the section, which has `source`, `path` and the names of columns.
      item_ids: `[N]` ids of the catalog.
      where: name of the section in errors, such as "config.data.histories".
      cache_dir, core: see `load_amazon`.
      on_unknown: see `id_lists.known_items`.
      path: path of a named catalog's files; `settings.path` takes precedence.

    Raises:
      UserError: if the histories are missing, or cannot be used.
    """
    path = settings.path or path
    if settings.source in MOVIELENS:
        movies = load_movielens(path, cache_dir, movielens_size(settings.source))
        return in_catalog(movies.histories(), item_ids, f"{movies.source}: movie", on_unknown, UNKNOWN_OPTION)
    if settings.source in AMAZON:
        products = load_amazon(settings.source, path, cache_dir, core=core)
        return in_catalog(products.histories, item_ids, f"{products.source}: item", on_unknown, UNKNOWN_OPTION)
    if not settings.path:
        raise UserError(f"{where}.path is empty; pass --{where}.path=FILE with the interaction histories")
    file = as_path(settings.path)
    columns = settings.user_column, settings.item_column, settings.time_column
    if is_json(file) or tfrecord_files(file):
        return read_histories(file, item_ids, columns, on_unknown=on_unknown, option=UNKNOWN_OPTION)
    is_table = file.is_dir() or ending(file, TABLE_ENDINGS) in TABLE_ENDINGS
    if settings.source == "sequences" and not is_table:
        return read_sequences(file, item_ids, on_unknown=on_unknown, option=UNKNOWN_OPTION)
    return read_interactions(file, item_ids, *columns, on_unknown=on_unknown, option=UNKNOWN_OPTION)


def load_items(data_config: ConfigDict, resident_bytes: int | None, option: str = BAD_ROWS_OPTION) -> VectorSet:
    """Returns the items and their vectors from the source that `data.source` names; no item is marked as cold."""
    if data_config.source != "vectors":
        return catalog_vectors(data_config)
    if data_config.text_column:
        return own_text_vectors(data_config)
    data = _own_vectors(data_config, resident_bytes, option)
    names = column_names(data_config.columns)
    return dataclasses.replace(data, columns=_own_columns(data_config, names, data.ids)) if names else data


def _own_vectors(data_config: ConfigDict, resident_bytes: int | None, option: str) -> VectorSet:
    if not data_config.path:
        raise UserError(
            "config.data.path is empty; pass --config.data.path=FILE with your vectors, or several files separated by "
            "commas"
        )
    if data_config.path.lower().endswith((".csv", ".csv.gz", ".item", ".json", ".json.gz", ".jsonl", ".jsonl.gz")):
        raise UserError(
            f"{data_config.path}: files of this kind have no vectors; set --config.data.text_column to the columns of "
            "text to encode"
        )
    return read_vector_files(
        data_config.path,
        id_column=data_config.id_column,
        vector_column=data_config.vector_column,
        ids_paths=[data_config.ids_path],
        on_bad_rows=data_config.on_bad_rows,
        option=option,
        nan_rows=bool(data_config.parts),
        resident_bytes=resident_bytes,
        cache_dir=data_config.cache_dir,
    )


def _own_columns(data_config: ConfigDict, names: list[str], ids: np.ndarray) -> dict[str, pa.ChunkedArray]:
    """Returns the columns `names` of the items, from the table that has their vectors."""
    files = find_remote_files(data_config.path, ".parquet", VECTOR_ENDINGS)
    without = next((each for each in files if ending(each) not in TABLE_ENDINGS), None)
    if without is not None:
        raise UserError(
            f"{without}: config.data.columns needs a table ({', '.join(TABLE_ENDINGS)}); leave this setting empty, or "
            "give the vectors in a table"
        )
    found, columns = read_own_tables(data_config.path, data_config.id_column, names)
    row_of = {item_id: row for row, item_id in enumerate(found.tolist())}
    if not row_of.keys() >= set(ids.tolist()):
        raise UserError(
            f"{data_config.path}: config.data.columns: some items have no row in the table; give a table with a "
            "row for each item"
        )
    rows = pa.array([row_of[item_id] for item_id in ids.tolist()])
    return {name: exported_column(values).take(rows) for name, values in columns.items()}


def _check_choice(setting: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"config.data.{setting} is {value!r}; choose one of {', '.join(choices)}")
