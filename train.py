"""Trains a quantizer (RQ-VAE) on item vectors. This script is `sid-jax train` for a clone of the repository.

python train.py --config=configs/ml100k.py:gumbel --workdir=runs/ml100k
"""

import time

STARTED = time.monotonic()

from sid_jax import signals  # noqa: E402

signals.end_at_once()

from sid_jax.cli import train  # noqa: E402  (the clock starts before the imports, which are part of the start-up time)

if __name__ == "__main__":
    train.run(STARTED)
