"""Searches for settings that give both distinct codes and a low reconstruction error.

Example:
  sid-jax sweep --config=embeddings --config.data.path=items.parquet --workdir=sweeps/items
"""

from __future__ import annotations

from absl import flags
from ml_collections import config_flags

from sid_jax import command, presets
from sid_jax.config import SETTINGS
from sid_jax.paths import local_path
from sid_jax.signals import training_stopped

_CONFIG = command.config_flag(presets.QUANTIZER)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the sweep. An existing sweep is resumed.", required=True)
_TRIALS = flags.DEFINE_integer("trials", 20, "Number of trials, including those of earlier calls.", 1)


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run(_main, __doc__, SETTINGS)


def _main() -> None:
    from sid_jax.sweep.run import sweep
    from sid_jax.sweep.space import load_space

    flag = flags.FLAGS["config"]
    given = config_flags.get_override_values(flag)
    space = load_space(config_flags.get_config_filename(flag), _CONFIG.value, given)
    if not sweep(_CONFIG.value, space, local_path(_WORKDIR.value), num_trials=_TRIALS.value):
        raise training_stopped()
