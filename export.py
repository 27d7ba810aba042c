"""Writes the Semantic IDs and codebooks of a run. This script is `sid-jax export` for a clone of the repository.

python export.py --workdir=runs/ml100k --out=exports/ml100k
"""

from sid_jax import signals

signals.end_at_once()

from sid_jax.cli import export  # noqa: E402  (Ctrl-C during the imports ends the program without a traceback)

if __name__ == "__main__":
    export.run()
