"""How joint training goes: where it ends, and what falls until then, as functions of the step."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict, FrozenConfigDict

from sid_jax.errors import UserError
from sid_jax.training.schedules import Lengths, Schedule, frozen

# From here on, as a share of the joint part, there is no noise: codes settle as export takes them.
_NOISELESS_FROM = 0.8


@dataclasses.dataclass(frozen=True)
class Course:
    """The joint part of a run.

    Attributes:
      freeze_step: steps that it has; the quantizer is frozen from there on.
      warmup_steps: until the quantizer's rates are reached.
      settings: of `config.joint`.
    """

    freeze_step: int
    warmup_steps: int
    settings: FrozenConfigDict

    @classmethod
    def of(cls, joint: ConfigDict, lengths: Lengths) -> Course:
        """Returns the course of `config.joint` in a run of these lengths; it ends with a compiled call.

        Raises:
          UserError: if no call is left for the recommender to learn the final IDs in.
        """
        calls = max(1, round(joint.share * lengths.num_steps / lengths.log_every_steps))
        freeze_step = calls * lengths.log_every_steps
        if freeze_step >= lengths.num_steps:
            raise UserError(
                f"of {lengths.num_steps} steps the joint part has all, {lengths.log_every_steps} a call: lower "
                "config.joint.share or config.train.log_every_steps, or train for more epochs"
            )

        return cls(
            freeze_step=freeze_step,
            warmup_steps=min(round(joint.warmup_epochs * lengths.steps_per_epoch), freeze_step - 1),
            settings=frozen(joint, "temperature", "min_temperature", "noise_scale"),
        )

    def temperature(self, step: jax.Array) -> jax.Array:
        """Returns the temperature of the soft assignments: it falls exponentially until the quantizer is frozen."""
        start, end = self.settings.temperature, self.settings.min_temperature
        return start * (end / start) ** jnp.minimum(self._done(step), 1.0)

    def noise_scale(self, step: jax.Array) -> jax.Array:
        """Returns the scale of the noise on the choice of codes, which falls linearly to 0."""
        return self.settings.noise_scale * jnp.maximum(1.0 - self._done(step) / _NOISELESS_FROM, 0.0)

    def _done(self, step: jax.Array) -> jax.Array:
        return jnp.asarray(step, jnp.float32) / self.freeze_step

    def noiseless(self, step: int) -> bool:
        """Whether codes are settling at a step: they are no longer sampled, nor begun anew."""
        return step >= _NOISELESS_FROM * self.freeze_step

    def rate(self, peak: float) -> Schedule:
        """Returns a learning rate that rises to its peak, and is 0 where the quantizer is frozen."""
        ramp = optax.linear_schedule(peak / (self.warmup_steps + 1), peak, self.warmup_steps)
        fall = optax.cosine_decay_schedule(peak, self.freeze_step - self.warmup_steps)
        return optax.join_schedules([ramp, fall], [self.warmup_steps])
