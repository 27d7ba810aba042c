"""Constrained decoding for transformers: a logits processor that allows only existing Semantic IDs."""

from __future__ import annotations

import dataclasses
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor

from sid_jax.errors import UserError
from sid_jax.llm.tokens import IdTokens

# Maximum number of entries (nodes x codes, int32) of a level's dense table. A level that would need more than these
# 4 MiB has no dense table.
_DENSE = 2**20
# Settings of a generation config, and the values for which no warning is given. `generate` replaces None by the value
# of the model's own config, or else by a default. The default has no effect, except for `top_k`, where it is 50.
_SAMPLING: dict[str, tuple[Any, ...]] = {"top_k": (None, 0), "top_p": (None, 1.0), "temperature": (None, 1.0)}
_PENALTIES: dict[str, tuple[Any, ...]] = {"repetition_penalty": (None, 1.0), "no_repeat_ngram_size": (None, 0)}
_TABLES: weakref.WeakKeyDictionary[IdTokens, dict[torch.device, TokenTrie]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class _Level:
    """The edges of a trie that start at the n nodes of one depth.

    Attributes:
      children: `[n, K]` int32, the child to which each code leads from each node; -1 for no child. None if this array
        would be too large.
      keys: sorted keys node * K + code of all edges; empty if `children` is used.
      first: `[n + 1]` int32, the `first_child` of this depth in `sid_jax.ids.trie.Trie`.
      tokens: the token id of each edge, int32.
    """

    children: torch.Tensor | None
    keys: torch.Tensor
    first: torch.Tensor
    tokens: torch.Tensor

    @classmethod
    def of(cls, first: np.ndarray, codes: np.ndarray, size: int, offset: int, device: torch.device) -> _Level:
        """Makes a level from `first` (see `_Level`) and the code of each edge, which is from 0 to `size` - 1.

        `offset` is the token id of code 0 of this level.
        """
        keys = np.repeat(np.arange(len(first) - 1, dtype=np.int64), np.diff(first)) * size + codes
        children, places = None, (len(first) - 1) * size
        if places <= _DENSE:
            table = np.full(places, -1, np.int32)
            table[keys] = np.arange(len(keys))
            children, keys = torch.from_numpy(table.reshape(-1, size)).to(device), keys[:0]
        keys = keys.astype(np.int32 if places <= np.iinfo(np.int32).max else np.int64)
        parts = (keys, first, codes + np.int32(offset))
        # `np.array` copies: PyTorch warns about arrays that are read-only, such as views of JAX arrays.
        return cls(children, *(torch.from_numpy(np.array(part)).to(device) for part in parts))


class TokenTrie:
    """The prefix trie of an ID table as tensors on one device: dense for the first levels, CSR for the other levels.

    The layout is the same as in STATIC (Su et al., 2602.22647). At each step, the trie node of each row of the batch is
    computed from the row's last tokens. No node is stored between steps, so a beam search may reorder rows.

    Args:
      tokens: the IDs and their tokens.
      device: the device of the tensors.
    """

    def __init__(self, tokens: IdTokens, device: torch.device):
        trie, self.first_id, self.sizes = tokens.trie, tokens.vocabulary.first_id, tokens.vocabulary.sizes
        self.starts = np.cumsum([0, *self.sizes]).tolist()
        self._ends = torch.tensor(self.starts[1:], device=device)
        self._max_children = trie.max_children
        self._levels = [
            _Level.of(np.asarray(first), np.asarray(codes), size, self.first_id + start, device)
            for first, codes, size, start in zip(trie.first_child, trie.codes, self.sizes, self.starts, strict=False)
        ]

    @property
    def num_bytes(self) -> int:
        """The memory of all tensors in bytes."""
        return sum(
            0 if each is None else each.nbytes
            for level in self._levels
            for each in (level.children, level.keys, level.first, level.tokens)
        )

    def states(self, tail: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns, for each row of tokens, the length of the ID prefix at its end, and the trie node of this prefix.

        Args:
          tail: `[R, t]` int64, the last tokens of R rows, in order.

        Returns:
          Two arrays `[R]`. The first one has the number of codes of the prefix: 0 outside of an ID and after codes that
          begin no ID, and L after a complete ID. The second one has the number of the node at this depth.
        """
        rows, width = tail.shape
        if not width:
            return tail.new_zeros(rows), tail.new_zeros(rows)
        relative = tail - self.first_id
        is_code = (relative >= 0) & (relative < self.starts[-1])
        levels = torch.where(is_code, torch.bucketize(relative, self._ends, right=True), -1)
        depth = levels[:, -1] + 1
        expected = depth[:, None] + torch.arange(-width, 0, device=tail.device)
        is_prefix = ((levels == expected) | (expected < 0)).all(dim=1) & (depth <= width)
        depth = torch.where(is_prefix, depth, 0)
        node = torch.zeros_like(depth)
        for level in range(min(width, len(self.sizes))):
            place = (width - depth + level).clamp(max=width - 1)
            code = relative.gather(1, place[:, None])[:, 0] - self.starts[level]
            node = torch.where(depth > level, self.child(level, node, code), node)
        exists = node >= 0
        return torch.where(exists, depth, 0), torch.where(exists, node, 0)

    def child(self, level: int, nodes: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Returns the child `[R]` of each node `[R]` of a level along the edge of a code `[R]`; -1 for no child."""
        size = self.sizes[level]
        keys = nodes * size + codes
        real = (nodes >= 0) & (codes >= 0) & (codes < size)
        children, known = self._levels[level].children, self._levels[level].keys
        if children is not None:
            return torch.where(real, children.flatten()[torch.where(real, keys, 0)], -1)
        place = torch.searchsorted(known, keys.to(known.dtype)).clamp(max=len(known) - 1)
        return torch.where(real & (known[place] == keys), place, -1)

    def children(self, level: int, nodes: torch.Tensor) -> tuple[slice | torch.Tensor, torch.Tensor | None]:
        """Returns the tokens that continue the nodes `[R]` of a depth.

        Returns:
          For a dense level, the tokens of all codes, and which of them continue each node, `[R, K]` bool. For other
          levels, the tokens `[R, M]` int64 and None, with M the maximum number of children; nodes with fewer children
          repeat the last token.
        """
        edges = self._levels[level]
        if edges.children is not None:
            block = slice(self.first_id + self.starts[level], self.first_id + self.starts[level + 1])
            return block, edges.children[nodes] >= 0
        begin, last = edges.first[nodes], edges.first[nodes + 1] - 1
        places = begin[:, None] + torch.arange(self._max_children[level], device=nodes.device)
        return edges.tokens[torch.minimum(places, last[:, None])].long(), None


def token_trie(tokens: IdTokens, device: torch.device) -> TokenTrie:
    """Returns the trie of tokens on a device; it is built once per device."""
    made = _TABLES.setdefault(tokens, {})
    if device not in made:
        made[device] = TokenTrie(tokens, device)
    return made[device]


class SemanticIdLogitsProcessor(LogitsProcessor):
    """Restricts `generate` to existing Semantic IDs, in all rows of a batch and in all beams.

    The scores of tokens that are not allowed become -inf. By default, an answer is one ID (with its markers, if the
    tokens have any), followed by the end token. To omit the end token, set `max_new_tokens` to the number of tokens of
    the ID, which is L without markers. With `text=True`, an answer is any text in which code tokens occur only in
    complete IDs. If there is a begin marker, IDs occur only after it; otherwise, they may occur anywhere. The prompt
    may end with the begin marker.

    Args:
      tokens: from `add_tokens`.
      model: the transformers model, whose device, end token and generation config are used.
      prompt_length: the position at which the answer begins: `inputs["input_ids"].shape[1]` for a batch that is padded
        on the left, and 1 for an encoder-decoder. A value that is smaller by n means that the last n tokens of the
        prompt are the first n codes of the ID.
      num_ids: number of IDs in an answer; None for one or more. It has no effect with `text`.
      text: whether there may be text before and after an ID.
      end_token_id: token or tokens that end an answer; None for the end tokens of the generation config.
      generation_config: the config that is passed to `generate`; None for the model's own config.
      in_place: whether to overwrite the scores, which saves time for a large vocabulary. Do not set it for sampling
        with `output_logits`, since the returned logits would be the constrained scores.

    Raises:
      UserError: if the model lacks embeddings for the tokens, or there is no end token.

    Warns:
      UserWarning: if the generation config samples, or penalizes repetitions.
    """

    # Continuous batching is not supported, since each of its requests has its own prompt length.
    supports_continuous_batching = False

    # The kind of a row determines which tokens may come next. If the kind is a number below L, the row ends with this
    # number of codes of an unfinished ID, and another code comes next. Any other kind is L plus one of these constants:
    #   _BEGIN: the begin marker comes next.
    #   _CLOSE: the end marker comes next.
    #   _END: the end token comes next.
    #   _MORE: the end token or the start of another ID comes next.
    #   _FREE: any text or the start of an ID comes next.
    _BEGIN, _CLOSE, _END, _MORE, _FREE = range(5)

    def __init__(
        self,
        tokens: IdTokens,
        model: Any,
        prompt_length: int,
        *,
        num_ids: int | None = 1,
        text: bool = False,
        end_token_id: int | Sequence[int] | None = None,
        generation_config: Any = None,
        in_place: bool = False,
    ):
        config = model.generation_config if generation_config is None else generation_config
        rows = model.get_input_embeddings().weight.shape[0]
        if rows < tokens.vocabulary.first_id + len(tokens.vocabulary):
            raise UserError(f"the model has {rows} embeddings, too few for the ID tokens; call add_tokens first")
        ends = config.eos_token_id if end_token_id is None else end_token_id
        if ends is None:
            raise UserError("neither the generation config nor end_token_id gives an end token; set end_token_id")
        warn_of_sampling(config)
        self._tokens, self._prompt_length, self._num_ids, self._text = tokens, prompt_length, num_ids, text
        self._in_place = in_place
        self._trie = token_trie(tokens, model.device)
        self._levels = len(self._trie.sizes)
        begin, end = tokens.marker_ids
        ends = [ends] if isinstance(ends, int) else list(ends)
        first = self._trie.first_id
        start = [begin] if begin >= 0 else (first + np.asarray(tokens.trie.codes[0])).tolist()
        columns = {self._BEGIN: [begin], self._CLOSE: [end], self._END: ends, self._MORE: [*ends, *start]}
        self._columns = {kind: torch.tensor(each, device=model.device) for kind, each in columns.items()}
        forbidden = {end, *range(first, first + len(tokens.vocabulary))} - {-1, *start}
        self._not_free = torch.tensor(sorted(forbidden), dtype=torch.long, device=model.device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Returns the scores `[R, V]` of the token after `input_ids` `[R, W]`; -inf for tokens that are not allowed."""
        kinds, nodes = self._kinds(input_ids)
        # The counts are transferred to the host, to determine which kinds occur. If all rows have the same kind, the
        # step has no other transfer. `_rest` handles the last kind, `_FREE`. The other kinds' scores are read before,
        # since `_rest` may overwrite them.
        counts = torch.bincount(kinds, minlength=self._levels + self._FREE + 1).tolist()
        kept = []
        for kind, count in enumerate(counts[:-1]):
            if count:
                rows = None if count == len(kinds) else (kinds == kind).nonzero()[:, 0]
                columns, allowed = self._next(kind, nodes if rows is None else nodes[rows])
                kept.append((rows, columns, _read(scores, rows, columns, allowed)))
        out = self._rest(kinds, scores, counts[-1])
        for rows, columns, values in kept:
            _write(out, rows, columns, values)
        return out

    def _kinds(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the kind of each row, `[R]`, and its node in the trie."""
        answer = input_ids[:, self._prompt_length :]
        depth, nodes = self._trie.states(answer[:, -self._levels :])
        (begin, end), levels = self._tokens.marker_ids, self._levels
        inside = (depth > 0) & (depth < levels)
        closed = depth == levels
        outside = levels + self._FREE if self._text else levels + self._BEGIN if begin >= 0 else 0
        kinds = torch.where(inside, depth, outside)
        if end >= 0:
            kinds = torch.where(closed, levels + self._CLOSE, kinds)
            closed = answer[:, -1] == end if answer.shape[1] else torch.zeros_like(closed)
        if begin >= 0:
            kinds = torch.where(input_ids[:, -1] == begin, 0, kinds)
        if not self._text:
            kinds = torch.where(closed, self._after(answer, outside), kinds)
        return kinds, torch.where(inside, nodes, 0)

    def _after(self, answer: torch.Tensor, outside: int) -> torch.Tensor | int:
        """Returns the kind of a row after a complete ID."""
        if self._num_ids is None:
            return self._levels + self._MORE
        last = answer - self._trie.first_id
        count = ((last >= self._trie.starts[-2]) & (last < self._trie.starts[-1])).sum(dim=1)
        return torch.where(count >= self._num_ids, self._levels + self._END, outside)

    def _rest(self, kinds: torch.Tensor, scores: torch.Tensor, num_free: int) -> torch.Tensor:
        """Returns scores `[R, V]`, -inf outside the rows of kind _FREE.

        In these rows, text and the first tokens of IDs keep their scores, and all other tokens have -inf.
        """
        if not num_free:
            return scores.fill_(-torch.inf) if self._in_place else torch.full_like(scores, -torch.inf)
        bound = (kinds != self._levels + self._FREE)[:, None]
        free = (scores.masked_fill_ if self._in_place else scores.masked_fill)(bound, -torch.inf)
        return free.index_fill_(1, self._not_free, -torch.inf)

    def _next(self, kind: int, nodes: torch.Tensor) -> tuple[slice | torch.Tensor, torch.Tensor | None]:
        """Returns the tokens that may come next in rows of a kind; see `TokenTrie.children`."""
        if kind < self._levels:
            return self._trie.children(kind, nodes)
        return self._columns[kind - self._levels].expand(len(nodes), -1), None


def _read(
    scores: torch.Tensor, rows: torch.Tensor | None, columns: slice | torch.Tensor, allowed: torch.Tensor | None
) -> torch.Tensor:
    """Returns the scores of the given columns and rows (None: all rows); -inf for tokens that are not allowed."""
    if isinstance(columns, slice):
        part = scores[:, columns] if rows is None else scores[rows, columns]
        return part if allowed is None else torch.where(allowed, part, -torch.inf)
    return scores.gather(1, columns) if rows is None else scores[rows[:, None], columns]


def _write(out: torch.Tensor, rows: torch.Tensor | None, columns: slice | torch.Tensor, values: torch.Tensor) -> None:
    """Writes the scores that `_read` returned to their rows and columns."""
    if isinstance(columns, slice):
        out[slice(None) if rows is None else rows, columns] = values
    elif rows is None:
        out.scatter_(1, columns, values)
    else:
        out[rows[:, None], columns] = values


def allowed_tokens(
    tokens: IdTokens, prompt_length: int, end_token_id: int | Sequence[int]
) -> Callable[[int, torch.Tensor], list[int]]:
    """Returns a function for `prefix_allowed_tokens_fn` that allows one existing ID, and then the end token.

    It is for tools that accept only such a function. `SemanticIdLogitsProcessor` applies the same constraint to all
    rows at once, and is many times faster.

    Args:
      tokens, prompt_length, end_token_id: see `SemanticIdLogitsProcessor`.
    """
    (begin, end), trie, vocabulary = tokens.marker_ids, tokens.trie, tokens.vocabulary
    first_child = [np.asarray(each) for each in trie.first_child]
    known = [np.asarray(codes) + offset for codes, offset in zip(trie.codes, vocabulary.offsets, strict=True)]
    ends = [end_token_id] if isinstance(end_token_id, int) else list(end_token_id)

    def allowed(_: int, sequence: torch.Tensor) -> list[int]:
        last = int(sequence[prompt_length - 1]) if prompt_length else -1
        chosen = sequence[prompt_length:].tolist()
        if begin >= 0 and last != begin:
            if not chosen:
                return [begin]
            chosen = chosen[1:]
        place = 0
        for level, token in enumerate(chosen[: len(known)]):
            first, until = first_child[level][place : place + 2]
            place = first + int(np.searchsorted(known[level][first:until], token))
        if len(chosen) < len(known):
            return known[len(chosen)][slice(*first_child[len(chosen)][place : place + 2])].tolist()
        return [end] if end >= 0 and len(chosen) == len(known) else ends

    return allowed


def warn_of_sampling(config: Any) -> None:
    """Warns if a generation config enables sampling, or penalizes repeated tokens."""
    found = [name for name, off in _PENALTIES.items() if getattr(config, name) not in off]
    if config.do_sample:
        found += ["do_sample", *(name for name, off in _SAMPLING.items() if getattr(config, name) not in off)]
    if found:
        settings = ", ".join(f"{name}={getattr(config, name)}" for name in found)
        warnings.warn(
            f"the generation config has {settings}; sampling, few candidate tokens, or penalties for repeated codes "
            "make a beam search miss the best IDs; pass do_sample=False, repetition_penalty=1.0, "
            "no_repeat_ngram_size=0 to generate",
            stacklevel=3,
        )
