"""Semantic IDs of MovieLens movies (100,000 to 32 million ratings), from titles and genres.

python train.py --config=configs/movielens.py:1m --workdir=runs/ml1m
python train.py --config=configs/movielens.py:25m,gumbel --config.data.path=ml-25m.zip --workdir=runs/ml25m

Arguments: 100k, 1m, 10m, 20m, 25m, 32m or latest-small; 100k is the same as configs/ml100k.py. --config.data.path is
the folder or zip of your copy, in GroupLens' layout. Without this setting, the zip is downloaded from GroupLens.
"""

from sid_jax.presets import movielens

get_config = movielens
