"""Semantic IDs of the 1,682 movies, or 943 users, of MovieLens-100K.

python train.py --config=configs/ml100k.py:gumbel --workdir=runs/ml100k

The IDs reflect text, genres and co-occurrence, without the last two ratings of each user; `:text` uses text only.
Each result is the lowest of seeds 0 to 2; all codes are in use. Distinct rate: .992 with ste, .994 with gumbel; with
text only, .979 and .980 (upper bound .989). R^2: .873 with ste, .827 with gumbel; with text only, .895 and .841. A run
takes 29 to 43 CPU seconds, with programs that an earlier run has compiled.
"""

from sid_jax.presets import ml100k

get_config = ml100k
