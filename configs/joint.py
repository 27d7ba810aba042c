"""Quantizer and recommender trained together: IDs learn from who takes what after what, and are then frozen.

python -m sid_jax.recommend --config=configs/joint.py:ml100k --workdir=runs/joint-ml100k
python -m sid_jax.recommend --config=configs/joint.py:beauty --config.ids=exports/beauty \
    --config.data.path=sequences.txt --workdir=runs/joint-beauty

ml100k, beauty: data and recommender are those of configs/recommend.py. The IDs to start from are trained on the way, or
are an export's, whose vectors are then read from where they lay when it was made.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from sid_jax.recommend.config import ESTIMATORS
from sid_jax.settings import choose


def get_config(arg: str = "ml100k") -> ConfigDict:
    """Returns the settings; `arg` is "ml100k" or "beauty", and may add "gumbel", "ste" or "soft", and "quick"."""
    data_set, options = choose(arg, ["ml100k", "beauty"], [*ESTIMATORS, "quick"])
    quick = ",quick" if "quick" in options else ""
    beside = runpy.run_path(str(Path(__file__).with_name("recommend.py")))
    config = beside["get_config"](data_set + quick)
    config.joint.estimator = next(iter(options - {"quick"}), "gumbel")
    if data_set == "ml100k":
        # A film has sixty ratings where a product has eleven reviews: what the recommender expects is worth more.
        config.joint.target_gradient = 10.0
        config.joint.temperature, config.joint.min_temperature = 1.0, 0.3
    return config
