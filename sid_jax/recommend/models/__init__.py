"""The models that recommend, and the one that a config names."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from sid_jax.ids.trie import Trie
from sid_jax.recommend.models.decoder import Decoder
from sid_jax.recommend.models.encoder_decoder import EncoderDecoder
from sid_jax.recommend.models.history_encoder import HistoryEncoder, SASRec
from sid_jax.recommend.models.parallel import Parallel
from sid_jax.streams import stream_key


def build_model(config: ConfigDict, trie: Trie) -> Any:
    """Returns the config's model for a catalog, with parameters drawn from the seed.

    Args:
      config: as from `sid_jax.recommend.config`.
      trie: of the catalog's IDs.
    """
    model = config.model
    dtype, rngs = jnp.dtype(model.dtype), nnx.Rngs(params=stream_key(config.seed, "params"))
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
            trie.sizes,
            head_features=model.head_features,
            num_user_tokens=model.num_user_tokens,
            dtype=dtype,
            rngs=rngs,
            **shape,
        )
    encoder = HistoryEncoder(block=model.block, rngs=rngs, **shape)
    if model.kind == "sasrec":
        return SASRec(len(trie.items), encoder, dtype=dtype, rngs=rngs)
    if model.kind == "parallel":
        return Parallel(trie.sizes, encoder, temperature=model.code_temperature, dtype=dtype, rngs=rngs)
    return Decoder(trie.sizes, encoder, code_hidden=model.code_hidden, dropout=model.dropout, dtype=dtype, rngs=rngs)
