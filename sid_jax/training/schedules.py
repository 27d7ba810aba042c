"""Lengths of a run in steps, and schedules of temperature, noise and learning rate as traced functions of the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict, FrozenConfigDict

from sid_jax.settings import AUTO

Schedule = Callable[[jax.Array], jax.Array]

# With `train.num_epochs="auto"`: the maximum number of items of a small catalog (docs/scale.md has the measurements),
# and the minimum number of steps of a run. The minimum gives more epochs to a catalog of a few hundred items, whose
# epochs have only one or two steps.
_SMALL_CATALOG, _FEWEST_STEPS = 80_000, 60
# With `train.settle_share="auto"`: the shares for a small and for a large catalog, and the maximum number of items of
# a small catalog (docs/experiments.md has the measurements).
_SMALL_SHARE, _LARGE_SHARE, _SMALL_TO_SETTLE = 0.25, 0.4, 100_000
# With `train.learning_rate="auto"`: the peak learning rate of a short run, and the maximum number of steps of a short
# run (docs/experiments.md has the measurements).
_AUTO_RATE, _SHORT_RUN = 1e-2, 800


def frozen(section: ConfigDict, *names: str) -> FrozenConfigDict:
    """Returns settings of a section, by default all, in a form that jit hashes by value as a static argument.

    Schedules and optimizers are compared by identity. As static arguments, they would cause a recompilation even for a
    run with equal settings. They are therefore built from the frozen settings inside the compiled functions.
    """
    return FrozenConfigDict({name: section[name] for name in names or section})


def num_epochs_of(train: ConfigDict, num_examples: int) -> float:
    """Returns `train.num_epochs`. If the setting is "auto", the number is derived from the number N of examples.

    With "auto", the number of examples seen in training is proportional to N up to N = 80,000, and to N^(1/4) above.
    Training on a million items therefore has about twice as many steps as on 80,000. A run has at least 60 steps.
    """
    if train.num_epochs != AUTO:
        return train.num_epochs
    epochs = train.auto_epochs * min(1.0, (_SMALL_CATALOG / num_examples) ** (3 / 4))
    return max(epochs, _FEWEST_STEPS / -(-num_examples // train.batch_size))


def settle_share_of(train: ConfigDict, num_items: int) -> float:
    """Returns `train.settle_share`. If the setting is "auto", it is 0.25 for up to 100,000 items, and 0.4 for more.

    It is the share of steps, at the end of a run, in which the encoder is frozen. These steps take less time. They have
    no augmentation, so the network memorizes a small catalog in these steps, and reconstructs new items worse.
    """
    if train.settle_share != AUTO:
        return train.settle_share
    return _SMALL_SHARE if num_items <= _SMALL_TO_SETTLE else _LARGE_SHARE


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Lengths of a run in steps, converted from the config's epochs.

    An epoch is the smallest number of whole batches that contains every example. The last batch is filled with examples
    of the same epoch, so that all batches have the same size.

    Settings in epochs are multiplied by `steps_per_unit`. A unit is an epoch or, if `num_epochs` is "auto", the
    run's steps divided by `auto_epochs`.
    """

    steps_per_epoch: int
    steps_per_unit: float
    num_steps: int
    warmup_steps: int
    log_every_steps: int
    eval_every_steps: int

    @classmethod
    def of(cls, train: ConfigDict, num_examples: int, most_steps_a_call: int | None = None) -> Lengths:
        """Returns the lengths of a run over `num_examples` examples. Evaluations are at the end of compiled calls.

        A call takes at most `train.log_every_steps` and at most `most_steps_a_call` steps. If possible, all calls take
        the same number of steps, at least half of this maximum. Only one program is then compiled.
        """
        steps_per_epoch = -(-num_examples // train.batch_size)
        num_steps = max(1, round(num_epochs_of(train, num_examples) * steps_per_epoch))
        unit = num_steps / train.auto_epochs if train.num_epochs == AUTO else steps_per_epoch
        most = min(train.log_every_steps, num_steps, most_steps_a_call or num_steps)
        log_every = next((each for each in range(most, (most - 1) // 2, -1) if num_steps % each == 0), most)
        return cls(
            steps_per_epoch=steps_per_epoch,
            steps_per_unit=unit,
            num_steps=num_steps,
            warmup_steps=round(train.warmup_epochs * unit),
            log_every_steps=log_every,
            eval_every_steps=max(1, round(train.eval_every_epochs * unit / log_every)) * log_every,
        )

    def ends_in_evaluation(self, step: int) -> bool:
        """Returns whether an evaluation follows the step (counted from 1)."""
        return step == self.num_steps or step % self.eval_every_steps == 0


@dataclasses.dataclass(frozen=True)
class Durations(Lengths):
    """Lengths of the quantizer's training, in steps."""

    revive_every_steps: int
    revive_until_step: int
    settle_from_step: int

    @classmethod
    def of(cls, train: ConfigDict, num_examples: int, most_steps_a_call: int | None = None) -> Durations:
        """Returns the durations of a run over `num_examples` items; see `Lengths.of`."""
        lengths = Lengths.of(train, num_examples, most_steps_a_call)
        settle_from = round((1 - settle_share_of(train, num_examples)) * lengths.num_steps)
        if train.precision != "float32":
            # The steps with a frozen encoder use float32. The precision can change only between two compiled calls, so
            # the first of these steps must be the first step of a call.
            settle_from -= settle_from % lengths.log_every_steps
        return cls(
            **dataclasses.asdict(lengths),
            revive_every_steps=round(train.revive_every_epochs * lengths.steps_per_unit),
            revive_until_step=round(train.revive_until * lengths.num_steps),
            settle_from_step=settle_from,
        )

    def ends_in_evaluation(self, step: int) -> bool:
        """Returns whether an evaluation follows the step (counted from 1).

        The last step is always evaluated. An evaluation that would take place shortly before the last step is omitted,
        since an evaluation of a million items takes half a minute.
        """
        soon = 0 < self.num_steps - step < self.eval_every_steps / 2
        return super().ends_in_evaluation(step) and not soon


def temperature_schedule(model: ConfigDict, train: ConfigDict, durations: Durations) -> Schedule:
    """Returns the Gumbel-softmax temperature as a function of the step.

    The temperature is updated every `temperature_update_frequency` epochs, by the annealing schedule.
    "exponential": it is `temperature * temperature_decay^updates`, where `updates` is the number of updates so far.
    "linear" and "cosine": it falls from the initial temperature to `min_temperature` over the run.
    "constant", and any schedule without annealing: it stays at the initial temperature.
    With annealing, the temperature is never below `min_temperature`.
    """
    start, floor = model.temperature, model.min_temperature
    update_steps = max(1, round(train.temperature_update_frequency * durations.steps_per_unit))
    num_updates = max(1, (durations.num_steps - 1) // update_steps)

    courses: dict[str, Schedule] = {
        "exponential": lambda updates: start * jnp.power(jnp.float32(model.temperature_decay), updates),
        # In this form, the last value is exactly the minimum, so the noise ends at exactly 0.
        "linear": lambda updates: floor + (start - floor) * (num_updates - updates) / num_updates,
        "cosine": lambda updates: floor + (start - floor) * 0.5 * (1 + jnp.cos(jnp.pi * updates / num_updates)),
        "constant": lambda updates: jnp.full_like(updates, start),
    }
    course = courses[train.annealing_schedule]

    def temperature(step: jax.Array) -> jax.Array:
        updates = jnp.asarray(step // update_steps, jnp.float32)
        return jnp.maximum(course(updates), floor) if train.temperature_annealing else jnp.float32(start)

    return temperature


def noise_schedule(model: ConfigDict, temperature: Schedule) -> Schedule:
    """Returns the scale of the Gumbel noise: it falls with the temperature, and is 0 at the minimum temperature.

    If the initial temperature is already the minimum, the scale is constant. The sampled code maximizes score plus
    noise at any temperature. Training codes therefore equal exported codes only if the noise falls to 0; a low
    temperature is not enough.
    """
    start, floor = model.temperature, model.min_temperature
    if start <= floor:
        return lambda step: jnp.float32(model.noise_scale)
    return lambda step: model.noise_scale * (temperature(step) - floor) / (start - floor)


def peak_learning_rate(train: ConfigDict, num_steps: int) -> float:
    """Returns `train.learning_rate`. If the setting is "auto", the rate is derived from the number of steps of the run.

    Short runs need a high rate to make enough progress. In long runs, a high rate only adds noise.
    """
    if train.learning_rate != AUTO:
        return train.learning_rate
    return _AUTO_RATE * min(1.0, _SHORT_RUN / num_steps) ** 0.5


def learning_rate_schedule(train: ConfigDict, lengths: Lengths, peak: float | None = None) -> Schedule:
    """Returns the learning rate: a linear warm-up, followed by a cosine decay to 0 or by a constant rate.

    `peak` replaces `train.learning_rate`. With another peak, this is also the schedule of other rates, such as the rate
    at which the moving averages of "ema" change.
    """
    peak = peak_learning_rate(train, lengths.num_steps) if peak is None else peak
    warmup = min(lengths.warmup_steps, lengths.num_steps - 1)
    if train.learning_rate_schedule == "constant":
        after = optax.constant_schedule(peak)
    else:
        after = optax.cosine_decay_schedule(peak, lengths.num_steps - warmup)
    # The warm-up starts above 0, so that the first step has an effect. The rate reaches its peak at step `warmup`.
    ramp = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([ramp, after], [warmup])
