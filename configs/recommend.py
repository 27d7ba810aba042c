"""A generative recommender over Semantic IDs, tested leave-one-out.

sid-jax recommend --config=recommend:ml100k --workdir=runs/recommend-ml100k
sid-jax recommend --config=recommend:beauty --config.ids=exports/beauty \
    --config.data.path=sequences.txt --workdir=runs/recommend-beauty

ml100k: from ratings to recommendations with titles; the IDs are trained on the way, on the films' titles and genres and
    on who watches them together.
beauty: Amazon Beauty (2014, 5-core) or any file with a line a user, as `sid_jax.data.history_files` reads it; with
    --config.data.source=amazon-2014-beauty instead of a path, as its authors publish it, the IDs on the way.
"""

from sid_jax.presets import recommend

get_config = recommend
