"""Stores the trials of a sweep and their results in an SQLite file, and determines the next trial from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.errors import UserError, reason
from sid_jax.sweep.space import OneOf, Space


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial of a sweep.

    Attributes:
      number: number of the trial, from 0.
      settings: values of the searched settings, by name.
      values: distinct rate and R^2; None if the trial is running or failed.
      state: "running", "complete" or "failed".
    """

    number: int
    settings: Mapping[str, Any]
    values: tuple[float, float] | None
    state: str


class Study:
    """The trials of one sweep, which run one after another.

    The settings of the next trial depend only on the seed, the trial's number and the earlier trials. A stopped sweep
    therefore continues as if it had not been stopped.

    Args:
      path: the SQLite file; created if it does not exist.
      space: the search space.
      seed: seed of the sampler.
      first: settings of the first trial; None if the sampler chooses them.

    Raises:
      UserError: if the file is not the file of a sweep.
    """

    def __init__(self, path: Path, space: Space, seed: int, first: Mapping[str, Any] | None):
        # Optuna is imported here, since it is an optional dependency.
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna: Any = optuna
        self._space, self._seed = space, seed
        try:
            self._study = self._optuna.create_study(
                storage=f"sqlite:///{path.absolute()}",
                study_name="sweep",
                directions=["maximize", "maximize"],
                load_if_exists=True,
            )
            if first is not None and not self._study.trials:
                texts = {name: repr(value) for name, value in first.items() if isinstance(space[name], OneOf)}
                self._study.enqueue_trial({**first, **texts})
        except Exception as error:  # For a file of another program, the database libraries raise many kinds of errors.
            raise UserError(
                f"{path} cannot be used for a sweep ({type(error).__name__}: {reason(error)}); choose another --workdir"
            ) from error

    def next(self) -> Trial:
        """Returns the trial that was started but has not ended. If there is none, starts a new trial and returns it."""
        running = [trial for trial in self.trials() if trial.state == "running"]
        if running:
            return running[0]
        numbers = np.random.SeedSequence([self._seed, len(self._study.trials)]).generate_state(1)
        self._study.sampler = self._optuna.samplers.TPESampler(seed=int(numbers[0]))
        begun = self._study.ask(self._distributions())
        return Trial(begun.number, self._settings(begun.params), None, "running")

    def complete(self, trial: Trial, distinct_rate: float, r2: float) -> None:
        """Records the results of a trial."""
        self._study.tell(trial.number, (distinct_rate, r2))

    def fail(self, trial: Trial) -> None:
        """Records that a trial failed."""
        self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)

    def trials(self) -> list[Trial]:
        """Returns all trials that were started."""
        states = self._optuna.trial.TrialState
        names = {states.RUNNING: "running", states.COMPLETE: "complete", states.FAIL: "failed"}
        return [
            Trial(each.number, self._settings(each.params), each.values and tuple(each.values), names[each.state])
            for each in self._study.get_trials()
            if each.state in names and len(each.params) == len(self._space)
        ]

    def front(self) -> list[Trial]:
        """Returns the Pareto front, the trials that no other trial dominates, by ascending distinct rate."""
        best = {each.number for each in self._study.best_trials}
        return sorted((each for each in self.trials() if each.number in best), key=lambda each: each.values or ())

    def _distributions(self) -> dict[str, Any]:
        kinds = self._optuna.distributions
        made: dict[str, Any] = {}
        for name, values in self._space.items():
            if isinstance(values, OneOf):
                made[name] = kinds.CategoricalDistribution([repr(value) for value in values.values])
            else:
                whole = isinstance(values.low, int) and isinstance(values.high, int)
                kind: Callable[..., Any] = kinds.IntDistribution if whole else kinds.FloatDistribution
                made[name] = kind(values.low, values.high, log=values.log)
        return made

    def _settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, values in self._space.items():
            if name in params:
                by_text = {repr(value): value for value in values.values} if isinstance(values, OneOf) else {}
                found[name] = by_text.get(params[name], params[name])
        return found
