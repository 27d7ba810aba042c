"""SentencePiece on code sequences: codes that often occur together become one piece (Singh et al., 2306.08121).

Each code of each level is a character, each ID is a sentence, and sentences are weighted by impressions. A piece is a
sequence of codes at consecutive levels. Frequent sequences get their own piece. Rare sequences are composed of shorter
pieces, down to single codes. Similar items have some of these shorter pieces in common.

Pieces come from byte-pair encoding, not from SentencePiece's unigram language model. The unigram model needs long
repeated substrings, but most items have only short substrings in common with other items.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sid_jax.errors import UserError, reason
from sid_jax.features.item_rows import ItemRows

_MODEL_FILE, _SIZES_FILE = "pieces.model", "pieces.json"
# Each code is represented by a private-use character of Unicode planes 15 and 16, which SentencePiece neither splits
# nor normalizes. The constants are the first character, and the number of characters per plane.
_FIRST_CHARACTER, _PLANE = 0xF0000, 65_534
# The last two code points of a plane are noncharacters, and represent no code.
_GAP = 2
# This character represents every code that is larger than the largest code of its level in training.
_STRANGE = 0xE000


@dataclasses.dataclass(frozen=True, eq=False)
class PieceFeatures:
    """Features with one row per piece. Row 0 is for codes that did not occur in training.

    Attributes:
      num_rows: R, at least the number of pieces.
      sizes: for each level, the largest code in training plus 1.
      model: the serialized SentencePiece model.
    """

    num_rows: int
    sizes: tuple[int, ...]
    model: bytes

    def codes(self) -> np.ndarray:
        """Returns the codes of each of P pieces, `[P, L]` int32, with -1 at levels that a piece does not contain."""
        processor = _processor(self.model, "the trained model")
        found = np.full((processor.get_piece_size(), len(self.sizes)), -1, np.int32)
        starts = _starts(self.sizes)
        for row in range(1, len(found)):
            numbers = np.array([_number(character) for character in processor.id_to_piece(row)])
            levels = np.searchsorted(starts, numbers, side="right") - 1
            found[row, levels] = numbers - starts[levels]
        return found

    def rows_of(self, item_ids: np.ndarray, semantic_ids: np.ndarray, cuts: np.ndarray | None = None) -> ItemRows:
        """Returns the rows of N items. The rows depend only on the Semantic IDs `[N, L]` and on `cuts`.

        The rows of an item are in the order of its codes.

        Args:
          item_ids: ignored.
          semantic_ids: integers, 0 or more.
          cuts: `[N, L - 1]` bool, True where no piece may contain both the code at a level and the code at the next
            level. With new random cuts at each training step, short pieces are also trained on items that otherwise
            have longer pieces, and generalize better to new items (like subword regularization, Kudo, 1804.10959).

        Raises:
          UserError: if the IDs do not have the length of the IDs that the features were fitted to.
        """
        if semantic_ids.shape[1] != len(self.sizes):
            raise UserError(
                f"the features were made for IDs of {len(self.sizes)} codes, but these IDs have "
                f"{semantic_ids.shape[1]}; make new features"
            )
        encode = _processor(self.model, "the trained model").encode
        sentences = _sentences(semantic_ids, self.sizes)
        if cuts is None:
            return ItemRows.of_lists(encode(sentences))
        parts = [_cut(text, np.flatnonzero(where) + 1) for text, where in zip(sentences, cuts, strict=True)]
        encoded = iter(encode([part for each in parts for part in each]))
        return ItemRows.of_lists([[row for _ in each for row in next(encoded)] for each in parts])

    def save(self, folder: Path) -> None:
        """Writes the files that `load_pieces` reads: SentencePiece's model file, and the sizes."""
        (folder / _MODEL_FILE).write_bytes(self.model)
        (folder / _SIZES_FILE).write_text(json.dumps({"num_rows": self.num_rows, "sizes": self.sizes}) + "\n")


