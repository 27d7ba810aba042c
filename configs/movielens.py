"""MovieLens, from 100,000 ratings to 32 million: films, from their titles and genres to Semantic IDs.

python train.py --config=configs/movielens.py:1m --workdir=runs/ml1m
python train.py --config=configs/movielens.py:25m,gumbel --config.data.path=ml-25m.zip --workdir=runs/ml25m

100k, 1m, 10m, 20m, 25m, 32m or latest-small; 100k is configs/ml100k.py by another name. A copy of yours is a folder or
zip in GroupLens' layout, by --config.data.path; without one, GroupLens' zip is fetched.
"""

from sid_jax.presets import movielens

get_config = movielens
