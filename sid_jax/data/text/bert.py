"""Sentence encoders of BERT's architecture (Devlin et al., arXiv 1810.04805), such as all-MiniLM-L6-v2, in JAX.

A model is a folder in the layout of Hugging Face and sentence-transformers. PyTorch is not needed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from sid_jax.errors import UserError, reason
from sid_jax.models.mlp import matmul

# Tokens per batch, including padding. On one CPU core, larger batches are not faster per token, and the last batch of
# each length would have more padding. A batch's shape depends only on the length of its texts, so a text's
# vector does not depend on the other texts.
_TOKENS = 256
_LENGTHS = (*range(8, 64, 8), *range(64, 128, 16), *range(128, 256, 32), *range(256, 1024, 64))
_WEIGHTS, _TOKENIZER = "model.safetensors", "tokenizer.json"
_ERRORS = (OSError, KeyError, TypeError, ValueError, SafetensorError)


@dataclasses.dataclass(frozen=True)
class BertFolder:
    """The settings of a model's folder.

    Attributes:
      folder: the folder with `model.safetensors` and `tokenizer.json`.
      num_heads: number of attention heads.
      num_layers: number of encoder layers.
      epsilon: added to the variance in a layer norm.
      max_tokens: length to which texts are truncated, [CLS] and [SEP] included.
      lower_case: whether texts are lowercased before tokenization.
      pooling: "mean" over the tokens, or "cls" for the first token.
      normalize: whether vectors are scaled to unit length.
      mixed: whether inputs and weights of linear layers are rounded to bfloat16; sums and everything else are float32.
    """

    folder: Path
    num_heads: int
    num_layers: int
    epsilon: float
    max_tokens: int
    lower_case: bool
    pooling: str
    normalize: bool
    mixed: bool = False


class NotSupportedError(Exception):
    """Raised if the JAX encoder does not support a folder's model; the message says why."""


