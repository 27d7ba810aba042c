"""Presets: named sets of settings. `preset("ml100k:gumbel")` returns the settings of `--config=ml100k:gumbel`.

A preset changes some of the default settings. The default settings are recommended for vectors of any origin. The
folder `configs/` has the same presets as files for `--config` that can be copied.
"""

from __future__ import annotations

from collections.abc import Callable

from ml_collections import ConfigDict

from sid_jax.config import default_config
from sid_jax.data.catalogs.names import AMAZON_CATEGORIES, AMAZON_EDITIONS, MOVIELENS_SIZES
from sid_jax.errors import UserError
from sid_jax.settings import choose

# Options of which a preset accepts at most one: quantization methods, and kinds of recommenders.
_METHODS, _KINDS = ("ste", "gumbel"), ("scorer", "decoder")
# Number of movies in each small MovieLens data set. The other data sets have 10,681 to 87,585 movies.
_FEW_MOVIES = {"100k": 1682, "1m": 3883, "latest-small": 9742}
# The data sets that the presets `recommend` and `joint` accept as arguments.
RECOMMENDER_DATA = ("ml100k", "beauty")


def preset(name: str) -> ConfigDict:
    """Returns the settings of a preset.

    Args:
      name: a name in `PRESETS`, with an optional argument after a colon: "embeddings", "ml100k:gumbel,quick",
        "recommend:beauty".

    Raises:
      UserError: if the preset or its argument is unknown.
    """
    name, colon, argument = name.partition(":")
    if name not in PRESETS:
        raise UserError(
            f"there is no preset {name!r}; the presets are {', '.join(PRESETS)}; a config file must end in .py"
        )
    return PRESETS[name](argument) if colon else PRESETS[name]()


def embeddings(arg: str = "ste") -> ConfigDict:
    """Returns the settings for your own vectors; `arg` is "ste", "gumbel", "rkmeans" or "opq".

    Add "quick" for a short first run, or "best" for a long run. "best" without a method is the long run of "ste".
    """
    method, options = choose(arg, ["ste", "gumbel", "rkmeans", "opq"], ["quick", "best"])
    if method in ("rkmeans", "opq") and "best" in options:
        raise UserError(
            f"unknown argument {arg!r}: {method} converges in a short run, so there is no long run; omit best"
        )
    config = default_config()
    if "quick" in options:
        _set_quick(config)
    if "best" in options:
        # Compared with the default, the first hidden layer is twice as wide, the network has dropout, and R^2 is higher
        # both on the training items and on new items. On Amazon Beauty, training takes ten times as long.
        config.model.hidden_dimensions = (2048, 256)
        config.model.dropout = 0.1
        # These settings were chosen with this batch size.
        config.train.batch_size = 1024
        config.train.num_epochs = 120
        config.train.eval_every_epochs = 40.0
    if method == "gumbel":
        _set_gumbel(config)
    if method in ("rkmeans", "opq"):
        # These methods are k-means without a network: Lloyd iterations on a sample, and then training on all items.
        config.model.encoder = "identity"
        config.model.quantization_method = "ema"
        config.train.augmentation = 0.0
        config.train.kmeans_iterations = 100
        # These settings were chosen with this batch size.
        config.train.batch_size = 1024
        config.train.num_epochs = 5
        config.train.warmup_epochs = 0.0
    if method == "opq":
        config.model.quantizer = "opq"
        config.model.num_levels = 16
        # Rotation and codewords converge on a sample during initialization, so one epoch on all items is enough.
        config.train.kmeans_iterations = 25
        config.train.num_epochs = 1
    return config


def ml100k(arg: str = "ste") -> ConfigDict:
    """Returns the settings for MovieLens-100K; `arg` is "ste" or "gumbel", optionally with "text" and "quick".

    Vectors have three parts: text, genres, and co-occurrence vectors from the ratings. With "text", vectors are
    computed only from texts, which contain titles, years and genres.
    """
    choose(arg, ["ste", "gumbel"], ["text", "quick"])
    return movielens(f"100k,{arg}")


