"""Excludes items, such as those that a user has seen, from the IDs that a transformers model generates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor

from sid_jax.ids.trie import Trie
from sid_jax.llm.constraint import token_trie
from sid_jax.llm.tokens import IdTokens


def excluded_nodes(trie: Trie, rows: np.ndarray) -> list[np.ndarray]:
    """Returns the excluded nodes of depths 1 to L, `[B, S]` int64 each, padded with -1.

    `rows` `[B, S]` has the excluded rows of the table, padded with -1. A node is excluded if all items under it are
    excluded.
    """
    first_item, items = np.asarray(trie.first_item), np.asarray(trie.items)
    leaf_of = np.empty(len(items), np.int64)
    leaf_of[items] = np.repeat(np.arange(len(first_item) - 1), np.diff(first_item))
    known = [np.unique(row[row >= 0]) for row in rows]
    nodes = [_full(leaf_of[row], np.diff(first_item)) for row in known]
    depths = [_padded(nodes, rows.shape[1])]
    for first_child in map(np.asarray, trie.first_child[:0:-1]):
        nodes = [_full(np.searchsorted(first_child, each, side="right") - 1, np.diff(first_child)) for each in nodes]
        depths.insert(0, _padded(nodes, rows.shape[1]))
    return depths


def _full(parents: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns the distinct `parents` that occur as often as they have children.

    `sizes` has the number of children of each node.
    """
    found, counts = np.unique(parents, return_counts=True)
    return found[counts == sizes[found]]


def _padded(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    padded = np.full((len(rows), width), -1, np.int64)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded


class ExcludedIdsLogitsProcessor(LogitsProcessor):
    """Prevents `generate` from generating some IDs, which may differ from prompt to prompt.

    If the codes generated so far lead to the parent of an excluded node, the score of the excluded node's token becomes
    -inf. The places of excluded IDs in the beam go to other IDs, and no beam ends in a prefix whose IDs are all
    excluded.

    Args:
      tokens: from `add_tokens`.
      model: the transformers model, whose device is used.
      prompt_length: the position at which the answer begins, see `SemanticIdLogitsProcessor`.
      nodes: from `excluded_nodes`, for B prompts.
      num_beams: number of rows per prompt.
    """

    supports_continuous_batching = False

    def __init__(self, tokens: IdTokens, model: Any, prompt_length: int, nodes: Sequence[np.ndarray], num_beams: int):
        self._trie, self._prompt_length = token_trie(tokens, model.device), prompt_length
        self._edges = []
        for level, excluded in enumerate(nodes):
            first_child, codes = np.asarray(tokens.trie.first_child[level]), np.asarray(tokens.trie.codes[level])
            parents = np.searchsorted(first_child, excluded, side="right") - 1
            parents[excluded < 0] = -1
            last = codes[excluded.clip(min=0)].astype(np.int64) + tokens.vocabulary.offsets[level]
            # All rows of a prompt are adjacent.
            edge = (np.repeat(each, num_beams, axis=0) for each in (parents, last))
            self._edges.append(tuple(torch.from_numpy(each).to(model.device) for each in edge))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Returns the scores `[R, V]` of the token after `input_ids` `[R, W]`; -inf for tokens of excluded nodes."""
        tail = input_ids[:, self._prompt_length :][:, -len(self._edges) :]
        depth, nodes = self._trie.states(tail)
        for level, (parents, last) in enumerate(self._edges):
            found = (depth == level)[:, None] & (parents == nodes[:, None])
            rows, places = found.nonzero(as_tuple=True)
            if len(rows):
                scores = scores.index_put((rows, last[rows, places]), scores.new_tensor(-torch.inf))
        return scores
