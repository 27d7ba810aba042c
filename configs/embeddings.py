"""Your own vectors, from files of many kinds, to Semantic IDs.

python train.py --config=configs/embeddings.py --config.data.path=items.parquet --workdir=runs/items

Columns are called item_id and vector, or as --config.data.id_column and --config.data.vector_column say. For a .npy,
--config.data.ids_path names a text file with one id a line; without it an id is a row number.

12,101 sentence vectors of 384 features (Amazon Beauty), 2 CPU cores, 60 s from start to unique IDs, 46 s the next time:
every code in use, distinct codes .907 of at most .998, R^2 .714, of the unique IDs .006 less.
"""

from ml_collections import ConfigDict

from sid_jax.config import default_config
from sid_jax.errors import UserError
from sid_jax.settings import choose


def get_config(arg: str = "ste") -> ConfigDict:
    """Returns the settings; `arg` is "ste", "gumbel" or "rkmeans"; ",quick" makes it short, ",best" long.

    "best", and nothing before it, is the long run of "ste".
    """
    method, options = choose(arg, ["ste", "gumbel", "rkmeans"], ["quick", "best"])
    if method == "rkmeans" and "best" in options:
        raise UserError(f"unknown argument {arg!r}: rkmeans has no long run, since it has settled after the short one")
    config = default_config()
    config.data.source = "vectors"
    # What a linear map keeps is there from the start; two wide layers learn the rest, at a high rate.
    config.model.encoder = "residual"
    config.model.latent_dimension = 112
    config.model.hidden_dimensions = (1024, 256)
    config.train.learning_rate = 5e-3
    # Two such layers learn some ten thousand items by heart, unless they see others too.
    config.train.augmentation = 0.25
    config.train.num_epochs = 45
    config.train.eval_every_epochs = 15.0
    if "quick" in options:
        config.train.num_epochs = 5
        config.train.warmup_epochs = 0.5
    if "best" in options:
        # Twice as wide, with dropout, and ten minutes instead of one: R^2 of trained and of new items is higher.
        config.model.hidden_dimensions = (2048, 256)
        config.model.dropout = 0.1
        config.train.num_epochs = 120
        config.train.eval_every_epochs = 40.0
    if method == "gumbel":
        config.model.quantization_method = "gumbel_softmax"
        # The temperature reaches its floor at the end of the run, whatever the number of items and epochs.
        config.train.annealing_schedule = "cosine"
        # Less of both than where codes start from nothing: strong noise undoes what the encoder starts with.
        config.model.temperature = 0.1
        config.model.noise_scale = 0.01
        # The noise teaches something of what lies round the items already.
        config.train.augmentation = 0.15
    if method == "rkmeans":
        # Residual k-means: no network. It starts from Lloyd's iterations on a sample, and then sees every item.
        config.model.encoder = "identity"
        config.model.quantization_method = "ema"
        config.train.augmentation = 0.0
        config.train.kmeans_iterations = 100
        config.train.num_epochs = 5
        config.train.warmup_epochs = 0.0
    return config