def read_settings(folder: Path, *, mixed: bool = False) -> BertFolder:
    """Reads the JSON files of a model's folder. Without `modules.json`, vectors are means over tokens, not normalized.

    Args:
      folder: written by Hugging Face or sentence-transformers.
      mixed: see `BertFolder`.

    Raises:
      NotSupportedError: if the folder lacks a file, or its model is not supported.
    """
    modules = _json(folder / "modules.json", [{"type": "Transformer", "path": ""}, {"type": "Pooling", "path": ""}])
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise NotSupportedError(f"its modules are {', '.join(kinds)}, not Transformer, Pooling, Normalize")
    if (name := _json(folder / "config_sentence_transformers.json", {}).get("default_prompt_name")) is not None:
        raise NotSupportedError(f"it adds the prompt {name!r} to each text")
    model = folder / modules[0]["path"]
    for name in ("config.json", _WEIGHTS, _TOKENIZER):
        if not (model / name).is_file():
            raise NotSupportedError(f"it has no {name}")
    config = _json(model / "config.json", {})
    for name, wanted in (("model_type", "bert"), ("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if (value := config.get(name, None if name == "model_type" else wanted)) != wanted:
            raise NotSupportedError(f"its {name} is {value}, not {wanted}")
    sentence = _json(model / "sentence_bert_config.json", {})
    limits = [_json(model / "tokenizer_config.json", {}).get("model_max_length"), config["max_position_embeddings"]]
    return BertFolder(
        folder=model,
        num_heads=config["num_attention_heads"],
        num_layers=config["num_hidden_layers"],
        epsilon=config.get("layer_norm_eps", 1e-12),
        max_tokens=int(min(filter(None, [sentence.get("max_seq_length"), *limits]))),
        lower_case=bool(sentence.get("do_lower_case")),
        pooling=_pooling(_json(folder / modules[1]["path"] / "config.json", {}) if modules[1]["path"] else {}),
        normalize="Normalize" in kinds,
        mixed=mixed,
    )


def _json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text()) if path.is_file() else default
    except (OSError, ValueError) as error:
        raise NotSupportedError(f"its {path.name} cannot be read ({reason(error)})") from error


def _pooling(config: dict[str, Any]) -> str:
    names = {"mean_tokens": "mean", "cls_token": "cls"}
    chosen = [name.removeprefix("pooling_mode_") for name, on in config.items() if on is True and "_mode_" in name]
    mode = config.get("pooling_mode") or "+".join(names.get(name, name) for name in chosen) or "mean"
    if mode not in names.values():
        raise NotSupportedError(f"its pooling is {mode}, not mean or cls")
    return str(mode)


def identity(settings: BertFolder) -> str:
    """Returns the key of cached vectors: a digest of the weights, the text tokenizer and the settings."""
    digest = hashlib.sha256(repr(dataclasses.replace(settings, folder=Path())).encode())
    for name in (_WEIGHTS, _TOKENIZER):
        with (settings.folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"bert {digest.hexdigest()}"


def load_encoder(settings: BertFolder) -> Callable[[list[str]], np.ndarray]:
    """Returns a function from n texts to `[n, D]` float32; a text's vector does not depend on the other texts.

    Raises:
      UserError: if the tokenizers package is not installed, or a file is corrupt.
    """
    tokenizer = _tokenizer(settings)
    weights = read_weights(settings)

    def encode(texts: list[str]) -> np.ndarray:
        lowered = [text.lower() for text in texts] if settings.lower_case else texts
        return encode_tokens(weights, [part.ids for part in tokenizer.encode_batch(lowered)], settings)

    return encode


def _tokenizer(settings: BertFolder) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UserError(
            f"config.data.text_encoder={settings.folder} needs the tokenizers package: run pip install 'sid_jax[bert]'"
        ) from error
    try:
        tokenizer = Tokenizer.from_str((settings.folder / _TOKENIZER).read_text())
    except Exception as error:  # The package raises bare exceptions.
        raise UserError(
            f"{settings.folder / _TOKENIZER} is not a valid tokenizer ({reason(error)}); copy the file again"
        ) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.max_tokens)
    return tokenizer


def read_weights(settings: BertFolder) -> dict[str, Any]:
    """Returns a model's weights as float32 arrays. With `settings.mixed`, the kernels of linear layers are bfloat16.

    The entries are "words", the embeddings `[V, D]` of the V tokens of the vocabulary; "positions", the embeddings
    `[T, D]` of T positions, to which the first token type's embedding is added; "norm", the scale and bias of a layer
    norm; and "layers". A kernel of a layer is `[in, out]`. The kernels of queries, keys and values are concatenated.

    Raises:
      UserError: if the file is corrupt or lacks an array.
    """
    path = settings.folder / _WEIGHTS
    try:
        with safe_open(path, framework="numpy") as file:
            names = {name.removeprefix("bert."): name for name in file.keys()}  # noqa: SIM118 (it is not a dict)

            def take(name: str) -> np.ndarray:
                return np.asarray(file.get_tensor(names[name]), np.float32)

            def norm(name: str) -> tuple[np.ndarray, np.ndarray]:
                return take(f"{name}.LayerNorm.weight"), take(f"{name}.LayerNorm.bias")

            def linear(*linear_names: str) -> tuple[np.ndarray, np.ndarray]:
                kernel = np.concatenate([take(f"{name}.weight") for name in linear_names]).T
                kernel = np.ascontiguousarray(kernel, jnp.bfloat16 if settings.mixed else np.float32)
                return kernel, np.concatenate([take(f"{name}.bias") for name in linear_names])

            def layer(at: str) -> dict[str, Any]:
                return {
                    "attend": linear(*(f"{at}.attention.self.{name}" for name in ("query", "key", "value"))),
                    "out": linear(f"{at}.attention.output.dense"),
                    "out_norm": norm(f"{at}.attention.output"),
                    "up": linear(f"{at}.intermediate.dense"),
                    "down": linear(f"{at}.output.dense"),
                    "down_norm": norm(f"{at}.output"),
                }

            token_type = take("embeddings.token_type_embeddings.weight")[0]
            return {
                "words": take("embeddings.word_embeddings.weight"),
                "positions": take("embeddings.position_embeddings.weight") + token_type,
                "norm": norm("embeddings"),
                "layers": jax.device_put([layer(f"encoder.layer.{index}") for index in range(settings.num_layers)]),
            }
    except _ERRORS as error:
        raise UserError(
            f"{path} does not contain a BERT model ({type(error).__name__}: {reason(error)}); copy the folder again"
        ) from error


def encode_tokens(weights: dict[str, Any], tokens: list[list[int]], settings: BertFolder) -> np.ndarray:
    """Returns `[n, D]` float32 vectors of n non-empty lists of token ids.

    Texts of similar length share a batch of a fixed shape, so that few programs are compiled.
    """
    vectors = np.empty((len(tokens), weights["words"].shape[1]), np.float32)
    by_length: dict[int, list[int]] = {}
    for row, each in enumerate(tokens):
        length = next((size for size in _LENGTHS if size >= len(each)), len(each))
        by_length.setdefault(min(length, settings.max_tokens), []).append(row)
    for length, rows in sorted(by_length.items()):
        size = max(1, _TOKENS // length)
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            ids, lengths = np.zeros((size, length), np.int32), np.ones(size, np.int32)
            for place, row in enumerate(chosen):
                lengths[place] = len(tokens[row])
                ids[place, : lengths[place]] = tokens[row]
            vectors[chosen] = _encode_batch(weights, ids, lengths, settings)[: len(chosen)]
    return vectors


def _encode_batch(weights: dict[str, Any], ids: np.ndarray, lengths: np.ndarray, settings: BertFolder) -> np.ndarray:
    """Maps ids `[B, T]` to vectors `[B, D]`; all layers call the same compiled function."""
    embedded = weights["words"][ids] + weights["positions"][None, : ids.shape[1]]
    hidden = _normed(embedded, weights["norm"], settings.epsilon)
    for layer in weights["layers"]:
        hidden = _layer(layer, hidden, lengths, settings.num_heads, settings.epsilon)
    return np.asarray(_pooled(hidden, lengths, settings.pooling, settings.normalize))


@functools.partial(jax.jit, static_argnums=2)
def _normed(values: jax.Array, norm: tuple[jax.Array, jax.Array], epsilon: float) -> jax.Array:
    centered = values - jnp.mean(values, axis=-1, keepdims=True)
    scaled = centered * jax.lax.rsqrt(jnp.mean(centered**2, axis=-1, keepdims=True) + epsilon)
    return scaled * _as_row(norm[0], values) + _as_row(norm[1], values)


def _linear(layer: tuple[jax.Array, jax.Array], values: jax.Array) -> jax.Array:
    outputs = matmul(values, layer[0], jax.lax.Precision.HIGHEST, mixed=layer[0].dtype == jnp.bfloat16)
    return outputs + _as_row(layer[1], outputs)


def _as_row(vector: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.expand_dims(vector, tuple(range(values.ndim - 1)))


@functools.partial(jax.jit, static_argnums=(3, 4))
def _layer(layer: dict[str, Any], hidden: jax.Array, lengths: jax.Array, num_heads: int, epsilon: float) -> jax.Array:
    """Maps `[B, T, D]` to the same shape: attention and feed-forward, each with post-layer normalization."""
    attended = _linear(layer["out"], _attention(_linear(layer["attend"], hidden), lengths, num_heads))
    hidden = _normed(hidden + attended, layer["out_norm"], epsilon)
    up = _linear(layer["up"], hidden)
    up = 0.5 * up * (1.0 + jax.lax.erf(up * math.sqrt(0.5)))
    return _normed(hidden + _linear(layer["down"], up), layer["down_norm"], epsilon)


def _attention(joint: jax.Array, lengths: jax.Array, num_heads: int) -> jax.Array:
    """Maps concatenated queries, keys and values, `[B, T, 3 D]`, to `[B, T, D]`."""
    batch, length, _ = joint.shape
    queries, keys, values = jnp.moveaxis(joint.reshape(batch, length, 3, num_heads, -1), (2, 3), (0, 2))
    highest = jax.lax.Precision.HIGHEST
    logits = jnp.einsum("bhtd,bhsd->bhts", queries * queries.shape[-1] ** -0.5, keys, precision=highest)
    seen = jnp.arange(length)[None] < lengths[:, None]
    logits = jnp.where(seen[:, None, None], logits, -jnp.inf)
    weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    mixed = jnp.einsum("bhts,bhsd->bhtd", weights, values, precision=highest)
    mixed = mixed / jnp.sum(weights, axis=-1, keepdims=True)
    return jnp.moveaxis(mixed, 1, 2).reshape(batch, length, -1)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _pooled(hidden: jax.Array, lengths: jax.Array, pooling: str, normalize: bool) -> jax.Array:
    if pooling == "cls":
        pooled = hidden[:, 0]
    else:
        seen = jnp.arange(hidden.shape[1])[None] < lengths[:, None]
        pooled = jnp.sum(jnp.where(seen[..., None], hidden, 0.0), axis=1) / lengths[:, None]
    if not normalize:
        return pooled
    return pooled / jnp.maximum(jnp.linalg.norm(pooled, axis=-1, keepdims=True), 1e-12)
