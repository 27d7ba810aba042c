"""Schedules of joint training as traced functions of the step: temperature, noise and learning rates."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import FrozenConfigDict

from sid_jax.streams import stream_key
from sid_jax.training.schedules import Schedule

# Arguments of `residual_quantize` for each estimator.
_CHOICES: dict[str, dict[str, Any]] = {
    "ste": {"method": "ste"},
    "gumbel": {"method": "gumbel_softmax", "hard": True},
    "soft": {"method": "gumbel_softmax", "hard": False},
}


@dataclasses.dataclass(frozen=True)
class Course:
    """Schedules of a quantizer in joint training; hashed by value.

    Attributes:
      freeze_step: number of steps after which the quantizer is frozen.
      warmup_steps: number of warm-up steps of the quantizer's learning rates.
      settings: temperature, min_temperature and noise_scale.
      settle_share: number of noiseless steps, as a share of `freeze_step`. They are the last steps before
        `freeze_step`. In these steps, no noise is added to the choice of codes.
      hold: whether parameters are frozen before `freeze_step`. If True, the encoder is frozen in the noiseless steps,
        and codebooks and decoder are frozen in the second half of them. If False, all learning rates fall to 0 at
        `freeze_step`.
    """

    freeze_step: int
    warmup_steps: int
    settings: FrozenConfigDict
    settle_share: float = 0.2
    hold: bool = False

    def temperature(self, step: jax.Array | int) -> jax.Array:
        """Returns the temperature of the soft assignments, which falls exponentially until `freeze_step`."""
        start, end = self.settings.temperature, self.settings.min_temperature
        return start * (end / start) ** jnp.minimum(self._done(step), 1.0)

    def noise_scale(self, step: jax.Array | int) -> jax.Array:
        """Returns the scale of the noise on the choice of codes, which falls linearly to 0."""
        noisy = max(1 - self.settle_share, 1e-6)
        return self.settings.noise_scale * jnp.maximum(1.0 - self._done(step) / noisy, 0.0)

    def _done(self, step: jax.Array | int) -> jax.Array:
        return jnp.asarray(step, jnp.float32) / self.freeze_step

    def noiseless(self, step: jax.Array | int) -> Any:
        """Returns whether a step is one of the noiseless steps (`settle_share`). In these steps, no code is reset."""
        return step >= (1 - self.settle_share) * self.freeze_step

    def last_step(self, group: str) -> int:
        """Returns the step from which the parameters of a group, such as "encoder", no longer change."""
        share = (1.0 if group == "encoder" else 0.5) if self.hold else 0.0
        return max(1, int((1 - share * self.settle_share) * self.freeze_step))

    def rate(self, peak: float, group: str) -> Schedule:
        """Returns a learning rate schedule: warm-up to the peak, then a cosine decay to 0 at the group's last step."""
        end = self.last_step(group)
        warmup = min(self.warmup_steps, end - 1)
        ramp = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
        fall = optax.cosine_decay_schedule(peak, end - warmup)
        return optax.join_schedules([ramp, fall], [warmup])

    def choices(self, estimator: str, seed: int, step: jax.Array | int) -> dict[str, Any]:
        """Returns the arguments of `residual_quantize` at a step; the estimator is "gumbel", "ste" or "soft"."""
        noisy = estimator == "gumbel"
        return {
            **_CHOICES[estimator],
            "key": stream_key(seed, "joint_noise", step) if noisy else None,
            "noise_scale": self.noise_scale(step) if noisy else 0.0,
            "temperature": self.temperature(step),
        }
