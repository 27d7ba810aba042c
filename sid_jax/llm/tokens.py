"""IdTokens: a catalog's items and Semantic IDs as tokens of one language model."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import safetensors.numpy

from sid_jax.data.listing import find_files
from sid_jax.errors import UserError, reason, shown
from sid_jax.export.artifact import Export, load_export
from sid_jax.export.id_tables import is_export
from sid_jax.formats.inputs import read_table, with_items
from sid_jax.ids.convert import numbers_of
from sid_jax.ids.table import IdTable
from sid_jax.paths import as_path
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN, Vocabulary

if TYPE_CHECKING:
    from sid_jax.ids.trie import Trie

_TOKENS_FILE, _ITEMS_FILE, _EMBEDDINGS_FILE = "tokens.json", "items.parquet", "embeddings.safetensors"


@dataclasses.dataclass(frozen=True, eq=False)
class IdTokens:
    """N items and their Semantic IDs as tokens of one language model.

    Attributes:
      table: items and Semantic IDs `[N, L]`.
      vocabulary: the T tokens of the codes.
      num_content_levels: number of levels, without the suffix.
      markers: texts of the tokens before and after each ID; "" for no token.
      marker_ids: token ids of the two markers; -1 for no marker. Markers that `add_tokens` adds have token ids before
        those of the codes.
      codewords: the codewords `[T', Z]` of the tokens except those of a suffix; None if the source has only IDs.
    """

    table: IdTable
    vocabulary: Vocabulary
    num_content_levels: int
    markers: tuple[str, str] = ("", "")
    marker_ids: tuple[int, int] = (-1, -1)
    codewords: np.ndarray | None = None

    @functools.cached_property
    def trie(self) -> Trie:
        """The prefix trie of the IDs."""
        from sid_jax.ids.trie import build_trie

        return build_trie(self.table.semantic_ids, self.vocabulary.sizes)

    @functools.cached_property
    def texts(self) -> pa.Array:
        """Each item's ID as text, with its markers: `[N]` strings."""
        begin, end = self.markers
        return pc.binary_join_element_wise(begin, self.vocabulary.texts(self.table.semantic_ids), end, "")

    @functools.cached_property
    def token_ids(self) -> np.ndarray:
        """Each item's ID as token ids, including markers: `[N, L]` int32, with one more column per marker."""
        ids = self.vocabulary.token_ids(self.table.semantic_ids)
        begin, end = (np.full((len(ids), int(number >= 0)), number, np.int32) for number in self.marker_ids)
        return np.concatenate([begin, ids, end], axis=1)

    def __repr__(self) -> str:
        """Returns one line with the table and the names and token ids of the tokens."""
        first, last = self.vocabulary.levels[0][0], self.vocabulary.levels[-1][-1]
        numbers = f"{self.vocabulary.first_id} to {self.vocabulary.first_id + len(self.vocabulary) - 1}"
        return f"IdTokens({self.table!r}, tokens {first} to {last}, {numbers})"


def id_tokens(
    source: Any,
    tokenizer: Any = None,
    *,
    first_id: int = 0,
    pattern: str = DEFAULT_PATTERN,
    markers: tuple[str, str] = ("", ""),
    items: Any = None,
) -> IdTokens:
    """Returns the tokens of an export, or the tokens that `sid-jax tokens` wrote.

    Args:
      source: the folder of `sid-jax tokens`; an export's folder or a file of IDs, see docs/evaluate.md; a
        `SemanticIdTokenizer`, an `Export` or an `IdTable`; or `IdTokens`, which are returned unchanged.
      tokenizer: the language model's text tokenizer, to which the tokens were added. It determines the token ids. If it
        is None, a folder of `sid-jax tokens` determines them; the token ids of any other source begin at `first_id`.
      first_id: token id of the first token, for a model that is trained from scratch; ignored if `tokenizer` is given,
        or for a folder of `sid-jax tokens`.
      pattern: the pattern of the tokens' text, see `Vocabulary`; ignored for a folder of `sid-jax tokens`, which
        states its pattern.
      markers: see `IdTokens`.
      items: titles and other columns of items, as for `IdTable.with_columns`, or a path to a table of items.

    Raises:
      UserError: if the source cannot be read, or the text tokenizer does not have the tokens.
    """
    if isinstance(source, IdTokens):
        return source
    made, own = read_tokens(source, pattern=pattern, markers=markers, items=items)
    if tokenizer is None:
        number = first_id if own is None else own
        return dataclasses.replace(made, vocabulary=dataclasses.replace(made.vocabulary, first_id=number))
    found = numbered(made, tokenizer)
    if own not in (None, found.vocabulary.first_id):
        number, name = found.vocabulary.first_id, found.vocabulary.levels[0][0]
        raise UserError(
            f"the text tokenizer has {name!r} as token {number}, but the folder has it as token {own}; run "
            f"sid-jax tokens with --vocabulary={number}"
        )
    return found