def movielens(arg: str = "100k") -> ConfigDict:
    """Returns the settings for a MovieLens data set; `arg` is its size, optionally with "gumbel", "text" and "quick".

    For data sets with few movies, vectors have the parts of `ml100k`; for other data sets, vectors are computed
    from texts alone.
    """
    size, options = choose(arg, MOVIELENS_SIZES, [*_METHODS, "text", "quick"], one_of=_METHODS)
    config = default_config()
    config.data.source = f"movielens-{size}"
    if size not in _FEW_MOVIES:
        _set_options(config, options)
        return config
    if "text" not in options:
        # Compared with text alone, genres and co-occurrence vectors raise a recommender's ndcg@10 from .096 to .108.
        # The weights of these parts were chosen on validation data. With weight 2 for co-occurrence vectors, ndcg@10 is
        # the same, but the purity of the movies' first codes falls from .990 to .970.
        config.data.parts = "genres=categories:genres*1.0"
        config.data.histories.source = config.data.source
        config.data.collaborative_weight = 1.5
    epochs = round(300 * 1682 / _FEW_MOVIES[size])
    set_few_items(config, epochs)
    if "quick" in options:
        config.train.num_epochs, config.train.warmup_epochs = 20, 2.0
    if "gumbel" in options:
        config.model.quantization_method = "gumbel_softmax"
    return config


def amazon(arg: str = "beauty") -> ConfigDict:
    """Returns the settings for Amazon products; `arg` is a category, optionally with an edition, "gumbel" and "quick".

    An edition is a year of the data, such as "2014".
    """
    category, options = choose(arg, list(AMAZON_CATEGORIES), [*AMAZON_EDITIONS, *_METHODS, "quick"], one_of=_METHODS)
    editions = options & set(AMAZON_EDITIONS)
    if len(editions) > 1:
        raise UserError(f"argument {arg!r} has several editions; give one edition: {', '.join(AMAZON_EDITIONS)}")
    config = default_config()
    config.data.source = f"amazon-{next(iter(editions), AMAZON_EDITIONS[0])}-{category}"
    _set_options(config, options)
    return config


def recommend(arg: str = "ml100k") -> ConfigDict:
    """Returns the settings of a recommender; `arg` is "ml100k" or "beauty", optionally with options.

    The options are "scorer" (the default) or "decoder", and "quick". "ml100k" and "beauty" differ in the data source
    and in the quantizer of the IDs. The scorer has the same settings for both, with early stopping. "decoder" selects
    the generative decoder, whose settings depend on the data.
    """
    from sid_jax.recommend.config import default_config as default_recommender

    data_set, options = choose(arg, RECOMMENDER_DATA, [*_KINDS, "quick"], one_of=_KINDS)
    config = default_recommender()
    if data_set == "ml100k":
        config.data.source = config.quantizer.data.source = "movielens-100k"
        # Ratings describe movies better than titles and genres do: ndcg@10 is .0867 with ratings, and .0773 without.
        config.quantizer.data.histories.source = "movielens-100k"
        # The results in docs/ were measured with IDs from a quantizer with these settings. With the batch size and the
        # learning rate of `set_few_items`, the IDs are equally good after 300 epochs.
        set_few_items(config.quantizer, num_epochs=600)
        config.quantizer.train.batch_size, config.quantizer.train.learning_rate = 512, 3e-3
        config.quantizer.train.eval_every_epochs = 100.0
    if "decoder" in options:
        _set_decoder(config, data_set)
    else:
        set_scorer(config)
    # In these data sets, no user has an item twice, and many published results exclude seen items.
    config.eval.exclude_seen = True
    if "quick" in options:
        config.train.num_epochs = 2.0
        _set_quick(config.quantizer)
    return config


def set_scorer(config: ConfigDict) -> None:
    """Selects the scorer, trained with early stopping; its settings are the same for all data sets."""
    config.model.kind = "scorer"
    config.model.features = 64
    config.model.num_layers = 2
    config.model.num_heads = 2
    config.model.hidden = 256
    config.model.content_hidden = 0
    config.model.item_dropout = 0.2
    config.model.members = 2
    config.model.dropout = 0.3
    config.train.label_smoothing = 0.05
    config.train.batch_size = 64
    config.train.learning_rate = 2e-3
    # A constant learning rate with averaged parameters does not depend on the number of epochs, so early stopping by
    # the validation metric can decide when training ends.
    config.train.learning_rate_schedule = "constant"
    config.train.average_epochs = 3.0
    config.train.num_epochs = 36.0
    config.train.patience = 2
    config.train.eval_every_epochs = 5.0
    config.eval.validation_users = 0
    for baseline in (config.sasrec, config.esasrec):
        baseline.num_layers, baseline.num_epochs = 1, 100.0
        baseline.learning_rate, baseline.label_smoothing = 2e-3, 0.1


def _set_decoder(config: ConfigDict, data_set: str) -> None:
    if data_set == "ml100k":
        # The model is small because the data is small: 1,682 movies and 100,000 ratings.
        config.model.features = 64
        config.model.num_layers = 2
        config.model.num_heads = 2
        config.model.hidden = 256
        config.model.code_hidden = 256
        config.train.num_epochs = 15.0
        # Seen items are excluded from the lists, since no user rates a movie twice. The beam search still finds seen
        # items, so it keeps 200 prefixes instead of the default 50.
        config.eval.num_beams = 200
    else:
        # The data has few interactions for a model of this size, so dropout is higher and training is longer. With the
        # default dropout of .2, the validation metric stops improving after 20 epochs, and is 9 % lower than with .35.
        config.model.dropout = 0.35
        config.train.num_epochs = 60.0
        config.train.eval_every_epochs = 10.0
        config.sasrec.num_epochs = config.esasrec.num_epochs = 60.0


