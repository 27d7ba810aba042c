"""Trains the quantizer together with models that are pure functions: one in plain JAX, one in Flax Linen."""

from __future__ import annotations

from pathlib import Path

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
from made import make_data

import sid_jax

FEATURES = 32


def next_code_loss(logits, codes):
    """Returns the cross-entropy of each next item's first code; logits are `[B, T, K]`."""
    return optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], codes[:, 1:, 0]).mean()


def bare_loss(model, embeddings, codes):
    """Returns the loss of a model in plain JAX: one layer whose input is an item and the mean of the items so far."""
    items = embeddings.sum(axis=2)  # [B, T, L, F] to [B, T, F]
    before = jnp.cumsum(items, axis=1) / jnp.arange(1, items.shape[1] + 1)[None, :, None]
    hidden = jax.nn.relu(jnp.concatenate([items, before], axis=-1) @ model["mix"])
    return next_code_loss(hidden @ model["tables"][0].T, codes)


class LinenModel(flax.linen.Module):
    """A recurrent network over items."""

    @flax.linen.compact
    def __call__(self, embeddings, table):
        """Returns the logits `[B, T, K]` of the first code of each next item."""
        return flax.linen.RNN(flax.linen.GRUCell(FEATURES))(embeddings.sum(axis=2)) @ table.T


def linen_loss(model, embeddings, codes):
    """Returns the loss of a model in Flax Linen."""
    return next_code_loss(LinenModel().apply(model["network"], embeddings, model["tables"][0]), codes)


def train_jointly(quantizer, model_loss, model, vectors, item_ids, batches):
    """Trains a model and the quantizer; returns the parameters, the losses, and the final Semantic ID tokenizer."""
    params = {"model": model, "quantizer": quantizer.params}
    optimizer = quantizer.optimizer(optax.adam(3e-3))

    @jax.jit
    def take_step(params, opt_state, items, step, ids):
        def loss(params):
            output = quantizer.apply(params["quantizer"], vectors, step, items, ids)
            return model_loss(params["model"], output.embeddings(params["model"]["tables"]), output.codes) + output.loss

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    opt_state, ids, losses = optimizer.init(params), None, []
    for step, items in enumerate(batches):
        if step == quantizer.final_step:
            tokenizer = quantizer.with_params(params["quantizer"]).freeze(vectors, item_ids)
            ids = jnp.asarray(tokenizer.table.semantic_ids)
        elif step % 25 == 0:
            params, opt_state = quantizer.revive(params, opt_state, vectors, step)
        params, opt_state, loss = take_step(params, opt_state, items, step, ids)
        losses.append(float(loss))
    return params, losses, tokenizer


def main(num_items=300, num_steps=100, out="exports"):
    """Trains both models, each with a quantizer that starts from k-means over the latent vectors."""
    if any(Path(out, name).exists() for name in ("bare", "linen")):
        raise SystemExit(f"{out} has earlier exports; remove them first")
    vectors, item_ids, sequences = make_data(num_items, 640)
    batches = sequences[np.random.default_rng(0).integers(0, len(sequences), (num_steps, 32))]
    sizes = {"num_levels": 2, "codebook_size": 32, "latent_dimension": 16, "hidden_dimensions": (32,)}
    quantizer = sid_jax.JointQuantizer(vectors, num_steps=num_steps, **sizes)
    keys = jax.random.split(jax.random.key(0), 4)
    tables = [FEATURES**-0.5 * jax.random.normal(key, (32, FEATURES)) for key in keys[:2]]
    example = jnp.zeros((1, batches.shape[2], 2, FEATURES))
    models = {
        "bare": (bare_loss, {"mix": 0.1 * jax.random.normal(keys[2], (2 * FEATURES, FEATURES))}),
        "linen": (linen_loss, {"network": LinenModel().init(keys[3], example, tables[0])}),
    }
    for name, (model_loss, model) in models.items():
        model = {"tables": tables, **model}
        _, losses, tokenizer = train_jointly(quantizer, model_loss, model, vectors, item_ids, batches)
        print(f"{name}: loss {losses[0]:.2f} to {losses[-1]:.2f}, {tokenizer}")
        tokenizer.save(f"{out}/{name}")


if __name__ == "__main__":
    main()
