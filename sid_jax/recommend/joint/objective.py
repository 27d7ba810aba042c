"""The loss of joint training: the recommender's loss on current codes, plus the quantizer's own loss as an anchor."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.joint_quantizer.anchor import anchor_terms, unevenness
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.estimators import code_embeddings
from sid_jax.quantize.residual import QuantizerOutput, residual_quantize
from sid_jax.recommend.data.packing import PackedRows
from sid_jax.recommend.joint.code_table import BatchItems, CodeTable, code_loss
from sid_jax.recommend.models.decoder import Decoder


def joint_loss(
    recipe: Any,
    params: dict[str, nnx.State],
    statistics: nnx.State,
    batch: PackedRows,
    items: BatchItems,
    table: CodeTable,
    step: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the loss of a joint training step, a scalar, and metrics of the step by name.

    An item's input to the recommender is the sum of one embedding per level. A level's embedding is the product of the
    item's current assignment to the codes and the recommender's embedding table, so the recommender's loss trains both.
    The recommender's targets are the codes of the ID table. The table is recomputed only every
    `joint.refresh_every_steps` steps, so that targets are stable in between. If `joint.target_gradient` is above 0, an
    additional term moves an item's assignment toward the codes that the recommender predicts at positions whose target
    is this item. The metric "loss" is the recommender's loss, without the anchor and without the term that
    `joint.balance_weight` weights.

    Args:
      recipe: a `sid_jax.recommend.joint.step.JointRecipe`.
      params: parameters by name, "recommender" and "quantizer".
      statistics: the quantizer's statistics, which contain the scaling of the vectors.
      batch: packed rows of histories.
      items: the items of the batch.
      table: the current IDs.
      step: the step; traced.
    """
    quantizer: RQVAE = nnx.merge(recipe.quantizer, params["quantizer"], statistics)
    model: Decoder = nnx.merge(recipe.recommender.graphdef, params["recommender"])
    inputs = quantizer.inputs(items.vectors)
    latents = quantizer.encoder(inputs)
    # The latents are quantized twice: once for the anchor, whose gradient reaches all parameters, and once for the
    # recommender's loss, whose gradient may be blocked by the setting `joint.stop_gradient`. XLA merges the operations
    # that both calls have in common.
    anchored = residual_quantize(latents, quantizer.quantizer.codebooks, **recipe.choices(step))
    seen = residual_quantize(
        jax.lax.stop_gradient(latents) if "encoder" in recipe.stop_gradient else latents,
        quantizer.quantizer.codebooks,
        stop_codebook_gradient="codebooks" in recipe.stop_gradient,
        **recipe.choices(step),
    )
    total, weight = _recommender_loss(recipe, model, seen, batch, items, table, recipe.dropout_key(step))
    level_losses = total / jnp.maximum(weight, 1.0)
    terms = anchor_terms(quantizer, anchored, inputs, items.counted, recipe.codebook_weight, recipe.commitment_weight)
    uneven = unevenness(anchored.probabilities, items.counted)
    loss = jnp.sum(level_losses) + recipe.anchor_weight * terms["anchor_loss"] + recipe.balance_weight * uneven
    settled = jnp.all(seen.nearest, axis=-1) & items.counted
    return loss, {
        "loss": jnp.sum(level_losses),
        "level_loss": level_losses,
        **terms,
        "unevenness": uneven,
        "agreement": jnp.sum(settled) / jnp.sum(items.counted),
    }


def _recommender_loss(
    recipe: Any,
    model: Decoder,
    seen: QuantizerOutput,
    batch: PackedRows,
    items: BatchItems,
    table: CodeTable,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns each level's cross-entropy (`[L]`, sums over the targets), and the total weight of the targets.

    If `joint.target_gradient` is above 0, the loss of the first level includes a term that acts only through its
    gradient. The value of the term is 0. Its gradient is `joint.target_gradient` times the gradient of the negative
    mutual information between histories and the soft assignments of their targets. Only the assignments get this
    gradient.
    """
    tables = [table[...] for table in model.embedding.levels]
    embeddings = jnp.sum(code_embeddings(seen.weights, tables), axis=-2).astype(model.embedding.dtype)

    def loss_of_level(logits: jax.Array, level: int) -> jax.Array:
        losses = code_loss(logits, table, batch.targets, level)
        if level or not recipe.target_gradient:
            return losses
        moves = seen.weights[level] - jax.lax.stop_gradient(seen.weights[level])
        lack = _lack_of_information(jax.lax.stop_gradient(logits), batch.weights)
        return losses + recipe.target_gradient * jnp.sum(moves[items.targets] * lack, axis=-1)

    return model.loss_after(embeddings[items.inputs], batch, table.codes[batch.targets], loss_of_level, key)


def _lack_of_information(logits: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns `log p(k) - log p(k | history)` of each code k at each target, `[B, P, K]`.

    p(k | history) is the softmax of the target's logits. p(k) is the mean of p(k | history) over the batch's targets,
    with the weights `[B, P]`.

    With `-log p(k | history)` alone, items would move to common codes, since fewer codes are easier to predict. This is
    how plain joint training collapses. The mutual information of codes and histories is greatest if all codes are
    in use.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    shares = jnp.exp(log_probabilities) * (weights / jnp.sum(weights))[..., None]
    common = jnp.log(jnp.maximum(jnp.sum(shares, axis=(0, 1)), 1e-20))
    return jnp.broadcast_to(common, log_probabilities.shape) - log_probabilities
