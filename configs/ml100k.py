"""MovieLens-100K: 1,682 films, or 943 users, from ratings to Semantic IDs.

python train.py --config=configs/ml100k.py:gumbel --workdir=runs/ml100k

On 2 CPU cores 41 to 67 s. The lowest of seeds 0 to 4, ste / gumbel: distinct codes .977 / .974 of at most .989, R^2
.860 / .828, all codes of all levels in use.
"""

from sid_jax.presets import ml100k

get_config = ml100k
