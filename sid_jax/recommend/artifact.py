"""Writes and reads a trained recommender as a self-contained folder, which is loaded without the training data.

manifest.json            settings, versions, and the SHA-256 of each file
ids.parquet              the ID table with titles
parameters.safetensors   the model's parameters
items.safetensors        the items' popularity counts; the mask of cold items; the content vectors, if the run used
                         them; the arrays of the blend, if there is one
recommender.stablehlo    optional: the recommender as a program that runs without this package
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import safetensors.numpy
from ml_collections import ConfigDict
from safetensors import SafetensorError

from sid_jax.data.vector_set import OWN_COLUMNS
from sid_jax.errors import UserError
from sid_jax.export.atomic import atomic_folder
from sid_jax.export.manifest import read_manifest, write_manifest
from sid_jax.ids.table import IdTable
from sid_jax.paths import as_path
from sid_jax.recommend.config import default_config
from sid_jax.recommend.data.blend import Blend
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.data.room import Room
from sid_jax.settings import fill

if TYPE_CHECKING:
    from sid_jax.recommend.ranker import ModelRanker

KIND = "recommender"
FOLDER = "recommender"
STABLEHLO = "recommender.stablehlo"
_TABLE, _MODEL, _ITEMS = "ids.parquet", "parameters.safetensors", "items.safetensors"
# In items.safetensors, the names of the blend's arrays begin with this prefix.
_BLEND = "blend."


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedRecommender:
    """A trained model with everything that it needs to recommend.

    Attributes:
      config: from `sid_jax.recommend.config`.
      candidates: the catalog, of which some or all items may be recommended.
      params: the model's parameters by name, float32.
      step: the training step of the parameters.
      figures: test metrics of the recommender; empty if it was not tested.
      room: the sizes to which the catalog's arrays are padded; shared with the recommenders of newer ID tables.
    """

    config: ConfigDict
    candidates: Candidates
    params: dict[str, np.ndarray]
    step: int
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    room: Room = dataclasses.field(default_factory=Room)

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state for pickling, without `ranker`, which holds arrays on devices and is built on demand."""
        return {name: value for name, value in self.__dict__.items() if name != "ranker"}

    @functools.cached_property
    def ranker(self) -> ModelRanker:
        """The ranker of all items that may be recommended; built on first use, without initializing random weights.

        Raises:
          UserError: if the parameters do not fit the config's model.
        """
        # These modules are imported here, because their import takes longer than the rest of loading.
        import jax
        from flax import nnx

        from sid_jax.recommend.models import build_model
        from sid_jax.recommend.models.catalog import catalog_of
        from sid_jax.recommend.models.padding import padded
        from sid_jax.recommend.ranker import ModelRanker
        from sid_jax.training.sharding import all_devices, on_every_device

        candidates = self.candidates
        mapped = any(name.endswith("items.content.kernel") for name in self.params)
        blends = candidates.blend is not None and candidates.blend.projection is not None
        if not mapped and not blends:
            # Neither the model nor the blend uses content vectors.
            candidates = dataclasses.replace(candidates, content=None)
        graphdef, abstract = nnx.split(nnx.eval_shape(lambda: build_model(self.config, candidates)))
        leaves, structure = jax.tree_util.tree_flatten_with_path(abstract)
        shapes = {_name(path): leaf.shape for path, leaf in leaves}
        if shapes != {name: array.shape for name, array in self.params.items()}:
            raise UserError("the recommender's parameters do not match its settings; train it again")
        params = jax.tree.unflatten(structure, [self.params[name] for name in shapes])
        mesh = all_devices()
        catalog = padded(catalog_of(candidates, candidates.trie), self.room)
        params, catalog = on_every_device((params, catalog), mesh)
        return ModelRanker(
            self.config.model.kind,
            graphdef,
            params,
            catalog,
            num_beams=self.config.eval.num_beams,
            mesh=mesh,
            room=self.room,
        )


