"""A causal language model of Semantic IDs in Flax NNX, with the quantizer trained inside it.

`python examples/joint/language_model.py` compares this joint training with training the same model on the initial IDs.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from made import make_data

import sid_jax

FEATURES = 64


class Block(nnx.Module):
    """Causal attention and a feed-forward layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.norms = nnx.List(nnx.LayerNorm(FEATURES, rngs=rngs) for _ in range(2))
        self.attention = nnx.MultiHeadAttention(2, FEATURES, decode=False, rngs=rngs)
        self.up = nnx.Linear(FEATURES, 4 * FEATURES, rngs=rngs)
        self.down = nnx.Linear(4 * FEATURES, FEATURES, rngs=rngs)

    def __call__(self, hidden):
        """Maps the hidden states of P positions, `[B, P, F]`, to new hidden states of the same shape."""
        hidden = hidden + self.attention(self.norms[0](hidden), mask=nnx.make_causal_mask(hidden[..., 0]))
        return hidden + self.down(nnx.gelu(self.up(self.norms[1](hidden))))


class LanguageModel(nnx.Module):
    """Two causal layers over tokens, L tokens per item; the embedding table of a level is also its output matrix."""

    def __init__(self, sizes, num_items, rngs):
        draw = nnx.initializers.normal(FEATURES**-0.5)
        self.tables = nnx.List(nnx.Param(draw(rngs(), (size, FEATURES))) for size in sizes)
        self.places = nnx.Param(draw(rngs(), (num_items * len(sizes), FEATURES)))
        self.blocks = nnx.List(Block(rngs) for _ in range(2))
        self.norm = nnx.LayerNorm(FEATURES, rngs=rngs)

    def __call__(self, tokens):
        """Returns the logits `[B, P, K]` of the next token at each position, from token embeddings `[B, P, F]`."""
        num_places, tables = tokens.shape[1], [table[...] for table in self.tables]
        hidden = tokens * FEATURES**0.5 + self.places[:num_places][None]
        for block in self.blocks:
            hidden = block(hidden)
        heads = jnp.stack([tables[(place + 1) % len(tables)] for place in range(num_places)])
        return jnp.einsum("bpf,pkf->bpk", self.norm(hidden), heads)

    def loss(self, embeddings, codes):
        """Returns the cross-entropy of items after the first, from embeddings `[B, T, L, F]` and codes `[B, T, L]`."""
        num_levels = codes.shape[-1]
        logits = self(embeddings.reshape(len(codes), -1, FEATURES))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], codes.reshape(len(codes), -1)[:, 1:])
        return losses[:, num_levels - 1 :].mean()


@nnx.jit
def take_step(model, optimizer, vectors, items, step, ids):
    """Takes an optimizer step on items `[B, T]`; returns the loss."""

    def loss(model):
        output = model.quantizer(vectors, step, items, ids)
        return model.loss(output.embeddings(model.tables), output.codes) + output.loss

    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads)
    return value


def prepare(start, batches, **settings):
    """Returns the quantizer, the model that contains it, and the optimizer of both; batches are `[S, B, T]` items."""
    quantizer = sid_jax.JointQuantizer(start, num_steps=len(batches), **settings)
    model = LanguageModel(quantizer.codebook_sizes, batches.shape[2], rngs=nnx.Rngs(0))
    model.quantizer = quantizer
    optimizer = nnx.Optimizer(model, quantizer.optimizer(optax.adam(3e-3)), wrt=nnx.Param)
    return quantizer, model, optimizer


def train_jointly(start, vectors, item_ids, batches, **settings):
    """Trains model and quantizer; returns the model and the final Semantic ID tokenizer."""
    quantizer, model, optimizer = prepare(start, batches, **settings)
    ids = None
    for step, items in enumerate(batches):
        if step == quantizer.final_step:
            tokenizer = quantizer.freeze(vectors, item_ids)
            ids = jnp.asarray(tokenizer.table.semantic_ids)
        elif step % 25 == 0:
            quantizer.revive_in_place(optimizer, vectors, step)
        take_step(model, optimizer, vectors, items, step, ids)
    return model, tokenizer


