"""Trains a residual-quantized autoencoder on item vectors.

python train.py --config=configs/ml100k.py:gumbel --workdir=runs/ml100k
"""

import time

STARTED = time.monotonic()

from pathlib import Path  # noqa: E402  (the clock starts before the imports, which are part of the start-up time)

from absl import flags  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from sid_jax import command  # noqa: E402
from sid_jax.config import default_config  # noqa: E402
from sid_jax.settings import field_names  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file in configs/, with its argument after a colon; --config.name=value sets a field."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; one that holds this run already is resumed.", required=True
)
flags.mark_flag_as_required("config")


def main() -> None:
    """Trains the run that the flags describe."""
    from sid_jax.training.loop import train

    train(_CONFIG.value, Path(_WORKDIR.value), started=STARTED)


if __name__ == "__main__":
    command.run(main, field_names(default_config()))