def named_params(params: Any) -> dict[str, np.ndarray]:
    """Returns the parameters in a model's `nnx.State` by name, such as "encoder.blocks.0.attention.query.kernel"."""
    import jax

    return {_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def write_recommender(trained: TrainedRecommender, folder: Path, *, list_length: int | None = None) -> None:
    """Writes a recommender's folder atomically.

    Args:
      trained: the recommender.
      folder: a new or empty folder.
      list_length: length of the lists that `recommender.stablehlo` returns; None if this file is not written.

    Raises:
      UserError: if the folder is not empty or cannot be written; see also
        `sid_jax.recommend.stablehlo.stablehlo_bytes`.
    """
    candidates = trained.candidates
    items, program = _items_of(candidates), b""
    if list_length is not None:
        from sid_jax.recommend.stablehlo import stablehlo_bytes

        program = stablehlo_bytes(trained, list_length)
    with atomic_folder(folder) as partial:
        table = candidates.table
        pq.write_table(table.to_arrow(), partial / _TABLE)
        for name, tensors in ((_MODEL, trained.params), (_ITEMS, items)):
            # The tensors are serialized in memory first, since safetensors' own file functions do not raise an OSError
            # if the disk is full.
            contiguous = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
            (partial / name).write_bytes(safetensors.numpy.save(contiguous))
        if program:
            (partial / STABLEHLO).write_bytes(program)
        write_manifest(
            partial,
            {
                "kind": KIND,
                "num_items": len(table),
                "id_column": table.id_name,
                "ids": {"name": table.name, "length": len(candidates.sizes), "sizes": list(candidates.sizes)},
                "step": trained.step,
                "metrics": trained.figures,
                "config": trained.config.to_dict(),
            },
        )


def _items_of(candidates: Candidates) -> dict[str, np.ndarray]:
    items: dict[str, np.ndarray] = {
        "popularity": candidates.popularity.astype(np.int64),
        "cold": candidates.cold.astype(np.uint8),
    }
    if candidates.content is not None:
        items["content"] = candidates.content.astype(np.float32)
    if candidates.blend is not None:
        items |= {f"{_BLEND}{name}": array for name, array in candidates.blend.arrays().items()}
    return items


def publish_recommender(trained: TrainedRecommender, folder: Path) -> None:
    """Writes a recommender's folder, unless an existing folder has the same settings, parameters and items."""
    if folder.exists():
        try:
            old = read_recommender(folder)
        except UserError:
            old = None
        if old is not None and _same(old, trained):
            return
        away = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(away, ignore_errors=True)
        folder.rename(away)
        write_recommender(trained, folder)
        shutil.rmtree(away)
        return
    write_recommender(trained, folder)


def read_recommender(folder: str | Path, *, verify: bool = False) -> TrainedRecommender:
    """Reads a folder that `write_recommender` wrote.

    Args:
      folder: the recommender's folder.
      verify: whether to compare every file's SHA-256 with the manifest first.

    Raises:
      UserError: if a file is missing or damaged.
    """
    folder = as_path(folder)
    manifest = read_manifest(folder, verify=verify)
    if manifest.get("kind") != KIND:
        raise UserError(f"{folder} is an export, not a recommender; load it with sid_jax.load")
    try:
        config = fill(default_config(), manifest["config"])
        table = _read_table(folder / _TABLE, manifest)
        items, blend = _read_items(folder / _ITEMS)
        candidates = Candidates.of(
            table, items["popularity"], items["cold"].astype(bool), manifest["ids"]["sizes"], items.get("content")
        )
        candidates = dataclasses.replace(candidates, blend=blend)
        params = _read_tensors(folder / _MODEL)
        # In files that earlier versions of the package wrote, the item embedding is named "items".
        if config.model.kind == "sasrec" and "items" in params:
            params["items.embedding"] = params.pop("items")
        trained = TrainedRecommender(config, candidates, params, manifest["step"], manifest["metrics"])
        if any(len(array) != len(table) for array in items.values()):
            raise ValueError("the arrays of items.safetensors do not have one row for each item of ids.parquet")
    except (
        pa.ArrowException,
        SafetensorError,
        AttributeError,
        BufferError,
        KeyError,
        TypeError,
        ValueError,
        OSError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the recommender in {folder} cannot be read ({reason}); save it again") from error
    return trained


def _read_table(path: Path, manifest: dict[str, Any]) -> IdTable:
    # `read_table` and `to_numpy` are avoided: they import pandas, which takes longer than all other steps of reading.
    with pq.ParquetFile(path) as file:
        rows = file.read()
    id_name, ids = manifest["id_column"], manifest["ids"]
    codes = np.from_dlpack(pc.list_flatten(rows["semantic_id"]).combine_chunks())
    codes = codes.astype(np.int32).reshape(len(rows), ids["length"])
    own = [name for name in (id_name, *OWN_COLUMNS) if name in rows.column_names]
    columns = rows.drop_columns(own)
    return IdTable(
        rows[id_name],
        codes,
        sizes=ids["sizes"],
        columns=columns,
        name=ids["name"],
        id_name=id_name,
        shared=True,
        check=False,
    )


def _read_items(path: Path) -> tuple[dict[str, np.ndarray], Blend | None]:
    """Returns the arrays with one row per item, and the blend if there is one."""
    arrays = _read_tensors(path)
    items = {name: array for name, array in arrays.items() if not name.startswith(_BLEND)}
    blend = {name.removeprefix(_BLEND): array for name, array in arrays.items() if name.startswith(_BLEND)}
    return items, Blend.from_arrays(blend) if blend else None


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(path)


def _same(one: TrainedRecommender, other: TrainedRecommender) -> bool:
    """Returns whether two recommenders have the same settings, ID table, parameters and item arrays."""
    parts = [_items_of(each.candidates) for each in (one, other)]
    return (
        one.config.to_dict() == other.config.to_dict()
        and one.candidates.table.fingerprint() == other.candidates.table.fingerprint()
        and one.params.keys() == other.params.keys()
        and all(np.array_equal(array, other.params[name]) for name, array in one.params.items())
        and parts[0].keys() == parts[1].keys()
        and all(np.array_equal(array, parts[1][name]) for name, array in parts[0].items())
    )


def _name(path: tuple[Any, ...]) -> str:
    """Returns a parameter's path in the model as a dotted name, without the last entry, which is always `value`."""
    return ".".join(str(entry.key) for entry in path if hasattr(entry, "key"))
