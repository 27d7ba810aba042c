"""What `config.data` asks for, as ids and vectors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from sid_jax.data.catalogues.movielens.sources import load_movielens
from sid_jax.data.catalogues.movielens.tables import MovieLens, item_texts, user_texts
from sid_jax.data.checks import check_finite
from sid_jax.data.collaborative import collaborative_vectors, join_side_by_side
from sid_jax.data.cooccurrence import cooccurrence_vectors, join_cooccurrences, pair_counts
from sid_jax.data.history_files import load_histories
from sid_jax.data.id_lists import read_item_list
from sid_jax.data.large_files import read_parts
from sid_jax.data.npy_file import open_npy
from sid_jax.data.partners import Partners
from sid_jax.data.parts.vector_parts import find_ids_files, is_pattern, list_parts
from sid_jax.data.relations import Relations
from sid_jax.data.scaling import normalise
from sid_jax.data.text.encode import encode_texts
from sid_jax.data.vector_files import read_vector_file
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError

SOURCES = ("vectors", "movielens-100k")
VIEWS = ("item", "user")
MOVIELENS_VECTORS = ("text", "collaborative", "text+collaborative")

_EXPORTED_COLUMNS = {"item": ("title", "year", "genres"), "user": ("age", "gender", "occupation")}


def load_corpus(config: ConfigDict) -> VectorSet:
    """Returns what `load_vectors` does, with the relations that the config's losses want."""
    model = config.model
    return load_vectors(
        config.data,
        with_partners=model.contrastive_weight > 0,
        with_collaborative=model.alignment_weight > 0,
        resident_bytes=config.train.resident_bytes,
    )


def load_vectors(
    data_config: ConfigDict,
    *,
    with_partners: bool = False,
    with_collaborative: bool = False,
    resident_bytes: int | None = None,
) -> VectorSet:
    """Returns the N items that get Semantic IDs, with `[N, D]` float32 finite vectors.

    Args:
      data_config: the `data` part of the config.
      with_partners: whether to say who is taken with whom, from `data.histories`.
      with_collaborative: whether to give the co-occurrence vectors of `data.histories` beside the vectors too.
      resident_bytes: own vectors that are larger stay in a file, which is mapped; None reads all but a .npy of float32
        into memory.

    Raises:
      UserError: if a setting has no such choice, or the data is missing, damaged or not finite.
    """
    _check_choice("source", data_config.source, SOURCES)
    data = (
        _own_vectors(data_config, resident_bytes)
        if data_config.source == "vectors"
        else _movielens_vectors(data_config)
    )
    if data_config.held_out_path:
        data = dataclasses.replace(data, held_out=_held_out(Path(data_config.held_out_path).expanduser(), data.ids))
    if data_config.histories.source == "none":
        return data
    return _with_cooccurrences(data, data_config, with_partners, with_collaborative)


def _with_cooccurrences(
    data: VectorSet, data_config: ConfigDict, with_partners: bool, with_collaborative: bool
) -> VectorSet:
    """Returns the data with what the histories say: relations, and a second part of the vectors."""
    if data.id_name == "user_id":
        raise UserError(
            "config.data.histories.source says which items go together; config.data.view=user is not of items"
        )
    histories = load_histories(
        data_config.histories, data.ids, where="config.data.histories", cache_dir=data_config.cache_dir
    )
    histories = histories.without_last(data_config.collaborative_holdout)
    if data.held_out is not None:
        histories = histories.keep_interactions(~data.held_out[histories.items])
    counts = pair_counts(histories)
    source = f"{data.source} and the co-occurrences of {data_config.histories.path or 'MovieLens-100K'}"
    weight = data_config.collaborative_weight
    collaborative = None
    if weight or with_collaborative:
        collaborative = cooccurrence_vectors(counts, data_config.collaborative_dimension)
    if with_partners or with_collaborative:
        partners = Partners.of(counts) if with_partners else None
        data = dataclasses.replace(data, relations=Relations(partners, collaborative if with_collaborative else None))
    data = dataclasses.replace(data, source=source)
    if collaborative is None or not weight:
        return data
    vectors = join_cooccurrences(
        np.asarray(normalise(data.vectors, data_config.unit_norm)),
        collaborative,
        weight,
        fitted=None if data.held_out is None else ~data.held_out,
    )
    return dataclasses.replace(data, vectors=vectors)


def _held_out(path: Path, item_ids: np.ndarray) -> np.ndarray:
    held_out = read_item_list(path, item_ids)
    if held_out.all():
        raise UserError(f"{path}: names every item, so that none is left to train on")
    return held_out


def _own_vectors(data_config: ConfigDict, resident_bytes: int | None) -> VectorSet:
    if not data_config.path:
        raise UserError(
            "data.path is empty: pass --config.data.path=FILE with your vectors, a .npy or .parquet file, or several"
        )
    columns = {"id_column": data_config.id_column, "vector_column": data_config.vector_column}
    ids_paths = find_ids_files(data_config.ids_path)
    path = Path(data_config.path).expanduser()
    is_one = path.suffix in (".npy", ".parquet") and not path.is_dir() and not is_pattern(path)
    if is_one and (resident_bytes is None or not path.is_file() or _stays_in_file(path)):
        return read_vector_file(path, **columns, ids_path=Path(ids_paths[0]) if ids_paths else None)
    parts = list_parts([data_config.path], **columns, ids_paths=ids_paths)
    return read_parts(parts, data_config.path, resident_bytes=resident_bytes, cache_dir=data_config.cache_dir)


def _stays_in_file(path: Path) -> bool:
    """Returns whether it is a .npy that is mapped as it is."""
    return path.suffix == ".npy" and open_npy(path).dtype == np.float32


def _movielens_vectors(data_config: ConfigDict) -> VectorSet:
    _check_choice("view", data_config.view, VIEWS)
    _check_choice("vectors", data_config.vectors, MOVIELENS_VECTORS)
    catalogue = load_movielens(data_config.path, data_config.cache_dir)
    view = data_config.view
    table, id_name = (catalogue.items, "item_id") if view == "item" else (catalogue.users, "user_id")
    makers = {"text": _text_vectors, "collaborative": _collaborative_vectors}
    parts = [makers[name](catalogue, data_config) for name in data_config.vectors.split("+")]
    vectors = parts[0] if len(parts) == 1 else join_side_by_side(parts)
    check_finite(vectors, table[id_name], f"MovieLens-100K, {data_config.vectors} vectors")
    return VectorSet(
        ids=table[id_name],
        vectors=vectors,
        id_name=id_name,
        columns={name: table[name] for name in _EXPORTED_COLUMNS[view]},
        source=f"MovieLens-100K ({data_config.vectors} vectors of its {view}s) from {catalogue.source}",
    )


def _text_vectors(catalogue: MovieLens, data_config: ConfigDict) -> np.ndarray:
    texts = item_texts(catalogue.items) if data_config.view == "item" else user_texts(catalogue.users)
    return encode_texts(texts, data_config.text_encoder)


def _collaborative_vectors(catalogue: MovieLens, data_config: ConfigDict) -> np.ndarray:
    return collaborative_vectors(
        catalogue,
        view=data_config.view,
        dimension=data_config.collaborative_dimension,
        holdout=data_config.collaborative_holdout,
    )


def _check_choice(setting: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"data.{setting}={value!r}: choose one of {', '.join(choices)}")
