"""The training loss of a batch, one optimizer step as a pure function, and many steps as one compiled call."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sid_jax.data.relations import Relations, draw_partners
from sid_jax.models.rqvae import RQVAEOutput
from sid_jax.quantize.codebooks import count_codes
from sid_jax.quantize.losses import contrastive_loss, reconstruction_loss, squared_error
from sid_jax.quantize.residual import QuantizerOutput
from sid_jax.streams import stream_key
from sid_jax.training.optimizer import follow_means, revive_unused
from sid_jax.training.recipe import Recipe
from sid_jax.training.sharding import scan_steps
from sid_jax.training.state import TrainState

Metrics = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Companions:
    """Inputs from interaction histories for the items of a batch.

    Attributes:
      items: `[B]` int32, the batch's items.
      partners: three arrays: each item's partner, which is a co-occurring item, `[B]` int32; whether the item has
        co-occurring items, `[B]` bool; and the input vectors of the partners, `[B, D]`. An item without co-occurring
        items is its own partner. None if there is no contrastive loss.
      collaborative: `[B, C]`, the items' co-occurrence vectors; zeros for an item without such a vector. None if there
        is no alignment loss.
    """

    items: jax.Array
    partners: tuple[jax.Array, jax.Array, jax.Array] | None = None
    collaborative: jax.Array | None = None


def batch_loss(
    recipe: Recipe,
    params: nnx.State,
    statistics: nnx.State,
    batch: jax.Array,
    companions: Companions | None,
    step: jax.Array,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], RQVAEOutput]]:
    """Returns the training loss of a batch `[B, D]` (a scalar), its terms by name, and the model's output.

    The reconstruction, codebook and commitment losses are sums over features and means over the items of the whole
    batch. Their expected values therefore do not depend on the batch size or the number of devices. The losses from
    histories grow with the batch size, since they use the other items of the batch as negatives.
    """
    weights = recipe.model_settings
    output = recipe.forward(params, statistics, batch, step)
    terms = {
        "reconstruction_loss": jnp.mean(reconstruction_loss(output.targets, output.reconstructions, output.present)),
        "codebook_loss": jnp.mean(jnp.sum(output.quantizer.codebook_loss, axis=-1)),
        "commitment_loss": jnp.mean(jnp.sum(output.quantizer.commitment_loss, axis=-1)),
    }
    loss = (
        terms["reconstruction_loss"]
        + weights.codebook_weight * terms["codebook_loss"]
        + weights.commitment_weight * terms["commitment_loss"]
    )
    if companions is not None:
        squared_length = jnp.mean(squared_error(output.targets, jnp.zeros_like(batch)))
        related = _related_losses(recipe, params, statistics, output.quantizer, companions, step)
        for name, (weight, value) in related.items():
            loss += jnp.where(recipe.settling(step), 0.0, weight) * squared_length * value
            terms[name] = value
    return loss, (terms, output)


def _related_losses(
    recipe: Recipe,
    params: nnx.State,
    statistics: nnx.State,
    batch: QuantizerOutput,
    companions: Companions,
    step: jax.Array,
) -> dict[str, tuple[float, jax.Array]]:
    """Returns weight and value of each loss from histories. Values are means over the items with co-occurrences."""
    settings, items, losses = recipe.model_settings, companions.items, {}
    temperature = settings.contrastive_temperature
    if companions.partners is not None:
        partners, found, vectors = companions.partners
        theirs = recipe.quantize(params, statistics, vectors, step).quantized
        there = contrastive_loss(batch.quantized, theirs, items, partners, temperature)
        back = contrastive_loss(theirs, batch.quantized, partners, items, temperature)
        losses["contrastive_loss"] = settings.contrastive_weight, _mean_where(found, (there + back) / 2)
    if companions.collaborative is not None:
        aligned = recipe.merged(params, statistics).align(batch.quantized)
        known = jnp.any(companions.collaborative != 0, axis=-1)
        told = contrastive_loss(aligned, companions.collaborative, items, items, temperature, counted=known)
        losses["alignment_loss"] = settings.alignment_weight, _mean_where(known, told)
    return losses


def _mean_where(counted: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(counted, values, 0.0)) / jnp.maximum(jnp.sum(counted), 1)


def train_step(
    recipe: Recipe, state: TrainState, batch: jax.Array, companions: Companions | None = None
) -> tuple[TrainState, Metrics]:
    """Takes one optimizer step on a batch of input vectors `[B, D]`.

    In the metrics, `agreement` is the share of items whose training codes at all levels are the codes of the nearest
    codewords. An export assigns the codes of the nearest codewords. `counts` is the number of assignments of each code.
    For the losses, see `batch_loss`.
    """
    inputs = recipe.augment(batch, state.step)
    if companions is not None and companions.partners is not None:
        partners, found, vectors = companions.partners
        vectors = recipe.augment(vectors, state.step)
        companions = dataclasses.replace(companions, partners=(partners, found, vectors))
    (loss, (terms, output)), grads = jax.value_and_grad(
        lambda params: batch_loss(recipe, params, state.statistics, inputs, companions, state.step), has_aux=True
    )(state.params)
    updates, opt_state = recipe.optimizer.update(grads, state.opt_state, state.params)
    hold = recipe.settling(state.step)
    updates = jax.tree_util.tree_map_with_path(
        lambda path, update: jnp.where(hold, 0.0, update) if path[0].key == "encoder" else update, updates
    )
    counts = count_codes(output.quantizer.codes, [taken.shape[0] for taken in state.taken])
    metrics = {
        "loss": loss,
        **terms,
        "gradient_norm": optax.tree.norm(grads),
        "agreement": jnp.mean(jnp.all(output.quantizer.nearest, axis=-1)),
        "temperature": recipe.temperature(state.step),
        "noise_scale": recipe.noise_scale(state.step),
        "learning_rate": recipe.learning_rate(state.step),
        "counts": counts,
    }
    state = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        statistics=state.statistics,
        opt_state=opt_state,
        taken=tuple(taken + count for taken, count in zip(state.taken, counts, strict=True)),
    )
    if recipe.model_settings.quantization_method == "ema":
        state = follow_means(state, output.quantizer, decay=1 - recipe.codeword_rate(state.step - 1))
    if every := recipe.lengths.revive_every_steps:
        due = (state.step % every == 0) & (state.step <= recipe.lengths.revive_until_step)
        key = stream_key(recipe.seed, "revival", state.step)
        state = jax.lax.cond(due, lambda: revive_unused(state, output.quantizer, recipe.optimizer, key), lambda: state)
    return state, metrics


@functools.partial(jax.jit, static_argnames=("recipe", "num_steps", "mesh"), donate_argnames=("state",))
def train_steps(
    recipe: Recipe,
    state: TrainState,
    vectors: jax.Array,
    relations: Relations | None = None,
    order: jax.Array | None = None,
    *,
    num_steps: int,
    mesh: Mesh,
) -> tuple[TrainState, Metrics]:
    """Takes many steps in one compiled call, each on the next batch of the epoch's order.

    Args:
      recipe, state: the recipe of the run and the current state, which is donated.
      vectors: `[N, D]`, the vectors of the training items, on every device.
      relations: co-occurrences of the items, on every device; None if no loss uses them.
      order, num_steps, mesh: see `scan_steps`.

    Returns:
      The state, and the metrics with a leading axis of `num_steps`, except `counts`, which are summed over the steps.
    """

    def take_step(state: TrainState, items: jax.Array) -> tuple[TrainState, Metrics]:
        companions = None if relations is None else _companions(recipe, state.step, relations, vectors, items)
        return train_step(recipe, state, vectors[items], companions)

    state, metrics = scan_steps(
        take_step,
        state,
        seed=recipe.seed,
        num_examples=vectors.shape[0],
        batch_size=recipe.batch_size,
        num_steps=num_steps,
        mesh=mesh,
        order=order,
    )
    return state, _sum_counts(metrics)


def _companions(
    recipe: Recipe, step: jax.Array, relations: Relations, vectors: jax.Array, items: jax.Array
) -> Companions:
    partners = None
    if relations.partners is not None:
        rows, found = draw_partners(stream_key(recipe.seed, "partners", step), relations.partners, items)
        partners = rows, found, vectors[rows]
    collaborative = None if relations.collaborative is None else jnp.asarray(relations.collaborative)[items]
    return Companions(items, partners, collaborative)


@functools.partial(jax.jit, static_argnames=("recipe", "mesh"), donate_argnames=("state",))
def train_on_batches(
    recipe: Recipe, state: TrainState, batches: jax.Array, companions: Companions | None = None, *, mesh: Mesh
) -> tuple[TrainState, Metrics]:
    """Takes one step on each of the batches `[S, B, D]`, whose axis B is sharded over the mesh's axis "data".

    The arrays of `companions` also have a leading axis of S. The function returns what `train_steps` returns.
    """

    def take_step(state: TrainState, given: tuple[jax.Array, Companions | None]) -> tuple[TrainState, Metrics]:
        return train_step(recipe, state, *given)

    state, metrics = jax.lax.scan(take_step, state, (batches, companions))
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.lax.with_sharding_constraint((state, _sum_counts(metrics)), everywhere)


def _sum_counts(metrics: Metrics) -> Metrics:
    return {**metrics, "counts": tuple(counts.sum(0) for counts in metrics["counts"])}
