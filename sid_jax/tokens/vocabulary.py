"""The vocabulary of Semantic IDs for a language model: one new token per code and level, as text and as token id."""

from __future__ import annotations

import dataclasses
import functools
import re
import string
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.errors import UserError

# The format of LC-Rec (Zheng et al., 2311.09049) and LETTER (Wang et al., 2405.07314).
DEFAULT_PATTERN = "<{letter}_{code}>"
_FIELDS = ("letter", "level", "code")
_LARGEST_ID = np.iinfo(np.int32).max


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The T tokens of L levels of K codes, in the order of levels and codes.

    With levels numbered from 0, the token of code c of level l has the token id `offsets[l] + c`. Its text is the
    pattern with its fields replaced: {letter} by the level as a, b, …, z, aa, ab, …; {level} by the level as 1, 2, …;
    and {code} by c.

    Attributes:
      sizes: the number of codes K of each level. If the IDs have a suffix, the last level is the suffix.
      first_id: token id of the first new token, usually the number of tokens of the language model.
      pattern: pattern of the tokens' text.

    Raises:
      UserError: if `first_id` is out of range, if the pattern gives two tokens the same text, or if a text tokenizer
        could split a token's text differently next to other text.
    """

    sizes: tuple[int, ...]
    first_id: int = 0
    pattern: str = DEFAULT_PATTERN

    def __post_init__(self) -> None:
        _check_pattern(self.pattern, len(self.sizes))
        if not 0 <= self.first_id <= _LARGEST_ID - sum(self.sizes):
            raise UserError(
                f"first_id (--vocabulary) is {self.first_id}; with {sum(self.sizes)} new tokens it must be from 0 to "
                f"{_LARGEST_ID - sum(self.sizes)}, so that token ids fit into 31 bits"
            )

    def __len__(self) -> int:
        """Returns T."""
        return sum(self.sizes)

    @property
    def offsets(self) -> tuple[int, ...]:
        """The token id of each level's first token."""
        return tuple((self.first_id + np.cumsum([0, *self.sizes[:-1]])).tolist())

    @functools.cached_property
    def levels(self) -> tuple[list[str], ...]:
        """The texts of each level's tokens."""
        return tuple(
            [self.pattern.format(letter=_letters(level), level=level + 1, code=code) for code in range(size)]
            for level, size in enumerate(self.sizes)
        )

    def added_tokens(self) -> list[dict[str, Any]]:
        """Returns the tokens as entries for the `added_tokens` of a `tokenizer.json`.

        The flags of an entry ensure that neighboring text does not affect the token. Tokens are not `special`, since
        `decode(..., skip_special_tokens=True)` removes special tokens.
        """
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
        texts = (text for level in self.levels for text in level)
        return [{"id": number, "content": text, **flags} for number, text in enumerate(texts, start=self.first_id)]

    def token_ids(self, semantic_ids: np.ndarray) -> np.ndarray:
        """Returns the token ids `[N, L]` int32 of Semantic IDs `[N, L]`."""
        return (semantic_ids + np.array(self.offsets)).astype(np.int32)

    def semantic_ids(self, token_ids: np.ndarray) -> np.ndarray:
        """Returns Semantic IDs `[..., L]` int32 of token ids `[..., L]`, one token id per level.

        The code is -1 for a token id that is not a token of the level at its position.
        """
        codes = np.asarray(token_ids, np.int64) - np.array(self.offsets)
        return np.where((codes >= 0) & (codes < np.array(self.sizes)), codes, -1).astype(np.int32)

    def texts(self, semantic_ids: np.ndarray) -> pa.Array:
        """Returns the text of Semantic IDs `[N, L]`, such as `<a_12><b_4><c_91>`: `[N]` strings."""
        parts = [
            pa.array(texts).take(pa.array(codes)) for texts, codes in zip(self.levels, semantic_ids.T, strict=True)
        ]
        return pc.binary_join_element_wise(*parts, "")

    def parse(self, text: str) -> list[tuple[int, ...]]:
        """Returns the Semantic IDs in a text, such as a model's answer.

        An ID is a sequence of one token per level, in the order of the levels. Its tokens may be separated by white
        space or commas. Other text and incomplete IDs are ignored.
        """
        return [tuple(map(self._code_of.__getitem__, found.groups())) for found in self._whole_id.finditer(text)]

    @functools.cached_property
    def _code_of(self) -> dict[str, int]:
        return {text: code for level in self.levels for code, text in enumerate(level)}

    @functools.cached_property
    def _whole_id(self) -> re.Pattern[str]:
        return re.compile(r"[\s,]*".join(f"({'|'.join(map(re.escape, level))})" for level in self.levels))


def _letters(level: int) -> str:
    """Returns the letters of a level: a, b, …, z, aa, ab, …"""
    rest, last = divmod(level, 26)
    return (_letters(rest - 1) if rest else "") + string.ascii_lowercase[last]


def _check_pattern(pattern: str, num_levels: int) -> None:
    """Raises a UserError if a text tokenizer might not split texts of this pattern into exactly one token per code.

    A text tokenizer takes the longest token at the first position where a token begins. Text before or after a token
    therefore does not change how the token is recognized, if the token's first and last characters occur nowhere else
    in any token.
    """
    wrong = _fault(pattern, num_levels)
    if wrong:
        raise UserError(
            f"the pattern {pattern!r} {wrong}; write, for example, '{DEFAULT_PATTERN}' or '[sid{{level}}:{{code}}]'"
        )


def _fault(pattern: str, num_levels: int) -> str | None:
    try:
        fields = [name for _, name, spec, how in string.Formatter().parse(pattern) if name is not None]
        plain = not any(spec or how for _, _, spec, how in string.Formatter().parse(pattern))
    except ValueError:
        return "has an unmatched brace"
    if not plain or not set(fields) <= set(_FIELDS):
        return f"has an unknown field; the fields are {', '.join(f'{{{field}}}' for field in _FIELDS)}"
    if fields.count("code") != 1 or (num_levels > 1 and not {"letter", "level"} & set(fields)):
        return "must have {code} once, and {letter} or {level}, so that each code of each level has its own token"
    example = pattern.format(letter="a", level="1", code="0")
    if any(character.isspace() or not character.isprintable() for character in example):
        return "has a space or another invisible character"
    ends = example[0], example[-1]
    if any(end.isalnum() or example.count(end) > 1 for end in ends):
        return (
            f"begins with {ends[0]!r} and ends with {ends[1]!r}; its first and last characters must be two different "
            "punctuation marks that occur nowhere else in it, since otherwise neighboring text could change how "
            "tokens are split"
        )
    return None
