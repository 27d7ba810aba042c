"""What the items under a prefix have in common: the words that are common there and rare beside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.ids.quality import prefix_buckets

_WORDS_A_PREFIX = 3
_FEWEST_ITEMS = 4
# Of the prefix's items have a word that is named.
_SMALLEST_SHARE = 0.2
_MOST_DEPTH = 2
# Common in English titles, and telling of nothing.
_FUNCTION_WORDS = ("a", "an", "and", "at", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to", "with")


def telling_words(semantic_ids: np.ndarray, columns: Sequence[pa.ChunkedArray]) -> dict[str, list[str]]:
    """Returns up to three words for each prefix of one code or two, "12" or "12-4", that has at least four items.

    A word's weight is p ln(p / q), with p its share of the items under the prefix and q that of the items under the
    prefix without its last code: the part that it has in the two's Kullback-Leibler divergence.

    Args:
      semantic_ids: `[N, L]`, in rising order.
      columns: N values each. Texts are cut into words, unless they have "|" between labels; lists are labels already.
    """
    items, words = _pairs(columns)
    if not len(items):
        return {}
    words = words.dictionary_encode()
    number, names = words.indices.to_numpy(), words.dictionary.to_pylist()
    pairs = np.unique(items * len(names) + number)
    items, number = pairs // len(names), pairs % len(names)
    told: dict[str, list[str]] = {}
    for depth in range(1, min(_MOST_DEPTH, semantic_ids.shape[1]) + 1):
        bucket, parent = prefix_buckets(semantic_ids, depth), prefix_buckets(semantic_ids, depth - 1)
        first = np.unique(bucket, return_index=True)[1]
        told |= {
            "-".join(map(str, semantic_ids[first[each], :depth].tolist())): [names[word] for word in chosen]
            for each, chosen in _best(bucket, parent, first, items, number, len(names)).items()
        }
    return told


def _best(
    bucket: np.ndarray, parent: np.ndarray, first: np.ndarray, items: np.ndarray, number: np.ndarray, num_words: int
) -> dict[int, list[int]]:
    size, parent_size = np.bincount(bucket), np.bincount(parent)
    keys, counts = np.unique(bucket[items] * num_words + number, return_counts=True)
    parent_keys, parent_counts = np.unique(parent[items] * num_words + number, return_counts=True)
    where, word = keys // num_words, keys % num_words
    above = parent[first][where]
    share = counts / size[where]
    beside = parent_counts[np.searchsorted(parent_keys, above * num_words + word)] / parent_size[above]
    weight = share * np.log(share / beside)
    enough = (size[where] >= _FEWEST_ITEMS) & (counts > 1) & (share >= _SMALLEST_SHARE) & (weight > 0)
    chosen: dict[int, list[int]] = {}
    for each in np.flatnonzero(enough)[np.lexsort((-weight[enough], where[enough]))]:
        some = chosen.setdefault(int(where[each]), [])
        if len(some) < _WORDS_A_PREFIX:
            some.append(int(word[each]))
    return chosen


def _pairs(columns: Sequence[pa.ChunkedArray]) -> tuple[np.ndarray, pa.Array]:
    """Returns items `[n]` and their words `[n]`, of all columns that have any."""
    items, words = [], []
    for column in columns:
        lists = _word_lists(column)
        if lists is not None:
            items.append(pc.list_parent_indices(lists).to_numpy())
            words.append(pc.list_flatten(lists).cast(pa.string()))
    if not items:
        return np.zeros(0, np.int64), pa.array([], pa.string())
    found = pa.concat_arrays(words)
    told = pc.and_(pc.greater(pc.utf8_length(found), 1), pc.invert(pc.is_in(found, pa.array(_FUNCTION_WORDS))))
    useful = pc.fill_null(told, False).to_numpy(zero_copy_only=False)
    return np.concatenate(items)[useful].astype(np.int64), found.filter(pa.array(useful))


def _word_lists(column: pa.ChunkedArray) -> pa.Array | None:
    values = column.combine_chunks()
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        is_text = pa.types.is_string(values.type.value_type) or pa.types.is_large_string(values.type.value_type)
        return pc.cast(values, pa.list_(pa.string())) if is_text else None
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return None
    values = values.cast(pa.string())
    if pc.any(pc.match_substring(values, "|")).as_py():
        return pc.split_pattern(values, "|")
    # Numbers say little of what items are.
    if not pc.any(pc.match_substring_regex(values, r"\pL")).as_py():
        return None
    plain = pc.replace_substring_regex(pc.utf8_lower(values), r"[^\pL\pN'&+-]+", " ")
    return pc.split_pattern(pc.utf8_trim_whitespace(plain), " ")
