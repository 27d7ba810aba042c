"""JointQuantizer: a quantizer of Semantic IDs that is a part of the user's model and is trained with it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from sid_jax.errors import UserError
from sid_jax.export.encoder import Encoder
from sid_jax.export.run import make_export
from sid_jax.joint_quantizer.anchor import anchor_terms, unevenness
from sid_jax.joint_quantizer.config import SETTINGS, joint_settings
from sid_jax.joint_quantizer.optimizer import quantizer_rules
from sid_jax.joint_quantizer.revival import revive_dead_codes
from sid_jax.joint_quantizer.schedules import Course
from sid_jax.joint_quantizer.start import is_saved, start_from
from sid_jax.joint_quantizer.trained import parts, with_model
from sid_jax.joint_quantizer.tree import MODEL, groups_of, own_params, replace_levels
from sid_jax.models.rqvae import RQVAE
from sid_jax.precision import in_32_bits
from sid_jax.quantize.estimators import code_embeddings
from sid_jax.quantize.residual import residual_quantize
from sid_jax.streams import stream_key
from sid_jax.tokenizer import SemanticIdTokenizer
from sid_jax.training.schedules import frozen


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JointOutput:
    """Output of a `JointQuantizer` for items `[...]` at a step.

    Attributes:
      codes: `[..., L]` int32, the codes of the forward pass.
      quantized: `[..., Z]` float32, the sums of the codewords, with gradients to encoder and codebooks (with the
        estimator "ste", only to the encoder).
      loss: scalar, the weighted sum of the terms "anchor_loss" and "unevenness". Add it to the model's loss.
      terms: scalars by name: "reconstruction_loss", "codebook_loss", "commitment_loss", "anchor_loss" (the weighted sum
        of these three losses, divided by the mean squared length of the scaled vectors), "unevenness" (the balance
        loss), "temperature", "noise_scale", and "agreement" (the share of items whose codes are all the nearest codes,
        which an export assigns).
      weights: for each level `[U, K]`, the assignments of the U distinct items.
      places: `[...]` int32, each item's row in the weights.
      counted: `[...]` bool, False at empty positions.
    """

    codes: jax.Array
    quantized: jax.Array
    loss: jax.Array
    terms: dict[str, jax.Array]
    weights: tuple[jax.Array, ...]
    places: jax.Array
    counted: jax.Array

    def embeddings(self, tables: Sequence[jax.Array]) -> jax.Array:
        """Returns the embeddings of the items' codes, from a model's own tables: `[..., L, F]`, 0 at empty positions.

        Each embedding is the product of an assignment and a table, so the model's loss trains both the quantizer and
        the tables (`quantize.estimators.code_embeddings`).

        Args:
          tables: for each level `[K, F]`, parameters of the model (arrays or Flax NNX variables).

        Raises:
          ValueError: if there are not L tables, or a table does not have K rows.
        """
        arrays = [table[...] if isinstance(table, nnx.Variable) else table for table in tables]
        found = code_embeddings(self.weights, arrays)[self.places]
        return jnp.where(self.counted[..., None, None], found, 0)


class JointQuantizer(nnx.Module):
    """A quantizer of Semantic IDs that is a part of your model. The model's loss and the quantizer's own loss train it.

    Soft assignments, with noise that falls to 0, propagate the gradient of the model's loss to codebooks and encoder
    (Fu et al., DIGER, 2601.19711; Li et al., UniGRec, 2601.17438). The quantizer's own loss, the anchor, keeps codes
    close to the items' content; without it, codes collapse at high learning rates. Toward the end of training, first
    the encoder and then the codebooks are frozen, so that the model is trained on the exported IDs.

    In Flax NNX, the quantizer is a submodule. For Linen, Haiku, Equinox and plain JAX, `params` is a dict of arrays,
    and `apply` and `revive` are pure functions of it, which work inside `jit`, `grad` and `scan`.

        quantizer = JointQuantizer("exports/items", num_steps=1000)
        output = quantizer(vectors, step, items)          # or quantizer.apply(params, vectors, step, items)
        loss = my_loss(output.embeddings(tables), output.codes) + output.loss
        tokenizer = quantizer.freeze(vectors, item_ids)   # a SemanticIdTokenizer

    Args:
      start: a fitted `SemanticIdTokenizer`, its export in memory, the folder of an export or of a finished training
        run, or vectors `[N, D]` of items, from which the codebooks are initialized by k-means.
      num_steps: number of optimizer steps of the joint training.
      settings: `estimator`, `temperature`, `min_temperature`, `noise_scale`, `anchor_weight`, `balance_weight`,
        `codebook_weight`, `commitment_weight`, `encoder_rate`, `codebook_rate`, `decoder_rate`, `warmup_share`,
        `settle_share`, `seed`; see `sid_jax.joint_quantizer.config`. If `start` is vectors, also any setting of
        `sid_jax.config`, such as `num_levels` and `codebook_size`.

    Attributes:
      rqvae: the RQ-VAE: scaling, encoder, codebooks, decoder.
      course: the schedules.
      settings: the settings.

    Raises:
      UserError: if `start` cannot be used, a setting does not exist, or its value is not allowed.
    """

    @in_32_bits
    def __init__(self, start: Any, *, num_steps: int, **settings: Any):
        if num_steps < 1:
            raise UserError(f"num_steps is {num_steps}; it must be 1 or more")
        self.settings = joint_settings({name: value for name, value in settings.items() if name in SETTINGS})
        others = {name: value for name, value in settings.items() if name not in SETTINGS}
        if "seed" in settings and not is_saved(start):
            others["seed"] = settings["seed"]
        self.rqvae, self._origin = start_from(start, others)
        self.course = Course(
            freeze_step=num_steps,
            warmup_steps=round(self.settings.warmup_share * num_steps),
            settings=frozen(self.settings, "temperature", "min_temperature", "noise_scale"),
            settle_share=self.settings.settle_share,
            hold=True,
        )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """K of each of the L levels. The model's table for a level has K rows."""
        return self.rqvae.quantizer.codebook_sizes

    @property
    def final_step(self) -> int:
        """The step from which IDs no longer change. Call `freeze` at this step, then train the model on its IDs."""
        return max(self.course.last_step(group) for group in ("encoder", "codebooks"))

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of encoder, codebooks and decoder: a dict of arrays, for `apply`, `revive` and optimizers."""
        return nnx.to_pure_dict(nnx.state(self, nnx.Param))

    def with_params(self, params: dict[str, Any]) -> JointQuantizer:
        """Returns a copy with other parameters, in the structure of `params`."""
        copy = nnx.clone(self)
        nnx.update(copy, params)
        return copy

    def apply(
        self,
        params: dict[str, Any],
        vectors: jax.Array,
        step: jax.Array | int,
        items: jax.Array | None = None,
        ids: jax.Array | None = None,
    ) -> JointOutput:
        """Returns the result of calling the module with these parameters; a pure function."""
        return self.with_params(params)(vectors, step, items, ids)

    def __call__(
        self,
        vectors: jax.Array,
        step: jax.Array | int,
        items: jax.Array | None = None,
        ids: jax.Array | None = None,
    ) -> JointOutput:
        """Quantizes items at a training step, with the temperature and noise of that step.

        Each distinct item is quantized once and counts once in the loss.

        Args:
          vectors: `[N, D]` float32, unscaled.
          step: number of completed steps; may be traced.
          items: `[...]` int32, rows of the vectors, in any shape, such as sequences `[B, T]`. Negative values mark
            empty positions, which get code 0 and do not count. None takes all N items in order.
          ids: `[N, L]` int32, IDs that replace the assigned codes. From `final_step` on, give the unique IDs of the
            tokenizer that `freeze` returns: `tokenizer.table.semantic_ids`. None uses the assigned codes.

        Raises:
          UserError: if `items` are not integers.
        """
        rows, there, places, counted = _distinct(items, len(vectors))
        inputs = self.rqvae.inputs(jnp.asarray(vectors)[rows])
        choices = self.course.choices(self.settings.estimator, self.settings.seed, step)
        output = residual_quantize(self.rqvae.encoder(inputs), self.rqvae.quantizer.codebooks, **choices)
        codes, weights, quantized = output.codes, output.weights, output.quantized
        if ids is not None:
            codes = jnp.asarray(ids)[rows]
            sizes = enumerate(self.codebook_sizes)
            weights = tuple(jax.nn.one_hot(codes[:, level], size, dtype=jnp.float32) for level, size in sizes)
            quantized = self.rqvae.quantizer.lookup(codes)
        given = self.settings
        terms = anchor_terms(self.rqvae, output, inputs, there, given.codebook_weight, given.commitment_weight)
        uneven = unevenness(output.probabilities, there)
        nearest = jnp.all(output.nearest, axis=-1) & there
        return JointOutput(
            codes=jnp.where(counted[..., None], codes[places], 0),
            quantized=quantized[places],
            loss=given.anchor_weight * terms["anchor_loss"] + given.balance_weight * uneven,
            terms={
                **terms,
                "unevenness": uneven,
                "temperature": choices["temperature"],
                "noise_scale": jnp.asarray(choices["noise_scale"]),
                "agreement": jnp.sum(nearest) / jnp.sum(there),
            },
            weights=weights,
            places=places,
            counted=counted,
        )

    def optimizer(self, model: optax.GradientTransformation) -> optax.GradientTransformation:
        """Returns an optimizer of a whole model: Adam for this quantizer, and `model` for all other parameters.

        Encoder, codebooks and decoder have their own learning rates (`encoder_rate`, `codebook_rate`, `decoder_rate`),
        with a warm-up and a cosine decay that reaches 0 when these parameters freeze. Apply the optimizer once
        per step, to any tree of parameters that contains `params`, or to any module that contains this one.
        """
        groups = {
            name: optax.chain(optax.scale_by_adam(), rule)
            for name, rule in quantizer_rules(self.settings, self.course).items()
        }
        return optax.multi_transform({MODEL: model, **groups}, groups_of)

    def revive(
        self, state: Any, opt_state: optax.OptState, vectors: jax.Array, step: jax.Array | int
    ) -> tuple[Any, optax.OptState]:
        """Resets dead codes to residuals with large errors, and their optimizer moments to 0; a pure function.

        Call it about every 50 steps. In the last steps (`settle_share`), in which IDs converge, it resets nothing.

        Args:
          state: any tree of arrays that contains `params`, such as the parameters of the whole model.
          opt_state: the optimizer's state for these parameters.
          vectors: `[N, D]`, the vectors of all items.
          step: number of completed steps; may be traced.

        Returns:
          The state and the optimizer's state.

        Raises:
          UserError: if the state does not contain the quantizer's parameters, or contains several quantizers.
        """
        levels, moved = self.with_params(own_params(state))._revived(vectors, step)
        return (
            replace_levels(state, lambda level, _: levels[level]),
            _without_moments(opt_state, moved),
        )

    def revive_in_place(self, optimizer: nnx.Optimizer, vectors: jax.Array, step: jax.Array | int) -> None:
        """Does the same as `revive` for a Flax NNX model: changes this module and the model's optimizer in place."""
        levels, moved = self._revived(vectors, step)
        nnx.update(self.rqvae.quantizer, {"levels": dict(enumerate(levels))})
        state = nnx.state(optimizer.opt_state)
        nnx.update(optimizer.opt_state, _without_moments(state, moved))

    def _revived(self, vectors: jax.Array, step: jax.Array | int) -> tuple[tuple[jax.Array, ...], ...]:
        key = stream_key(self.settings.seed, "joint_revival", step)
        enabled = jnp.logical_not(self.course.noiseless(step))
        return _revive(*parts(self.rqvae), jnp.asarray(vectors), key, enabled)

    @in_32_bits
    def encode(self, vectors: Any) -> np.ndarray:
        """Returns the codes `[n, L]` int32 of vectors `[n, D]`, as an export would assign them, without noise.

        Compare the codes of two steps with `IdChanges.between`.

        Raises:
          UserError: if the vectors do not have D features, or are not finite.
        """
        return Encoder(self.rqvae).encode(vectors)

    @in_32_bits
    def freeze(
        self, vectors: Any, item_ids: Any = None, *, columns: Any = None, unique: str | None = None
    ) -> SemanticIdTokenizer:
        """Returns the trained Semantic ID tokenizer, with a unique ID for every item. Nothing is written.

        Args:
          vectors: `[N, D]`, as for `SemanticIdTokenizer.fit`; with parts also a mapping of parts.
          item_ids: N distinct integers or strings; None numbers the items from 0.
          columns: titles and other columns of the items, as for `fit`.
          unique: "relocate", "suffix" or "none". None takes the quantizer's setting `ids.unique`. If this setting
            is "suffix", "relocate" is used, since the model was not trained on the level of a suffix.

        Raises:
          UserError: if the input cannot be used, or IDs cannot be made unique.
        """
        data = self._origin.items(vectors, item_ids, columns)
        about = {"joint": {"steps": self.course.freeze_step, **self.settings.to_dict()}}
        run = with_model(self._origin.config, data, self.rqvae)
        return SemanticIdTokenizer.from_export(make_export(run, unique=unique, about=about))


