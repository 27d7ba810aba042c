"""Settings of a comparison of rankers whose item features are Semantic IDs, random hashes, item ids or vectors.

python benchmarks/ranking.py --config=benchmarks/ranking_study/ml100k.py --workdir=runs/ranking

A ranker predicts for each rating of MovieLens-100K whether it is a like, that is, four stars or more (task and methods:
Singh et al., 2306.08121). Rankers are trained on the earliest 80 % of the ratings and tested on the others. In each of
five runs, a different fifth of the movies is cold.
"""

from ml_collections import ConfigDict

from ranking_study.config import default_config
from sid_jax.presets import set_few_items
from sid_jax.settings import choose


def get_config(arg: str = "ml100k") -> ConfigDict:
    """Returns the settings; `arg` is "ml100k", or "ml100k,quick" for a short run."""
    _, options = choose(arg, ["ml100k"], ["quick"])
    config = default_config()
    config.data.source = config.quantizer.data.source = "movielens-100k"
    set_few_items(config.quantizer, num_epochs=600)
    config.quantizer.model.codebook_size = 32
    config.quantizer.train.num_epochs = 300
    config.quantizer.train.batch_size = 512
    config.quantizer.train.learning_rate = 3e-3
    config.quantizer.train.eval_every_epochs = 100.0
    # Movies with equal codes have the same ID, so a ranker cannot distinguish them.
    config.quantizer.ids.unique = "none"
    if "quick" in options:
        config.runs = 1
        config.sides.rows = (250,)
        config.quantizer.train.num_epochs = 5
        config.quantizer.train.warmup_epochs = 0.5
        config.train.num_epochs = 1.0
    return config
