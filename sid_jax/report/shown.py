"""Selects as many items as fit in report.html, and finds characteristic words of their prefixes."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.distinct import distinct
from sid_jax.ids.convert import is_text
from sid_jax.report.gather import Gathered, matrix, read_rows
from sid_jax.report.layout import Layout, lay_out
from sid_jax.streams import stream_rng

# Maximum number of bytes of packed items in report.html. With the plotting library, the file then stays below 3 MB.
_MOST_BYTES = 1_400_000
# Maximum number of items that are considered for the report. Larger catalogs are sampled.
_MOST_ITEMS = 120_000
# Numbers of items in two samples, whose packed sizes give an estimate of how many items fit.
_SAMPLES = (12_000, 24_000)
# Maximum number of points on the map. More points would overlap, and would make the map slow on a phone.
_MOST_POINTS = 6_000
# Maximum number of columns besides the title, and maximum number of characters per value.
_MOST_COLUMNS = 4
_MOST_CHARACTERS = 160
_TITLES = ("title", "name", "item_title", "product_title")
_IDS = ("codes", "semantic_id", "sid")
_WORDS_A_PREFIX = 3
_FEWEST_ITEMS = 4
# A word is characteristic of a prefix only if at least this share of the prefix's items have it.
_SMALLEST_SHARE = 0.2
_MOST_DEPTH = 2
# Frequent words of English titles that carry no information about an item.
_FUNCTION_WORDS = ("a", "an", "and", "at", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to", "with")


@dataclasses.dataclass(frozen=True)
class Shown:
    """The items in the report, in the order of their Semantic IDs.

    Attributes:
      num_items: number of items.
      title_column: the column of titles; None if the report shows item ids instead.
      columns: names of the other columns in the report.
      packed: the items as JSON, compressed with gzip and encoded in base64; a script in report.html unpacks them.
      layout: positions and colors of the islands on the map, one island for each first code.
    """

    num_items: int
    title_column: str | None
    columns: list[str]
    packed: str
    layout: Layout


def shown_items(gathered: Gathered) -> Shown:
    """Samples the items, finds characteristic words of their prefixes, and packs items and words for the report."""
    total = gathered.num_items
    order = np.arange(total)
    if total > _MOST_ITEMS:
        order = stream_rng(0, "report/items").choice(total, _MOST_ITEMS, replace=False)
    table = read_rows(gathered, order)
    title, columns = _choose_columns(gathered, table)
    layout = lay_out(gathered.codebooks)
    # `pack(count)` takes the first `count` items of this order. The items of a small sample are therefore also in each
    # larger sample.
    order = stream_rng(0, "report/items/fewer").permutation(len(table))

    def pack(count: int) -> str:
        content = _content(gathered, table.take(pa.array(np.sort(order[:count]))), title, columns, layout)
        return base64.b64encode(gzip.compress(json.dumps(content, ensure_ascii=False).encode(), 6, mtime=0)).decode()

    count = _most_that_fit(len(order), pack)
    while len(packed := pack(count)) > _MOST_BYTES:
        count = int(count * min(0.97 * _MOST_BYTES / len(packed), 0.95))
    return Shown(count, title, columns, packed, layout)


def _most_that_fit(num_items: int, pack: Callable[[int], str]) -> int:
    """Estimates the number of items that fit in report.html, from the packed sizes of two small samples."""
    few, more = _SAMPLES
    if num_items <= more:
        return num_items
    small, large = len(pack(few)), len(pack(more))
    bytes_per_item = (large - small) / (more - few)
    return int(np.clip(more + (_MOST_BYTES - large) / bytes_per_item, more, num_items))


def title_of(table: pa.Table, row: int, title: str | None, id_column: str) -> str:
    """Returns the title of an item, or its id if it has no title."""
    found = _text(table[title][row].as_py()) if title else ""
    return found or _text(table[id_column][row].as_py())


def _choose_columns(gathered: Gathered, table: pa.Table) -> tuple[str | None, list[str]]:
    id_column = gathered.manifest["schema"]["id_column"]
    names = [name for name in table.column_names if name not in (*_IDS, id_column)]
    named = {name.lower(): name for name in reversed(names)}
    texts = [name for name in names if is_text(table[name].type)]
    title = next((named[each] for each in _TITLES if each in named), texts[0] if texts else None)
    return title, [name for name in names if name != title][:_MOST_COLUMNS]


def _content(
    gathered: Gathered, table: pa.Table, title: str | None, columns: list[str], layout: Layout
) -> dict[str, Any]:
    semantic_ids = matrix(table["semantic_id"].combine_chunks()).astype(np.int64)
    order = np.lexsort(semantic_ids.T[::-1])
    table, semantic_ids = table.take(pa.array(order)), semantic_ids[order]
    codes = matrix(table["codes"].combine_chunks()).astype(np.int64)
    moved = np.flatnonzero((codes != semantic_ids[:, : codes.shape[1]]).any(axis=1))
    points = np.arange(len(table))
    if len(points) > _MOST_POINTS:
        points = np.sort(stream_rng(0, "report/points").choice(len(table), _MOST_POINTS, replace=False))
    places = layout.places(semantic_ids[points])
    words = telling_words(semantic_ids, [table[name] for name in (title, *columns) if name is not None])
    return {
        "ids": _texts(table[gathered.manifest["schema"]["id_column"]]),
        "titles": _texts(table[title]) if title else None,
        "columns": [_texts(table[name]) for name in columns],
        "sids": [level.tolist() for level in semantic_ids.T],
        "moved": moved.tolist(),
        "codes": codes[moved].tolist(),
        "points": points.tolist(),
        "places": [places[:, axis].round(3).tolist() for axis in (0, 1)],
        "words": words,
        "prefixes": {"-".join(map(str, prefix)): count for prefix, count in gathered.prefix_counts.items()},
    }


def _texts(column: pa.ChunkedArray) -> list[str]:
    return [_text(value) for value in column.to_pylist()]


def _text(value: Any) -> str:
    """Formats any value as a short text on one line."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = " ".join(str(value).split())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def telling_words(semantic_ids: np.ndarray, columns: Sequence[pa.ChunkedArray]) -> dict[str, list[str]]:
    """Returns up to three characteristic words for each prefix of one or two codes with at least four items.

    The weight of a word is p ln(p / q), its contribution to a Kullback-Leibler divergence. p is the share of the items
    under the prefix that have the word, and q the share under the parent prefix, which lacks the last code.

    Args:
      semantic_ids: `[N, L]`, in ascending order.
      columns: N values each. Texts are split at "|" if any text of the column contains it, otherwise into words. The
        entries of a list are not split.

    Returns:
      Words by prefix, written as "12" or "12-4".
    """
    items, words = _pairs(columns)
    if not len(items):
        return {}
    words = words.dictionary_encode()
    number, names = words.indices.to_numpy(), words.dictionary.to_pylist()
    pairs = distinct(items * len(names) + number)
    items, number = pairs // len(names), pairs % len(names)
    told: dict[str, list[str]] = {}
    for depth in range(1, min(_MOST_DEPTH, semantic_ids.shape[1]) + 1):
        (bucket, first), (parent, _) = _runs(semantic_ids, depth), _runs(semantic_ids, depth - 1)
        told |= {
            "-".join(map(str, semantic_ids[first[each], :depth].tolist())): [names[word] for word in chosen]
            for each, chosen in _best(bucket, parent, first, items, number, len(names)).items()
        }
    return told


def _runs(semantic_ids: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the prefixes of `depth` codes; returns each item's prefix number, `[N]`, and each prefix's first row."""
    is_first = np.arange(len(semantic_ids)) == 0
    is_first[1:] |= (semantic_ids[1:, :depth] != semantic_ids[:-1, :depth]).any(axis=1)
    return np.cumsum(is_first) - 1, np.flatnonzero(is_first)


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
    """Returns pairs of an item `[n]` and one of its words `[n]`, from all columns with words."""
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
        return pc.cast(values, pa.list_(pa.string())) if is_text(values.type.value_type) else None
    if not is_text(values.type):
        return None
    values = values.cast(pa.string())
    if pc.any(pc.match_substring(values, "|")).as_py():
        return pc.split_pattern(values, "|")
    # A column whose texts have no letters, such as numbers or dates, has no characteristic words.
    if not pc.any(pc.match_substring_regex(values, r"\pL")).as_py():
        return None
    plain = pc.replace_substring_regex(pc.utf8_lower(values), r"[^\pL\pN'&+-]+", " ")
    return pc.split_pattern(pc.utf8_trim_whitespace(plain), " ")
