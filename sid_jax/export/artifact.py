"""An export, in memory and as a folder: a trained model, the ID table of a catalog, and a manifest.

JAX is imported only when a model is needed. The table of a saved export is read without JAX.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from sid_jax.data.vector_set import OWN_COLUMNS
from sid_jax.errors import UserError, reason
from sid_jax.export.atomic import atomic_folder
from sid_jax.export.codebooks import read_codebooks
from sid_jax.export.manifest import content_of, read_manifest, read_measured, write_manifest, write_measured
from sid_jax.export.programs import check_programs, programs_of
from sid_jax.ids.convert import numbers_of
from sid_jax.ids.table import IdTable
from sid_jax.paths import as_path
from sid_jax.precision import in_32_bits

if TYPE_CHECKING:
    from sid_jax.export.encoder import Encoder
    from sid_jax.models.rqvae import RQVAE

# The ID table is one file, or a folder of files with `ROWS_A_FILE` rows each, which Parquet readers read as one table.
WHOLE_FILE = "ids.parquet"
ROWS_A_FILE = 2**18
# Table of removed items, whose IDs are retired; see `sid_jax.append`.
RETIRED_FILE = "retired.parquet"
# Table of the former IDs of moved items, which got another ID in an append (`--on_known=move`). No other item gets
# these former IDs.
FORMER_FILE = "former.parquet"
# Metrics of an export that are shown with its table.
_SHOWN = ("r2", "distinct_rate", "max_distinct_rate")


class Export:
    """A trained model and the Semantic IDs that it assigned to a catalog.

    Attributes:
      manifest: settings, quality metrics, and how the IDs were made; see docs/export-format.md. The manifest of a saved
        export also has `created`, `versions`, `files` and `digest`.
      table: items, Semantic IDs, codes and further columns.
      retired: a table of removed items and their retired IDs, with a column `removed_in`; or None.
      former: a table of the former Semantic IDs of moved items, with a column `moved_in` and one row per change; or
        None.
      measured: metrics for the report, from `sid_jax.metrics.vectors.report_figures`.
      rows_a_file: rows per file if the table is written as several files; None for one file.
      programs: further formats of the encoder to write; see `sid_jax.export.programs`.
      folder: the folder that the export was read from; None if it was made in memory.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        table: IdTable,
        model: RQVAE | Callable[[], RQVAE],
        *,
        retired: IdTable | None = None,
        former: IdTable | None = None,
        measured: Mapping[str, Any] | None = None,
        rows_a_file: int | None = None,
        programs: Collection[str] = (),
        folder: Path | None = None,
    ):
        """Sets the attributes. `model` may be a function, which is called when the model is first used."""
        self.manifest, self.table, self.retired, self.former = dict(manifest), table, retired, former
        self.measured, self.rows_a_file, self.folder = dict(measured or {}), rows_a_file, folder
        self.programs = tuple(programs)
        self._model = model
        metrics = self.metrics
        table.figures |= {name: metrics[name] for name in _SHOWN if name in metrics}

    @functools.cached_property
    def model(self) -> RQVAE:
        """The trained model, for using its encoder or decoder inside a jitted function."""
        from sid_jax.models.rqvae import RQVAE

        return self._model if isinstance(self._model, RQVAE) else self._model()

    @property
    def metrics(self) -> dict[str, Any]:
        """Quality metrics of the whole catalog; see docs/metrics.md."""
        return self.manifest.get("metrics", {})

    @in_32_bits
    def encode(self, vectors: Any) -> np.ndarray:
        """Returns the codes `[n, L]` int32 of unscaled vectors `[n, D]` of any real dtype; the model scales them.

        One vector `[D]` gives `[L]`. For a model with parts, `vectors` may be a mapping from part names to vectors or
        columns of n rows each.

        Raises:
          UserError: if the vectors are not numbers, do not have the model's D features, or are not finite.
        """
        return self._encoder.encode(self.join_parts(vectors))

    def join_parts(self, vectors: Any) -> Any:
        """Joins a mapping from part names to values into vectors `[n, D]` float32; returns other arguments unchanged.

        Raises:
          UserError: if the model has no such parts.
        """
        if not isinstance(vectors, Mapping):
            return vectors
        if "parts" not in self.manifest:
            raise UserError(
                "vectors is a mapping of parts, but this model was trained on vectors without parts; give an array"
            )
        from sid_jax.data.join_parts import vectors_of_parts

        return vectors_of_parts(self.manifest["parts"], vectors)

    @in_32_bits
    def decode(self, codes: Any) -> np.ndarray:
        """Returns the decoded vectors `[n, D]` float32 of codes `[n, L]`, or `[D]` of the codes `[L]` of one item.

        They approximate the input vectors, or with `unit_norm` the input vectors scaled to length 1.

        Raises:
          UserError: if the codes are not whole numbers, do not have L levels, or are not below their level's K.
        """
        return self._encoder.decode(codes)

    def with_table(self, table: IdTable) -> Export:
        """Returns the export with another table of the same items and Semantic IDs, for example with more columns.

        Raises:
          UserError: if items or Semantic IDs differ.
        """
        if table.fingerprint() != self.table.fingerprint():
            raise UserError(
                "the new table must have the items and Semantic IDs of this export, in the same order; use "
                "export.table.with_columns(...)"
            )
        schema = {**self.manifest["schema"], "columns": list(table.columns.column_names)}
        return Export(
            {**self.manifest, "schema": schema},
            table,
            self._model,
            retired=self.retired,
            former=self.former,
            measured=self.measured,
            rows_a_file=self.rows_a_file,
            programs=self.programs,
        )

    def __repr__(self) -> str:
        """Returns a one-line summary."""
        return f"Export({self.table!r})"

    def _repr_html_(self) -> str:
        """Returns the table's HTML, for notebooks."""
        return self.table._repr_html_()

    @functools.cached_property
    def _encoder(self) -> Encoder:
        from sid_jax.export.encoder import Encoder

        return Encoder(self.model)


