"""Writes the Semantic IDs and the codebooks of a trained run: `sid-jax export`, from a copy of the repository.

python export.py --workdir=runs/ml100k --out=exports/ml100k
"""

from sid_jax.cli import export

if __name__ == "__main__":
    export.run()
