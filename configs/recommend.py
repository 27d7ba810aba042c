"""A generative recommender over Semantic IDs, tested leave-one-out.

python -m sid_jax.recommend --config=configs/recommend.py:ml100k --workdir=runs/recommend-ml100k
python -m sid_jax.recommend --config=configs/recommend.py:beauty --config.ids=exports/beauty \
    --config.data.path=sequences.txt --workdir=runs/recommend-beauty

ml100k: from ratings to recommendations with titles; the IDs are trained on the way, on the films' titles and genres and
    on who watches them together.
beauty: Amazon Beauty (2014, 5-core) or any file with a line a user, as `sid_jax.data.history_files` reads it; with
    --config.data.source=amazon-2014-beauty instead of a path, as its authors publish it, the IDs on the way.
"""

from ml_collections import ConfigDict

from sid_jax.recommend.config import default_config
from sid_jax.settings import choose


def get_config(arg: str = "ml100k") -> ConfigDict:
    """Returns the settings; `arg` is "ml100k" or "beauty", and ",quick" after it makes a short run for a first look."""
    data_set, options = choose(arg, ["ml100k", "beauty"], ["quick"])
    config = default_config()
    if data_set == "ml100k":
        config.data.source = config.quantizer.data.source = "movielens-100k"
        # Titles and genres say little of films beside who watches what: ndcg@10 is .0867 with it, .0773 without.
        config.quantizer.data.histories.source = "movielens-100k"
        # As in configs/ml100k.py.
        config.quantizer.model.codebook_size = 128
        config.quantizer.model.hidden_dimensions = (512, 256)
        config.quantizer.train.batch_size = 512
        config.quantizer.train.learning_rate = 3e-3
        config.quantizer.train.num_epochs = 600
        config.quantizer.train.warmup_epochs = 25.0
        config.quantizer.train.revive_every_epochs = 10.0
        config.quantizer.train.eval_every_epochs = 100.0
        # Small, as the data is: 1,682 films and 100,000 ratings.
        config.model.features = 64
        config.model.num_layers = 2
        config.model.num_heads = 2
        config.model.hidden = 256
        config.model.code_hidden = 256
        config.train.num_epochs = 15.0
        # Nobody rates a film twice; a beam must be wide enough that what a user has had leaves room for the rest.
        config.eval.num_beams = 200
        config.eval.exclude_seen = True
    else:
        # Few interactions for the model's size: more dropout, and more epochs to learn in spite of it. With dropout .2
        # validation stands still after 20 epochs, 9 % lower.
        config.model.dropout = 0.35
        config.train.num_epochs = 60.0
        config.train.eval_every_epochs = 10.0
        config.sasrec.num_epochs = 60.0
        # No user of these data meets an item twice, and those who use them take the seen ones out.
        config.eval.exclude_seen = True
    if "quick" in options:
        config.train.num_epochs = 2.0
        config.quantizer.train.num_epochs = 5
        config.quantizer.train.warmup_epochs = 0.5
    return config
