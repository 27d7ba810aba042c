"""Adds the tokens of Semantic IDs, with initial embeddings, to a transformers model and its text tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AddedToken

from sid_jax.buckets.outputs import output_folder
from sid_jax.errors import UserError, shown
from sid_jax.export.atomic import atomic_folder, refuse_taken
from sid_jax.llm.tokens import IdTokens, numbered, read_tokens
from sid_jax.streams import stream_rng
from sid_jax.tokens.embeddings import center_and_spread, embeddings_of_codewords, initial_embeddings
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN

# Number of titles whose token embeddings are in memory at the same time.
_TITLES = 1024


def add_tokens(
    tokenizer: Any,
    model: Any,
    tokens: Any,
    *,
    pattern: str = DEFAULT_PATTERN,
    markers: tuple[str, str] = ("", ""),
    items: Any = None,
    out: str | Path | None = None,
    seed: int = 0,
) -> IdTokens:
    """Adds one token for each code of each level to a text tokenizer and a language model, both in place.

    The embeddings of new tokens, in the input and the output matrix, are computed by `initial_embeddings` from the
    items' titles. Without titles, or if the text tokenizer cannot distinguish them, the embeddings are computed by
    `embeddings_of_codewords`, or drawn at random if the source has only IDs. Tokens that were already added for an
    earlier version of the export keep their embeddings.

    Args:
      tokenizer: a text tokenizer of transformers, fast or slow.
      model: a transformers model; None adds the tokens only to the text tokenizer.
      tokens: the source of the tokens, see `source` of `sid_jax.llm.id_tokens`.
      pattern, items: see `sid_jax.llm.id_tokens`. `items` needs a column "title", unless the export has one.
      markers: the texts of two tokens, one before and one after each ID; "" for none. Markers that the text tokenizer
        lacks are added, with token ids before those of the codes.
      out: a new folder for model and text tokenizer; None saves nothing.
      seed: seed of the random embeddings.

    Returns:
      The tokens with their token ids in the text tokenizer.

    Raises:
      UserError: if the tokens cannot be read; if the text tokenizer already has some of these tokens, but not as its
        last tokens; if a folder of `sid-jax tokens` numbers the tokens differently from the text tokenizer; if the text
        tokenizer does not split an ID into L tokens; or if `out` is not empty.
    """
    destination = None if out is None else output_folder(out)
    if destination is not None:
        refuse_taken(destination)
    made, first_id = read_tokens(tokens, pattern=pattern, markers=markers, items=items)
    num_old, names = len(tokenizer), _missing(tokenizer, made, first_id)
    tokenizer.add_tokens([_plain(name) for name in names])
    made = numbered(made, tokenizer)
    _check(tokenizer, made)
    if model is not None:
        _add_to_model(model, tokenizer, made, num_old, seed)
    if destination is not None:
        with atomic_folder(destination) as folder:
            tokenizer.save_pretrained(folder)
            if model is not None:
                model.save_pretrained(folder)
    return made


def _missing(tokenizer: Any, tokens: IdTokens, wanted: int | None) -> list[str]:
    """Returns the texts of the tokens that the text tokenizer lacks: markers, and tokens of codes.

    `wanted` is the required token id of code 0 of level 1; None allows any token id.

    Raises:
      UserError: if the text tokenizer has some of the codes' tokens but not as its last tokens, or if the token id of
        code 0 of level 1 would not be `wanted`.
    """
    vocabulary = tokenizer.get_vocab()
    markers = [text for text in tokens.markers if text and text not in vocabulary]
    names = [text for level in tokens.vocabulary.levels for text in level]
    known = sum(name in vocabulary for name in names)
    first = len(tokenizer) + len(markers) - known
    if known and (vocabulary.get(names[0]) != first or any(name in vocabulary for name in names[known:])):
        raise UserError(
            f"the text tokenizer already has {known} of the tokens {names[0]!r} to {names[-1]!r}, but not as its last "
            "tokens; choose another pattern"
        )
    if wanted not in (None, first):
        raise UserError(
            f"the folder numbers the tokens from {wanted}, but this text tokenizer numbers them from {first}; "
            f"run sid-jax tokens with --vocabulary={first}, or give the export instead"
        )
    return [*markers, *names[known:]]


def _add_to_model(model: Any, tokenizer: Any, tokens: IdTokens, num_old: int, seed: int) -> None:
    """Adds embeddings of the new tokens to a model; `num_old` is the number of tokens before the new ones."""
    first = tokens.vocabulary.first_id
    if model.get_input_embeddings().weight.shape[0] < num_old:
        # An earlier call added the tokens to the text tokenizer only, so every token is new to the model.
        num_old = first - sum(first - 2 <= number < first for number in tokens.marker_ids)
    _grow(model, first + len(tokens.vocabulary))
    for matrix in _matrices(model):
        _set_embeddings(matrix, tokenizer, tokens, num_old, seed)


def _plain(text: str) -> AddedToken:
    """Returns a token that is recognized regardless of adjacent text and not removed by `skip_special_tokens`."""
    return AddedToken(text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)


def _check(tokenizer: Any, tokens: IdTokens) -> None:
    """Checks that the text tokenizer encodes an ID as one token per code, and decodes these tokens to the same ID.

    The checked IDs contain every token of the table at least once. Since the recognition of a token does not depend on
    adjacent tokens (see `Vocabulary`), the other IDs need no check.
    """
    semantic_ids = tokens.table.semantic_ids
    rows = np.unique(np.concatenate([np.unique(codes, return_index=True)[1] for codes in semantic_ids.T]))
    texts = tokens.texts.take(rows).to_pylist()
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    decoded = tokenizer.batch_decode(encoded, skip_special_tokens=True)
    for row, text, numbers, again in zip(rows, texts, encoded, decoded, strict=True):
        if numbers != tokens.token_ids[row].tolist():
            raise UserError(
                f"the text tokenizer splits {text!r} into {tokenizer.convert_ids_to_tokens(numbers)}, not into one "
                "token per code; choose another pattern, or the fast tokenizer of this model"
            )
        if tokens.vocabulary.parse(again) != [tuple(semantic_ids[row].tolist())]:
            raise UserError(
                f"the text tokenizer decodes the tokens of {text!r} as {shown(again)}; choose another pattern"
            )


def _grow(model: Any, size: int) -> None:
    if model.get_input_embeddings().weight.shape[0] < size:
        model.resize_token_embeddings(size, mean_resizing=False)


def _matrices(model: Any) -> Sequence[torch.Tensor]:
    """Returns the matrices `[V, E]` of input and output embeddings; one matrix if they are tied or no output exists."""
    layers = filter(None, (model.get_input_embeddings(), model.get_output_embeddings()))
    return list({layer.weight.data_ptr(): layer.weight for layer in layers}.values())


def _set_embeddings(matrix: torch.Tensor, tokenizer: Any, tokens: IdTokens, num_old: int, seed: int) -> None:
    """Sets the embeddings of the tokens whose token id is at least `num_old`."""
    first, end = tokens.vocabulary.first_id, tokens.vocabulary.first_id + len(tokens.vocabulary)
    markers = [number for number in sorted(tokens.marker_ids) if num_old <= number < first]
    new = range(max(num_old, first), end)
    if not markers and not new:
        return
    old = _Rows(matrix[: min(num_old, first)])
    center, spread = center_and_spread(old)
    drawn = center + stream_rng(seed, "markers").normal(size=(len(markers), len(center))) * spread / len(center) ** 0.5
    titles, sizes = _TitleMeans(tokens, tokenizer, old), tokens.vocabulary.sizes
    differ = titles.differ()
    if tokens.codewords is not None and not differ:
        of_codes = embeddings_of_codewords(tokens.codewords, sizes, old, seed=seed)
    else:
        of_codes = initial_embeddings(
            tokens.table.semantic_ids,
            sizes,
            titles,
            vocabulary_embeddings=old,
            # If titles are missing or have equal embeddings, all embeddings are drawn at random.
            num_content_levels=tokens.num_content_levels if differ else 0,
            seed=seed,
        )
    values = torch.from_numpy(np.concatenate([drawn, of_codes[new.start - first :]]).astype(np.float32))
    with torch.no_grad():
        matrix[torch.tensor([*markers, *new], device=matrix.device)] = values.to(matrix)


class _Rows:
    """A view of a matrix `[V, E]` of any float dtype on any device. A slice of the view is a float32 NumPy array."""

    def __init__(self, matrix: torch.Tensor):
        self.matrix = matrix.detach()

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.matrix[rows].float().cpu().numpy()


class _TitleMeans:
    """The mean embedding of each title's tokens, `[N, E]` float32, computed a slice at a time; NaN for empty titles."""

    def __init__(self, tokens: IdTokens, tokenizer: Any, old: _Rows):
        titles = tokens.table.titles
        self._titles = None if titles is None else titles.tolist()
        self._count, self._tokenizer, self._old = len(tokens.table), tokenizer, old

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: slice) -> np.ndarray:
        places = range(self._count)[rows]
        if self._titles is None:
            return np.full((len(places), self._old.matrix.shape[1]), np.nan, np.float32)
        parts = [places[at : at + _TITLES] for at in range(0, len(places), _TITLES)]
        return np.concatenate([self._means([self._titles[place] or "" for place in part]) for part in parts])

    def differ(self) -> bool:
        """Returns whether two of the first titles have different embeddings."""
        means = self[:_TITLES]
        means = means[np.isfinite(means).all(axis=1)]
        return bool(len(means)) and not np.allclose(means, means[0])

    def _means(self, titles: list[str]) -> np.ndarray:
        encoded = self._tokenizer(titles, add_special_tokens=False)["input_ids"]
        # A title may contain a new token, which has no embedding yet.
        kept = [[number for number in each if number < len(self._old)] for each in encoded]
        lengths = torch.tensor([len(each) for each in kept])
        flat = torch.tensor([number for each in kept for number in each], dtype=torch.long)
        used, places = flat.unique(return_inverse=True)
        weights = self._old.matrix[used.to(self._old.matrix.device)].float().cpu()
        ends = lengths.cumsum(0)
        if not len(flat):
            return np.full((len(titles), self._old.matrix.shape[1]), np.nan, np.float32)
        means = torch.nn.functional.embedding_bag(places, weights, ends - lengths, mode="mean")
        means[lengths == 0] = torch.nan
        return means.numpy()