def train_on_fixed_ids(tokenizer, vectors, batches):
    """Trains the model on the IDs of a Semantic ID tokenizer; returns the model."""
    _, model, optimizer = prepare(tokenizer, batches)
    ids = jnp.asarray(tokenizer.table.semantic_ids)
    for step, items in enumerate(batches):
        take_step(model, optimizer, vectors, items, step, ids)
    return model


@nnx.jit(static_argnames="num_beams")
def recommend(model, ids, items, num_beams=20):
    """Returns the most likely next items, `[B, num_beams]`, the best first, by a beam search over existing IDs."""
    item_of = jnp.full(model.quantizer.codebook_sizes, -1).at[tuple(ids.T)].set(jnp.arange(len(ids)))
    history = jnp.stack([table[...][ids[items][..., level]] for level, table in enumerate(model.tables)], axis=2)
    history = history.reshape(len(items), 1, -1, FEATURES)
    scores, prefixes = jnp.zeros((len(items), 1)), jnp.zeros((len(items), 1, 0), jnp.int32)
    for level, size in enumerate(model.quantizer.codebook_sizes):
        width = scores.shape[1]
        begun = [table[...][prefixes[..., place]] for place, table in zip(range(level), model.tables, strict=False)]
        tokens = [jnp.repeat(history, width, axis=1), *(each[:, :, None] for each in begun)]
        tokens = jnp.concatenate(tokens, axis=2).reshape(len(items) * width, -1, FEATURES)
        logits = model(tokens)[:, -1].reshape(len(items), width, size)
        in_use = (item_of >= 0).any(axis=tuple(range(level + 1, item_of.ndim)))[tuple(jnp.moveaxis(prefixes, -1, 0))]
        found = scores[..., None] + jax.nn.log_softmax(jnp.where(in_use, logits, -jnp.inf))
        scores, best = jax.lax.top_k(found.reshape(len(items), -1), min(num_beams, width * size))
        prefixes = jnp.take_along_axis(prefixes, best[..., None] // size, axis=1)
        prefixes = jnp.concatenate([prefixes, (best % size)[..., None].astype(jnp.int32)], axis=-1)
    return item_of[tuple(jnp.moveaxis(prefixes, -1, 0))]


def recall(model, tokenizer, sequences, count=10):
    """Returns the share of sequences whose last item is among the `count` items recommended for the earlier items."""
    ids, hits = jnp.asarray(tokenizer.table.semantic_ids), []
    for start in range(0, len(sequences), 100):
        chunk = sequences[start : start + 100]
        hits.append((recommend(model, ids, chunk[:, :-1])[:, :count] == chunk[:, -1:]).any(axis=1))
    return float(jnp.concatenate(hits).mean())


def main(num_items=3000, num_steps=300, num_users=6400, codebook_size=64, out="exports/joint"):
    """Compares joint training with training on the initial IDs, and saves the jointly trained ID tokenizer."""
    if Path(out).exists():
        raise SystemExit(f"{out} exists; remove it first")
    vectors, item_ids, sequences = make_data(num_items, num_users)
    learned, tested = sequences[:-500], sequences[-500:]
    batches = learned[np.random.default_rng(0).integers(0, len(learned), (num_steps, 64))]
    start = sid_jax.SemanticIdTokenizer(codebook_size=codebook_size)
    start.fit(vectors, item_ids, verbose=False)
    report("initial IDs", train_on_fixed_ids(start, vectors, batches), start, tested)
    model, tokenizer = train_jointly(start, vectors, item_ids, batches)
    report("trained jointly", model, tokenizer, tested)
    tokenizer.save(out)


def report(name, model, tokenizer, sequences):
    """Prints a line of metrics."""
    metrics = tokenizer.metrics
    print(
        f"{name}: recall@10 {recall(model, tokenizer, sequences):.3f}, R² {metrics['r2']:.3f}, distinct rate "
        f"{metrics['distinct_rate']:.3f}, codes in use {min(metrics['usage']):.0%}"
    )


if __name__ == "__main__":
    main()
