"""Writes what a language model needs from an export: tokens, the items' tokens, the trie, and data for embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from sid_jax.data.blocks import in_blocks
from sid_jax.errors import UserError, reason
from sid_jax.export.artifact import WHOLE_FILE, table_files
from sid_jax.export.atomic import partial_folder, publish_once, refuse_taken
from sid_jax.export.codebooks import read_codebooks
from sid_jax.export.manifest import read_manifest
from sid_jax.export.weights import model_from_weights
from sid_jax.ids.convert import code_type, number_lists
from sid_jax.ids.trie import TRIE_FILE, read_trie, write_trie
from sid_jax.messages import Messages
from sid_jax.models.rqvae import RQVAE
from sid_jax.tokens.embeddings import level_slices, tally
from sid_jax.tokens.grammars import GRAMMARS, check_grammars, grammar_text
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN, Vocabulary
from sid_jax.whole_file import write_json
from sid_jax.wording import counted

TOKENS_FILE, ITEMS_FILE, EMBEDDINGS_FILE = "tokens.json", "items.parquet", "embeddings.safetensors"
# Number of rows of the ID table in memory at a time.
_ROWS = 65_536
# Number of tokens whose mean latent vectors are decoded in one call.
_TOKENS_A_CALL = 2048


def write_tokens(
    folder: Path,
    out: Path,
    *,
    pattern: str = DEFAULT_PATTERN,
    first_id: int = 0,
    grammars: Sequence[str] = (),
    messages: Messages | None = None,
) -> None:
    """Writes an export's IDs as tokens of a language model, atomically.

    If the export's table is in several files, `items.parquet` is a folder with one file for each of these files. Only
    three things in memory grow with N: the codes of all items (usually one or two bytes per code), their trie, and the
    text of the grammars.

    Args:
      folder: the export.
      out: the destination, which is a new path, an empty folder, or a folder in which an earlier call wrote the same
        files.
      pattern, first_id: see `Vocabulary`.
      grammars: kinds of grammars to write, see `grammar_text`.
      messages: where to print; standard output if None.

    Raises:
      UserError: if the export cannot be read, `out` cannot be written, or the pattern cannot be used.
    """
    refuse_taken(out, unless=TOKENS_FILE)
    check_grammars(grammars)
    messages, manifest = messages or Messages.to_console(), read_manifest(folder)
    sizes, id_column = _described(manifest, folder)
    vocabulary = Vocabulary(sizes, first_id, pattern)
    codebooks, weights, scaling, info = read_codebooks(folder)
    files = table_files(folder)
    num_items = sum(map(_num_rows, files))
    messages.line(f"Writing the tokens of {counted(num_items, 'item')}, their trie, and data for embeddings")
    with messages.progress("writing, items", num_items, transient=True) as progress, partial_folder(out) as partial:
        # Several files go into one folder, since Parquet readers read a folder as one table.
        place = partial / ITEMS_FILE if len(files) > 1 or files[0].name != WHOLE_FILE else partial
        place.mkdir(exist_ok=True)
        names = {path: place.relative_to(partial) / path.name.replace("ids", "items", 1) for path in files}
        written: list[np.ndarray] = []
        for path, name in names.items():
            for semantic_ids in _write_items(partial / name, path, id_column, vocabulary):
                written.append(semantic_ids)
                progress.move(sum(map(len, written)))
        semantic_ids = np.concatenate(written or [np.empty((0, len(sizes)), code_type(sizes))])
        model = model_from_weights(codebooks, weights, scaling, info)
        write_trie(partial, semantic_ids, sizes)
        for kind in grammars:
            text = grammar_text(read_trie(partial / TRIE_FILE), vocabulary, kind)
            (partial / GRAMMARS[kind]).write_text(text, encoding="utf-8")
        _write_embeddings(partial, semantic_ids, sizes, codebooks, model)
        description = {
            "pattern": pattern,
            "first_id": first_id,
            "sizes": sizes,
            "offsets": vocabulary.offsets,
            "num_content_levels": len(codebooks),
            "scheme": manifest["semantic_ids"].get("scheme"),
            "added_tokens": vocabulary.added_tokens(),
        }
        write_json(partial / TOKENS_FILE, description)
        publish_once(partial, out)
    first, last = vocabulary.levels[0][0], vocabulary.levels[-1][-1]
    numbers = f"{first} to {last}, token ids {first_id:,} to {first_id + len(vocabulary) - 1:,}"
    items = f"{len(semantic_ids):,}", f"{len(sizes)} tokens each"
    messages.closing("Tokens", [("tokens", f"{len(vocabulary):,}", numbers), ("items", *items)])
    file_names = (TOKENS_FILE, ITEMS_FILE, TRIE_FILE, EMBEDDINGS_FILE, *(GRAMMARS[kind] for kind in grammars))
    messages.line(f"The tokens are in {out}: {', '.join(file_names)}")


def _described(manifest: dict[str, Any], folder: Path) -> tuple[tuple[int, ...], str]:
    try:
        sizes, id_column = manifest["semantic_ids"]["sizes"], manifest["schema"]["id_column"]
        return tuple(map(int, sizes)), str(id_column)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / 'manifest.json'} does not state the length and codebook sizes of the IDs; export again"
        ) from error


def _num_rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read ({reason(error)}); export again") from error


def _write_items(path: Path, source: Path, id_column: str, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    """Writes the tokens of the items of one ID table file in blocks; yields the Semantic IDs `[n, L]` of each block."""
    try:
        id_type = pq.read_schema(source).field(id_column).type
    except (pa.ArrowException, KeyError, OSError) as error:
        raise UserError(f"{source} cannot be read ({reason(error)}); export again") from error
    schema = pa.schema([(id_column, id_type), ("tokens", pa.string()), ("token_ids", pa.list_(pa.int32()))])
    with pq.ParquetWriter(path, schema) as writer:
        for ids, semantic_ids in _rows(source, id_column, len(vocabulary.sizes)):
            numbers = vocabulary.token_ids(semantic_ids)
            columns = [ids, vocabulary.texts(semantic_ids), number_lists(numbers)]
            writer.write_table(pa.table(columns, schema=schema))
            yield semantic_ids.astype(code_type(vocabulary.sizes))


def _rows(path: Path, id_column: str, num_levels: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """Yields the item ids and Semantic IDs `[n, L]` int32 of one ID table file in batches."""
    try:
        for batch in pq.ParquetFile(path).iter_batches(_ROWS, columns=[id_column, "semantic_id"]):
            codes = batch.column("semantic_id").flatten().to_numpy()
            yield batch.column(id_column), codes.astype(np.int32).reshape(len(batch), num_levels)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({reason(error)}); export again") from error


def _write_embeddings(
    folder: Path, semantic_ids: np.ndarray, sizes: tuple[int, ...], codebooks: list[np.ndarray], model: RQVAE
) -> None:
    """Writes the codewords, and for each token its number of items and the decoded mean of their quantized vectors."""
    codewords = np.concatenate(codebooks)
    content = slice(0, len(codewords))
    together, _ = tally(((rows, None) for _, rows in in_blocks(semantic_ids)), sizes)
    counts = together.diagonal()
    # The sum of the quantized vectors of a token's items is a weighted sum of all codewords. The weight of a codeword
    # is the number of these items that have the codeword's token.
    latents = together[:, content] @ codewords / np.maximum(counts, 1)[:, None]
    first = level_slices(sizes)[0]
    latents[counts == 0] = (latents[first] * counts[first, None]).sum(axis=0) / len(semantic_ids)
    calls = range(0, len(latents), _TOKENS_A_CALL)
    decoded = [np.asarray(model.decode(jnp.asarray(latents[at : at + _TOKENS_A_CALL], jnp.float32))) for at in calls]
    arrays = {
        "codewords": np.ascontiguousarray(codewords, np.float32),
        "item_vectors": np.concatenate(decoded),
        "num_items": counts.astype(np.int64),
    }
    (folder / EMBEDDINGS_FILE).write_bytes(safetensors.numpy.save(arrays))