def read_tokens(source: Any, *, pattern: str, markers: tuple[str, str], items: Any) -> tuple[IdTokens, int | None]:
    """Returns the tokens of a source (see `id_tokens`), and the first token id.

    The token id is None if the source is an `IdTokens`, or does not set it.
    """
    if isinstance(source, IdTokens):
        return source, None
    table, levels, pattern, first_id, codewords = _described(source, pattern)
    table = table if items is None else with_items(table, items)
    vocabulary = Vocabulary(table.sizes, first_id or 0, pattern)
    _check_markers(markers, vocabulary)
    return IdTokens(table, vocabulary, levels, markers, codewords=codewords), first_id


def _check_markers(markers: tuple[str, str], vocabulary: Vocabulary) -> None:
    if isinstance(markers, str) or len(markers) != 2 or not all(isinstance(text, str) for text in markers):
        raise UserError(f'markers are {shown(markers)}; give two texts, as in ("<|sid_begin|>", "<|sid_end|>")')
    codes = {text for level in vocabulary.levels for text in level}
    if taken := [text for text in markers if text in codes]:
        raise UserError(f"the marker {taken[0]!r} is the token of a code; choose another marker")


def numbered(tokens: IdTokens, tokenizer: Any) -> IdTokens:
    """Returns the tokens with their token ids in a text tokenizer.

    Raises:
      UserError: if the text tokenizer lacks a token, or the token ids are not consecutive.
    """
    known = tokenizer.get_vocab()
    names = [text for level in tokens.vocabulary.levels for text in level]
    missing = [text for text in (*names, *filter(None, tokens.markers)) if text not in known]
    if missing:
        raise UserError(
            f"the text tokenizer lacks {len(missing)} tokens, such as {missing[0]!r}; call add_tokens first"
        )
    first_id = known[names[0]]
    if [known[text] for text in names] != list(range(first_id, first_id + len(names))):
        raise UserError(
            f"the token ids of {names[0]!r} to {names[-1]!r} in the text tokenizer are not consecutive; call "
            "add_tokens with a text tokenizer without these tokens"
        )
    begin, end = (known[text] if text else -1 for text in tokens.markers)
    vocabulary = dataclasses.replace(tokens.vocabulary, first_id=first_id)
    return dataclasses.replace(tokens, vocabulary=vocabulary, marker_ids=(begin, end))


def _described(source: Any, pattern: str) -> tuple[IdTable, int, str, int | None, np.ndarray | None]:
    """Returns the table, its number of levels (not counting a suffix), the pattern, the first token id, and codewords.

    The first token id and the codewords are None if the source has none.
    """
    if isinstance(source, (str, Path)):
        path = as_path(source)
        if (path / _TOKENS_FILE).is_file():
            return _read_folder(path)
        source = load_export(path) if is_export(path) else read_table(str(source))
    export = getattr(source, "export", source)
    if isinstance(export, Export):
        scheme = export.manifest["semantic_ids"].get("scheme")
        codewords = np.concatenate([np.asarray(codebook) for codebook in export.model.quantizer.codebooks])
        return export.table, len(export.table.sizes) - (scheme == "suffix"), pattern, None, codewords
    if not isinstance(source, IdTable):
        raise UserError(
            f"the source of the tokens is an object of type {type(source).__name__}; give the folder of sid-jax "
            "tokens, an export or its folder, or a SemanticIdTokenizer"
        )
    levels = source.semantic_ids.shape[1] if source.codes is None else source.codes.shape[1]
    return source, levels, pattern, None, None


def _read_folder(folder: Path) -> tuple[IdTable, int, str, int, np.ndarray]:
    """Reads a folder that `sid_jax.tokens.write.write_tokens` wrote."""
    try:
        described = json.loads((folder / _TOKENS_FILE).read_text())
        vocabulary = Vocabulary(tuple(described["sizes"]), described["first_id"], described["pattern"])
        files = (
            [folder / _ITEMS_FILE]
            if (folder / _ITEMS_FILE).is_file()
            else find_files(str(folder / _ITEMS_FILE), (".parquet",))
        )
        rows = pa.concat_tables(pq.ParquetFile(file).read() for file in files)
        id_name = rows.column_names[0]
        numbers = numbers_of(pc.list_flatten(rows["token_ids"])).reshape(len(rows), len(vocabulary.sizes))
        semantic_ids = vocabulary.semantic_ids(numbers)
        levels = int(described["num_content_levels"])
        codewords = safetensors.numpy.load_file(folder / _EMBEDDINGS_FILE)["codewords"]
    except (pa.ArrowException, KeyError, TypeError, ValueError, OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder}: cannot be read ({reason(error)}); run sid-jax tokens again") from error
    if not len(rows):
        raise UserError(f"{folder / _ITEMS_FILE}: has no items; run sid-jax tokens again")
    if semantic_ids.min() < 0:
        raise UserError(f"{folder / _ITEMS_FILE}: has token ids that {_TOKENS_FILE} lacks; run sid-jax tokens again")
    table = IdTable(
        rows[id_name], semantic_ids, sizes=vocabulary.sizes, name=folder.name, id_name=id_name, shared=True, check=False
    )
    return table, levels, vocabulary.pattern, vocabulary.first_id, codewords
