"""MovieLens, from 100,000 ratings to 32 million: films, from their titles and genres to Semantic IDs.

python train.py --config=configs/movielens.py:1m --workdir=runs/ml1m
python train.py --config=configs/movielens.py:25m,gumbel --config.data.path=ml-25m.zip --workdir=runs/ml25m

100k, 1m, 10m, 20m, 25m, 32m or latest-small; 100k is configs/ml100k.py by another name. A copy of yours is a folder or
zip in GroupLens' layout, by --config.data.path; without one, GroupLens' zip is fetched.
"""

from ml_collections import ConfigDict

from sid_jax.config import default_config
from sid_jax.data.catalogs.names import MOVIELENS_SIZES
from sid_jax.settings import choose

# Films of the sizes that have few; the others have 10,681 to 87,585.
_FEW = {"100k": 1682, "1m": 3883, "latest-small": 9742}


def get_config(arg: str = "100k") -> ConfigDict:
    """Returns the settings; `arg` is a size, and may add "gumbel" and "quick" after commas."""
    size, options = choose(arg, MOVIELENS_SIZES, ["ste", "gumbel", "quick"])
    config = default_config()
    config.data.source = f"movielens-{size}"
    if size in _FEW:
        _for_few(config, _FEW[size])
    else:
        _for_many(config)
    if "quick" in options:
        config.train.num_epochs = 20 if size in _FEW else 5
        config.train.warmup_epochs = 2.0 if size in _FEW else 0.5
    if "gumbel" in options:
        config.model.quantization_method = "gumbel_softmax"
        if size in _FEW:
            config.model.temperature_decay = (0.05 / 2.0) ** (1 / (0.8 * config.train.num_epochs))
        else:
            config.train.annealing_schedule = "cosine"
            config.model.temperature = 0.1
            config.model.noise_scale = 0.01
            config.train.augmentation = 0.15
    return config


def _for_few(config: ConfigDict, num_films: int) -> None:
    """As in configs/ml100k.py, with as many steps for more films."""
    config.model.codebook_size = 128
    config.model.hidden_dimensions = (512, 256)
    config.train.batch_size = 512
    config.train.learning_rate = 3e-3
    epochs = round(600 * 1682 / num_films)
    config.train.num_epochs = epochs
    config.train.warmup_epochs = epochs / 24
    config.train.revive_every_epochs = epochs / 60
    config.train.eval_every_epochs = epochs / 12


def _for_many(config: ConfigDict) -> None:
    """As in configs/embeddings.py."""
    config.model.encoder = "residual"
    config.model.latent_dimension = 112
    config.model.hidden_dimensions = (1024, 256)
    config.train.learning_rate = 5e-3
    config.train.augmentation = 0.25
    config.train.num_epochs = 45
    config.train.eval_every_epochs = 15.0
