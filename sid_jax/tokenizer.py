"""SemanticIdTokenizer: learns unique Semantic IDs from an array of item vectors, in memory."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sid_jax.errors import UserError
from sid_jax.precision import in_32_bits
from sid_jax.presets import preset as load_preset
from sid_jax.settings import refuse_arguments_of_fit, set_by_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from ml_collections import ConfigDict

    from sid_jax.export.artifact import Export
    from sid_jax.ids.table import IdTable
    from sid_jax.models.rqvae import RQVAE

_DEFAULT_PRESET = "embeddings"
# Arguments of the default preset. They may be given without the preset's name, as in preset="gumbel".
_METHODS = ("ste", "gumbel", "rkmeans", "opq")


class SemanticIdTokenizer:
    """Learns Semantic IDs from item vectors with an RQ-VAE (Rajput et al., 2305.05065), and assigns them.

    `fit` trains on N item vectors `[N, D]` and gives every item a unique tuple of codes. `encode` maps vectors to
    codes, `decode` maps codes back to vectors, and `table` looks up items and IDs in both directions.

        tokenizer = SemanticIdTokenizer(num_levels=3, codebook_size=256)
        tokenizer.fit(vectors, item_ids=skus)
        tokenizer.table.semantic_id("sku-42")  # (12, 4, 91)
        tokenizer.save("exports/items")

    Args:
      preset: "ste" (the default), "gumbel", "rkmeans" or "opq", optionally with ",quick" for a short run.
        "ste" and "gumbel" also accept ",best" for a long run. The full name of a preset, as on the command line, is
        also accepted, such as "ml100k:gumbel".
      settings: Any setting of `sid_jax.config` by its full name, as in `**{"train.learning_rate": 1e-3}`. The section
        may be omitted, as in `learning_rate=1e-3`, if only one section has a setting of this name.

    Raises:
      UserError: If a preset or a setting does not exist, or a value is not allowed.
    """

    def __init__(self, preset: str = "ste", **settings: Any):
        from sid_jax.config import check_config

        if not isinstance(preset, str):
            raise UserError(f"preset is {preset!r}; it must be text, such as 'gumbel'; pass settings by name")
        name = f"{_DEFAULT_PRESET}:{preset}" if preset.split(",")[0] in (*_METHODS, "quick", "best") else preset
        config = load_preset(name)
        refuse_arguments_of_fit(settings)
        for setting, value in settings.items():
            set_by_name(config, setting, value)
        check_config(config)
        self._config: ConfigDict = config
        self._export: Export | None = None
        self._records: Path | None = None

    @classmethod
    def from_export(cls, export: Export) -> SemanticIdTokenizer:
        """Returns the fitted tokenizer of an export, with the settings that it was trained with."""
        from sid_jax.config import default_config
        from sid_jax.settings import fill

        tokenizer = cls.__new__(cls)
        tokenizer._config = fill(default_config(), export.manifest["config"])
        tokenizer._export = export
        tokenizer._records = None
        return tokenizer

    @in_32_bits
    def fit(
        self,
        vectors: Any,
        item_ids: Any = None,
        *,
        weights: Mapping[str, float] | None = None,
        columns: Any = None,
        histories: Any = None,
        cold_items: Any = None,
        workdir: str | Path | None = None,
        verbose: bool = True,
    ) -> SemanticIdTokenizer:
        """Trains on item vectors and assigns every item a unique Semantic ID.

        Args:
          vectors: `[N, D]` floating point: a NumPy, JAX or torch (CPU) array, a memory map, an Arrow or pandas column
            of lists, a list of lists, or a path that the commands accept. For vectors with several parts, give a
            mapping from names to parts, `{"text": X, "image": Y, "genres": lists of labels, "price": numbers}`. Each
            part is in the order of the items, with rows of NaN for items that lack it, or is a pair `(values, ids)`.
            The model scales the vectors. See docs/data.md.
          item_ids: N distinct integers or strings. None takes the ids of the file, or else numbers the items from 0.
          weights: Weight of each part, by name; 1 by default.
          columns: Titles and other columns of the items, as an Arrow table, a DataFrame or a mapping from names to N
            values each. If `vectors` is a path, a list of names of the file's columns is also accepted.
          histories: Interaction histories: a list of lists of item ids, a dict from user to item ids, a table with one
            row per interaction, or a path. The IDs then depend on co-occurrence as well as on content.
          cold_items: Ids (or an `[N]` bool mask) of items that are excluded from training. They get IDs in the same way
            as new items.
          workdir: A folder for checkpoints and metrics. An interrupted run in this folder is resumed, with
            bit-identical results. None writes nothing to disk.
          verbose: Whether to show progress, and to log messages to the logger "sid_jax".

        Returns:
          The tokenizer itself.

        Raises:
          UserError: If the input cannot be used. The message says what is wrong and where.
          KeyboardInterrupt: If training was interrupted. With a workdir, calling `fit` again continues it.
        """
        from sid_jax.buckets.mirror import workdir_of
        from sid_jax.data.inputs import vector_set
        from sid_jax.export.run import make_export
        from sid_jax.ids.relocate import refuse_too_many
        from sid_jax.messages import Messages
        from sid_jax.training.quantizer import train_quantizer
        from sid_jax.training.state import level_sizes

        config = self._config.copy_and_resolve_references()
        # Logging is configured before the data is read, so that warnings about the data are formatted like all others.
        messages = Messages.to_logging(verbose=verbose)
        data = vector_set(
            vectors,
            item_ids,
            weights=weights,
            columns=columns,
            histories=histories,
            cold=cold_items,
            settings=config.data,
            on_unknown=config.data.on_unknown,
            with_partners=config.model.contrastive_weight > 0,
            with_collaborative=config.model.alignment_weight > 0,
            resident_bytes=config.train.resident_bytes,
            bad_rows_option='the setting on_bad_rows="drop"',
        )
        model = config.model
        if config.ids.unique == "relocate" and "auto" not in (model.num_levels, model.codebook_size):
            refuse_too_many(len(data.ids), level_sizes(model), config.ids.capacity)
        with contextlib.nullcontext() if workdir is None else workdir_of(workdir) as records:
            run = train_quantizer(config, data, workdir=records, messages=messages)
        if run is None:
            raise KeyboardInterrupt("training was interrupted")
        self._export, self._records = make_export(run), records
        return self

    @property
    def config(self) -> ConfigDict:
        """All settings, as a locked `ml_collections.ConfigDict`."""
        return self._config

    @property
    def export(self) -> Export:
        """The trained model, the ID table and the manifest, which `save` writes.

        Raises:
          UserError: If the tokenizer is not fitted.
        """
        if self._export is None:
            raise UserError("this SemanticIdTokenizer is not fitted; call fit(vectors), or load one with sid_jax.load")
        return self._export

    @property
    def table(self) -> IdTable:
        """The ID table: look-ups between items and Semantic IDs.

        To add columns, assign `table.with_columns(...)` to this property.
        """
        return self.export.table

    @table.setter
    def table(self, table: IdTable) -> None:
        self._export = self.export.with_table(table)

    @property
    def model(self) -> RQVAE:
        """The trained RQ-VAE, a Flax NNX module, for use inside your own `jit`."""
        return self.export.model

    @property
    def metrics(self) -> dict[str, Any]:
        """The quality metrics in the manifest, over all items: distinct rate, R^2, codebook usage and others."""
        return self.export.manifest["metrics"]

    @in_32_bits
    def encode(self, vectors: Any) -> np.ndarray:
        """Returns the codes `[n, L]` int32 of vectors `[n, D]`, or `[L]` of one vector `[D]`.

        Different vectors may get equal codes. Use `append` to assign Semantic IDs to new items.

        For a tokenizer with parts, any subset of the parts is enough: `encode({"text": X})`.

        Raises:
          UserError: If the vectors do not have D features, or are not finite.
        """
        return self.export.encode(vectors)

    @in_32_bits
    def decode(self, codes: Any) -> np.ndarray:
        """Returns the reconstructed vectors `[n, D]` float32 of codes `[n, L]`, or `[D]` of codes `[L]`.

        They approximate the item vectors or, if `data.unit_norm` is set, the item vectors normalized to length 1. The
        other steps of the scaling, `data.center` and `data.standardize`, are undone.

        Raises:
          UserError: If the codes are not `[n, L]` integers within each level's codebook.
        """
        return self.export.decode(codes)

    @in_32_bits
    def append(
        self,
        item_ids: Any = (),
        vectors: Any = (),
        *,
        columns: Any = None,
        remove: Any = (),
        reuse_removed: bool = False,
        on_known: str = "keep",
        on_returned: str = "accept",
        on_unknown: str = "error",
        on_bad_rows: str | None = None,
    ) -> SemanticIdTokenizer:
        """Adds new items to the table. Published Semantic IDs never change unless `on_known="move"`.

        New items are encoded by the trained model and get free IDs. Their IDs are made unique in the same way as the
        table's IDs (`ids.unique`). Items that are already in the table get the values of `columns`.

        Args:
          item_ids: n ids of the same type as the ids in the table; empty if items are only removed.
          vectors: `[n, D]`, an array or column as for `fit`; or any of the parts, `{"text": X}`.
          columns: Titles and other columns of the new items, as for `fit`.
          remove: Ids of items to remove from the table. Their Semantic IDs stay reserved for them.
          reuse_removed: Whether other items may get the Semantic IDs of removed items, and the former IDs of moved
            items.
          on_known: What happens to items that are already in the table. "keep" keeps their IDs. "move" gives an item
            a new ID if its codes have changed. "error" rejects the items.
          on_returned: What happens to items that were removed earlier. "accept" gives them their old IDs. "error"
            rejects the items.
          on_unknown: "error" or "drop" for items of `remove` that were never in the table. "drop" ignores them, with a
            warning that states their number.
          on_bad_rows: "error" or "drop" for items whose vectors have NaN or infinite values. "drop" drops these items,
            with a warning that states their number. None takes the value of the setting `data.on_bad_rows`.

        Returns:
          The tokenizer itself, with the next version of the table. The numbers of added, removed and other items, and
          whether retraining is due, are logged at level INFO.

        Raises:
          UserError: If the input cannot be used, or there are not enough free IDs.
        """
        from sid_jax.append.run import append_items
        from sid_jax.append.words import append_line
        from sid_jax.messages import LOGGER

        self._export = append_items(
            self.export,
            item_ids,
            vectors,
            columns=columns,
            remove=remove,
            reuse_removed=reuse_removed,
            on_known=on_known,
            on_returned=on_returned,
            on_unknown=on_unknown,
            on_bad_rows=on_bad_rows,
        )
        LOGGER.info("%s", append_line(self.export.manifest))
        return self

    @in_32_bits
    def evaluate(self, vectors: Any = None, *, labels: Any = None, histories: Any = None) -> dict[str, Any]:
        """Returns the metrics of the IDs, as `sid-jax evaluate` prints them; see docs/metrics.md.

        Args:
          vectors: `[N, D]` vectors of the table's items, in the table's order, or a mapping of parts. Adds metrics that
            compare IDs with vectors.
          labels: each item's labels (genres, categories), in the table's order: N lists of texts, or N texts with "|"
            between labels; or the text "FILE:COLUMN", as for `sid-jax evaluate`. Adds the purity of prefixes.
          histories: Interaction histories, as for `fit`. Adds how well prefixes explain the co-occurrence of items.

        Raises:
          UserError: If the input cannot be used.
        """
        import numpy as np

        from sid_jax.data.blocks import check_finite
        from sid_jax.data.inputs import vector_set
        from sid_jax.evaluate import measure, read_labels

        table = self.table
        if isinstance(labels, str):
            labels = read_labels(labels, table.item_ids)
        if vectors is not None:
            joined = self.export.join_parts(vectors)
            if not isinstance(joined, (str, Path)) and len(joined) != len(table):
                raise UserError(
                    f"vectors has {len(joined)} rows, but the table has {len(table)} items; give one vector per item"
                )
            if joined is vectors and self.model.layout is None:
                settings = self._config.data.copy_and_resolve_references()
                settings.on_bad_rows = "error"  # Each item of the table needs a vector.
                vectors = vector_set(vectors, table.item_ids, settings=settings).vectors
            else:
                vectors = np.asarray(joined, np.float32)
                layout, width = self.model.layout, self.model.mean.shape[0]
                if layout is not None and vectors.shape[1:] != (width,):
                    raise UserError(
                        f"vectors have {vectors.shape[-1]} features, but the model's parts ({', '.join(layout.names)}) "
                        f"have {width} in total; give the parts by name, such as {{{layout.names[0]!r}: X}}"
                    )
                check_finite(vectors, table.item_ids, "vectors", self.model.layout)
        return measure(table, vectors, model=self.model, labels=labels, histories=histories)

    def save(self, folder: str | Path, *, report: bool = False, onnx: bool = False, stablehlo: bool = False) -> Path:
        """Writes the export: ID table, codebooks, trie and manifest. `sid_jax.load` reads it.

        Args:
          folder: A path that does not exist, or an empty folder. It is written atomically.
          report: Whether to write `report.html` as well.
          onnx: Whether to write the encoder as `encoder.onnx` as well, for ONNX Runtime. A tokenizer from an export
            with this file always writes it.
          stablehlo: Whether to write the encoder as `encoder.stablehlo` as well, for JAX on CPU, CUDA or TPU. A
            tokenizer from an export with this file always writes it.

        Returns:
          The folder.

        Raises:
          UserError: If the folder is not empty or cannot be written, or the package `onnx` is not installed.
        """
        from sid_jax.buckets.outputs import output_folder
        from sid_jax.export.artifact import write_export
        from sid_jax.export.programs import chosen_programs

        out, finish = output_folder(folder), None
        if report:
            from sid_jax.messages import Messages
            from sid_jax.report.run import report_of

            finish = report_of(out, Messages.to_logging())
        programs = chosen_programs(onnx=onnx, stablehlo=stablehlo)
        write_export(self.export, out, records=self._records, programs=programs, finish=finish)
        return out

    def to(
        self,
        tool: str,
        folder: str | Path,
        *,
        histories: Any = None,
        items: Any = None,
        vocabulary: int = 0,
        on_unknown: str = "error",
    ) -> Path:
        """Writes the table as files of another tool, such as "minionerec" or "grid"; docs/formats.md lists the tools.

        Args:
          tool: The tool's name.
          folder: A path that does not exist, or an empty folder. Its name is used as the data set's name in file names.
          histories: Interaction histories, as for `fit`, for tools whose format includes them. Splits are
            leave-one-out.
          items: Titles and other columns of items, as for `IdTable.with_columns`, or a path to a table of items.
          vocabulary: Number of tokens of the language model, for tools that use token ids.
          on_unknown: "error" or "drop" for items of histories that are not in the table.

        Returns:
          The folder.

        Raises:
          UserError: If there is no such tool, if its files cannot express the IDs, or if the input cannot be used.
        """
        from sid_jax.formats.convert import convert

        return convert(
            self.table,
            tool,
            folder,
            histories=histories,
            items=items,
            vocabulary=vocabulary,
            on_unknown=on_unknown,
        )

    def __repr__(self) -> str:
        model = self._config.model
        shape = f"num_levels={model.num_levels}, codebook_size={model.codebook_size}"
        if self._export is None:
            return f"SemanticIdTokenizer({shape}, method={model.quantization_method!r}, not fitted)"
        figures = self.metrics
        shown = ", ".join(
            f"{name}={figures[name]:.3f}" for name in ("distinct_rate", "r2") if isinstance(figures.get(name), float)
        )
        return f"SemanticIdTokenizer({shape}, method={model.quantization_method!r}, {len(self.table):,} items, {shown})"

    def _repr_html_(self) -> str:
        if self._export is None:
            return f"<code>{self!r}</code>"
        return f"<code>{self!r}</code>{self.table._repr_html_()}"