def fit_pieces(semantic_ids: np.ndarray, impressions: np.ndarray, num_rows: int) -> PieceFeatures:
    """Trains SentencePiece on IDs. The result has R pieces, or fewer if the IDs do not yield R pieces.

    Args:
      semantic_ids: `[N, L]` integers, 0 or more.
      impressions: `[N]` integers, how often each item is seen; items without impressions are not used.
      num_rows: R, including row 0.

    Raises:
      UserError: if there are too few rows for the codes in use, no item has impressions, or the library is missing.
    """
    seen = impressions > 0
    characters = sum(len(np.unique(level)) for level in semantic_ids[seen].T)
    if not characters:
        raise UserError("no item has an impression, so there is nothing to train SentencePiece on; omit --impressions")
    if num_rows <= characters:
        raise UserError(
            f"--rows={num_rows} is too few: the items with impressions use {characters} codes, and each needs a row; "
            f"set --rows to at least {characters + 1}, or use IDs with smaller codebooks"
        )
    library = _library()
    sizes = tuple((semantic_ids[seen].max(axis=0) + 1).tolist())
    model = io.BytesIO()
    counts = impressions[seen].tolist()
    lines = (f"{text}\t{int(n)}" for text, n in zip(_sentences(semantic_ids[seen], sizes), counts, strict=True))
    try:
        library.SentencePieceTrainer.train(
            sentence_iterator=lines, model_writer=model, vocab_size=num_rows, **_SETTINGS
        )
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"SentencePiece cannot train {num_rows} pieces ({reason(error)}); set another number with --rows"
        ) from error
    return PieceFeatures(num_rows, sizes, model.getvalue())


def load_pieces(folder: Path) -> PieceFeatures:
    """Loads features that `PieceFeatures.save` wrote.

    Raises:
      UserError: if the file is not a SentencePiece model, or the library is missing.
    """
    model = (folder / _MODEL_FILE).read_bytes()
    _processor(model, str(folder / _MODEL_FILE))
    about = json.loads((folder / _SIZES_FILE).read_text())
    return PieceFeatures(about["num_rows"], tuple(about["sizes"]), model)


# The characters represent codes, so SentencePiece must not normalize, split or drop any. With one thread, training is
# deterministic.
_SETTINGS: dict[str, Any] = {
    "input_format": "tsv",
    "model_type": "bpe",
    "character_coverage": 1.0,
    "hard_vocab_limit": False,
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "split_by_unicode_script": False,
    "split_by_number": False,
    "split_by_whitespace": False,
    "unk_id": 0,
    "bos_id": -1,
    "eos_id": -1,
    "pad_id": -1,
    "num_threads": 1,
    "minloglevel": 2,
}


def _library() -> ModuleType:
    try:
        import sentencepiece
    except ImportError as error:
        raise UserError(
            "SentencePiece features need the package sentencepiece; run pip install 'sid_jax[features]'"
        ) from error
    return sentencepiece


def _processor(model: bytes, where: str) -> Any:
    library = _library()
    try:
        return library.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, OSError) as error:
        raise UserError(f"{where}: not a SentencePiece model ({reason(error)}); make the features again") from error


def _sentences(semantic_ids: np.ndarray, sizes: Sequence[int]) -> list[str]:
    """Converts IDs `[N, L]` to N strings of L characters."""
    if sum(sizes) > 2 * _PLANE:
        raise UserError(
            f"the IDs have {sum(sizes):,} codes over all levels, but SentencePiece features support at most "
            f"{2 * _PLANE:,}; use another --kind"
        )
    numbers = semantic_ids.astype(np.int64) + _starts(sizes)
    characters = _FIRST_CHARACTER + numbers + (numbers >= _PLANE) * _GAP
    characters[semantic_ids >= np.array(sizes)] = _STRANGE
    return np.ascontiguousarray(characters, np.dtype("<u4")).view(f"<U{len(sizes)}").ravel().tolist()


def _cut(text: str, places: np.ndarray) -> list[str]:
    ends = [0, *places.tolist(), len(text)]
    return [text[first:end] for first, end in itertools.pairwise(ends)]


def _number(character: str) -> int:
    """Returns the index, among the codes of all levels, of the code that a character represents."""
    number = ord(character) - _FIRST_CHARACTER
    return number - _GAP if number >= _PLANE else number


def _starts(sizes: Sequence[int]) -> np.ndarray:
    """Returns the index, among the codes of all levels, of code 0 of each level: `[L]`."""
    return np.cumsum([0, *sizes[:-1]])
