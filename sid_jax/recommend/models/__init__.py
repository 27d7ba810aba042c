"""The recommender models, and the function that builds the model of a config."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.models.decoder import Decoder
from sid_jax.recommend.models.encoder_decoder import EncoderDecoder
from sid_jax.recommend.models.ensemble import Ensemble
from sid_jax.recommend.models.history_encoder import HistoryEncoder
from sid_jax.recommend.models.item_vectors import ItemVectors
from sid_jax.recommend.models.parallel import Parallel
from sid_jax.recommend.models.scorer import Scorer
from sid_jax.streams import stream_key

# With train.loss=auto, a scorer has the sampled loss if the number of its training items exceeds this number.
_MOST_ITEMS_IN_FULL = 50_000


def build_model(config: ConfigDict, candidates: Candidates) -> Any:
    """Builds the config's model for a catalog, with random initial parameters that depend on the seed.

    Args:
      config: from `sid_jax.recommend.config`.
      candidates: the catalog.
    """
    model = config.model
    sizes, dtype = candidates.sizes, jnp.dtype(model.dtype)
    rngs = nnx.Rngs(params=stream_key(config.seed, "params"))
    shape: dict[str, Any] = {
        "features": model.features,
        "num_layers": model.num_layers,
        "num_heads": model.num_heads,
        "hidden": model.hidden,
        "window": model.window,
        "dropout": model.dropout,
    }
    if model.kind == "encoder_decoder":
        return EncoderDecoder(
            sizes,
            head_features=model.head_features,
            num_user_tokens=model.num_user_tokens,
            dtype=dtype,
            rngs=rngs,
            **shape,
        )

    def make_encoder() -> HistoryEncoder:
        return HistoryEncoder(block=model.block, rngs=rngs, **shape)

    if model.kind == "decoder":
        return Decoder(
            sizes, make_encoder(), code_hidden=model.code_hidden, dropout=model.dropout, dtype=dtype, rngs=rngs
        )
    if model.kind == "parallel":
        return Parallel(sizes, make_encoder(), temperature=model.code_temperature, dtype=dtype, rngs=rngs)
    if model.kind == "sasrec":
        # SASRec is the scorer with item embeddings only, without codes and content.
        return _build_scorer(config, candidates, ("item",), make_encoder(), rngs)
    parts = scored_parts(config, candidates.content is not None)
    members = [_build_scorer(config, candidates, parts, make_encoder(), rngs) for _ in range(model.members)]
    return members[0] if len(members) == 1 else Ensemble(members)


def _build_scorer(
    config: ConfigDict, candidates: Candidates, parts: tuple[str, ...], encoder: HistoryEncoder, rngs: nnx.Rngs
) -> Scorer:
    model, content = config.model, candidates.content
    items = ItemVectors(
        parts,
        candidates.num_trained,
        candidates.sizes,
        model.features,
        content_features=0 if content is None else content.shape[1],
        content_hidden=model.content_hidden,
        num_pairs=model.code_pairs,
        item_dropout=model.item_dropout if len(parts) > 1 else 0.0,
        dropout=model.dropout,
        rngs=rngs,
    )
    return Scorer(
        items,
        encoder,
        num_negatives=num_negatives(config, candidates.num_trained),
        label_smoothing=config.train.label_smoothing,
        dtype=jnp.dtype(model.dtype),
    )


def scored_parts(config: ConfigDict, has_content: bool) -> tuple[str, ...]:
    """Returns the item components of `config.model.item_parts`, without "content" if there are no content vectors."""
    return tuple(part for part in config.model.item_parts if has_content or part != "content")


def num_negatives(config: ConfigDict, num_items: int) -> int:
    """Returns the number of items that are sampled for the scorer's loss; 0 if the loss is over all items."""
    sampled = num_items > _MOST_ITEMS_IN_FULL if config.train.loss == "auto" else config.train.loss == "sampled"
    return min(config.train.num_negatives, num_items) if sampled else 0
