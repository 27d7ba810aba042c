"""STATIC (Su et al., 2602.22647): a transition table of prefixes, dense for the first levels and CSR for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.errors import UserError
from sid_jax.formats.content import Content

# The default of STATIC's `build_static_index` (`dense_lookup_layers`).
_DENSE_LEVELS = 2


def write_static(folder: Path, content: Content) -> None:
    """Writes `static_index.npz`: the arrays of STATIC's `build_static_index`, the sorted IDs and their item numbers.

    At every level, the token id of a code is the code itself. The vocabulary therefore has the size of the largest
    codebook.
    """
    if content.table.semantic_ids.shape[1] < 2:
        raise UserError("STATIC needs IDs of two or more codes, but these IDs have one; make longer IDs")
    content.write_numbers(folder)
    order = np.lexsort(content.table.semantic_ids.T[::-1])
    ids = content.table.semantic_ids[order]
    arrays: dict[str, Any] = {**static_index(ids, max(content.table.sizes)), "semantic_ids": ids, "item_numbers": order}
    np.savez(folder / "static_index.npz", **arrays)


def static_index(ids: np.ndarray, vocab_size: int) -> dict[str, np.ndarray]:
    """Returns the arrays of STATIC's index for a catalog's IDs.

    State 0 is both the root and the end of every ID. State 1 + c is the prefix of the single code c. The states of
    longer prefixes follow, sorted by length and then by codes.

    Args:
      ids: `[N, L]` sorted and distinct; L is 2 or more.
      vocab_size: V, larger than every code.

    Returns:
      `packed_csr` `[T + V, 2]`: (token, next state) of the T transitions that do not start at the root, and V rows of
      padding. `indptr` `[S + 2]`, where S is the number of states; `layer_max_branches` `[L]`; and `start_mask` `[V]`.
      `dense_mask` and `dense_states`, `[V, V]` each, or `[V]` for L = 2.
    """
    levels = ids.shape[1]
    # Whether the row begins a new prefix, for each prefix length.
    is_new = np.ones(ids.shape, bool)
    is_new[1:] = np.logical_or.accumulate(ids[1:] != ids[:-1], axis=1)
    states, counts = [ids[:, 0].astype(np.int64) + 1], [vocab_size + 1]
    for depth in range(1, levels - 1):
        states.append(sum(counts) - 1 + np.cumsum(is_new[:, depth]))
        counts.append(int(is_new[:, depth].sum()))
    states.append(np.zeros(len(ids), np.int64))
    edges = [
        np.stack([states[depth - 1][new], ids[new, depth], states[depth][new]], axis=1)
        for depth, new in enumerate(is_new.T[1:], start=1)
    ]
    parents, tokens, children = np.concatenate(edges).T
    children_of = np.bincount(parents, minlength=sum(counts))
    ends = np.concatenate([[0], np.cumsum(children_of)])
    # STATIC's lookup always reads as many rows as a state can have transitions, which may be past the last transition.
    padding = np.tile(np.array([[vocab_size, 0]]), (vocab_size, 1))
    start_mask = np.isin(np.arange(vocab_size), ids[:, 0])
    of_depth = np.split(children_of, np.cumsum(counts)[:-1])
    dense = min(_DENSE_LEVELS, levels - 1)
    dense_states = np.zeros((vocab_size,) * dense, np.int32)
    dense_states[tuple(ids[:, :dense].T)] = states[dense - 1]
    return {
        "packed_csr": np.concatenate([np.stack([tokens, children], axis=1), padding]).astype(np.int32),
        "indptr": np.append(ends, ends[-1] + vocab_size).astype(np.int32),
        "layer_max_branches": np.array([start_mask.sum(), *(each.max() for each in of_depth)], np.int32),
        "start_mask": start_mask,
        "dense_mask": dense_states > 0,
        "dense_states": dense_states,
    }
