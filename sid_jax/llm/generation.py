"""Generates Semantic IDs with a transformers model, by a beam search over the existing IDs or over all tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessorList

from sid_jax.errors import UserError
from sid_jax.ids.trie import leaf_places
from sid_jax.llm.constraint import SemanticIdLogitsProcessor, token_trie
from sid_jax.llm.exclusion import ExcludedIdsLogitsProcessor, excluded_nodes
from sid_jax.llm.tokens import IdTokens


@dataclasses.dataclass(frozen=True, eq=False)
class GeneratedIds:
    """The IDs that a model generated for B prompts, M for each prompt, the best first.

    Attributes:
      semantic_ids: `[B, M, L]` int32; -1 for a token that is not a code of its level.
      leaves: `[B, M]` int32, the IDs' leaves in the trie; -1 if an ID does not exist, repeats an earlier one, or is
        excluded.
      exists: `[B, M]` bool, whether an item has the ID.
      num_allowed: `[B]`, number of existing IDs that are not excluded. If it is below M, the last entries of a
        constrained search are not IDs.
      tokens: the tokens of the catalog whose IDs were generated.
    """

    semantic_ids: np.ndarray
    leaves: np.ndarray
    exists: np.ndarray
    num_allowed: np.ndarray
    tokens: IdTokens

    def rows(self, count: int) -> np.ndarray:
        """Returns the items of the IDs, the best first: `[B, count]` int32, rows of the table, padded with -1."""
        return np.asarray(leaf_places(self.tokens.trie, jnp.asarray(self.leaves), count)[0])


def generate_ids(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    tokens: IdTokens,
    *,
    num_beams: int = 20,
    constrained: bool = True,
    exclude: np.ndarray | None = None,
) -> GeneratedIds:
    """Generates the M most likely Semantic IDs after each prompt by beam search.

    Of the model's generation config, only the special tokens are used. Nothing is sampled or penalized.

    Args:
      model: a transformers model to which `add_tokens` has added tokens; it is in evaluation mode during the call.
      inputs: the output of the model's text tokenizer for B prompts: `input_ids` and `attention_mask`, `[B, W]`.
        For a decoder-only model, prompts are padded on the left.
      tokens: from `add_tokens`.
      num_beams: M.
      constrained: False allows every token, which shows how many generated IDs do not exist.
      exclude: `[B, S]`, for each prompt the items that must not be generated, such as the items of a user's history.
        Items are rows of the ID table, padded with -1. An ID is excluded if all items that have this ID are excluded.
        None excludes nothing.

    Raises:
      UserError: if prompts of a decoder-only model are padded on the right, or if only some prompts end with the begin
        marker.
    """
    prompt, mask = inputs["input_ids"].to(model.device), inputs.get("attention_mask")
    decoder_only = not model.config.is_encoder_decoder
    if decoder_only and mask is not None and not bool(mask[:, -1].all()):
        raise UserError('the prompts are padded on the right; load the text tokenizer with padding_side="left"')
    first, (begin, _), levels = prompt.shape[1] if decoder_only else 1, tokens.marker_ids, len(tokens.vocabulary.sizes)
    begun = prompt[:, -1] == begin if decoder_only else torch.zeros(len(prompt))
    if bool(begun.any()) != bool(begun.all()):
        raise UserError("some prompts end with the begin marker and others do not; end all prompts in the same way")
    end = model.generation_config.eos_token_id
    pad = model.generation_config.pad_token_id
    config = GenerationConfig(
        max_new_tokens=levels + int(begin >= 0 and not bool(begun.all())),
        num_beams=num_beams,
        num_return_sequences=num_beams,
        do_sample=False,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        length_penalty=0.0,
        pad_token_id=pad if pad is not None else end[0] if isinstance(end, list) else end,
    )
    processors = LogitsProcessorList()
    if constrained:
        # If the config has no end token, any token can be used here, since no token is generated after an ID.
        ends = end if end is not None else 0
        processor = SemanticIdLogitsProcessor(
            tokens, model, first, end_token_id=ends, generation_config=config, in_place=True
        )
        processors.append(processor)
    excluded = np.full((len(prompt), 0), -1, np.int64)
    if exclude is not None and exclude.shape[1]:
        nodes = excluded_nodes(tokens.trie, exclude)
        processors.append(ExcludedIdsLogitsProcessor(tokens, model, first, nodes, num_beams))
        excluded = nodes[-1]
    training = model.training
    model.eval()
    try:
        attention = None if mask is None else mask.to(model.device)
        out = model.generate(prompt, attention_mask=attention, generation_config=config, logits_processor=processors)
    finally:
        model.train(training)
    return _found(out[:, first:], tokens, excluded)


def _found(answers: torch.Tensor, tokens: IdTokens, excluded: np.ndarray) -> GeneratedIds:
    """Returns the IDs in the answers `[B * M, n]`, given the excluded leaves `[B, S]`."""
    batch = len(excluded)
    levels = len(tokens.vocabulary.sizes)
    answers = torch.nn.functional.pad(answers, (0, max(0, levels + 1 - answers.shape[1])), value=-1)
    begins = (answers[:, :1] == tokens.marker_ids[0]).long() if tokens.marker_ids[0] >= 0 else 0
    ids = answers.gather(1, begins + torch.arange(levels, device=answers.device).expand(len(answers), -1))
    depth, leaves = token_trie(tokens, ids.device).states(ids)
    exists = (depth == levels).view(batch, -1).cpu().numpy()
    found = np.where(exists, leaves.view(batch, -1).cpu().numpy(), -1).astype(np.int32)
    again = np.triu(found[:, :, None] == found[:, None, :], 1).any(axis=1)
    semantic_ids = tokens.vocabulary.semantic_ids(ids.cpu().numpy()).reshape(batch, -1, levels)
    unwanted = (found[:, :, None] == excluded[:, None, :]).any(axis=2)
    num_allowed = len(tokens.trie.first_item) - 1 - (excluded >= 0).sum(axis=1)
    return GeneratedIds(semantic_ids, np.where(again | unwanted, -1, found), exists, num_allowed, tokens)
