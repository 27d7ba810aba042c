"""Constrained decoding in JAX: the mask of the tokens that continue an existing ID, for use in `jit`."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.ids.trie import Trie, allowed_codes, child


def logits_mask(
    trie: Trie,
    last_tokens: jax.Array,
    *,
    first_id: int,
    vocab_size: int,
    end_token_ids: Sequence[int] = (),
    markers: tuple[int, int] = (-1, -1),
    text: bool = False,
) -> jax.Array:
    """Returns the mask `[..., V]` bool of the tokens that may come next, by the rules of `SemanticIdLogitsProcessor`.

    The mask depends only on the last tokens. Beams may therefore be reordered, and may be at different positions in an
    ID.

    Args:
      trie: `tokens.trie`, a pytree. Pass it to a compiled function as an argument, since a constant would become a part
        of the program.
      last_tokens: `[..., t]` integers, t at least L: the last t tokens of the answer in order, padded on the left with
        -1. A begin marker at the end of the prompt counts as a token of the answer.
      first_id: `tokens.vocabulary.first_id`; static.
      vocab_size: V; static.
      end_token_ids: tokens that end an answer, allowed after a complete ID; if empty, another ID follows. Static.
      markers: `tokens.marker_ids`; static.
      text: whether there may be text before and after an ID; static.
    """
    levels, starts, (begin, end) = len(trie.sizes), np.cumsum([0, *trie.sizes]), markers
    depth, node = _state(trie, last_tokens, first_id)
    last = last_tokens[..., -1]
    inside, closed = (depth > 0) & (depth < levels), depth == levels
    # `kind` is the number of codes of an unfinished ID, or one of four states outside an ID.
    to_begin, to_close, to_end, free = range(levels, levels + 4)
    outside = free if text else to_begin if begin >= 0 else 0
    kind = jnp.where(inside, depth, outside)
    if end >= 0:
        kind, closed = jnp.where(closed, to_close, kind), last == end
    if begin >= 0:
        kind = jnp.where(last == begin, 0, kind)
    if end_token_ids and not text:
        kind = jnp.where(closed, to_end, kind)
    blocks = [
        allowed_codes(trie, level, jnp.where(kind == level, jnp.where(inside, node, 0), -1)) for level in range(levels)
    ]
    edges = [jnp.zeros((*kind.shape, size), bool) for size in (first_id, vocab_size - first_id - int(starts[-1]))]
    mask = jnp.concatenate([edges[0], *blocks, edges[1]], axis=-1)
    codes = range(first_id, first_id + int(starts[-1]))
    first_codes = allowed_codes(trie, 0, jnp.zeros(1, jnp.int32))[0]
    anything = _columns(vocab_size, {*range(vocab_size)} - {end, *codes})
    if begin < 0:
        anything = anything.at[first_id : first_id + trie.sizes[0]].set(first_codes)
    for number, columns in (
        (to_begin, _columns(vocab_size, {begin})),
        (to_close, _columns(vocab_size, {end})),
        (to_end, _columns(vocab_size, {*end_token_ids})),
        (free, anything),
    ):
        mask |= (kind == number)[..., None] & columns.reshape((1,) * kind.ndim + (-1,))
    return mask


def _state(trie: Trie, tail: jax.Array, first_id: int) -> tuple[jax.Array, jax.Array]:
    """Returns the length `[...]` of the ID prefix with which the tokens end, and the trie node of this prefix."""
    starts, width = np.cumsum([0, *trie.sizes]), tail.shape[-1]
    relative = tail - first_id
    is_code = (relative >= 0) & (relative < int(starts[-1]))
    levels = jnp.where(is_code, jnp.searchsorted(jnp.asarray(starts[1:]), relative, side="right"), -1)
    depth = levels[..., -1] + 1
    back = jnp.arange(-width, 0).reshape((1,) * depth.ndim + (-1,))
    expected = depth[..., None] + back
    depth = jnp.where(((levels == expected) | (expected < 0)).all(axis=-1) & (depth <= width), depth, 0)
    node = jnp.zeros_like(depth)
    for level in range(min(width, len(trie.sizes))):
        place = jnp.minimum(width - depth + level, width - 1)
        code = jnp.take_along_axis(relative, place[..., None], axis=-1)[..., 0] - int(starts[level])
        node = jnp.where(depth > level, child(trie, level, node, code), node)
    return jnp.where(node < 0, 0, depth), jnp.maximum(node, 0)


def _columns(size: int, chosen: set[int]) -> jax.Array:
    return jnp.asarray(np.isin(np.arange(size), sorted(chosen)))