def write_export(
    export: Export,
    out: Path,
    *,
    records: Path | None = None,
    programs: Collection[str] = (),
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Writes an export as a folder, atomically.

    The files are the ID table, the trie (only for a table in one file), the model and the data of the report. The
    manifest is written last.

    Args:
      export: what to write.
      out: destination; a path that does not exist, or an empty folder.
      records: the folder of the training run, whose metrics become the curves of the report; None takes the
        curves in `export.measured`.
      programs: further formats of the encoder to write, in addition to the export's own `programs`.
      finish: called with the temporary folder after all files are written, before the folder is renamed to `out`.

    Raises:
      UserError: if `out` or a program of the encoder cannot be written.
    """
    programs = check_programs({*export.programs, *programs})
    with atomic_folder(out) as folder:
        write_files(export, folder, records=records, programs=programs)
        if finish is not None:
            finish(folder)


def write_files(export: Export, folder: Path, *, records: Path | None = None, programs: Collection[str] = ()) -> None:
    """Writes the files of `write_export` into an existing folder; not atomic."""
    from sid_jax.export.weights import model_info, write_model
    from sid_jax.ids.trie import write_trie

    write_table(folder, export.table.to_arrow(), rows=export.rows_a_file)
    if export.rows_a_file is None:
        write_trie(folder, export.table.semantic_ids, export.table.sizes)
    for kept, name in ((export.retired, RETIRED_FILE), (export.former, FORMER_FILE)):
        if kept is not None:
            pq.write_table(kept.to_arrow(), folder / name)
    write_model(folder, export.model, programs)
    write_measured(folder, export.measured, records)
    schema = {"id_column": export.table.id_name, "columns": export.table.columns.column_names}
    write_manifest(folder, {**content_of(export.manifest), "schema": schema, "codebooks": model_info(export.model)})


def load_export(folder: str | Path, *, verify: bool = False) -> Export:
    """Loads an export from its folder. Nothing is written, trained or compiled.

    Args:
      folder: written by `sid-jax export` or `write_export`.
      verify: whether to compare the SHA-256 of every file with the manifest first.

    Raises:
      UserError: if a file is missing or damaged, or contradicts the manifest.
    """
    folder = as_path(folder)
    manifest = read_manifest(folder, verify=verify)
    files, stored = table_files(folder), read_codebooks(folder)

    def model() -> RQVAE:
        from sid_jax.export.weights import model_from_weights

        return model_from_weights(*stored, manifest.get("config"))

    def kept(name: str) -> IdTable | None:
        return _read_table([folder / name], manifest, folder, len(stored[0])) if (folder / name).exists() else None

    table = _read_table(files, manifest, folder, len(stored[0]))
    return Export(
        manifest,
        table,
        model,
        retired=kept(RETIRED_FILE),
        former=kept(FORMER_FILE),
        measured=read_measured(folder),
        rows_a_file=None if files[:1] == [folder / WHOLE_FILE] else ROWS_A_FILE,
        programs=programs_of(manifest),
        folder=folder,
    )


def write_table(folder: Path, table: pa.Table, *, rows: int | None = None) -> None:
    """Writes the ID table as `ids.parquet` and `ids.csv`, or as a folder of .parquet files of `rows` rows each."""
    if rows is None:
        pq.write_table(table, folder / WHOLE_FILE)
        pyarrow.csv.write_csv(_without_lists(table), folder / "ids.csv")
        return
    count = max(1, -(-len(table) // rows))
    (folder / WHOLE_FILE).mkdir()
    for number in range(count):
        pq.write_table(table.slice(number * rows, rows), folder / shard_name(number, count))


def shard_name(number: int, count: int) -> str:
    """Returns the path, relative to the export's folder, of file `number` of an ID table that has `count` files."""
    return f"{WHOLE_FILE}/ids-{number:05}-of-{count:05}.parquet"


def table_files(folder: Path) -> list[Path]:
    """Returns the files of an export's ID table, one or several, in the order of the rows."""
    whole, several = folder / WHOLE_FILE, "ids-*-of-*.parquet"
    # In older exports, a table of several files has no folder of its own: the files are in the export's folder.
    return [whole] if whole.is_file() else sorted(whole.glob(several)) or sorted(folder.glob(several))


def _without_lists(table: pa.Table) -> pa.Table:
    """Returns the table with lists as text, "12 4 91", since CSV has no lists."""
    for position, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            text = pc.binary_join(table[position].cast(pa.list_(pa.string())), " ")
            table = table.set_column(position, field.name, text)
    return table


def _read_table(files: list[Path], manifest: Mapping[str, Any], folder: Path, num_levels: int) -> IdTable:
    try:
        # `pq.read_table` would import pandas, which takes longer than reading the files.
        rows = pa.concat_tables(pq.ParquetFile(path).read() for path in files)
        made, id_name = manifest["semantic_ids"], manifest["schema"]["id_column"]
        return IdTable(
            rows[id_name],
            _matrix(rows["semantic_id"], made["length"]),
            codes=_matrix(rows["codes"], num_levels),
            sizes=made["sizes"],
            columns=rows.drop_columns([id_name, *OWN_COLUMNS]),
            name=folder.resolve().name,
            id_name=id_name,
            shared=made["scheme"] == "none" or made.get("capacity", 1) > 1,
            check=False,
        )
    except (pa.ArrowException, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"the ID table in {folder} cannot be read: {reason(error)}; export again") from error


def _matrix(lists: pa.ChunkedArray, length: int) -> np.ndarray:
    return numbers_of(pc.list_flatten(lists)).astype(np.int32).reshape(len(lists), length)