def joint(arg: str = "ml100k") -> ConfigDict:
    """Returns the settings of joint training; `arg` is "ml100k" or "beauty", optionally with an estimator and "quick".

    The estimator is "gumbel" (the default), "ste" or "soft". The recommender is the decoder of `recommend`.
    """
    from sid_jax.recommend.config import ESTIMATORS

    data_set, options = choose(arg, RECOMMENDER_DATA, [*ESTIMATORS, "quick"], one_of=ESTIMATORS)
    config = recommend(",".join([data_set, "decoder", *(options & {"quick"})]))
    config.joint.estimator = next(iter(options - {"quick"}), "gumbel")
    if data_set == "ml100k":
        # The target gradient moves an item's first code toward the codes that the recommender predicts. Its weight is
        # higher here than on Beauty, since predictions are more reliable: a movie has sixty ratings on average, and a
        # product of Beauty has sixteen reviews.
        config.joint.target_gradient = 10.0
        config.joint.temperature, config.joint.min_temperature = 1.0, 0.3
    return config


def set_mlp(config: ConfigDict) -> None:
    """Sets a plain MLP encoder. It is initialized at random, and needs more epochs and a lower learning rate."""
    config.model.encoder = "mlp"
    config.model.latent_dimension = 32
    config.model.hidden_dimensions = (512, 256, 128)
    config.train.augmentation = 0.0
    # These settings were chosen with this batch size and this optimizer.
    config.train.batch_size = 1024
    config.train.optimizer = "adamw"
    config.train.settle_share = 0.2
    config.train.learning_rate = 1e-3
    config.train.num_epochs = 100
    config.train.eval_every_epochs = 10.0
    # The default temperature and noise are for the residual encoder, which is initialized with the principal axes and
    # is useful from the start. An encoder that is initialized at random needs higher values.
    config.model.temperature = 2.0
    config.model.noise_scale = 0.2
    config.train.annealing_schedule = "exponential"


def set_few_items(config: ConfigDict, num_epochs: int) -> None:
    """Sets the recommended settings for a few thousand items: a plain MLP, small codebooks and `num_epochs` epochs."""
    set_mlp(config)
    # With these sizes, a first code is shared by 13 of the 1,682 movies of MovieLens-100K on average. Three codes
    # distinguish nearly all movies that have different vectors.
    config.model.num_levels, config.model.codebook_size = 3, 128
    config.model.hidden_dimensions = (512, 256)
    # Compared with a batch size of 512, a learning rate of 3e-3 and twice as many epochs, training takes .6 of the
    # CPU time. R^2 is higher with the straight-through estimator, and about the same with Gumbel-softmax.
    config.train.batch_size = 256
    config.train.learning_rate = 8e-3
    config.train.num_epochs = num_epochs
    # The warm-up takes about a hundred steps. Without it, early changes of the encoder would make items change codes
    # back and forth.
    config.train.warmup_epochs = num_epochs / 24
    config.train.revive_every_epochs = num_epochs / 60
    config.train.eval_every_epochs = num_epochs / 12
    # The temperature stays high for longer than with the exponential schedule, so less noise suffices.
    config.train.annealing_schedule = "cosine"
    config.model.noise_scale = 0.1


def _set_options(config: ConfigDict, options: set[str]) -> None:
    if "quick" in options:
        _set_quick(config)
    if "gumbel" in options:
        _set_gumbel(config)


def _set_quick(config: ConfigDict) -> None:
    config.train.num_epochs = 5
    config.train.warmup_epochs = 0.5


def _set_gumbel(config: ConfigDict) -> None:
    config.model.quantization_method = "gumbel_softmax"
    # On Amazon Beauty, R^2 of new items is .564 with 45 epochs, and .555 with 24.
    config.train.auto_epochs = 45.0


QUANTIZER: dict[str, Callable[..., ConfigDict]] = {
    "embeddings": embeddings,
    "ml100k": ml100k,
    "movielens": movielens,
    "amazon": amazon,
}
RECOMMENDER: dict[str, Callable[..., ConfigDict]] = {"recommend": recommend, "joint": joint}
PRESETS = QUANTIZER | RECOMMENDER

# This file is also a config file for `--config`: --config=ml100k:gumbel loads it, and calls `get_config`.
get_config = preset