def _distinct(items: jax.Array | None, num_items: int) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Finds the distinct items.

    Returns:
      The distinct rows `[U]`; whether each row is an item, `[U]` bool; each position's index into the rows; and whether
      each position has an item.
    """
    if items is None:
        rows, everywhere = jnp.arange(num_items), jnp.ones(num_items, bool)
        return rows, everywhere, rows, everywhere
    kind = items.dtype if hasattr(items, "dtype") else np.asarray(items).dtype
    if not jnp.issubdtype(kind, np.integer):
        raise UserError(f"items have dtype {kind}; give row numbers of the vectors, and -1 at empty positions")
    items = jnp.maximum(items, -1)
    # Inside `jit`, `jnp.unique` needs a fixed size: at most N items, and -1 for all empty positions.
    rows, places = jnp.unique(items, size=min(items.size, num_items + 1), fill_value=-1, return_inverse=True)
    return jnp.maximum(rows, 0), rows >= 0, places.reshape(items.shape), items >= 0


@functools.partial(jax.jit, static_argnames="graphdef")
def _revive(
    graphdef: nnx.GraphDef[Any],
    params: nnx.State,
    statistics: nnx.State,
    vectors: jax.Array,
    key: jax.Array,
    enabled: jax.Array,
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Returns the codebooks' parameters after the reset, and for each level the codes that were reset, `[K]` bool."""
    model: RQVAE = nnx.merge(graphdef, params, statistics)
    moved = revive_dead_codes(model, vectors, model.assign(vectors), key, enabled)
    return tuple(level[...] for level in model.quantizer.levels), moved


def _without_moments(opt_state: Any, moved: Sequence[jax.Array]) -> Any:
    """Returns the optimizer's state, where codes that were reset (`moved`, `[K]` bool per level) have moments of 0."""
    return replace_levels(opt_state, lambda level, leaf: jnp.where(moved[level][:, None], 0, leaf))
